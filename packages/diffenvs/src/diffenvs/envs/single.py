"""One environment on NumPy arrays, for every tool that knows Gymnasium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from diffenvs.envs.arguments import keywords_of
from diffenvs.envs.fixed import FixedAttributes
from diffenvs.envs.pictures import RENDER_MODES
from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.registration import make_task
from diffenvs.tasks.base import AbstractTask


class DiffEnv(FixedAttributes, gymnasium.Env[np.ndarray, np.ndarray]):
    """A vector environment of one, as ``gymnasium.make`` returns it (which adds the time limit).

    Parameters
    ----------
    task
        A task, or the id of a registered one.
    device, dtype, randomize, render_mode, width, height, **task_fields
        As for :class:`~diffenvs.envs.vector.DiffVectorEnv`.

    Raises
    ------
    TypeError, ValueError
        As there, and if an argument is of many environments only.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": 60}  # noqa: RUF012

    def __init__(
        self,
        task: AbstractTask | str,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        randomize: Mapping[str, Sequence[float]] | None = None,
        render_mode: str | None = None,
        width: int = 640,
        height: int = 480,
        **task_fields: Any,
    ) -> None:
        own = keywords_of(DiffEnv)
        for name in keywords_of(DiffVectorEnv):
            if name in task_fields and name not in own:
                raise TypeError(f"`{name}` is known to `gymnasium.make_vec` only: `gymnasium.make` makes one.")
        self._envs = DiffVectorEnv(
            make_task(task, task_fields, own),
            device=device,
            dtype=dtype,
            autoreset_mode="Disabled",
            max_episode_steps=None,
            num_threads=1,
            randomize=randomize,
            render_mode=render_mode,
            width=width,
            height=height,
        )
        self.metadata = {**type(self).metadata, "render_fps": self._envs.metadata["render_fps"]}
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space
        self.render_mode = self._envs.render_mode
        self._is_made = True

    @property
    def task(self) -> AbstractTask:
        """The task, with its constants."""
        return self._envs.task

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The model's parameters by name, (count[, components]), randomised ones as in the current episode."""
        return {name: value[0].cpu().numpy() for name, value in self._envs.parameters.items()}

    # Gymnasium's `np_random` and `np_random_seed` read and assign these: the generator is the vector environment's.

    @property
    def _np_random(self) -> np.random.Generator | None:
        return self._envs._np_random

    @_np_random.setter
    def _np_random(self, generator: np.random.Generator | None) -> None:
        self._envs._np_random = generator

    @property
    def _np_random_seed(self) -> int | None:
        return self._envs._np_random_seed

    @_np_random_seed.setter
    def _np_random_seed(self, seed: int | None) -> None:
        self._envs._np_random_seed = seed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new episode.

        Parameters
        ----------
        seed
            Makes all that follows reproducible. Without one the random stream goes on, as in a vector environment.
        options
            None are known, so that it must be empty.

        Returns
        -------
        tuple
            Observation (obs,) and an empty dictionary.

        Raises
        ------
        ClosedEnvironmentError, ValueError
            If closed, or there are options.
        """
        if options:
            raise ValueError(f"`options` of reset must be empty. Got {', '.join(map(repr, options))}.")
        observations, info = self._envs.reset(seed=seed)
        return observations[0].cpu().numpy(), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Advance by a control step.

        Parameters
        ----------
        action
            (nu,); clipped to [-1, 1].

        Returns
        -------
        tuple
            Observation (obs,), reward, terminated, truncated (always False) and info with ``non_finite`` and, by name,
            the ``reward_terms``, whose sum is the reward.

        Raises
        ------
        ClosedEnvironmentError, ResetNeeded, ValueError
            If closed, not reset, or the action has a wrong shape or is NaN.
        """
        actions = np.asarray(action, dtype=self.action_space.dtype)[np.newaxis]
        observations, rewards, terminated, _, info = self._envs.step(actions)
        terms = {name: float(term) for name, term in info["reward_terms"].items()}
        own = {"non_finite": bool(info["non_finite"]), "reward_terms": terms}
        return observations[0].cpu().numpy(), float(rewards), bool(terminated), False, own

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride] - one mode, one type
        """Draw the environment, (height, width, 3) uint8; None in the live view and without a render mode.

        Errors are those of the vector environment.
        """
        frames = self._envs.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Release the simulator."""
        self._envs.close()
