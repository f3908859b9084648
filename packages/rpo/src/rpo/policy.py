"""Actor, critics and normaliser as one Stable-Baselines3 policy."""

from typing import Any, NoReturn, Protocol

import torch
from gymnasium import Space
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor, nn

from rpo.arguments import checked_seed
from rpo.config import FirstOrderConfig
from rpo.export import ExportablePolicy
from rpo.networks import Actor, CriticEnsemble, Mode
from rpo.normalization import RunningMeanStd


def resolve_device(device: torch.device | str) -> torch.device:
    """Return the device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises
    ------
    ValueError
        If it is no such device, or not on this machine. Stable-Baselines3 would take the CPU instead.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        result = torch.device(device)
    except (RuntimeError, TypeError):
        result = None
    if result is None or result.type not in ("cpu", "cuda"):
        raise ValueError(f'`device` must be "auto", "cpu", "cuda" or "cuda:<number>". Got {device!r}.')
    if result.type == "cuda" and (result.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"`device` is {result}, but torch finds {torch.cuda.device_count()} CUDA devices here.")
    return result


def make_generator(device: torch.device, seed: int | None) -> torch.Generator:
    """Return a random generator of its own on a device; a random one without a seed.

    Raises
    ------
    ValueError
        If the seed is no integer in [0, 2**32).
    """
    generator = torch.Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(checked_seed("seed", seed))
    return generator


class ActingPolicy(Protocol):
    """What evaluates and deploys a policy of any algorithm: it acts on what an environment shows."""

    observation_space: Space
    """Of one environment."""
    action_space: Space
    """Of one environment."""

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        ...

    def act(self, raw: Tensor, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Return actions in [-1, 1], (N, act), for raw observations, (N, obs), without a graph."""
        ...


def require_spaces(policy: ActingPolicy, env: object) -> None:
    """Check that a policy can act in an environment.

    Raises
    ------
    TypeError
        If it is no vector environment, or the policy is none.
    ValueError
        If its observations or actions have other shapes than the policy's.
    """
    if not hasattr(policy, "act"):
        raise TypeError(f"policy must have `act`, as the `policy` of a model has. Got {type(policy).__name__}.")
    if not isinstance(env, VectorEnv):
        raise TypeError(f"env must be a VectorEnv, such as gymnasium.make_vec returns. Got {type(env).__name__}.")
    spaces = (policy.observation_space, env.single_observation_space), (policy.action_space, env.single_action_space)
    for name, (own, its) in zip(("observations", "actions"), spaces, strict=True):
        if own.shape != its.shape:
            raise ValueError(f"The policy has {name} of shape {own.shape}, and env of shape {its.shape}.")


class SavedWithModel:
    """Base before Stable-Baselines3's policy: a policy is in the file of its model, and in no other."""

    def save(self, path: str) -> NoReturn:
        """Refuse: Stable-Baselines3 would pickle the spaces."""
        raise NotImplementedError("A policy is saved with its algorithm: use `model.save(path)`.")

    @classmethod
    def load(cls, path: str, device: Any = "auto") -> NoReturn:
        """Refuse: Stable-Baselines3 would unpickle, and so execute, what the file holds."""
        raise NotImplementedError("A policy is loaded with its algorithm: use its `load(path)`, such as `RPO.load`.")


class TensorPredicting(BasePolicy):
    """Base of policies whose `predict` takes tensors as Stable-Baselines3's takes arrays."""

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride]  # tensors too
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        """Return actions for observations, (obs,) or (N, obs): arrays for arrays, and tensors for tensors.

        Parameters are those of Stable-Baselines3. A tensor's action has its device, and its dtype if that is a floating
        one, else float32.

        Raises
        ------
        ValueError
            If the observation has another shape than the space.
        """
        if not isinstance(observation, Tensor):
            return super().predict(observation, state, episode_start, deterministic)
        assert self.observation_space.shape is not None
        (size,) = self.observation_space.shape
        if observation.ndim not in (1, 2) or observation.shape[-1] != size:
            raise ValueError(f"observation must be ({size},) or (N, {size}). Got {tuple(observation.shape)}.")
        with torch.no_grad():
            action = self._predict(observation.reshape(-1, size).to(self.device, torch.float32), deterministic)
        action = action.clamp(-1.0, 1.0).reshape(*observation.shape[:-1], -1)
        dtype = observation.dtype if observation.is_floating_point() else torch.float32
        return action.to(observation.device, dtype), state


class FirstOrderPolicy(ExportablePolicy, SavedWithModel, TensorPredicting):
    """Policy and value networks behind one normaliser of observations: `predict` takes raw ones.

    A subclass may have other networks: after the base's `__init__` it sets `actor`, `critics`, or both.

    Parameters
    ----------
    observation_space, action_space
        Spaces of one environment, boxes with one axis.
    config
        Gives the sizes of the networks.
    seed
        Seed of the networks' initialisation; None for a random one.

    Attributes
    ----------
    actor
        Module that makes normalised observations, (..., obs), to the distribution of the actions, a `SquashedGaussian`.
    critics
        Module that makes normalised observations, (N, obs), to the values that its critics give them, (critic, N).
    generator
        Source of the noise of `predict`; None for torch's global one.
    """

    def __init__(
        self, observation_space: Box, action_space: Box, config: FirstOrderConfig, seed: int | None = None
    ) -> None:
        super().__init__(observation_space, action_space, squash_output=True)
        obs_dim, self.act_dim = observation_space.shape[0], action_space.shape[0]
        init = make_generator(torch.device("cpu"), seed)
        self.generator: torch.Generator | None = None
        self.normalizer = RunningMeanStd(obs_dim)
        self.actor: nn.Module = Actor(obs_dim, self.act_dim, config.hidden_sizes, init)
        self.critics: nn.Module = CriticEnsemble(obs_dim, config.hidden_sizes, config.critic_count, init)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the networks' parameters."""
        return next(self.actor.parameters()).dtype

    def normalize(self, raw: Tensor) -> Tensor:
        """Return raw observations, (..., obs) of any float type and device, normalised for the networks."""
        return self.normalizer(raw.to(self.device))

    def deterministic_layers(self) -> nn.Sequential:
        """Return what leads from raw observations to the most likely actions."""
        return nn.Sequential(self.normalizer, Mode(self.actor))

    def act(self, raw: Tensor, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Return actions in [-1, 1], (N, act), for raw observations, (N, obs), without a graph."""
        with torch.no_grad():
            distribution = self.actor(self.normalize(raw))
            if deterministic:
                return distribution.mode()
            noise = torch.randn(distribution.mean.shape, generator=generator, device=self.device, dtype=self.dtype)
            return torch.tanh(distribution.presquash(noise))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        assert isinstance(observation, Tensor)
        return self.act(observation, deterministic, self.generator)
