"""`rpo record`: a video and a replay for the browser of a run's trained policy."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro

from rpo.arguments import checked_seed
from rpo.commands import mistakes
from rpo.making import make_vector_env
from rpo.recording import record_episode
from rpo.resume import load_trained
from rpo.runs import RunFolder


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordOptions:
    """Play one episode of a trained policy; write RUN/video.mp4, and RUN/replay.html, which any browser plays."""

    run: tyro.conf.Positional[Path]
    """Folder of a run; of one that is not finished, the newest checkpoint is played."""
    stochastic: bool = False
    """Sample actions instead of taking the most likely ones."""
    seed: int = 0
    """Seed of the episode."""
    video: bool = True
    """Whether to write the video, which is drawn frame by frame."""
    width: int = 640
    """Of the video [pixels]."""
    height: int = 480
    """Of the video [pixels]."""


def run(args: Sequence[str]) -> None:
    """Record as the arguments say; a mistake of the user ends the program with one message."""
    options = tyro.cli(RecordOptions, prog="rpo record", args=list(args))
    with mistakes.told_in_one_message():
        seed = checked_seed("--seed", options.seed)
        folder = RunFolder(options.run)
        settings = folder.read_settings()
        model = load_trained(folder, "cpu")
        frames = {"render_mode": "rgb_array", "width": options.width, "height": options.height} if options.video else {}
        files = {"video": folder.video} if options.video else {}
        files["replay"] = folder.replay
        env = make_vector_env(settings.env, 1, **(settings.env_args | frames))
        print(f"plays an episode of {settings.title}{', and draws it, up to a minute' * options.video} ...", flush=True)
        try:
            total = record_episode(
                model.policy,
                env,
                **files,
                deterministic=not options.stochastic,
                seed=seed,
            )
        finally:
            env.close()
    print(f"{settings.title}, after {model.num_timesteps:,} steps: an episode with return {total:.1f}")
    for path in files.values():
        print(f"  {path}")
