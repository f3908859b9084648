"""Print the table of the results page from the folders of finished runs."""

import argparse
import os
import platform
from pathlib import Path

from rpo.comparison import Run
from rpo.evaluation import POLICIES
from rpo.logs import read_progress

COLUMNS = (
    "task", "algorithm", "other than the preset", "seed", "steps [M]", "minutes", "training", *POLICIES, "length",
)  # fmt: skip


def row(run: Run) -> list[str]:
    """Return what stands in the columns for a run."""
    settings, evaluation = run.settings, run.evaluation
    if evaluation is None:
        raise SystemExit(f"{run.path} has no evaluation: rpo evaluate {run.path}")
    preset = type(settings.config).for_env(settings.env)
    changed = {name: value for name, value in vars(settings.config).items() if value != getattr(preset, name)}
    elapsed = float(read_progress(run.path / "progress.csv")[-1]["time/time_elapsed"])
    returns = ["{mean:,.0f} ± {std:,.0f}".format(**evaluation[policy]) for policy in POLICIES]
    return [
        f"`{settings.env.split('/')[-1].removesuffix('-v0')}`",
        settings.algorithm,
        ", ".join(f"`{name}={value}`" for name, value in {**settings.env_args, **changed}.items()),
        str(settings.seed),
        f"{evaluation['steps'] / 1e6:.2f}",
        f"{elapsed / 60:.0f}",
        f"{run.returns[-1]:,.0f}",
        *returns,
        f"{evaluation[POLICIES[0]]['mean_length']:.0f}",
    ]


def main() -> None:
    """Print one line for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of `rpo train`")
    rows = [row(Run.read(folder)) for folder in parser.parse_args().runs]
    for cells in (COLUMNS, ["---"] * len(COLUMNS), *rows):
        print(f"| {' | '.join(cells)} |")
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
