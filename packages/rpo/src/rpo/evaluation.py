"""Evaluation on a vector environment, batched in torch."""

from dataclasses import dataclass

import numpy as np
import torch

from rpo.arguments import checked_count
from rpo.env import MAX_EPISODE_STEPS, DifferentiableVectorEnv, EndlessEpisodeError, finite_rewards, require_time_limit
from rpo.policy import ActingPolicy, make_generator, require_spaces

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
    max_steps: int = MAX_EPISODE_STEPS,
) -> Evaluation:
    """Run whole episodes from fresh resets.

    The episodes are divided among the environments beforehand, the first ones of each counting, so that short episodes
    are not counted more often. A few steps beyond the last counted one may be taken.

    Parameters
    ----------
    policy
        The policy, with its normaliser.
    env
        Environments of the evaluation's own: they are reset, and left in the middle of other episodes. A training that
        went on in them would take the one for the other.
    episodes
        Episodes to count.
    deterministic
        Take the most likely action; otherwise sample.
    seed
        Seed of the environments and of the sampling.
    max_steps
        Control steps within which an episode must end.

    Raises
    ------
    TypeError
        If `env` is no vector environment, or `policy` is a model, say.
    ValueError
        If the policy is for other spaces; if `episodes` or `max_steps` is no integer of at least 1, or `seed` none in
        [0, 2**32); if the environments say that they have no such time limit, before the first step; or if an episode
        has not ended after as many steps.
    """
    episodes, max_steps = checked_count("episodes", episodes), checked_count("max_steps", max_steps)
    require_spaces(policy, env)
    require_time_limit(env, max_steps)
    generator = make_generator(policy.device, seed)
    wanted = (episodes + torch.arange(env.num_envs, device=env.device)) // env.num_envs
    counted = torch.zeros_like(wanted)
    total = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    length = torch.zeros_like(wanted)
    raw, _ = env.reset(seed=seed)
    left = max_steps * int(wanted.max())  # steps that are enough
    finished = []
    while (counted < wanted).any():
        if left <= 0:
            raise EndlessEpisodeError(env, max_steps)
        left -= STEPS_BETWEEN_CHECKS
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
