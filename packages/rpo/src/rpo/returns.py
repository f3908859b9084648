"""Returns over a window of control steps, with episodes that end inside it. Pure functions.

A window of H steps of N environments has rewards r_t, and V(s_{t+1}) of the TRUE next observation of every step (the
one before a reset). `terminated` and `truncated` mark the steps that end an episode; they never overlap.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def discounts(ended: Bool[Tensor, "horizon world"], gamma: float, dtype: torch.dtype) -> Float[Tensor, "horizon world"]:
    """Return gamma^(t - t0), (horizon, world), where t0 is the window's start or the step after the last end.

    Examples
    --------
    >>> discounts(torch.tensor([[False], [True], [False], [False]]), 0.5, torch.float32).T
    tensor([[1.0000, 0.5000, 1.0000, 0.5000]])
    """
    discount = torch.ones(ended.shape[1], dtype=dtype, device=ended.device)
    result = []
    for ended_t in ended:
        result.append(discount)
        discount = torch.where(ended_t, 1.0, discount * gamma)
    return torch.stack(result)


def window_objective(
    rewards: Float[Tensor, "horizon world"],
    next_values: Float[Tensor, "horizon world"],
    terminated: Bool[Tensor, "horizon world"],
    truncated: Bool[Tensor, "horizon world"],
    gamma: float,
) -> Float[Tensor, ""]:
    """Return the discounted return of a window with terminal values, per control step: the actor's objective J.

    Parameters
    ----------
    rewards
        Rewards, entropy bonus included where the algorithm has one, (horizon, world).
    next_values
        Value of the true next observation of every step, (horizon, world).
    terminated, truncated
        Steps that end an episode, (horizon, world).
    gamma
        Discount.

    Returns
    -------
    Tensor
        Mean over environments of R_n / H, a scalar attached to the graph of its inputs.

    Notes
    -----
    Eq. (4) of RPO (arXiv 2508.06214; the objective of SHAC): R_n = sum_t gamma^(t - t0) r_t + gamma^(H - t0) V(s_H).
    An episode that terminates inside the window adds no value, one that is truncated adds that of its last
    observation; the discount restarts at 1 after either.
    """
    ended = terminated | truncated
    bootstrapped = truncated.clone()
    bootstrapped[-1] |= ~ended[-1]
    discount = discounts(ended, gamma, rewards.dtype)
    terms = discount * torch.where(bootstrapped, rewards + gamma * next_values, rewards)
    return terms.sum(0).mean() / len(rewards)


def td_lambda(
    rewards: Float[Tensor, "horizon world"],
    next_values: Float[Tensor, "horizon world"],
    terminated: Bool[Tensor, "horizon world"],
    truncated: Bool[Tensor, "horizon world"],
    gamma: float,
    lam: float,
) -> Float[Tensor, "horizon world"]:
    """Return the critics' targets, TD(lambda) cut at the window's end (Sutton and Barto 2018, eq. 12.18).

    Parameters are those of `window_objective`; `lam` mixes one-step targets (0) and the longest ones (1). A truncated
    step and the last one take the value of their next observation, a terminated step takes nothing.

    Examples
    --------
    Two steps with reward 1 and next values 10 and 20; the second one terminates:

    >>> rewards, values = torch.ones(2, 1), torch.tensor([[10.0], [20.0]])
    >>> terminated, truncated = torch.tensor([[False], [True]]), torch.zeros(2, 1, dtype=torch.bool)
    >>> td_lambda(rewards, values, terminated, truncated, gamma=0.5, lam=0.0).T
    tensor([[6., 1.]])
    >>> td_lambda(rewards, values, terminated, truncated, gamma=0.5, lam=1.0).T
    tensor([[1.5000, 1.0000]])
    """
    ended = terminated | truncated
    target = next_values[-1]
    targets = []
    for t in reversed(range(len(rewards))):
        future = torch.where(ended[t], next_values[t], torch.lerp(next_values[t], target, lam))
        target = rewards[t] + gamma * torch.where(terminated[t], 0.0, future)
        targets.append(target)
    return torch.stack(targets[::-1])
