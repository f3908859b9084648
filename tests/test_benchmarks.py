"""The scripts that measure the numbers of the documentation run, in small, and print what they measured."""

import math
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from diffenvs import DiffVectorEnv
from diffenvs.engine import Engine
from rpo import cli
from rpo.runs import RunFolder

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training of two windows, each of which ends episodes."""
    runs = tmp_path_factory.mktemp("runs")
    sizes = ["--num-envs", "4", "--steps", "128", "--horizon", "16", "--critic-epochs", "1", "--hidden-sizes", "8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rpo.commands.train.EPISODES", 2)
        patch.setattr("rpo.commands.train.draw_replay", lambda *_: None)
        task = ["--env", "diffenvs/Hopper-v0", "--env-args", "max_episode_steps=16"]
        cli.main(["train", *task, *sizes, "--runs", str(runs)])
    (path,) = (runs / "diffenvs/Hopper-v0/rpo").iterdir()
    return RunFolder(path)


@pytest.fixture
def printed(monkeypatch, capsys):
    """Run a script of that name with arguments, and give what it prints: all, and the rows of its tables."""

    def result(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        text = capsys.readouterr().out
        return text, rows(text)

    return result


def rows(text):
    cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [row for row in cells if set("".join(row)) != {"-"}]


def test_parts_of_a_training_iteration_add_up(printed):
    methods = Engine.forward, Engine.backward, DiffVectorEnv.step_grad
    text, table = printed("training_iteration", "--preset", "small", "--num-envs", 64, "--windows", 1)
    assert "diffenvs/Ant-v0: 64 environments, 32 steps a window" in text
    seconds = {name: float(value) for name, value, _ in table[1:]}
    parts = [value for name, value in seconds.items() if name not in ("all", "simulator, both ways")]
    assert len(parts) == 8
    assert min(parts) >= 0.0
    assert sum(parts) == pytest.approx(seconds["all"], abs=0.05)
    assert seconds["simulator, forward"] > 0.0
    assert seconds["simulator, backward"] > 0.0
    assert float(re.findall(r"^([\d,]+) environment steps a second", text, flags=re.MULTILINE)[0].replace(",", "")) > 0
    assert methods == (Engine.forward, Engine.backward, DiffVectorEnv.step_grad)


def test_table_of_the_hand_compares_exact_gradients_with_cut_ones(printed):
    _, table = printed("hand_reorient", "--steps", 512, "--num-envs", 8, "--windows", 2, "--episodes", 2)
    median, mean, largest, share = table.pop(4)
    assert 0.0 < float(median) < float(mean) < float(largest)
    assert 100 / 8 <= float(share.rstrip("%")) <= 100
    looks, looked = table[-2:]
    assert (looks[1], looked[1][-4:]) == ("0", " (2)")
    assert 0.0 < float(looked[1][:-4]) <= math.pi
    names = ["gradients", "exact", "cut", "median norm"]
    names += [name for head in ("deterministic", "stochastic", "angle after steps") for name in (head, "untrained")]
    assert [row[0] for row in table] == names
    for row in table[1:3]:
        assert all(math.isfinite(float(value)) for value in row[1:])
    assert table[1] != table[2]


def test_table_of_the_results_is_what_the_run_left(printed, run):
    _, (_, cells) = printed("results_table", run.path)
    found = run.read_evaluation()
    evaluated = [f"{found[name]['mean']:,.0f} ± {found[name]['std']:,.0f}" for name in ("deterministic", "stochastic")]
    assert cells[:2] == ["`Hopper`", "RPO"]
    changed = set(cells[2].split(", `"))
    assert {"`max_episode_steps=16`", "horizon=16`", "critic_epochs=1`"} <= changed
    assert cells[3:5] == ["0", "0.00"]
    assert cells[-3:] == [*evaluated, "16"]


def test_learning_curves_are_drawn(printed, run, tmp_path):
    text, _ = printed("learning_curves", run.path, "--output", tmp_path / "curves.png")
    assert text.strip() == str(tmp_path / "curves.png")
    picture = imread(tmp_path / "curves.png")
    assert (picture[..., 3] == 1.0).all()
    assert np.unique(picture.reshape(-1, 4), axis=0).shape[0] > 2


@pytest.mark.slow
def test_speeds_of_the_simulation_are_measured():
    command = [sys.executable, FOLDER / "simulation_speed.py", "--tasks", "diffenvs/Hopper-v0", "--num-envs", "8"]
    text = subprocess.run([*command, "--cpu-time"], check=True, capture_output=True, text=True).stdout
    _, speed, _, costs = rows(text)
    assert speed[:3] == ["diffenvs/Hopper-v0", "8", "1"]
    forward, with_gradients = (float(value.replace(",", "")) for value in speed[3:])
    assert forward > with_gradients > 0
    first, later, window, whole = map(float, costs[1:])
    assert first > later > 0
    assert whole > window > 0
