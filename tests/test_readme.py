"""What the README shows works."""

import glob
import json
import re
import shlex
from pathlib import Path

from rpo.cli import main
from rpo.evaluation import evaluate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
ALGORITHM_README = (ROOT / "packages/rpo/README.md").read_text()


def test_python_blocks_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["actions"].grad.isfinite().all()
    assert names["actions"].grad.any()
    assert names["action"].shape == (16, 8)


def test_code_of_the_algorithm_s_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluated = []
    monkeypatch.setattr(
        "rpo.evaluate", lambda policy, env, **kwargs: evaluated.append(env) or evaluate(policy, env, **kwargs)
    )
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", ALGORITHM_README, flags=re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
    assert names["model"].num_timesteps == 3072
    assert names["model"].config.policy_epochs == 2
    assert names["model"].adapter.env not in evaluated  # whose episodes a training would take for its own
    assert evaluated
    assert (tmp_path / "ant.pt2").exists()


def test_commands_of_the_algorithm_s_readme_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rpo.commands.train.EPISODES", 2)
    (block,) = re.findall(r"```sh\n(.*?)```", ALGORITHM_README, flags=re.DOTALL)
    for command in block.splitlines():
        rpo, *words = shlex.split(command)
        assert rpo == "rpo"
        main([path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])])
    out = capsys.readouterr().out
    assert "RPO on diffenvs/Hopper-v0, seed 1, after 4,096 of 4,096 steps" in out
    (group,) = json.loads((tmp_path / "comparison.json").read_text())["groups"]
    assert group["seeds"] == [0, 1]
    assert all((tmp_path / name).exists() for name in ("comparison.png", "training.png", "training.svg"))


def test_commands_are_those_that_continuous_integration_runs():
    commands = re.findall(r"```sh\n(.*?)\n```", README, flags=re.DOTALL)
    sessions = [command.rsplit(" ", 1)[1] for command in commands]
    assert sessions == ["train", "tests"]
    assert commands[1] in (ROOT / ".ci/run").read_text().splitlines()
