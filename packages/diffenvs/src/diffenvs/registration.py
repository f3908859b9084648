"""The table of tasks, and their registration with Gymnasium."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import gymnasium
from gymnasium.envs.registration import ENV_ID_RE

if TYPE_CHECKING:
    from diffenvs.tasks.base import AbstractTask

MAX_EPISODE_STEPS = 1000
TASKS: dict[str, str | type[AbstractTask]] = {}
"""Id -> task, a class or its place "module:Class", which is imported when the task is used first."""
_MAKERS = (gymnasium.make, gymnasium.make_vec)
TAKEN: Final = frozenset({"task"}.union(*(inspect.signature(maker).parameters for maker in _MAKERS)))
"""Arguments that are not handed on to an environment, and the one that names the task."""


def register_task(id: str, task: str | type[AbstractTask], max_episode_steps: int | None = MAX_EPISODE_STEPS) -> None:
    """Make a task available to ``gymnasium.make`` and ``gymnasium.make_vec``.

    Parameters
    ----------
    id
        "namespace/Name-v0".
    task
        The class of the task, or its place, "module:Class".
    max_episode_steps
        Steps after which an episode is truncated, None for never.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind; nothing is registered then. What a place leads to is checked when the task is
        used first.

    Examples
    --------
    >>> register_task("me/ShortHopper-v0", "diffenvs.tasks.hopper:Hopper", max_episode_steps=100)
    >>> gymnasium.make("me/ShortHopper-v0", action_cost=0.0).spec.max_episode_steps
    100
    """
    parts = ENV_ID_RE.fullmatch(id) if isinstance(id, str) else None
    if parts is None or None in parts.groups():
        raise ValueError(f"`id` must be 'namespace/Name-v0'. Got {id!r}.")
    if isinstance(task, str):
        module, _, name = task.partition(":")
        if not all(part.isidentifier() for part in (*module.split("."), name)):
            raise ValueError(f"`task` must be a class of a task or its place, 'module:Class'. Got {task!r}.")
    else:
        _check_class("`task`", task)
    steps = max_episode_steps
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, numbers.Integral) or steps < 1):
        raise ValueError(f"`max_episode_steps` must be a positive integer, or None. Got {steps!r}.")
    gymnasium.register(
        id,
        entry_point="diffenvs.envs.single:DiffEnv",
        vector_entry_point="diffenvs.envs.vector:DiffVectorEnv",
        max_episode_steps=None if steps is None else int(steps),
        kwargs={"task": id},
    )
    TASKS[id] = task


def register_tasks() -> None:
    """Register the package's own tasks."""
    register_task("diffenvs/Hopper-v0", "diffenvs.tasks.hopper:Hopper")
    register_task("diffenvs/Ant-v0", "diffenvs.tasks.ant:Ant")
    register_task("diffenvs/Humanoid-v0", "diffenvs.tasks.humanoid:Humanoid")
    register_task("diffenvs/Anymal-v0", "diffenvs.tasks.anymal:Anymal")
    register_task("diffenvs/HandReorient-v0", "diffenvs.tasks.hand_reorient:HandReorient", max_episode_steps=600)


def registered_steps(task: AbstractTask | str) -> int | None:
    """Return the steps after which episodes of a registered id are truncated; `MAX_EPISODE_STEPS` for other tasks."""
    spec = gymnasium.registry.get(task) if isinstance(task, str) else None
    return MAX_EPISODE_STEPS if spec is None else spec.max_episode_steps


def make_task(task: AbstractTask | str, fields: dict[str, Any], others: Sequence[str] = ()) -> AbstractTask:
    """Make a task of its id and fields; a task that is made already takes no fields.

    Names of `others`, which fields come with, cannot be fields; an error that lists the known fields lists them too.

    Raises
    ------
    ValueError
        If the id is unknown.
    ImportError
        If the registered place has no such class.
    TypeError
        If there is something else than a task, if one of its fields could not be set, for its name means something
        else, if a field is unknown, or if fields come with a task that is made already.
    """
    from diffenvs.tasks.base import AbstractTask

    if not isinstance(task, str):
        if not isinstance(task, AbstractTask):
            raise TypeError(f"task must be an id or a task that is made. Got {task!r}.")
        if fields:
            raise TypeError(f"fields of a task that is made already cannot be set: {', '.join(fields)}.")
        return task
    if task not in TASKS:
        raise ValueError(f"no task has the id '{task}'. There are {', '.join(TASKS)}.")
    cls = _registered_class(task)
    clash = [field.name for field in dataclasses.fields(cls) if field.name in TAKEN.union(others)]
    if clash:
        raise TypeError(
            f"fields of {cls.__name__} could not be set, for they have names of arguments of environments: "
            f"{', '.join(clash)}. Rename them."
        )
    return cls.from_fields(others, **fields)


def _registered_class(id: str) -> type[AbstractTask]:
    """Return the class of a registered id; its place is imported."""
    found = place = TASKS[id]
    if isinstance(place, str):
        module, _, name = place.partition(":")
        found = getattr(importlib.import_module(module), name, None)
        if found is None:
            raise ImportError(f"'{id}' is registered as '{place}', and module '{module}' has no '{name}'.")
    _check_class(f"what '{id}' is registered as", found)
    return found


def _check_class(what: str, task: Any) -> None:
    """Raise TypeError, which begins with `what`, for what is no class of a task."""
    from diffenvs.tasks.base import AbstractTask

    if not isinstance(task, type) or not issubclass(task, AbstractTask):
        raise TypeError(
            f"{what} must be a class derived from AbstractTask, to whose fields `make` gives values, or its place, "
            f"'module:Class'. Got {task!r}."
        )
