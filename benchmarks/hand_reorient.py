"""Measure what RPO learns on HandReorient, and how the cuts of Rewarped change the gradients it learns from.

Rewarped, on which the coefficients of the paper were chosen, cuts the graph of all environments whenever one of them is
reset. The first table is of short trainings with and without that; the second compares trained policies with an
untrained one.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.logger import configure
from torch import Tensor

from diffenvs import DiffVectorEnv
from rpo import RPO, RPOConfig
from rpo.evaluation import POLICIES, Evaluation, evaluate
from rpo.logs import read_progress

ENV = "diffenvs/HandReorient-v0"
SEED = 1_000_000
"""Of the evaluations."""


class CutEnv(DiffVectorEnv):
    """Environments whose graphs are all cut when an episode of any of them ends."""

    def step_grad(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Take a step, and cut."""
        obs, reward, terminated, truncated, info = super().step_grad(actions)
        if (terminated | truncated).any():
            obs = self.detach()
        return obs, reward, terminated, truncated, info


def train(env: DiffVectorEnv, steps: int) -> list[str]:
    """Return gradient to the action, divergence and length of episodes, medians over the second half of a training."""
    with tempfile.TemporaryDirectory() as folder:
        model = RPO(env, RPOConfig.for_env(ENV), seed=0)
        model.set_logger(configure(folder, ["csv"]))
        model.learn(steps)
        model.logger.close()
        rows = read_progress(Path(folder) / "progress.csv")
    columns = ("train/action_grad_mean", "train/kl", "rollout/ep_len_mean")
    return [f"{np.median([float(row[column]) for row in rows[len(rows) // 2 :]]):.2g}" for column in columns]


def compared(name: str, found: Evaluation, untrained: Evaluation) -> list[str]:
    """Return what stands in the second table: returns, and by how many standard errors they are better."""
    returns, others = found.returns, untrained.returns
    error = np.sqrt(returns.var() / len(returns) + others.var() / len(others))
    gain = f"{(returns.mean() - others.mean()) / error:.1f}" if found is not untrained else ""
    return [name, f"{returns.mean():.1f} ± {returns.std():.1f}", f"{found.lengths.mean():.0f}", gain]


def table(*rows: list[str]) -> None:
    """Print a table; the first row is its head."""
    for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]):
        print(f"| {' | '.join(row)} |")
    print()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of `rpo train` on the hand")
    parser.add_argument("--steps", type=int, default=60_000, help="of the short trainings")
    parser.add_argument("--episodes", type=int, default=512)
    parser.add_argument("--num-envs", type=int, default=64)
    options = parser.parse_args()

    kinds = (("exact", DiffVectorEnv), ("cut", CutEnv))
    trained = [[name, *train(kind(ENV, num_envs=options.num_envs), options.steps)] for name, kind in kinds]
    table(["gradients", "norm", "KL", "length of episodes"], *trained)

    env = DiffVectorEnv(ENV, num_envs=options.num_envs)
    models = {"untrained": RPO(env, seed=0), **{str(run): RPO.load(run / "model.zip") for run in options.runs}}
    for policy in POLICIES:
        found = {
            name: evaluate(model.policy, env, episodes=options.episodes, deterministic=policy == POLICIES[0], seed=SEED)
            for name, model in models.items()
        }
        rows = [compared(name, its, found["untrained"]) for name, its in found.items()]
        table([policy, "return", "length", "standard errors"], *rows)


if __name__ == "__main__":
    main()
