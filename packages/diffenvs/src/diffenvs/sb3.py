"""Environments for Stable-Baselines3's algorithms, which the extra ``diffenvs[sb3]`` installs."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import ArrayConversion, RecordEpisodeStatistics

from diffenvs.envs.vector import DiffVectorEnv

try:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn
except ModuleNotFoundError as error:
    raise ImportError("diffenvs.sb3 needs Stable-Baselines3: pip install 'diffenvs[sb3]'.") from error


class SB3VecEnv(VecEnv):
    """A vector environment as Stable-Baselines3's ``VecEnv``: NumPy arrays, one info dictionary an environment.

    Each info has ``non_finite``, ``reward_terms`` and ``TimeLimit.truncated``, and where an episode ended
    ``terminal_observation`` and ``episode``, the return "r", length "l" and time "t" [s] that a ``Monitor`` would
    report; ``evaluate_policy`` takes it for one. Attributes and results of methods are those of the vector environment;
    of what has a row for each environment, each gets its own. `seed` seeds them all with one number: their random
    streams differ by their index. Conversion and statistics are Gymnasium's, no gradient passes.

    Parameters
    ----------
    env
        What ``gymnasium.make_vec`` returned, under SAME_STEP (the default).

    Attributes
    ----------
    env : DiffVectorEnv
        The environment, on tensors.

    Raises
    ------
    TypeError
        If it is not a :class:`~diffenvs.envs.vector.DiffVectorEnv`.
    ValueError
        If its autoreset mode is another.
    """

    def __init__(self, env: DiffVectorEnv) -> None:
        if not isinstance(env, DiffVectorEnv):
            raise TypeError(f"env must be a DiffVectorEnv, without wrappers. Got {type(env).__name__}.")
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"autoreset_mode of env must be 'SameStep'. Got '{env.autoreset_mode.value}'.")
        self.env = env
        on_arrays = ArrayConversion(env, env_xp=torch, target_xp=np, env_device=env.device)
        self._statistics = RecordEpisodeStatistics(on_arrays)
        self._actions: np.ndarray | None = None
        self._start = time.perf_counter()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> np.ndarray:
        """Begin new episodes, with the last ``seed`` and ``set_options`` if they came after the last reset.

        Returns
        -------
        numpy.ndarray
            Observations, (N, obs).
        """
        observations, _ = self._statistics.reset(seed=self._seeds[0], options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return observations

    def set_options(self, options: list[dict] | dict | None = None) -> None:
        """Keep options for the next reset, one dictionary for all environments.

        Raises
        ------
        TypeError
            If it is no dictionary.
        """
        if options is not None and not isinstance(options, dict):
            raise TypeError(f"options must be one dictionary for all environments. Got {type(options).__name__}.")
        super().set_options(options)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions (N, nu) for :meth:`step_wait`."""
        self._actions = np.ascontiguousarray(actions, dtype=self.action_space.dtype)

    def step_wait(self) -> VecEnvStepReturn:
        """Advance by a control step.

        Returns
        -------
        tuple
            Observations (N, obs), rewards (N,) float32, ends of episodes (N,) bool and N infos.

        Raises
        ------
        RuntimeError
            If there are no actions.
        ClosedEnvironmentError, ResetNeeded, ValueError
            As ``DiffVectorEnv.step``.
        """
        if self._actions is None:
            raise RuntimeError("step_wait was called before step_async.")
        actions, self._actions = self._actions, None
        observations, rewards, terminated, truncated, info = self._statistics.step(actions)
        dones = terminated | truncated
        told = {name: info[name] for name in ("non_finite", "reward_terms")} | {"TimeLimit.truncated": truncated}
        infos = _each(told, self.num_envs)
        for i in np.flatnonzero(dones):
            infos[i] |= {
                "terminal_observation": info["final_obs"][i],
                "episode": {
                    "r": float(info["episode"]["r"][i]),
                    "l": int(info["episode"]["l"][i]),
                    "t": round(time.perf_counter() - self._start, 6),
                },
            }
        return observations, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Release the simulator."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return an attribute, once an index; arrays in place of tensors.

        Tensors, also in dictionaries, have a row an environment or one for all, of which each gets its own.
        """
        values = _each(getattr(self.env, attr_name), self.num_envs)
        return [values[i] for i in self._positions(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the vector environment, for all environments.

        Raises
        ------
        AttributeError
            If it has no such attribute, or one that cannot be set.
        ValueError
            If only some of the environments should have it.
        """
        self._check_all(indices)
        if not hasattr(self.env, attr_name):
            raise AttributeError(f"the environment has no attribute '{attr_name}' to set.")
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the vector environment once, and return to each environment its part of the result.

        Arguments are those for all environments; parts are as of :meth:`get_attr`.

        Raises
        ------
        ValueError
            If it should be called for some of the environments only, or is one of this class, such as ``reset``, which
            keeps the statistics of episodes.
        """
        self._check_all(indices)
        if hasattr(VecEnv, method_name):
            raise ValueError(f"`{method_name}` must be called of the SB3VecEnv itself, not by env_method.")
        return _each(getattr(self.env, method_name)(*method_args, **method_kwargs), self.num_envs)

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Whether there is such a wrapper, once an index: a ``Monitor``, for its statistics are reported."""
        return [wrapper_class is Monitor for _ in self._positions(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return a picture of each environment, (height, width, 3), or None of each without render_mode "rgb_array"."""
        if self.render_mode != "rgb_array":
            warnings.warn(f"pictures need render_mode 'rgb_array'. It is {self.render_mode!r}.", stacklevel=2)
            return [None] * self.num_envs
        return list(self.env.render() or ())

    def _positions(self, indices: VecEnvIndices) -> list[int]:
        return [range(self.num_envs)[i] for i in self._get_indices(indices)]

    def _check_all(self, indices: VecEnvIndices) -> None:
        if set(self._positions(indices)) != set(range(self.num_envs)):
            raise ValueError(f"indices must be None: the environments share attributes and methods. Got {indices!r}.")


def _each(value: Any, num_envs: int) -> list[Any]:
    """Part of each environment: its row of tensors and arrays with one each or one for all; all of other things."""
    if isinstance(value, Mapping):
        parts = {name: _each(item, num_envs) for name, item in value.items()}
        return [{name: part[i] for name, part in parts.items()} for i in range(num_envs)]
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    if not isinstance(array, np.ndarray) or array.shape[:1] not in ((1,), (num_envs,)):
        return [value] * num_envs
    rows = np.repeat(array, num_envs // len(array), axis=0)
    return rows.tolist() if rows.ndim == 1 else list(rows)
