"""What rpo demands of an environment.

Any Gymnasium `VectorEnv` with torch tensors, `step_grad` and same-step autoreset will do, whatever simulates it.
"""

from collections.abc import Iterator, Mapping
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
REQUIRED = ("step_grad", "detach", "get_state", "set_state", "device")
"""What Gymnasium's vector environments do not have and the algorithms need."""
MAX_EPISODE_STEPS = 100_000
"""Most control steps of an episode that is played to its end, unless told otherwise."""


@runtime_checkable
class DifferentiableVectorEnv(Protocol):
    """A batch of N environments whose steps can be differentiated.

    `info` has the same keys at every step: `final_obs` (N, obs), the true next observation of every environment,
    attached to the graph like observation and reward; `_final_obs` (N,), which episodes ended; `non_finite` (N,), which
    ended because their state was not finite. The observation of an ended environment is the one after its reset, a
    constant. A state that is not finite, or is observed beyond 1e6 in magnitude, must end its episode. An attribute
    `max_episode_steps`, where there is one, says after how many steps an episode is truncated; None stands for never.
    """

    num_envs: int
    device: torch.device
    metadata: dict[str, Any]
    spec: EnvSpec | None

    @property
    def single_observation_space(self) -> gymnasium.Space[Any]:
        """Of one environment, a box of one dimension."""
        ...

    @property
    def single_action_space(self) -> gymnasium.Space[Any]:
        """Of one environment, a box of one dimension, -1 to 1."""
        ...

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


def layers(env: Any) -> Iterator[Any]:
    """Walk through the wrappers of an environment, from the outermost to what they wrap."""
    yield env
    while isinstance(env, VectorWrapper):
        env = env.env
        yield env


def check_env(env: object) -> DifferentiableVectorEnv:
    """Return the environment if it keeps the protocol.

    Raises
    ------
    TypeError
        If it is not a vector environment, lacks a method, or is wrapped by what has no `step_grad` of its own.
    ValueError
        If a space or the autoreset mode is not what the algorithms need.
    """
    for layer in layers(env):
        if isinstance(layer, VectorWrapper) and not hasattr(type(layer), "step_grad"):
            raise TypeError(
                f"env is wrapped by {type(layer).__name__}, whose step has no gradient. Give it {', '.join(REQUIRED)} "
                "of its own, or pass env.unwrapped instead."
            )
    if not isinstance(env, VectorEnv):
        raise TypeError(f"env must be a gymnasium.vector.VectorEnv with step_grad. Got {type(env).__name__}.")
    missing = [name for name in REQUIRED if not hasattr(env, name)]
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


class EndlessEpisodeError(ValueError):
    """An episode did not end, where whole ones were to be played.

    Parameters
    ----------
    env
        Its environment.
    max_steps
        Control steps that it took.
    """

    def __init__(self, env: DifferentiableVectorEnv, max_steps: int) -> None:
        super().__init__(
            f"An episode of {type(env).__name__} has not ended after {max_steps:,} steps. Give the environment a time "
            "limit, or let episodes be longer with `max_steps`."
        )


def require_time_limit(env: DifferentiableVectorEnv, max_steps: int = MAX_EPISODE_STEPS) -> None:
    """Check that every episode ends within so many control steps, as far as the environment says when it does.

    Of an environment in wrappers the outermost layer that says it counts.

    Raises
    ------
    ValueError
        If its `max_episode_steps` is None, or more than `max_steps`.
    """
    limits = (layer.max_episode_steps for layer in layers(env) if hasattr(layer, "max_episode_steps"))
    limit = next(limits, max_steps)
    if limit is None or limit > max_steps:
        raise ValueError(
            f"`max_episode_steps` of {type(env).__name__} must be an integer <= {max_steps:,}: whole episodes are "
            f"to be played, which may never end without a time limit. Got {limit}."
        )


def finite_rewards(rewards: Tensor) -> Tensor:
    """Return the rewards, of any shape, with 0 for those that are not finite: a lost state does not spoil a window."""
    return torch.where(rewards.isfinite(), rewards, 0.0)
