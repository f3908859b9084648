"""The page of the gradients' quality is measured as it says, in small."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

SCRIPT = Path(__file__).parents[1] / "benchmarks/gradient_quality.py"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(SCRIPT))


def test_small_page_has_small_errors_and_finds_reinforce_the_noisier_estimate(script, tmp_path):
    sizes = ["--horizons", "1", "4", "--envs", "8", "--samples", "4"]
    tasks = ["diffenvs/Hopper-v0", "diffenvs/Ant-v0"]
    script["main"](["--tasks", *tasks, *sizes, "--output", str(tmp_path / "page")])
    tables = re.findall(r"^\| `(\S+)` \| (\S+) \| (\S+) \|$", (tmp_path / "page.md").read_text(), flags=re.MULTILINE)
    assert [task for task, *_ in tables] == 4 * tasks
    values = torch.tensor([[float(value) for value in row] for _, *row in tables]).unflatten(0, (4, 2))
    median, worst, float32, ratio = values
    assert (median < 1e-7).all()
    assert (worst >= median).all()
    assert (float32 < 1e-3).all()
    assert (float32 > median).all()
    assert (ratio > 3.0).all()
    assert (imread(tmp_path / "page.png")[..., 3] == 1.0).all()


def test_error_of_a_wrong_gradient_is_seen(script, monkeypatch):
    env = script["make_env"]("diffenvs/Hopper-v0", 8, "float64")
    state = script["warm_states"](env)
    exact = script["gradient"](env, state, script["uniform"](env, 2, seed=2))
    monkeypatch.setitem(script["errors"].__globals__, "gradient", lambda env, *_: 1.01 * exact.to(env.dtype))
    error, jumps, rounding = script["errors"](env, env, state, 2)
    assert error.median() > 1e-3
    assert not jumps.any()
    assert rounding.max() == 0.0


def test_return_that_jumps_is_told_from_a_wrong_gradient(script, monkeypatch):
    env = script["make_env"]("diffenvs/Hopper-v0", 8, "float64")
    state, rewards = script["warm_states"](env), script["rewards"]
    edge = script["uniform"](env, 2, seed=2)[0, :, 0]

    def jumping(env, state, actions):
        step = torch.where(torch.arange(8) < 2, (actions[0][:, 0] > edge).double().detach(), 0.0)
        return rewards(env, state, actions) + step

    monkeypatch.setitem(script["errors"].__globals__, "rewards", jumping)
    _, jumps, _ = script["errors"](env, env, state, 2)
    assert jumps.tolist() == [True] * 2 + [False] * 6


def test_both_estimates_have_the_same_mean(script):
    samples = 256
    env = script["make_env"]("diffenvs/Hopper-v0", script["STATES"] * samples, "float32")
    through, reinforce = script["estimates"](env, script["warm_states"](env), 1)
    assert through.shape == reinforce.shape == (script["STATES"], samples, 3)
    standard_error = (reinforce.var(1) / samples + through.var(1) / samples).sqrt()
    z = (reinforce.mean(1) - through.mean(1)) / standard_error
    assert z.abs().max() < 4.5  # 48 normal numbers
    assert z.square().mean() < 2.0
    assert (through.mean(1).abs() > 3 * standard_error).float().mean() > 0.2  # there is something to agree on
