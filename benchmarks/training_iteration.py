"""Print where the time of a training iteration goes: RPO with the settings of a preset, on the CPU of this machine.

The simulator is timed from inside, where it runs its kernels forward and backward. What the environment adds to a step
(observations, rewards, resets) is timed around `step_grad`; its part of the backward pass cannot be told from that of
the policy. Everything else is what the training logs.
"""

import argparse
import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from unittest.mock import patch

import gymnasium
import torch
from stable_baselines3.common.logger import Logger

import diffenvs
from diffenvs.engine import Engine
from rpo import PRESETS, RPO


@contextlib.contextmanager
def add_up_time(owner: type, name: str, seconds: dict[str, float], key: str) -> Iterator[None]:
    """Let a method add the seconds of its calls in the block to the dictionary."""
    original = getattr(owner, name)

    def timed(*args, **kwargs):
        start = time.perf_counter()
        result = original(*args, **kwargs)
        seconds[key] += time.perf_counter() - start
        return result

    with patch.object(owner, name, timed):
        yield


class Totals(Logger):
    """A logger that adds up the seconds of all windows and prints nothing."""

    def __init__(self) -> None:
        super().__init__(folder=None, output_formats=[])
        self.seconds: dict[str, float] = defaultdict(float)

    def record(self, key, value, exclude=None) -> None:
        """Add what is logged as seconds."""
        if key.startswith("time/") and key.endswith("_seconds"):
            self.seconds[key.removeprefix("time/").removesuffix("_seconds")] += float(value)


def main() -> None:
    """Train a few windows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="diffenvs/Ant-v0")
    parser.add_argument("--preset", default="paper", choices=PRESETS)
    parser.add_argument("--num-envs", type=int, help="default: the preset's")
    parser.add_argument("--windows", type=int, default=5)
    options = parser.parse_args()
    gymnasium.register_envs(diffenvs)

    model = RPO(options.env, num_envs=options.num_envs, preset=options.preset, seed=0)
    window = model.config.horizon * model.n_envs
    model.learn(window)  # compiles, and warms up
    spent: dict[str, float] = defaultdict(float)
    totals = Totals()
    model.set_logger(totals)
    with (
        add_up_time(Engine, "forward", spent, "forward"),
        add_up_time(Engine, "backward", spent, "backward"),
        add_up_time(diffenvs.DiffVectorEnv, "step_grad", spent, "step"),
    ):
        start = time.perf_counter()
        model.learn(options.windows * window, reset_num_timesteps=False)
        elapsed = time.perf_counter() - start

    logged = totals.seconds
    rows = {
        "simulator, forward": spent["forward"],
        "simulator, backward": spent["backward"],
        "observations, rewards, resets": spent["step"] - spent["forward"],
        "policy in the rollout": logged["rollout"] - spent["step"],
        "rest of the backward pass": logged["backward"] - spent["backward"],
        "policy epochs": logged["actor"],
        "critic epochs": logged["critic"],
    }
    rows["other"] = elapsed - sum(rows.values())
    print(f"{options.env}: {model.n_envs} environments, {model.config.horizon} steps a window, ", end="")
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads\n")
    print("| part | seconds a window | share |")
    print("| --- | --- | --- |")
    rows["all"] = elapsed
    rows["simulator, both ways"] = spent["forward"] + spent["backward"]
    for text, seconds in rows.items():
        print(f"| {text} | {seconds / options.windows:.2f} | {seconds / elapsed:.0%} |")
    print(f"\n{options.windows * window / elapsed:,.0f} environment steps a second")


if __name__ == "__main__":
    main()
