"""Evaluation on a vector environment, batched in torch."""

from dataclasses import dataclass

import numpy as np
import torch

from rpo.env import DifferentiableVectorEnv, finite_rewards
from rpo.policy import ActingPolicy, make_generator

POLICIES = ("deterministic", "stochastic")
"""How an evaluated policy may act: with its most likely actions, or with samples."""
STEPS_BETWEEN_CHECKS = 10
"""Control steps between two looks at whether all episodes are over, each of which waits for the device."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Undiscounted returns and lengths of evaluated episodes."""

    returns: np.ndarray
    """Return of each episode, (episode,)."""
    lengths: np.ndarray
    """Control steps of each episode, (episode,)."""

    def summary(self) -> dict[str, float]:
        """Return what is reported: count, mean and standard deviation over the episodes, and mean length."""
        return {
            "episodes": len(self.returns),
            "mean": float(self.returns.mean()),
            "std": float(self.returns.std()),
            "mean_length": float(self.lengths.mean()),
        }


def evaluate(
    policy: ActingPolicy,
    env: DifferentiableVectorEnv,
    *,
    episodes: int = 128,
    deterministic: bool = True,
    seed: int | None = None,
) -> Evaluation:
    """Run whole episodes from fresh resets.

    The episodes are divided among the environments beforehand, the first ones of each counting, so that short episodes
    are not counted more often. A few steps beyond the last counted one may be taken.

    Parameters
    ----------
    policy
        The policy, with its normaliser.
    env
        Environments; they are reset.
    episodes
        Episodes to count.
    deterministic
        Take the most likely action; otherwise sample.
    seed
        Seed of the environments and of the sampling.

    Raises
    ------
    ValueError
        If `episodes` is less than 1.
    """
    if episodes < 1:
        raise ValueError(f"episodes must be an integer >= 1. Got {episodes}.")
    generator = make_generator(policy.device, seed)
    wanted = (episodes + torch.arange(env.num_envs, device=env.device)) // env.num_envs
    counted = torch.zeros_like(wanted)
    total = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    length = torch.zeros_like(wanted)
    raw, _ = env.reset(seed=seed)
    finished = []
    while (counted < wanted).any():
        steps = []
        for _ in range(STEPS_BETWEEN_CHECKS):
            action = policy.act(raw, deterministic, generator)
            raw, reward, terminated, truncated, _ = env.step(action.to(env.device, raw.dtype))
            total = total + finite_rewards(reward)
            length = length + 1
            ended = terminated | truncated
            counts = ended & (counted < wanted)
            steps.append((counts, total, length))
            counted += counts
            total = torch.where(ended, 0.0, total)
            length = torch.where(ended, 0, length)
        counts, totals, lengths = (torch.stack(column) for column in zip(*steps, strict=True))
        finished.append((totals[counts], lengths[counts]))
    returns, lengths = (torch.cat(column).cpu().numpy() for column in zip(*finished, strict=True))
    return Evaluation(returns=returns, lengths=lengths)
