"""Pictures of a policy at work: a replay for the browser and a video, of one episode."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rpo.env import MAX_EPISODE_STEPS, DifferentiableVectorEnv, EndlessEpisodeError, finite_rewards, require_time_limit
from rpo.files import replacing
from rpo.policy import ActingPolicy, make_generator, require_spaces

VIDEO_FPS = 30
"""Frames a second of videos, or the environment's own rate where that is lower."""


def record_episode(
    policy: ActingPolicy,
    env: DifferentiableVectorEnv,
    *,
    replay: Path | None = None,
    video: Path | None = None,
    deterministic: bool = True,
    seed: int | None = None,
    max_steps: int = MAX_EPISODE_STEPS,
) -> float:
    """Play one episode and write what it looks like; files are there completely or not at all.

    Parameters
    ----------
    policy
        The policy, with its normaliser.
    env
        One environment; it is reset.
    replay
        HTML file to write, by the environment's `record_replay`, whose result has `add()` and `write(path)`.
    video
        MP4 file to write, of the frames of the environment's `render()`.
    deterministic
        Take the most likely action; otherwise sample.
    seed
        Seed of the environment and of the sampling.
    max_steps
        Control steps within which the episode must end.

    Returns
    -------
    float
        Undiscounted return of the episode.

    Raises
    ------
    TypeError
        If `env` is no vector environment, or `policy` is a model, say.
    ValueError
        If the policy is for other spaces; if there is more than one environment, or it has no replays or frames; if the
        seed is no integer in [0, 2**32); if the environment says that it has no such time limit, before the first step;
        or if the episode has not ended after as many steps.
    ImportError
        If what writes videos is missing; the message says what to install.
    """
    require_spaces(policy, env)
    if env.num_envs != 1:
        raise ValueError(f"env must be a single environment. Got {env.num_envs}.")
    require_time_limit(env, max_steps)
    generator = make_generator(policy.device, seed)
    raw, _ = env.reset(seed=seed)
    with ExitStack() as files:
        observers = [
            files.enter_context(observe(env, path))
            for path, observe in ((replay, _replaying), (video, _filming))
            if path is not None
        ]
        total, over, steps = 0.0, False, 0
        while not over:
            if steps >= max_steps:
                raise EndlessEpisodeError(env, max_steps)
            for observer in observers:
                observer()
            with torch.no_grad():
                action = policy.act(raw, deterministic, generator)
            raw, reward, terminated, truncated, _ = env.step(action.to(env.device, raw.dtype))
            total, over, steps = total + float(finite_rewards(reward)), bool(terminated | truncated), steps + 1
    return total


@contextmanager
def _replaying(env: DifferentiableVectorEnv, path: Path) -> Iterator[Callable[[], None]]:
    """Give what records a state, and write the replay when the block ends well."""
    begin: Any = getattr(env, "record_replay", None)
    if begin is None:
        raise ValueError(f"{type(env).__name__} has no `record_replay` that would make a replay.")
    replay = begin()
    yield replay.add
    with replacing(path) as temporary:
        replay.write(temporary)


@contextmanager
def _filming(env: DifferentiableVectorEnv, path: Path) -> Iterator[Callable[[], None]]:
    """Give what films a state, frame by frame, so that a film of any length needs little memory."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError("videos need imageio-ffmpeg: pip install 'rpo-rl[video]'.") from error
    if getattr(env, "render_mode", None) != "rgb_array":
        raise ValueError(f"`render_mode` of {type(env).__name__} must be 'rgb_array' for a video.")
    fps = env.metadata["render_fps"]
    every = max(1, round(fps / VIDEO_FPS))
    calls, writer = 0, None
    with replacing(path) as temporary:

        def film() -> None:
            nonlocal calls, writer
            if calls % every == 0:
                (frame,) = env.render()  # type: ignore[attr-defined]  # of Gymnasium's VectorEnv
                if writer is None:
                    height, width, _ = frame.shape
                    options: Any = {"fps": fps / every, "macro_block_size": 1, "output_params": ["-f", "mp4"]}
                    writer = imageio_ffmpeg.write_frames(str(temporary), (width, height), **options)
                    writer.send(None)
                writer.send(np.ascontiguousarray(frame))
            calls += 1

        try:
            yield film
        finally:
            if writer is not None:
                writer.close()
