"""What the README shows works, and its table of equations is that of the code."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


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
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "packages/rpo/README.md").read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["model"].num_timesteps == 3072
    assert names["model"].config.policy_epochs == 2


def test_commands_are_those_that_continuous_integration_runs():
    commands = re.findall(r"```sh\n(.*?)\n```", README, flags=re.DOTALL)
    sessions = [command.rsplit(" ", 1)[1] for command in commands]
    assert sessions == ["train", "tests"]
    assert commands[1] in (ROOT / ".ci/run").read_text().splitlines()


def test_each_equation_of_the_table_is_claimed_by_the_function_it_names():
    rows = re.findall(r"\| (\d+), [^|]+\| \[`([^`]+)`\]\(([^)]+)\)", README)
    assert [int(number) for number, _, _ in rows] == [2, 4, 9, 10, 11, 12, 13, 14]
    for number, name, path in rows:
        nodes = ast.walk(ast.parse((ROOT / path).read_text()))
        functions = {node.name: node for node in nodes if isinstance(node, ast.FunctionDef)}
        assert f"Eq. ({number})" in (ast.get_docstring(functions[name.rsplit(".", 1)[1]]) or "")
