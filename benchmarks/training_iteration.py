"""Print where the time of a training iteration goes: RPO on the Ant with the paper's settings, on this machine.

The simulator is timed from inside, where it runs its kernels forward and backward; the other parts are what the
training logs, less the simulator's share.
"""

import argparse
import os
import time
from collections import defaultdict

import gymnasium
import torch
from stable_baselines3.common.logger import Logger

import diffenvs
from diffenvs.simulator import Engine
from rpo import RPO

PARTS = {
    "rollout": "policy, observations, rewards",
    "backward": "backward pass of the window",
    "actor": "policy epochs",
    "critic": "critic epochs",
}


def time_engine(seconds: dict[str, float]) -> None:
    """Let the engine add the seconds of its kernels, forward and backward, to the dictionary."""
    for name in ("forward", "backward"):
        original = getattr(Engine, name)

        def timed(*args, _name=name, _original=original, **kwargs):
            start = time.perf_counter()
            result = _original(*args, **kwargs)
            seconds[_name] += time.perf_counter() - start
            return result

        setattr(Engine, name, timed)


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
    parser.add_argument("--windows", type=int, default=5)
    options = parser.parse_args()
    gymnasium.register_envs(diffenvs)

    model = RPO(options.env, seed=0)
    window = model.config.horizon * model.n_envs
    model.learn(window)  # compiles, and warms up
    engine: dict[str, float] = defaultdict(float)
    time_engine(engine)
    totals = Totals()
    model.set_logger(totals)
    start = time.perf_counter()
    model.learn(options.windows * window, reset_num_timesteps=False)
    elapsed = time.perf_counter() - start

    totals.seconds["rollout"] -= engine["forward"]
    totals.seconds["backward"] -= engine["backward"]
    rows = {"simulator, forward": engine["forward"], "simulator, backward": engine["backward"]}
    rows |= {text: totals.seconds[name] for name, text in PARTS.items()}
    rows["other"] = elapsed - sum(rows.values())
    print(f"{options.env}: {model.n_envs} environments, {model.config.horizon} steps a window, ", end="")
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads\n")
    print("| part | seconds a window | share |")
    print("| --- | --- | --- |")
    for text, seconds in rows.items():
        print(f"| {text} | {seconds / options.windows:.2f} | {seconds / elapsed:.0%} |")
    print(f"| all | {elapsed / options.windows:.2f} | {options.windows * window / elapsed:,.0f} steps/s |")


if __name__ == "__main__":
    main()
