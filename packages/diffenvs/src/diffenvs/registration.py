"""The table of tasks, and their registration with Gymnasium."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from diffenvs.tasks.base import AbstractTask

MAX_EPISODE_STEPS = 1000
TASKS: dict[str, str | type[AbstractTask]] = {}
"""Id -> task, a class or its place "module:Class", which is imported when the task is used first."""


def register_task(id: str, task: str | type[AbstractTask], max_episode_steps: int = MAX_EPISODE_STEPS) -> None:
    """Make a task available to ``gymnasium.make`` and ``gymnasium.make_vec``.

    Parameters
    ----------
    id
        "namespace/Name-v0".
    task
        The class of the task, or its place, "module:Class".
    max_episode_steps
        Steps after which an episode is truncated.

    Examples
    --------
    >>> register_task("me/ShortHopper-v0", "diffenvs.tasks.hopper:Hopper", max_episode_steps=100)
    >>> gymnasium.make("me/ShortHopper-v0", action_cost=0.0).spec.max_episode_steps
    100
    """
    TASKS[id] = task
    gymnasium.register(
        id,
        entry_point="diffenvs.envs.single:DiffEnv",
        vector_entry_point="diffenvs.envs.vector:DiffVectorEnv",
        max_episode_steps=max_episode_steps,
        kwargs={"task": id},
    )


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

    An error that lists the known fields lists `others` beside them.

    Raises
    ------
    ValueError
        If the id is unknown.
    TypeError
        If a field is unknown, or fields come with a task that is made already.
    """
    if not isinstance(task, str):
        if not hasattr(task, "reward_terms") or isinstance(task, type):
            raise TypeError(f"task must be an id or a task that is made. Got {task!r}.")
        if fields:
            raise TypeError(f"fields of a task that is made already cannot be set: {', '.join(fields)}.")
        return task
    if task not in TASKS:
        raise ValueError(f"no task has the id '{task}'. There are {', '.join(TASKS)}.")
    place = TASKS[task]
    if isinstance(place, str):
        module, name = place.split(":")
        place = getattr(importlib.import_module(module), name)
    return place.from_fields(others, **fields)  # pyright: ignore[reportAttributeAccessIssue]
