"""Describe tasks in Markdown, from their code: ``python -m diffenvs.tables > docs/tasks.md``.

Ids of other tasks may be named, in Gymnasium's form with the module that registers them, "module:namespace/Name-v0".
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import inspect
import itertools
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from diffenvs.model import Joint, JointType, Model
from diffenvs.registration import TASKS, make_task
from diffenvs.tasks.base import AbstractTask, Entry

COMMAND = "python -m diffenvs.tables"
INTRODUCTION = """\
The reward of a step is the sum of the terms shown; `observation` is the one the agent acted on, `action` the clipped
action it took and `next_observation` what this led to. Constants are keyword arguments of `gymnasium.make` and
`gymnasium.make_vec`. An episode is over early when `terminated` says so (unless `early_termination` is off) or the
state is not finite or has a component above a million.
"""
ROLE = r":\w+:(?=`)"
"""Markup of docstrings that has no meaning in Markdown."""
SECTION = r"\n\n[\w ]+\n-{3,}\n"
"""Headline of a section of a docstring, such as the notes; what comes before it is shown."""
OPTIONS = ("ground", "up", "gravity", "dt", "substeps", "mass_matrix_interval")


def page(ids: Iterable[str]) -> str:
    """Markdown page of registered tasks.

    Parameters
    ----------
    ids
        Of the tasks, "namespace/Name-v0" or "module:namespace/Name-v0".
    """
    specs = [_spec(id) for id in ids]
    tasks = [make_task(spec.id, {}) for spec in specs]
    rows = [
        (f"`{spec.id}`", _summary(task), task.observation_size(), task.model().nu, spec.max_episode_steps)
        for spec, task in zip(specs, tasks, strict=True)
    ]
    parts = [
        f"<!-- Generated: {COMMAND} > docs/tasks.md -->",
        "# Tasks",
        _table(("id", "task", "observations", "actions", "steps of an episode"), rows),
        INTRODUCTION.strip(),
        *(describe(task, spec.id) for spec, task in zip(specs, tasks, strict=True)),
    ]
    return "\n\n".join(parts) + "\n"


def _spec(id: str) -> EnvSpec:
    module, _, id = id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(id)


def describe(task: AbstractTask, title: str) -> str:
    """Markdown section of one task: what it observes, does, rewards, when it ends and begins, and its constants.

    Parameters
    ----------
    task
        The task, with the constants to show.
    title
        Headline, such as its id.

    Raises
    ------
    ValueError
        If the source of the task's class is in no file, as in an interactive session.
    """
    model = task.model()
    parts = [f"## {title}", re.split(SECTION, inspect.getdoc(type(task)) or "")[0]]
    parts += [f"### Observation ({task.observation_size()})", _entries(task.OBSERVATION)]
    if task.MEMORY:
        parts += [f"### Memory ({task.memory_size()})", _entries(task.MEMORY)]
    parts += [f"### Action ({model.nu})", _actions(model)]
    parts += ["### Reward", _code(task, "reward_terms"), "### Termination", _code(task, "terminated")]
    parts += ["### Reset", _summary(task.reset), f"Start pose: {_plain(task.start_q())}."]
    parts += ["### Constants", _fields(task), "### Robot", _robot(model), _fields(model, OPTIONS)]
    materials = dict.fromkeys(shape.material for link in model.links for shape in link.shapes)
    parts += [f"#### Contact\n\n{_fields(material)}" for material in materials]
    return "\n\n".join(parts)


def _entries(entries: Sequence[Entry]) -> str:
    rows, start = [], 0
    for entry in entries:
        index = f"{start}" if entry.size == 1 else f"{start}:{start + entry.size}"
        rows.append((f"`[{index}]`", f"`{entry.name}`", entry.unit, entry.description))
        start += entry.size
    return _table(("index", "name", "unit", "meaning"), rows)


def _actions(model: Model) -> str:
    rows = []
    for k, actuator in enumerate(model.actuators):
        joint = model.links[model.link_index(actuator.link)].joint
        unit = "N m" if joint.type is JointType.HINGE else "N"
        kind = joint.type.name.lower()
        rows.append((f"`[{k}]`", f"`{actuator.link}`", kind, f"{_plain(actuator.gear)} {unit}", *_limits(joint)))
    header = ("index", "link", "its joint", "of a full action", "range", "limit stiffness", "limit damping")
    return _table(header, rows)


def _limits(joint: Joint) -> tuple[str, str, str]:
    """Range of a joint, and stiffness and damping beyond it."""
    if math.isinf(joint.lower) and math.isinf(joint.upper):
        return "unlimited", "", ""
    coordinate, force = ("rad", "N m") if joint.type is JointType.HINGE else ("m", "N")
    return (
        f"{_plain(joint.lower)} to {_plain(joint.upper)} {coordinate}",
        f"{_plain(joint.limit_stiffness)} {force}/{coordinate}",
        f"{_plain(joint.limit_damping)} {force} s/{coordinate}",
    )


def _robot(model: Model) -> str:
    mass = sum(link.mass for link in model.links)
    return (
        f"`{model.name}`: {len(model.links)} links, {model.nq} coordinates, {model.nv} degrees of freedom, "
        f"{mass:.2f} kg."
    )


def _fields(instance: Any, names: Iterable[str] | None = None) -> str:
    """Table of the fields of a dataclass, with their docstrings."""
    meanings = _meanings(type(instance))
    names = names or [field.name for field in dataclasses.fields(instance)]
    rows = [(f"`{name}`", f"`{_plain(getattr(instance, name))}`", meanings.get(name, "")) for name in names]
    return _table(("name", "value", "meaning"), rows)


def _meanings(cls: type) -> dict[str, str]:
    """Docstrings below the fields of a class; one without has that of the nearest base class which has it."""
    found: dict[str, str] = {}
    for base in cls.__mro__[:-1]:
        if not dataclasses.is_dataclass(base):
            continue
        for statement, following in itertools.pairwise(_parse(base).body):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                text = ast.get_docstring(ast.Module([following], []))
                if text is not None:
                    found.setdefault(statement.target.id, re.sub(ROLE, "", text))
    return found


def _code(task: AbstractTask, name: str) -> str:
    """Source of a method, and of what it calls of the task's own package."""
    functions = [_function(type(task), name)]
    for function in functions:  # grows
        functions += [called for called in _called(task, function) if called not in functions]
    return "```python\n" + "\n\n\n".join(_without_docstring(function) for function in functions) + "\n```"


def _function(cls: type, name: str) -> Any:
    method = getattr(cls, name)
    return getattr(method, "__func__", method)


def _called(task: AbstractTask, function: Any) -> list[Any]:
    """Functions of the same package that a function calls, without the methods that every task has."""
    calls = [node.func for node in ast.walk(_parse(function)) if isinstance(node, ast.Call)]
    found = []
    for call in calls:
        called = None
        if isinstance(call, ast.Name):
            called = function.__globals__.get(call.id)
        elif isinstance(call, ast.Attribute) and ast.unparse(call.value) == "self":
            called = None if hasattr(AbstractTask, call.attr) else _function(type(task), call.attr)
        if inspect.isfunction(called) and _package(called) == _package(function):
            found.append(called)
    return list(dict.fromkeys(found))


def _package(function: Any) -> str:
    return function.__module__.partition(".")[0]


def _source(function_or_class: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function_or_class))
    except (OSError, TypeError) as error:
        name = function_or_class.__qualname__
        raise ValueError(f"tasks are described from their source. That of {name} is in no file.") from error


def _parse(function_or_class: Any) -> Any:
    """Syntax tree of a function or class."""
    return ast.parse(_source(function_or_class)).body[0]


def _without_docstring(function: Any) -> str:
    lines, tree = _source(function).splitlines(), _parse(function)
    if ast.get_docstring(tree) is not None:
        del lines[tree.body[0].lineno - 1 : tree.body[0].end_lineno]
    return "\n".join(lines)


def _summary(documented: Any) -> str:
    """First paragraph of a docstring on one line."""
    text = inspect.getdoc(documented if callable(documented) else type(documented)) or ""
    return " ".join(text.partition("\n\n")[0].split())


def _plain(value: Any) -> str:
    """Value in few digits."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = (" | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in line) for line in lines)
    return "\n".join(f"| {line} |" for line in cells)


def main(args: Sequence[str] | None = None) -> None:
    """Print the page of the tasks that the arguments name; a mistake of the user ends the program with one message."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="id", help="of a task; all of diffenvs without any")
    ids = parser.parse_args(args).ids
    try:
        text = page(ids or TASKS)
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        parser.exit(1, f"{COMMAND}: {error}\n")
    print(text, end="")


if __name__ == "__main__":
    main()
