import copy

import pytest
import torch
from torch.nn import functional

from rpo.networks import Actor, CriticEnsemble
from rpo.normalization import RunningMeanStd
from rpo.objectives import value_loss


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ensemble_equals_separate_networks(dtype):
    critics = CriticEnsemble(5, (8, 6), 3, generator()).to(dtype)
    for parameter in critics.parameters():  # so that scales and shifts take part
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator(1), dtype=dtype)
    x = torch.randn(7, 5, generator=generator(2), dtype=dtype)
    for i, values in enumerate(critics(x)):
        y = x
        for layer in range(2):
            y = functional.linear(y, critics.weights[layer][i].T, critics.biases[layer][i, 0])
            y = functional.layer_norm(y, y.shape[-1:], critics.scales[layer][i, 0], critics.shifts[layer][i, 0])
            y = functional.silu(y)
        expected = functional.linear(y, critics.weights[2][i].T, critics.biases[2][i, 0]).squeeze(-1)
        torch.testing.assert_close(values, expected)


def test_gradients_of_the_ensemble_in_float32_are_those_in_float64_but_for_rounding():
    critics = CriticEnsemble(37, (400, 200, 100), 2, generator())
    x, targets = torch.randn(256, 37, generator=generator(1)), torch.randn(256, generator=generator(2))
    exact = copy.deepcopy(critics).double()

    def gradients(critics, x, targets):
        x = x.requires_grad_()
        return torch.autograd.grad(value_loss(critics(x), targets), [x, *critics.parameters()])

    pairs = zip(gradients(critics, x, targets), gradients(exact, x.double().detach(), targets.double()), strict=True)
    assert max((single.double() - double).norm() / double.norm() for single, double in pairs) < 1e-5


def test_critics_of_an_ensemble_start_different_with_orthogonal_weights():
    critics = CriticEnsemble(6, (4,), 2, generator())
    weight = critics.weights[0]
    assert not torch.equal(weight[0], weight[1])
    torch.testing.assert_close(weight[0].T @ weight[0], torch.eye(4))


def test_log_std_depends_on_the_state_and_stays_between_minus_five_and_two():
    actor = Actor(3, 2, (16,), generator())
    x = torch.randn(50, 3, generator=generator(1))
    assert actor(x).log_std.std(0).min() > 0.01
    actor.log_std.weight.data *= 1000
    assert (actor(x).log_std.min(), actor(x).log_std.max()) == (-5.0, 2.0)


def test_normalizer_has_the_statistics_of_all_batches():
    data = 3.0 + 2.0 * torch.randn(4, 100, 3, generator=generator())
    normalizer = RunningMeanStd(3)
    for batch in data:
        normalizer.update(batch)
    flat = data.reshape(-1, 3).double()
    # The initial statistics weigh 1e-4 of 400 observations.
    torch.testing.assert_close(normalizer.mean, flat.mean(0), rtol=1e-5, atol=0)
    torch.testing.assert_close(normalizer.var, flat.var(0, correction=0), rtol=1e-5, atol=0)
    normalizer.refresh()
    output = normalizer(flat)
    assert output.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(output.std(0), torch.ones(3), rtol=2e-3, atol=0)


def test_normalizer_is_frozen_until_refreshed():
    normalizer = RunningMeanStd(2)
    x = torch.randn(10, 2, generator=generator())
    normalizer.update(5 + x)
    torch.testing.assert_close(normalizer(x), x)
    normalizer.refresh()
    assert normalizer(x).mean() < -3
