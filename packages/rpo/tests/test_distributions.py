import math

import pytest
import torch
from torch.distributions import Independent, Normal, TransformedDistribution, kl_divergence
from torch.distributions.transforms import TanhTransform

from rpo.distributions import SquashedGaussian, log_tanh_jacobian


@pytest.fixture
def dist():
    generator = torch.Generator().manual_seed(0)
    mean, log_std = 0.8 * torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    return SquashedGaussian(mean, log_std - 0.5)


def noise_for(dist, samples=1, seed=1):
    shape = (samples, *dist.mean.shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dist.mean.dtype)


def test_log_prob_is_that_of_torch_distributions(dist):
    reference = TransformedDistribution(
        Independent(Normal(dist.mean, dist.log_std.exp()), 1), [TanhTransform(cache_size=1)]
    )
    u = dist.presquash(noise_for(dist)[0])
    torch.testing.assert_close(dist.log_prob(u), reference.log_prob(torch.tanh(u)), rtol=1e-8, atol=1e-8)


def test_log_tanh_jacobian_is_exact_where_tanh_rounds_to_one():
    # log(1 - tanh(u)^2) = log 4 - 2u up to exp(-2u) for large u, where 1 - tanh(u)^2 is 0 in float32.
    u = torch.tensor([20.0, -40.0])
    torch.testing.assert_close(log_tanh_jacobian(u), math.log(4) - 2 * u.abs())


def test_density_of_the_action_integrates_to_one_and_gives_the_entropy():
    dist = SquashedGaussian(torch.tensor([0.4], dtype=torch.float64), torch.tensor([-0.3], dtype=torch.float64))
    action = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1]
    log_prob = dist.log_prob(torch.atanh(action).unsqueeze(-1))
    width = action[1] - action[0]
    assert (log_prob.exp().sum() * width).item() == pytest.approx(1.0, abs=1e-6)
    entropy = -(log_prob.exp() * log_prob).sum() * width
    estimate = dist.entropy(noise_for(dist, 200_000)).mean()
    assert estimate.item() == pytest.approx(entropy.item(), abs=0.01)  # three standard errors of the mean


def test_kl_is_that_of_torch_distributions_and_zero_to_itself(dist):
    other = SquashedGaussian(dist.mean + 0.3, dist.log_std * 0.5)
    reference = kl_divergence(Normal(dist.mean, dist.log_std.exp()), Normal(other.mean, other.log_std.exp())).sum(-1)
    torch.testing.assert_close(dist.kl(other), reference)
    assert dist.kl(dist).abs().max() == 0


def test_kl_is_the_same_after_the_squashing():
    p, q = (
        SquashedGaussian(torch.tensor([m], dtype=torch.float64), torch.tensor([s], dtype=torch.float64))
        for m, s in ((0.4, -0.3), (-0.1, 0.1))
    )
    action = torch.linspace(-1, 1, 400_001, dtype=torch.float64)[1:-1]
    u = torch.atanh(action).unsqueeze(-1)
    log_p, log_q = p.log_prob(u), q.log_prob(u)
    integral = (log_p.exp() * (log_p - log_q)).sum() * (action[1] - action[0])
    assert integral.item() == pytest.approx(p.kl(q).item(), abs=1e-5)


def test_sample_follows_the_parameters(dist):
    mean = dist.mean.requires_grad_()
    noise = noise_for(dist)[0]
    (gradient,) = torch.autograd.grad(SquashedGaussian(mean, dist.log_std).presquash(noise).sum(), mean)
    assert (gradient == 1).all()
    torch.testing.assert_close(dist.mode(), torch.tanh(dist.mean))
