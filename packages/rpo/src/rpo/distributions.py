"""The policy's distribution: a diagonal Gaussian squashed by tanh."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

LOG_2 = math.log(2.0)
LOG_SQRT_2_PI = 0.5 * math.log(2.0 * math.pi)


def log_tanh_jacobian(u: Float[Tensor, "*batch act"]) -> Float[Tensor, "*batch act"]:
    """Logarithm of the derivative of tanh, log(1 - tanh(u)^2), exact where tanh(u) rounds to 1."""
    return 2.0 * (LOG_2 - u - softplus(-2.0 * u))


@dataclass(frozen=True, slots=True)
class SquashedGaussian:
    """Distribution of a = tanh(u), u ~ N(mean, diag(exp(log_std))^2).

    Log-probabilities are taken from the value before the squashing, so that none is lost to rounding.

    Examples
    --------
    >>> policy = SquashedGaussian(mean=torch.zeros(1, 2), log_std=torch.zeros(1, 2))
    >>> torch.tanh(policy.presquash(torch.ones(1, 2)))
    tensor([[0.7616, 0.7616]])
    >>> policy.kl(SquashedGaussian(mean=torch.ones(1, 2), log_std=torch.zeros(1, 2)))
    tensor([1.])
    """

    mean: Float[Tensor, "*batch act"]
    """Mean of u."""
    log_std: Float[Tensor, "*batch act"]
    """Logarithm of the standard deviation of u."""

    def detach(self) -> "SquashedGaussian":
        """Return the same distribution as a constant."""
        return SquashedGaussian(self.mean.detach(), self.log_std.detach())

    def mode(self) -> Float[Tensor, "*batch act"]:
        """Return the action of the most likely u, the deterministic action."""
        return torch.tanh(self.mean)

    def presquash(self, noise: Float[Tensor, "*batch act"]) -> Float[Tensor, "*batch act"]:
        """Return the action before the squashing, reparameterised: Eq. (2) of RPO (arXiv 2508.06214) without its tanh.

        Parameters
        ----------
        noise
            Sample of N(0, I), (..., act).

        Returns
        -------
        Tensor
            u = mean + std * noise, (..., act); the policy's action is tanh(u).
        """
        return torch.addcmul(self.mean, self.log_std.exp(), noise)

    def log_prob_presquash(self, u: Float[Tensor, "*batch act"]) -> Float[Tensor, "*batch"]:
        """Return the log-density of u under the Gaussian, before the squashing, (...)."""
        z = (u - self.mean) * (-self.log_std).exp()
        return (-0.5 * z.square() - self.log_std - LOG_SQRT_2_PI).sum(-1)

    def log_prob(self, u: Float[Tensor, "*batch act"]) -> Float[Tensor, "*batch"]:
        """Return the log-density of the action tanh(u), (...)."""
        return self.log_prob_presquash(u) - log_tanh_jacobian(u).sum(-1)

    def entropy(self, noise: Float[Tensor, "*batch act"]) -> Float[Tensor, "*batch"]:
        """Estimate the entropy of the action from one reparameterised sample, (...) [nat].

        The Gaussian's part is exact; only the mean of the tanh's log-Jacobian, which has no closed form, is sampled.
        """
        return -self.log_prob(self.presquash(noise))

    def kl(self, other: "SquashedGaussian") -> Float[Tensor, "*batch"]:
        """Return KL(self || other), (...) [nat]: that of the Gaussians, since tanh is invertible."""
        log_ratio = other.log_std - self.log_std
        z = (self.mean - other.mean) * (-other.log_std).exp()
        return (log_ratio + 0.5 * ((-2.0 * log_ratio).exp() + z.square() - 1.0)).sum(-1)
