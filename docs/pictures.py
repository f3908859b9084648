"""Draw a picture of every task, and of all of them side by side: `python docs/pictures.py` writes docs/pictures/."""

from pathlib import Path

import gymnasium
import numpy as np
from PIL import Image

from diffenvs import TASKS

FOLDER = Path(__file__).parent / "pictures"
WIDTH, HEIGHT = 400, 300
STEPS = 6
"""Control steps with random actions before the picture is taken."""


def picture(task_id: str) -> Image.Image:
    """Return a frame of a task soon after the start, (HEIGHT, WIDTH)."""
    env = gymnasium.make(task_id, render_mode="rgb_array", width=2 * WIDTH, height=2 * HEIGHT)
    env.reset(seed=1)
    env.action_space.seed(1)
    for _ in range(STEPS):
        env.step(env.action_space.sample())
    frame = np.asarray(env.render())
    env.close()
    return Image.fromarray(frame).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(exist_ok=True)
    pictures = {task_id: picture(task_id) for task_id in TASKS if task_id.startswith("diffenvs/")}
    strip = Image.new("RGB", (WIDTH * len(pictures), HEIGHT))
    for i, (task_id, image) in enumerate(pictures.items()):
        strip.paste(image, (i * WIDTH, 0))
        name = task_id.removeprefix("diffenvs/").partition("-")[0].lower()
        image.quantize(256, method=Image.Quantize.FASTOCTREE).save(FOLDER / f"{name}.png", optimize=True)
    strip.quantize(256, method=Image.Quantize.FASTOCTREE).save(FOLDER / "tasks.png", optimize=True)


if __name__ == "__main__":
    main()
