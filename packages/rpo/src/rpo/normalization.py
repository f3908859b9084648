"""Running normalisation of observations, frozen while a window lasts."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-5
"""Added to the variance, so that a constant observation is not divided by zero."""
CLIP = 10.0
"""Magnitude at which the baseline, PPO, clips what it normalised."""
VEC_NORMALIZE = {"norm_obs": True, "norm_reward": False, "clip_obs": CLIP, "epsilon": EPSILON}
"""Options of Stable-Baselines3's `VecNormalize` in the baseline."""
INITIAL_COUNT = 1e-4
"""Weight of the initial statistics (mean 0, variance 1): the first window outweighs them."""


class RunningMeanStd(nn.Module):
    """Mean and variance of all observations so far, and the frozen ones that normalise.

    `update` moves the float64 accumulators only; `refresh` makes them the statistics in use. Between two calls of
    `refresh` the policy is one fixed function of the raw observation. Both sets belong to the state dict.
    """

    count: Tensor
    mean: Tensor
    var: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.tensor(INITIAL_COUNT, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("var", torch.ones(dim, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def forward(self, observation: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch obs"]:
        """Normalise raw observations of any float type, (..., obs), with the frozen statistics."""
        return (observation.to(self.shift.dtype) - self.shift) * self.scale

    @torch.no_grad()
    def update(self, observation: Float[Tensor, "*batch obs"]) -> None:
        """Add raw observations, (..., obs), to the accumulators (Chan et al. 1979, parallel variance)."""
        batch = observation.reshape(-1, observation.shape[-1]).double()
        batch_var, batch_mean = torch.var_mean(batch, dim=0, correction=0)
        total = self.count + len(batch)
        delta = batch_mean - self.mean
        moment = self.var * self.count + batch_var * len(batch) + delta.square() * (self.count * len(batch) / total)
        self.mean += delta * (len(batch) / total)
        self.var.copy_(moment / total)
        self.count.copy_(total)

    @torch.no_grad()
    def refresh(self) -> None:
        """Normalise with the accumulated statistics from now on."""
        self.shift.copy_(self.mean)
        self.scale.copy_((self.var + EPSILON).rsqrt())
