"""The policy of the PPO baseline: actor and critic on one trunk, in Stable-Baselines3's `ActorCriticPolicy`."""

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium.spaces import Box
from stable_baselines3.common.distributions import DiagGaussianDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from torch.distributions import Normal

from rpo.export import ExportablePolicy
from rpo.networks import mlp, orthogonal_linear
from rpo.normalization import CLIP, RunningMeanStd
from rpo.policy import SavedWithModel, TensorPredicting, make_generator

STD_MIN = 0.1
STD_MAX = 1.0


class SharedTrunk(nn.Module):
    """Stable-Baselines3's `MlpExtractor`, but with the same layers for actor and critic."""

    def __init__(self, obs_dim: int, hidden_sizes: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.layers = mlp([obs_dim, *hidden_sizes], generator)
        self.latent_dim_pi = self.latent_dim_vf = hidden_sizes[-1]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what actor and critic see of the features."""
        latent = self.layers(features)
        return latent, latent

    def forward_actor(self, features: Tensor) -> Tensor:
        """Return what the actor sees of the features."""
        return self.layers(features)

    def forward_critic(self, features: Tensor) -> Tensor:
        """Return what the critic sees of the features."""
        return self.layers(features)


class SharedTrunkPolicy(ExportablePolicy, SavedWithModel, TensorPredicting, ActorCriticPolicy):
    """Gaussian policy and value on one trunk; the standard deviation depends on the state.

    The mean is tanh of its head, in [-1, 1], and the standard deviation 0.1 + 0.9 sigmoid(head + 2), in [0.1, 1]: the
    distribution of SAPO's PPO, after DreamerV3's. Sampled actions are clipped to [-1, 1] by who takes them.

    Parameters
    ----------
    observation_space, action_space, lr_schedule, kwargs
        As of `ActorCriticPolicy`.
    hidden_sizes
        Widths of the trunk's layers.
    seed
        Seed of the networks' initialisation; None for a random one.

    Attributes
    ----------
    normalizer
        Statistics of the observations, as `VecNormalize` knew them after the last window. `act` applies them, to what
        the environment shows; all else takes what `VecNormalize` has normalised, as usual in Stable-Baselines3.
    """

    def __init__(
        self,
        observation_space: Box,
        action_space: Box,
        lr_schedule: Schedule,
        *,
        hidden_sizes: tuple[int, ...],
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.hidden_sizes, self.init_seed = hidden_sizes, seed
        super().__init__(observation_space, action_space, lr_schedule, **kwargs)
        self.normalizer = RunningMeanStd(observation_space.shape[0])

    def _build(self, lr_schedule: Schedule) -> None:
        """Make the networks and the optimiser."""
        init = make_generator(torch.device("cpu"), self.init_seed)
        self.mlp_extractor = SharedTrunk(self.features_dim, self.hidden_sizes, init)
        assert self.action_space.shape is not None
        act_dim, latent = self.action_space.shape[0], self.hidden_sizes[-1]
        self.action_net, self.std_net = (orthogonal_linear(latent, act_dim, init) for _ in range(2))
        self.value_net = orthogonal_linear(latent, 1, init)
        for head in (self.action_net, self.std_net):
            head.weight.data *= 0.01  # a new policy is nearly the same everywhere (as in Stable-Baselines3's own)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        assert isinstance(self.action_dist, DiagGaussianDistribution)
        mean = torch.tanh(self.action_net(latent_pi))
        std = STD_MIN + (STD_MAX - STD_MIN) * torch.sigmoid(self.std_net(latent_pi) + 2.0)
        return self.action_dist.proba_distribution(mean, std.log())

    def gaussian(self, observation: Tensor) -> Normal:
        """Return the distribution of actions before they are clipped, for normalised observations, (N, obs)."""
        distribution = self.get_distribution(observation).distribution
        assert isinstance(distribution, Normal)
        return distribution

    def normalize(self, raw: Tensor) -> Tensor:
        """Return raw observations, (..., obs) of any float type and device, normalised for the networks."""
        return self.normalizer(raw.to(self.device)).clamp(-CLIP, CLIP)

    def deterministic_layers(self) -> nn.Sequential:
        """Return what leads from raw observations to the most likely actions."""
        clip, trunk = nn.Hardtanh(-CLIP, CLIP), self.mlp_extractor.layers
        assert isinstance(trunk, nn.Module)
        return nn.Sequential(self.normalizer, clip, trunk, self.action_net, nn.Tanh())

    def act(self, raw: Tensor, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Return actions in [-1, 1], (N, act), for raw observations, (N, obs), without a graph."""
        with torch.no_grad():
            gaussian = self.gaussian(self.normalize(raw))
            if deterministic:
                return gaussian.mean
            noise = torch.randn(gaussian.mean.shape, generator=generator, device=self.device)
            return (gaussian.mean + gaussian.stddev * noise).clamp(-1.0, 1.0)
