"""Actor and critics: multilayer perceptrons of Linear - LayerNorm - SiLU blocks.

Source: "Reparameterization Proximal Policy Optimization" (arXiv 2508.06214), Table 4; the blocks are SAPO's.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from rpo.distributions import SquashedGaussian

LOG_STD_MIN = -5.0
LOG_STD_MAX = 2.0


def orthogonal_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with orthogonal weights (gain 1) and zero bias."""
    with torch.device("meta"):  # torch's own initialisation would draw from the global generator
        layer = nn.Linear(inputs, outputs)
    layer.to_empty(device="cpu")
    nn.init.orthogonal_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Return one Linear - LayerNorm - SiLU block per consecutive pair of sizes."""
    blocks: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        blocks += [orthogonal_linear(inputs, outputs, generator), nn.LayerNorm(outputs), nn.SiLU()]
    return nn.Sequential(*blocks)


class Actor(nn.Module):
    """Policy network: one trunk, a head for the mean and one for the state-dependent log standard deviation."""

    def __init__(self, obs_dim: int, act_dim: int, hidden_sizes: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = mlp([obs_dim, *hidden_sizes], generator)
        self.mean = orthogonal_linear(hidden_sizes[-1], act_dim, generator)
        self.log_std = orthogonal_linear(hidden_sizes[-1], act_dim, generator)

    def forward(self, observation: Float[Tensor, "*batch obs"]) -> SquashedGaussian:
        """Return the distribution of the action for normalised observations, (..., obs)."""
        features = self.trunk(observation)
        return SquashedGaussian(self.mean(features), self.log_std(features).clamp(LOG_STD_MIN, LOG_STD_MAX))


class Mode(nn.Module):
    """The most likely action of an actor."""

    def __init__(self, actor: nn.Module) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, observation: Float[Tensor, "*batch obs"]) -> Float[Tensor, "*batch act"]:
        """Return the deterministic action for normalised observations, (..., obs)."""
        return self.actor(observation).mode()


class CriticEnsemble(nn.Module):
    """Separate value networks of equal shape, evaluated together: one `baddbmm` per layer for all of them."""

    def __init__(self, obs_dim: int, hidden_sizes: Sequence[int], count: int, generator: torch.Generator) -> None:
        super().__init__()
        self.count = count
        sizes = [obs_dim, *hidden_sizes, 1]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.scales = nn.ParameterList()
        self.shifts = nn.ParameterList()
        for inputs, outputs in itertools.pairwise(sizes):
            layers = [orthogonal_linear(inputs, outputs, generator) for _ in range(count)]
            self.weights.append(torch.stack([layer.weight.detach().T for layer in layers]))
            self.biases.append(torch.zeros(count, 1, outputs))
        for outputs in hidden_sizes:
            self.scales.append(torch.ones(count, 1, outputs))
            self.shifts.append(torch.zeros(count, 1, outputs))

    def forward(self, observation: Float[Tensor, "batch obs"]) -> Float[Tensor, "critic batch"]:
        """Return each critic's value of normalised observations, (batch, obs) to (critic, batch)."""
        x = observation.expand(self.count, *observation.shape)
        for weight, bias, scale, shift in zip(self.weights, self.biases, self.scales, self.shifts, strict=False):
            x = torch.baddbmm(bias, x, weight)
            # One fused LayerNorm per critic beats one for all with the scales and shifts applied after it.
            x = torch.stack(
                [
                    functional.silu(functional.layer_norm(h, h.shape[-1:], gain, offset))
                    for h, gain, offset in zip(x, scale.squeeze(1), shift.squeeze(1), strict=True)
                ]
            )
        return torch.baddbmm(self.biases[-1], x, self.weights[-1]).squeeze(-1)


class Temperature(nn.Module):
    """Weight of the entropy, positive because its logarithm is the parameter."""

    def __init__(self, initial: float) -> None:
        super().__init__()
        self.log_value = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self) -> Float[Tensor, ""]:
        """Return the temperature."""
        return self.log_value.exp()
