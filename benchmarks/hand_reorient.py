"""Measure what RPO learns on HandReorient, and the gradients it learns from.

Rewarped, on which the coefficients of the paper were chosen, cuts the graph of all environments whenever one of them is
reset. The first table is of short trainings with and without that. The second says how uneven the gradients of an
untrained policy's windows are. The others compare trained policies with an untrained one: returns, and how far
the cube is from its goal.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.logger import configure
from torch import Tensor

from diffenvs import DiffVectorEnv
from rpo import RPO, RPOConfig, objectives
from rpo.evaluation import POLICIES, Evaluation, evaluate
from rpo.logs import read_progress
from rpo.policy import make_generator
from rpo.rollout import collect

ENV = "diffenvs/HandReorient-v0"
SEED = 1_000_000
"""Of the evaluations."""
LOOKS = (0, 50, 100, 300, 590)
"""Control steps of an episode, which has 600, at which the cube's orientation is looked at."""


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


def unevenness(env: DiffVectorEnv, windows: int) -> list[str]:
    """Return norms of gradients to the action, and how much of their sum of squares one environment has.

    Each is the median over windows.
    """
    model, generator = RPO(env, seed=0), make_generator(torch.device("cpu"), SEED)
    env.reset(seed=SEED)
    model.policy.normalizer.refresh()
    found = []
    for _ in range(windows):
        rollout = collect(env, model.policy, model.config.horizon, generator)
        assert rollout is not None
        objective = model.window_objective(rollout, rollout.rewards)
        norm = objectives.action_gradients(objective, rollout.actions).norm(dim=-1).double()
        of_environments = norm.square().sum(0)
        found.append([norm.median(), norm.mean(), norm.max(), of_environments.max() / of_environments.sum()])
    *norms, share = np.median(found, axis=0)
    return [*(f"{norm:.2g}" for norm in norms), f"{share:.0%}"]


def compared(name: str, found: Evaluation, untrained: Evaluation) -> list[str]:
    """Return a row of the last tables: returns, and by how many standard errors they are better."""
    returns, others = found.returns, untrained.returns
    error = np.sqrt(returns.var() / len(returns) + others.var() / len(others))
    gain = f"{(returns.mean() - others.mean()) / error:.1f}" if found is not untrained else ""
    return [name, f"{returns.mean():.1f} ± {returns.std():.1f}", f"{found.lengths.mean():.0f}", gain]


def angles(model: RPO, env: DiffVectorEnv) -> list[str]:
    """Return the median angle from the cube to its goal [rad] and how many environments count, at the steps `LOOKS`.

    Those count whose first episode goes on; the policy is deterministic.
    """
    observation, _ = env.reset(seed=SEED)
    running = torch.ones(env.num_envs, dtype=torch.bool)
    found = []
    for step in range(max(LOOKS) + 1):
        if step in LOOKS:
            sine = env.task.entry(observation[running], "relative_rotation")[:, 0:3].norm(dim=-1)
            found.append(f"{2.0 * sine.clamp(max=1.0).asin().median():.2f} ({int(running.sum())})")
        observation, _, terminated, truncated, _ = env.step(model.policy.act(observation, deterministic=True))
        running &= ~(terminated | truncated)
    return found


def table(*rows: list[str]) -> None:
    """Print a table; the first row is its head."""
    for row in (rows[0], ["---"] * len(rows[0]), *rows[1:]):
        print(f"| {' | '.join(row)} |")
    print()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="folders of `rpo train` on the hand")
    parser.add_argument("--steps", type=int, default=60_000, help="of the short trainings")
    parser.add_argument("--windows", type=int, default=24, help="of the untrained policy")
    parser.add_argument("--episodes", type=int, default=512)
    parser.add_argument("--num-envs", type=int, default=64)
    options = parser.parse_args()

    kinds = (("exact", DiffVectorEnv), ("cut", CutEnv))
    trained = [[name, *train(kind(ENV, num_envs=options.num_envs), options.steps)] for name, kind in kinds]
    table(["gradients", "norm", "KL", "length of episodes"], *trained)

    env = DiffVectorEnv(ENV, num_envs=options.num_envs)
    share = f"share of one of {options.num_envs} environments"
    table(["median norm", "mean", "largest", share], unevenness(env, options.windows))
    models = {"untrained": RPO(env, seed=0), **{str(run): RPO.load(run / "model.zip") for run in options.runs}}
    for policy in POLICIES:
        found = {
            name: evaluate(model.policy, env, episodes=options.episodes, deterministic=policy == POLICIES[0], seed=SEED)
            for name, model in models.items()
        }
        rows = [compared(name, its, found["untrained"]) for name, its in found.items()]
        table([policy, "return", "length", "standard errors"], *rows)
    env = DiffVectorEnv(ENV, num_envs=options.episodes)
    table(["angle after steps", *map(str, LOOKS)], *([name, *angles(model, env)] for name, model in models.items()))


if __name__ == "__main__":
    main()
