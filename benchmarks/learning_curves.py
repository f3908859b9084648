"""Draw the learning curves of RPO beside those of a plain implementation, from the folders of finished runs.

Dots are a plain implementation of the same algorithm on DFlex's own Ant and Hopper: one seed, the same settings.
"""

import argparse
import json
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rpo.logs import read_progress
from rpo.plotting import STYLES

# Return of the last 100 training episodes over thousands of steps, with observe_action=False and action_cost=0.
DFLEX = {
    "diffenvs/Ant-v0": {
        41: 148, 123: 399, 205: 1250, 287: 3077, 410: 4138, 532: 4587, 655: 4774, 778: 4839, 860: 4857, 1110: 4972,
    },
    "diffenvs/Hopper-v0": {330: 264, 660: 668, 980: 1380},
}  # fmt: skip


def label(settings: dict) -> str:
    """Name of a run: its algorithm, and what it sets on the environment."""
    arguments = [f"{name}={value}" for name, value in settings["env_args"].items()]
    return f"{settings['algorithm']}, {', '.join(arguments) or 'defaults'}, seed {settings['seed']}"


def main() -> None:
    """Draw one panel per environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of `rpo train`")
    parser.add_argument("--output", type=Path, default=Path("docs/results/plain.png"))
    options = parser.parse_args()
    runs = [
        (json.loads((folder / "config.json").read_text()), read_progress(folder / "progress.csv"))
        for folder in options.runs
    ]
    envs = list(dict.fromkeys(settings["env"] for settings, _ in runs))

    figure = Figure(figsize=(4.8 * len(envs), 4.0), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    for axes, env in zip(figure.subplots(1, len(envs), squeeze=False)[0], envs, strict=True):
        own = [(settings, rows) for settings, rows in runs if settings["env"] == env]
        for (color, line, _), (settings, rows) in zip(STYLES[1:], own, strict=False):  # black is the reference
            rows = [row for row in rows if row["rollout/ep_rew_mean"]]
            steps = [float(row["time/total_timesteps"]) / 1e6 for row in rows]
            returns = [float(row["rollout/ep_rew_mean"]) for row in rows]
            axes.plot(steps, returns, color=color, linestyle=line, label=label(settings))
        reference = DFLEX.get(env, {})
        if reference:
            axes.plot([k / 1e3 for k in reference], list(reference.values()), "ko", ms=4, label="plain RPO on DFlex")
        axes.set(title=env, xlabel="environment steps [million]", ylabel="return, last 100 training episodes")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=120)
    print(options.output)


if __name__ == "__main__":
    main()
