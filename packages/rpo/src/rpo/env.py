"""What rpo demands of an environment, and how it makes one from what users pass.

Any Gymnasium `VectorEnv` with torch tensors, `step_grad` and same-step autoreset will do, whatever simulates it.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from torch import Tensor

Step = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]
"""Observation, reward, terminated, truncated and info, of all environments."""

STANDARD_WRAPPERS = (
    gymnasium.wrappers.PassiveEnvChecker,
    gymnasium.wrappers.OrderEnforcing,
    gymnasium.wrappers.TimeLimit,
)
"""Wrappers that `gymnasium.make` adds: the vector environment needs none of them."""


@runtime_checkable
class DifferentiableVectorEnv(Protocol):
    """A batch of N environments whose steps can be differentiated.

    `info` has the same keys at every step: `final_obs` (N, obs), the true next observation of every environment,
    attached to the graph like observation and reward; `_final_obs` (N,), which episodes ended; `non_finite` (N,), which
    ended because their state was not finite. The observation of an ended environment is the one after its reset, a
    constant.
    """

    num_envs: int
    device: torch.device
    single_observation_space: gymnasium.Space
    single_action_space: gymnasium.Space
    metadata: dict[str, Any]
    max_episode_steps: int
    spec: EnvSpec | None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Start new episodes and return their observations, (N, obs)."""
        ...

    def step(self, actions: Tensor) -> Step:
        """Take one control step with actions (N, act), without a graph."""
        ...

    def step_grad(self, actions: Tensor) -> Step:
        """Take one control step, attached to the graph of the actions and of the steps before."""
        ...

    def detach(self) -> Tensor:
        """Cut the graph and return the current observation, detached, (N, obs)."""
        ...

    def get_state(self) -> dict[str, Tensor]:
        """Return all that an exact continuation needs, detached."""
        ...

    def set_state(self, state: Mapping[str, Tensor]) -> Any:
        """Restore what `get_state` returned."""
        ...

    def close(self) -> None:
        """Free what the environment holds."""
        ...


def check_env(env: object) -> DifferentiableVectorEnv:
    """Return the environment if it keeps the protocol.

    Raises
    ------
    TypeError
        If it is not a vector environment, is wrapped, or lacks a method.
    ValueError
        If a space or the autoreset mode is not what the algorithms need.
    """
    if isinstance(env, VectorWrapper):
        raise TypeError(
            f"env is wrapped by {type(env).__name__}, whose step has no gradient. Pass env.unwrapped instead."
        )
    if not isinstance(env, VectorEnv):
        raise TypeError(f"env must be a gymnasium.vector.VectorEnv with step_grad. Got {type(env).__name__}.")
    missing = [
        name
        for name in ("step_grad", "detach", "get_state", "set_state", "device", "max_episode_steps")
        if not hasattr(env, name)
    ]
    if missing:
        raise TypeError(f"{type(env).__name__} is not differentiable: it has no {', '.join(missing)}.")
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.SAME_STEP:
        raise ValueError(f'metadata["autoreset_mode"] must be AutoresetMode.SAME_STEP. Got {mode!r}.')
    observations, actions = env.single_observation_space, env.single_action_space
    if not isinstance(observations, Box) or len(observations.shape) != 1:
        raise ValueError(f"single_observation_space must be a Box with one axis. Got {observations}.")
    if not isinstance(actions, Box) or len(actions.shape) != 1:
        raise ValueError(f"single_action_space must be a Box with one axis. Got {actions}.")
    if not (np.all(actions.low == -1) and np.all(actions.high == 1)):
        raise ValueError(f"single_action_space must have bounds -1 and 1, which tanh fills. Got {actions}.")
    return env  # type: ignore[return-value]  # the checks above are the protocol


def env_id_of(env: object) -> str | None:
    """Return the registered id of an environment, of its spec, or None where it has none."""
    spec = getattr(getattr(env, "unwrapped", env), "spec", None)
    return None if spec is None else spec.id


def import_namespace(env_id: str) -> None:
    """Import the package that an id's namespace names, if the id is not registered yet.

    Raises
    ------
    ValueError
        If there is no such package, or it registers no such id.
    """
    if ":" in env_id or env_id in gymnasium.registry:
        return
    namespace, _, _ = env_id.rpartition("/")
    if namespace:
        try:
            importlib.import_module(namespace)
        except ModuleNotFoundError as error:
            if error.name != namespace:
                raise
            raise ValueError(f"No environment {env_id!r}: there is no package {namespace!r} to register it.") from None
    if env_id not in gymnasium.registry:
        known = sorted(key for key in gymnasium.registry if key.startswith(f"{namespace}/")) if namespace else []
        hint = f" {namespace} has {', '.join(known)}." if known else ""
        raise ValueError(f"No environment {env_id!r} is registered.{hint}")


def make_vector_env(env_id: str, num_envs: int, **kwargs: Any) -> DifferentiableVectorEnv:
    """Make the vector environment of an id, importing the package of its namespace if need be."""
    import_namespace(env_id)
    env = gymnasium.make_vec(env_id, num_envs=num_envs, **kwargs)
    try:
        return check_env(env)
    except (TypeError, ValueError):
        env.close()
        raise


def vector_env_of(env: gymnasium.Env, num_envs: int) -> DifferentiableVectorEnv:
    """Make the vector environment of the same spec and arguments as what `gymnasium.make` returned.

    Raises
    ------
    ValueError
        If the environment was not registered, or wrappers would be lost.
    """
    inner: gymnasium.Env = env
    while isinstance(inner, gymnasium.Wrapper):
        if not isinstance(inner, STANDARD_WRAPPERS):
            raise ValueError(f"env is wrapped by {type(inner).__name__}, which the vector environment would not have.")
        inner = inner.env
    spec = inner.spec
    if spec is None or spec.vector_entry_point is None:
        raise ValueError(f"{type(inner).__name__} has no registered vector environment to train on.")
    kwargs = dict(spec.kwargs)
    if spec.max_episode_steps is not None:
        kwargs["max_episode_steps"] = spec.max_episode_steps
    return make_vector_env(spec.id, num_envs, **kwargs)
