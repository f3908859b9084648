"""Evaluation on a vector environment, batched in torch."""

from dataclasses import dataclass

import numpy as np
import torch

from rpo.env import DifferentiableVectorEnv
from rpo.policy import FirstOrderPolicy, make_generator


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
    policy: FirstOrderPolicy,
    env: DifferentiableVectorEnv,
    *,
    episodes: int = 128,
    deterministic: bool = True,
    seed: int | None = None,
) -> Evaluation:
    """Run whole episodes from fresh resets.

    The episodes are divided among the environments beforehand, the first ones of each counting, so that short episodes
    are not counted more often.

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
    returns, lengths = [], []
    while bool((counted < wanted).any()):
        action = policy.act(raw, deterministic, generator)
        raw, reward, terminated, truncated, _ = env.step(action.to(env.device, raw.dtype))
        total += torch.where(reward.isfinite(), reward, 0.0)
        length += 1
        ended = terminated | truncated
        counts = ended & (counted < wanted)
        returns.append(total[counts].cpu())
        lengths.append(length[counts].cpu())
        counted += counts
        total = torch.where(ended, 0.0, total)
        length = torch.where(ended, 0, length)
    return Evaluation(returns=torch.cat(returns).numpy(), lengths=torch.cat(lengths).numpy())
