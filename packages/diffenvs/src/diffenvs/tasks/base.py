"""What every task says, and the checks of its fields."""

from __future__ import annotations

import abc
import dataclasses
import inspect
import itertools
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from diffenvs.checks import check_number
from diffenvs.fields import converted
from diffenvs.model import Model, Vector3
from diffenvs.random import EnvRandom
from diffenvs.state import State


@dataclass(frozen=True)
class Entry:
    """A named part of an observation."""

    name: str
    size: int
    unit: str
    description: str
    quaternion: bool = False
    """Whether it has to be of unit length."""


@dataclass(frozen=True, kw_only=True)
class AbstractTask(abc.ABC):
    """A task on a robot: observation, reward, termination and reset, as pure functions on batches of tensors.

    Everything a task computes is differentiable torch code on tensors with one row an environment, without loops over
    environments and without reading values back to the host. Its fields are its constants, of type bool, int, float,
    str or Vector3, and the keyword arguments of ``gymnasium.make_vec`` beside the environment's own, such as ``device``
    and ``height``, whose names they must not have; NumPy's numbers become Python's. A task is used by many environments
    at once and holds no state.

    Raises
    ------
    TypeError, ValueError
        If a field has a value or is declared of the wrong type, a number is not finite, a class has fields and is no
        dataclass, or the parts of the observation or the memory are missing, no entries or two of one name.
    """

    OBSERVATION: ClassVar[tuple[Entry, ...]]
    """The parts of the observation in their order."""
    MEMORY: ClassVar[tuple[Entry, ...]] = ()
    """The parts of ``State.memory``, if the task remembers anything, such as a goal."""
    TRAVELS: ClassVar[bool] = False
    """Whether the robot runs far, so that its coordinates are taken from an origin that follows it over the ground.

    Then only ``state.origin`` plus the coordinates tell where it is; what the task computes must not depend on the
    horizontal coordinates alone.
    """

    early_termination: bool = True
    """Whether an episode ends when :meth:`terminated` says so (a state that is not finite always ends it)."""
    reset_noise: bool = True
    """Whether episodes begin at random around the start pose (exactly there and at rest otherwise)."""

    def __post_init__(self) -> None:
        kinds = typing.get_type_hints(type(self))
        _check_declared(type(self), kinds)
        for parts in ("OBSERVATION", "MEMORY"):
            _check_entries(f"{parts} of {type(self).__name__}", getattr(type(self), parts, None))
        for field in dataclasses.fields(self):
            value = _checked(type(self).__name__, field.name, getattr(self, field.name), kinds[field.name])
            object.__setattr__(self, field.name, value)

    @classmethod
    def from_fields(cls, others: Sequence[str] = (), /, **fields: Any) -> Self:
        """Make the task, refusing unknown fields by name.

        Parameters
        ----------
        others
            Names that are known where the fields come from, which an error lists beside the fields.
        **fields
            Values by name.

        Raises
        ------
        TypeError
            If a field is unknown; the message lists the known ones.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [f"'{name}'" for name in fields if name not in known]
        if unknown:
            more = f" Environments also take {', '.join(others)}." if others else ""
            raise TypeError(
                f"{cls.__name__} has no field {', '.join(unknown)}. Its fields are {', '.join(known)}.{more}"
            )
        return cls(**fields)

    @classmethod
    def observation_size(cls) -> int:
        """Length of the observation of one environment."""
        return sum(entry.size for entry in cls.OBSERVATION)

    @classmethod
    def memory_size(cls) -> int:
        """Length of the memory of one environment."""
        return sum(entry.size for entry in cls.MEMORY)

    @classmethod
    def memory_quaternions(cls) -> list[int]:
        """First columns of the quaternions in the memory."""
        starts = itertools.accumulate((entry.size for entry in cls.MEMORY), initial=0)
        return [start for start, entry in zip(starts, cls.MEMORY, strict=False) if entry.quaternion]

    @classmethod
    def entry(cls, observation: Tensor, name: str) -> Tensor:
        """Part of observations (N, obs) by its name: (N,) if it has size one, (N, size) otherwise.

        Raises
        ------
        ValueError
            If no entry has the name.
        """
        start = 0
        for entry in cls.OBSERVATION:
            if entry.name == name:
                return observation[:, start] if entry.size == 1 else observation[:, start : start + entry.size]
            start += entry.size
        known = ", ".join(entry.name for entry in cls.OBSERVATION)
        raise ValueError(f"the observation of {cls.__name__} has no entry '{name}'. Its entries are {known}.")

    @abc.abstractmethod
    def model(self) -> Model:
        """Build the robot."""

    @abc.abstractmethod
    def start_q(self) -> tuple[float, ...]:
        """Coordinates of the start pose, (nq,)."""

    @abc.abstractmethod
    def reset(self, random: EnvRandom, start_q: Tensor) -> tuple[Tensor, Tensor]:
        """Draw first states around the start pose.

        Parameters
        ----------
        random
            The only source of randomness.
        start_q
            :meth:`start_q` as a tensor on the device, (nq,).

        Returns
        -------
        tuple of Tensor
            Coordinates (N, nq) and velocities (N, nv).
        """

    def first_memory(self, random: EnvRandom) -> Tensor:
        """Draw the memory with which episodes begin, (N, memory); called if there is any, after :meth:`reset`."""
        raise NotImplementedError(f"{type(self).__name__} has MEMORY and must define first_memory.")

    def next_memory(self, random: EnvRandom, state: State, next_observation: Tensor) -> Tensor:
        """Update the memory after a step has been rewarded; it shows in the observation returned.

        Parameters
        ----------
        random
            The only source of randomness, another one than the reset's.
        state
            After the step, with the memory before it.
        next_observation
            Of that state, with which the step was rewarded, (N, obs).

        Returns
        -------
        Tensor
            (N, memory).
        """
        return state.memory

    def ghosts(self, state: State) -> dict[str, Tensor]:
        """Poses at which links are drawn a second time, translucent, such as a goal's: by the link's name, (N, 7)."""
        return {}

    @abc.abstractmethod
    def observation(self, state: State, action: Tensor) -> Tensor:
        """Observe a state and the clipped action that led to it (zero after a reset), (N, obs)."""

    @abc.abstractmethod
    def reward_terms(self, observation: Tensor, action: Tensor, next_observation: Tensor) -> dict[str, Tensor]:
        """Named terms whose sum is the reward, (N,) each.

        Parameters
        ----------
        observation, action
            What the agent saw and the clipped action it took, (N, obs) and (N, nu).
        next_observation
            Of the state that this led to, before any reset, (N, obs).
        """

    def terminated(self, next_observation: Tensor) -> Tensor:
        """Whether the episode ends for good in this state, (N,) bool; by default it never does."""
        return torch.zeros_like(next_observation[:, 0], dtype=torch.bool)


def _check_declared(task: type, kinds: dict[str, Any]) -> None:
    """Raise TypeError if a class of the task has fields that would be ignored, by their kinds."""
    fields = {field.name for field in dataclasses.fields(task)}
    for cls in task.__mro__[: task.__mro__.index(AbstractTask)]:
        constants = {name for name, kind in kinds.items() if ClassVar in (kind, typing.get_origin(kind))}
        declared = [name for name in inspect.get_annotations(cls) if name not in constants]
        known = declared if "__dataclass_fields__" in vars(cls) else []
        given = dict.fromkeys([*declared, *(name for name in vars(cls) if name in fields)])
        ignored = [name for name in given if name not in known]
        if ignored:
            raise TypeError(
                f"fields of {cls.__name__} would be ignored: {', '.join(ignored)}. Write "
                "`@dataclass(frozen=True, kw_only=True)` above the class, and a type after the name of each field."
            )


def _check_entries(where: str, parts: Any) -> None:
    """Raise TypeError or ValueError, which begin with `where`, if these are no entries or two have one name."""
    if not isinstance(parts, tuple) or not all(isinstance(part, Entry) for part in parts):
        raise TypeError(f"{where} must be a tuple of Entry. Got {parts!r}.")
    names = [part.name for part in parts]
    twice = dict.fromkeys(f"'{name}'" for name in names if names.count(name) > 1)
    if twice:
        raise ValueError(f"{where} must have names that differ. It has several {', '.join(twice)}.")


def _checked(task: str, name: str, value: Any, kind: Any) -> Any:
    """Return the value of a field as its kind, or raise."""
    where = f"`{name}` of {task}"
    if kind not in (bool, int, float, str, Vector3):
        raise TypeError(f"{where} must be declared as a bool, int, float, str or Vector3. It is as {kind!r}.")
    return check_number(where, value) if kind is float else converted(where, value, kind)
