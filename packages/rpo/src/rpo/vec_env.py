"""Adapter: a differentiable vector environment as a Stable-Baselines3 `VecEnv`."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn
from torch import Tensor

from rpo.env import DifferentiableVectorEnv, check_env, finite_rewards
from rpo.episodes import EpisodeStatistics


class TorchVecEnv(VecEnv):
    """NumPy view of a differentiable vector environment, for Stable-Baselines3's callbacks, `evaluate_policy` and PPO.

    It knows nothing but the protocol. diffenvs has an adapter of its own for users without rpo.

    Parameters
    ----------
    env
        Environment that keeps the protocol of `rpo.env.DifferentiableVectorEnv`.

    Raises
    ------
    TypeError, ValueError
        If the environment does not keep the protocol.

    Attributes
    ----------
    episodes
        Running returns and lengths of the episodes; who steps `env` itself adds its steps there.
    """

    def __init__(self, env: DifferentiableVectorEnv) -> None:
        self.env = check_env(env)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions: Tensor | None = None
        self._dtype = torch.float32
        self.episodes = EpisodeStatistics(self.num_envs)

    def reset(self) -> np.ndarray:
        """Start new episodes with the seed of the last `seed` call, if any; returns observations (N, obs)."""
        options = self._options[0] or None
        obs, _ = self.env.reset(seed=self._seeds[0], options=options)
        self._dtype = obs.dtype
        self._reset_seeds()
        self._reset_options()
        self.episodes.reset()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self._to_numpy(obs)

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions, (N, act), for `step_wait`."""
        self._actions = torch.as_tensor(actions, dtype=self._dtype, device=self.env.device)

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step.

        Returns
        -------
        tuple
            Observations (N, obs), rewards (N,) with 0 for those that are not finite, dones (N,), and one info
            dictionary per environment, which has the last observation and the return of an episode that has ended.

        Raises
        ------
        RuntimeError
            If there was no `step_async`.
        """
        if self._actions is None:
            raise RuntimeError("step_wait was called before step_async.")
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        self._actions = None
        rewards = finite_rewards(reward.detach()).cpu().numpy().astype(np.float32)
        dones = (terminated | truncated).cpu().numpy()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        finished = self.episodes.update(rewards[np.newaxis], dones[np.newaxis])
        if finished:
            final_obs = self._to_numpy(info["final_obs"])
            time_limit = (truncated & ~terminated).cpu().numpy()
            for i, episode in zip(np.flatnonzero(dones), finished, strict=True):
                infos[i] = {
                    "terminal_observation": final_obs[i],
                    "TimeLimit.truncated": bool(time_limit[i]),
                    "episode": episode,
                }
        return self._to_numpy(obs), rewards, dones, infos

    def _to_numpy(self, obs: Tensor) -> np.ndarray:
        """Return a fresh array of the observation space's type."""
        space = self.observation_space
        dtype = space.dtype if isinstance(space, Box) else np.dtype(np.float32)
        return np.array(obs.detach().cpu().numpy(), dtype=dtype)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Return the attribute of the vector environment once per index."""
        return [getattr(self.env, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set the attribute of the vector environment, which all environments share; ValueError for some of them."""
        self._require_all(indices)
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of the vector environment and return its result once per environment; ValueError for some."""
        self._require_all(indices)
        return [getattr(self.env, method_name)(*method_args, **kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Say that a Monitor is there: the infos have its episode statistics."""
        return [wrapper_class is Monitor] * self._count(indices)

    def get_images(self) -> Sequence[np.ndarray | None]:
        """Return one frame per environment, (height, width, 3); none if the environment draws none."""
        render = getattr(self.env, "render", None)
        return list(render() or ()) if render else []

    def _require_all(self, indices: VecEnvIndices) -> None:
        if self._count(indices) != self.num_envs:
            raise ValueError(f"indices must be None: the {self.num_envs} environments are one. Got {indices}.")

    def _count(self, indices: VecEnvIndices) -> int:
        return len(list(self._get_indices(indices)))
