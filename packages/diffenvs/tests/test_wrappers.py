"""Gymnasium's vector wrappers around our environments: each one works as around SyncVectorEnv, or is known not to."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from environments import MODES, make
from gymnasium import wrappers as single
from gymnasium.wrappers import vector

PAGE = Path(__file__).parents[3] / "docs" / "wrappers.md"
FIELDS = {"reset_noise": False, "max_episode_steps": 4}
"""Without noise all environments begin alike, so that ours and single ones can be compared."""
NO_SAME_STEP = ("NextStep", "Disabled")


@dataclass(frozen=True, kw_only=True)
class Works:
    """A wrapper around NumPy arrays, and under which autoreset modes it works; under others it refuses."""

    wrap: Callable[[Any], Any]
    modes: tuple[str, ...] = tuple(MODES)
    partial_reset: bool = True
    """Whether a `reset_mask` can be compared: one wrapper refuses it, another loses it around SyncVectorEnv."""
    converts: bool = False
    """Whether it takes and returns tensors; their values are those of the bare SyncVectorEnv."""
    pictures: bool = False
    """Whether it needs pictures of the environments; it changes no values."""
    tensors: bool = False
    """Whether it also works without ArrayConversion, on tensors."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Cannot:
    """A wrapper that cannot work, and how it says so."""

    wrap: Callable[[Any], Any]
    error: type[Exception] | tuple[type[Exception], ...] = ValueError
    message: str | None = None
    note: str


def double(value):
    return 2 * value


WRAPPERS: dict[str, Works | Cannot] = {
    "ArrayConversion": Works(wrap=lambda env: env, note="the bridge to NumPy arrays that the others need"),
    "ClipAction": Works(wrap=vector.ClipAction, note="the environment clips by itself"),
    "ClipReward": Works(wrap=lambda env: vector.ClipReward(env, -1.0, 1.0)),
    "DictInfoToList": Works(wrap=vector.DictInfoToList),
    "DtypeObservation": Works(wrap=lambda env: vector.DtypeObservation(env, np.float64), modes=NO_SAME_STEP),
    "FilterObservation": Cannot(
        wrap=lambda env: vector.FilterObservation(env, ["height"]),
        message="only usable with `Dict` and `Tuple` observations",
        note="needs `Dict` or `Tuple` observations; ours are `Box`",
    ),
    "FlattenObservation": Works(wrap=vector.FlattenObservation, modes=NO_SAME_STEP, note="observations are flat"),
    "GrayscaleObservation": Cannot(
        wrap=vector.GrayscaleObservation, message="requires an image", note="needs images as observations"
    ),
    "HumanRendering": Works(
        wrap=vector.HumanRendering, pictures=True, note='with `render_mode="rgb_array"`, pygame and OpenCV'
    ),
    "JaxToNumpy": Cannot(
        wrap=lambda env: vector.JaxToNumpy(env).step(np.zeros((3, 3), dtype=np.float32)),
        error=(ImportError, TypeError),
        note="is for environments written in JAX; `ArrayConversion` converts ours",
    ),
    "JaxToTorch": Cannot(
        wrap=lambda env: vector.JaxToTorch(env).step(torch.zeros(3, 3)),
        error=(ImportError, TypeError),
        note="is for environments written in JAX; ours are torch's without it",
    ),
    "NormalizeObservation": Works(
        wrap=vector.NormalizeObservation,
        modes=("NextStep",),
        partial_reset=False,
        note="SB3's `VecNormalize` does it under SAME_STEP",
    ),
    "NormalizeReward": Works(wrap=vector.NormalizeReward),
    "NumpyToTorch": Works(
        wrap=vector.NumpyToTorch, converts=True, note="undoes `ArrayConversion`, for wrappers in between"
    ),
    "RecordEpisodeStatistics": Works(wrap=vector.RecordEpisodeStatistics, partial_reset=False),
    "RecordVideo": Works(
        wrap=lambda env: vector.RecordVideo(env, "videos"),
        pictures=True,
        note='with `render_mode="rgb_array"`; under SAME_STEP without the last frame of an episode',
    ),
    "RescaleAction": Works(wrap=lambda env: vector.RescaleAction(env, np.float32(-2.0), np.float32(2.0))),
    "RescaleObservation": Cannot(
        wrap=lambda env: vector.RescaleObservation(env, -1.0, 1.0),
        message="For unbounded components",
        note="needs bounded observations; `NormalizeObservation` does without",
    ),
    "ReshapeObservation": Works(wrap=lambda env: vector.ReshapeObservation(env, (11, 1)), modes=NO_SAME_STEP),
    "ResizeObservation": Cannot(
        wrap=lambda env: vector.ResizeObservation(env, (8, 8)),
        message="requires a 2D or 3D image",
        note="needs images as observations",
    ),
    "TransformAction": Works(wrap=lambda env: vector.TransformAction(env, double), tensors=True),
    "TransformObservation": Works(
        wrap=lambda env: vector.TransformObservation(env, double), modes=NO_SAME_STEP, tensors=True
    ),
    "TransformReward": Works(wrap=lambda env: vector.TransformReward(env, double), tensors=True),
    "VectorizeTransformAction": Works(
        wrap=lambda env: vector.VectorizeTransformAction(
            env, single.TransformAction, func=double, action_space=env.single_action_space
        )
    ),
    "VectorizeTransformObservation": Works(
        wrap=lambda env: vector.VectorizeTransformObservation(
            env, single.TransformObservation, func=double, observation_space=env.single_observation_space
        ),
        modes=NO_SAME_STEP,
    ),
    "VectorizeTransformReward": Works(
        wrap=lambda env: vector.VectorizeTransformReward(env, single.TransformReward, func=double), tensors=True
    ),
}
WORKING = {name: case for name, case in WRAPPERS.items() if isinstance(case, Works)}
FAILING = {name: case for name, case in WRAPPERS.items() if isinstance(case, Cannot)}


def on_arrays(mode, **kwargs):
    env = make(autoreset_mode=mode, **FIELDS, **kwargs)
    return vector.ArrayConversion(env, env_xp=torch, target_xp=np)


def reference(mode):
    kwargs = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    return gymnasium.make_vec("diffenvs/Hopper-v0", num_envs=3, **kwargs, **FIELDS)


def with_pictures(mode):
    env = on_arrays(mode, render_mode="rgb_array", width=32, height=24)
    env.reset(seed=0)
    try:
        env.render()
    except RuntimeError as error:
        pytest.skip(str(error))  # the system has no OpenGL
    return env


def plain(value):
    """Arrays of what can be compared: tensors are converted, of infos what both kinds of environments tell is kept."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return np.asarray(value)
    kept = {}
    if "episode" in value:
        kept["episode"] = [np.asarray(value["episode"][name]) for name in ("r", "l")]
    if "final_obs" in value:
        has = value.get("_final_obs", [True])
        final = value["final_obs"] if "_final_obs" in value else [value["final_obs"]]
        kept["final_obs"] = [np.asarray(obs) for obs, there in zip(final, has, strict=True) if there]
    return kept if any(kept.values()) else {}


def run(env, mode, *, partial_reset, tensors, steps=10):
    """What a wrapped environment returns over one and a half episodes or more."""
    rng = np.random.default_rng(0)
    results = [plain(env.reset(seed=0)[0])]
    for i in range(steps):
        if partial_reset and i == 2:
            results.append(plain(env.reset(options={"reset_mask": np.array([True, False, True])})[0]))
        action = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
        result = [plain(value) for value in env.step(torch.from_numpy(action) if tensors else action)]
        results.append(result)
        done = result[2] | result[3]
        if mode == "Disabled" and done.any():
            results.append(plain(env.reset(options={"reset_mask": done})[0]))
    return results


def check_close(a, b):
    if isinstance(a, dict):
        assert set(a) == set(b)
        a, b = list(a.values()), list(b.values())
    if not isinstance(a, list):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        return
    for mine, theirs in zip(a, b, strict=True):
        check_close(mine, theirs)


def test_every_wrapper_of_gymnasium_is_classified():
    assert set(WRAPPERS) == set(vector.__all__)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name, case in WORKING.items() if not case.pictures])
def test_wrapper_does_what_it_does_around_single_environments(name, mode):
    case = WORKING[name]
    if mode not in case.modes:
        with pytest.raises(ValueError, match="autoreset_mode"):
            case.wrap(on_arrays(mode))
        return
    bare = reference(mode)
    ours = run(case.wrap(on_arrays(mode)), mode, partial_reset=case.partial_reset, tensors=case.converts)
    theirs = run(bare if case.converts else case.wrap(bare), mode, partial_reset=case.partial_reset, tensors=False)
    check_close(ours, theirs)


@pytest.mark.filterwarnings("ignore:.*Recorded episodes will not contain the last frame:UserWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name, case in WORKING.items() if case.pictures])
def test_wrapper_of_pictures_shows_them_and_changes_nothing(name, mode, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for variable, value in {"SDL_VIDEODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"}.items():
        monkeypatch.setenv(variable, value)
    env = WORKING[name].wrap(with_pictures(mode))
    results = run(env, mode, partial_reset=False, tensors=False, steps=6)
    if name == "HumanRendering":
        assert env.window.get_size() == (32, 24)
        assert env.window.get_at((8, 6)) != env.window.get_at((8, 1)), "the window must not be blank"
    env.close()
    if name == "RecordVideo":
        videos = {video.stem: video.stat().st_size for video in tmp_path.glob("videos/*.mp4")}
        assert min(videos[f"rl-video-episode-{episode}"] for episode in (0, 1)) > 500
    check_close(results, run(reference(mode), mode, partial_reset=False, tensors=False, steps=6))


@pytest.mark.parametrize("name", [name for name, case in WORKING.items() if case.tensors])
def test_wrapper_works_on_tensors_too(name):
    case = WORKING[name]
    env = case.wrap(make(autoreset_mode="NextStep", **FIELDS))
    assert isinstance(env.reset()[0], torch.Tensor)
    results = run(env, "NextStep", partial_reset=True, tensors=True)
    check_close(results, run(case.wrap(on_arrays("NextStep")), "NextStep", partial_reset=True, tensors=False))


@pytest.mark.parametrize("name", FAILING)
def test_wrapper_that_cannot_work_refuses(name):
    case = FAILING[name]
    env = on_arrays("NextStep")
    env.reset(seed=0)
    with pytest.raises(case.error, match=case.message):
        case.wrap(env)
    env.step(np.zeros((3, 3), dtype=np.float32))


def table():
    """Rows of the documentation's table."""
    rows = ["| wrapper | SAME_STEP | NEXT_STEP | DISABLED | on tensors | |", "| --- | --- | --- | --- | --- | --- |"]
    for name, case in WRAPPERS.items():
        works = isinstance(case, Works)
        yes = [works and mode in case.modes for mode in ("SameStep", "NextStep", "Disabled")]
        marks = ["yes" if mark else "no" for mark in (*yes, works and case.tensors)]
        rows.append(f"| `{name}` | {' | '.join(marks)} | {case.note} |")
    return "\n".join(rows)


def test_code_of_the_documentation_runs():
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names = {}
    exec(block, names)
    assert names["observations"].shape == (16, 37)


def test_documentation_has_the_table_of_the_tests():
    assert table() in PAGE.read_text(), f"{PAGE} must have this table:\n{table()}"
