"""A task that is held to what :class:`~diffenvs.tasks.base.AbstractTask` says, so that a slip in one is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from diffenvs.checks import check_tensor
from diffenvs.envs.env_state import EXPLODED, check_quaternions, is_valid
from diffenvs.envs.masks import rows
from diffenvs.fields import converted
from diffenvs.model import Model
from diffenvs.quantities import as_vector
from diffenvs.random import EnvRandom
from diffenvs.state import State
from diffenvs.tasks.base import AbstractTask

Made = TypeVar("Made")


def model_of(task: AbstractTask) -> Model:
    """Return the robot of a task, or raise TypeError if it is none."""
    return converted(f"what `model` of {type(task).__name__} returns", task.model(), Model)


class CheckedTask:
    """Calls the methods of a task and checks what each of them returns, the first time.

    Shapes do not change from call to call; values are looked at in first resets only, so that steps never wait for a
    GPU.

    Parameters
    ----------
    task
        The task.
    model
        Its model.
    num_envs
        N.
    dtype, device
        Of all that the task returns.

    Raises
    ------
    TypeError, ValueError
        By each method, if its task's one returns something of a wrong type, shape, dtype or device, or of values that
        no state has; the message names the task, the method, what was expected and what came.
    """

    def __init__(
        self, task: AbstractTask, model: Model, num_envs: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.task = task
        self._model, self._num_envs = model, num_envs
        self._kind = {"dtype": dtype, "device": device}
        self._passed: set[str] = set()

    def start_q(self) -> Tensor:
        """Coordinates of the start pose, (nq,)."""
        what = self._what("start_q")
        start = torch.tensor(as_vector(what, self.task.start_q(), self._model.nq), **self._kind)
        check_quaternions(what, start, self._model.quaternions)
        return start

    def reset(self, random: EnvRandom, start_q: Tensor) -> tuple[Tensor, Tensor]:
        """Draw first states, (N, nq) and (N, nv)."""
        return self._once("reset", self.task.reset(random, start_q), self._check_reset)

    def first_memory(self, random: EnvRandom) -> Tensor:
        """Draw the memory with which episodes begin, (N, memory)."""
        return self._once("first_memory", self.task.first_memory(random), self._check_first_memory)

    def next_memory(self, random: EnvRandom, state: State, next_observation: Tensor) -> Tensor:
        """Update the memory, (N, memory)."""
        return self._once("next_memory", self.task.next_memory(random, state, next_observation), self._check_memory)

    def observation(self, state: State, action: Tensor) -> Tensor:
        """Observe, (N, obs)."""
        return self._once("observation", self.task.observation(state, action), self._check_observation)

    def reward_terms(self, observation: Tensor, action: Tensor, next_observation: Tensor) -> dict[str, Tensor]:
        """Terms of the reward by name, (N,) each."""
        terms = self.task.reward_terms(observation, action, next_observation)
        return self._once("reward_terms", terms, self._check_terms)

    def terminated(self, next_observation: Tensor) -> Tensor:
        """Whether episodes end for good, (N,) bool."""
        return self._once("terminated", self.task.terminated(next_observation), self._check_terminated)

    def _once(self, method: str, made: Made, check: Callable[[str, Made], None]) -> Made:
        if method not in self._passed:
            check(self._what(method), made)
            self._passed.add(method)
        return made

    def _what(self, method: str) -> str:
        return f"what `{method}` of {type(self.task).__name__} returns"

    def _check_reset(self, what: str, made: tuple[Tensor, Tensor]) -> None:
        if not isinstance(made, (tuple, list)) or len(made) != 2:
            raise TypeError(f"{what} must be a tuple of coordinates and velocities. Got {type(made).__name__}.")
        n, nq = self._num_envs, self._model.nq
        if isinstance(made[0], Tensor) and made[0].shape == (nq,):
            raise ValueError(
                f"q of {what} must have a row for each environment, ({n}, {nq}), as `start_q.expand({n}, -1)` has. "
                f"Got ({nq},), the shape of start_q."
            )
        self._check(f"q of {what}", made[0], nq)
        self._check(f"qd of {what}", made[1], self._model.nv)
        wrong = ~is_valid(*made)
        if wrong.any():
            raise ValueError(f"{what} must be finite and within +-{EXPLODED:g}. It is not in {rows(wrong)}.")
        check_quaternions(f"q of {what}", made[0], self._model.quaternions)

    def _check_memory(self, what: str, made: Tensor) -> None:
        self._check(what, made, self.task.memory_size())

    def _check_first_memory(self, what: str, made: Tensor) -> None:
        self._check_memory(what, made)
        check_quaternions(what, made, self.task.memory_quaternions())

    def _check_observation(self, what: str, made: Tensor) -> None:
        self._check(what, made, self.task.observation_size())
        wrong = ~made.detach().isfinite().all(-1)
        if wrong.any():
            raise ValueError(f"{what} must be finite. It is not in {rows(wrong)}.")

    def _check_terms(self, what: str, made: Mapping[str, Tensor]) -> None:
        if not isinstance(made, Mapping) or not made:
            raise TypeError(f"{what} must be a dictionary of named terms. Got {made!r}.")
        for name, term in made.items():
            if not isinstance(name, str):
                raise TypeError(f"{what} must have names that are strings. Got {name!r}.")
            self._check(f"'{name}' of {what}", term)

    def _check_terminated(self, what: str, made: Tensor) -> None:
        check_tensor(what, made, (self._num_envs,), torch.bool, self._kind["device"])

    def _check(self, what: str, value: Tensor, *size: int) -> None:
        check_tensor(what, value, (self._num_envs, *size), **self._kind)
