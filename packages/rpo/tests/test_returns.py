import pytest
import torch

from rpo.returns import td_lambda, window_objective

GAMMA, LAM = 0.9, 0.8


@pytest.fixture
def window():
    """Seven steps of four environments: no end, a termination, a truncation, and both with one on the last step."""
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 7, 4, generator=generator, dtype=torch.float64)
    terminated, truncated = torch.zeros(2, 7, 4, dtype=torch.bool)
    terminated[2, 1] = truncated[4, 2] = True
    truncated[0, 3] = terminated[3, 3] = truncated[6, 3] = True
    return rewards, values, terminated, truncated


def objective_by_loop(rewards, values, terminated, truncated):
    horizon, worlds = rewards.shape
    total = 0.0
    for n in range(worlds):
        discount = 1.0
        for t in range(horizon):
            total += discount * rewards[t, n]
            if terminated[t, n]:
                discount = 1.0
            elif truncated[t, n] or t == horizon - 1:
                total += discount * GAMMA * values[t, n]
                discount = 1.0
            else:
                discount *= GAMMA
    return total / (horizon * worlds)


def target_by_loop(rewards, values, terminated, truncated, t, n):
    """Weighted mean of the k-step returns that start at step t and stay inside window and episode."""
    horizon = len(rewards)
    result, ret, discount, weight = 0.0, 0.0, 1.0, 1.0
    for k in range(t, horizon):
        ret += discount * rewards[k, n]
        discount *= GAMMA
        if terminated[k, n]:
            return result + weight * ret
        if truncated[k, n] or k == horizon - 1:
            return result + weight * (ret + discount * values[k, n])
        result += weight * (1 - LAM) * (ret + discount * values[k, n])
        weight *= LAM
    raise AssertionError


def test_window_objective_is_that_of_a_plain_loop(window):
    torch.testing.assert_close(window_objective(*window, GAMMA), objective_by_loop(*window))


def test_window_objective_of_one_step_by_hand():
    one = torch.ones(1, 1)
    no, yes = torch.zeros(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool)
    assert window_objective(one, 10 * one, no, no, 0.5).item() == 6.0
    assert window_objective(one, 10 * one, no, yes, 0.5).item() == 6.0
    assert window_objective(one, 10 * one, yes, no, 0.5).item() == 1.0


def test_value_gets_gradient_at_truncations_and_the_end_only(window):
    rewards, values, terminated, truncated = window
    values.requires_grad_()
    window_objective(rewards, values, terminated, truncated, GAMMA).backward()
    expected = truncated.clone()
    expected[-1] |= ~terminated[-1]
    assert values.grad is not None
    assert torch.equal(values.grad != 0, expected)


def test_td_lambda_is_that_of_a_plain_loop(window):
    targets = td_lambda(*window, GAMMA, LAM)
    for t in range(7):
        for n in range(4):
            torch.testing.assert_close(targets[t, n], target_by_loop(*window, t, n))


def test_td_zero_is_the_one_step_target(window):
    rewards, values, terminated, _ = window
    expected = rewards + GAMMA * torch.where(terminated, 0.0, values)
    torch.testing.assert_close(td_lambda(*window, GAMMA, 0.0), expected)
