"""`rpo compare`: runs side by side, grouped by task and algorithm over their seeds."""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import arg

from rpo import plotting
from rpo.commands import mistakes
from rpo.commands.tables import table
from rpo.comparison import Group, Run, group_runs
from rpo.evaluation import POLICIES
from rpo.runs import write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Compare runs: interquartile means over seeds, with 95 % confidence intervals (Agarwal et al. 2021).

    Runs that agree in everything but seed and device make a group, whose scores are the returns that `rpo evaluate`,
    or the end of the training, wrote beside each run. The table is printed, and written as numbers and a picture.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, arg(metavar="RUN ...", help_behavior_hint="")]
    """Folders of runs."""
    output: Path = Path("comparison")
    """Files to write, without their endings: .png and .json are added."""


def comparison_table(groups: Sequence[Group]) -> str:
    """Return one row for each group."""
    rows = [("task", "algorithm", "seeds", "steps", *POLICIES, "last training episodes")]
    for group in groups:
        scores = (*(group.evaluated(policy) for policy in POLICIES), group.trained())
        texts = ["not evaluated" if score is None else str(score) for score in scores]
        steps = f"{min(run.steps[-1] for run in group.runs):,}"
        rows.append((group.task, group.label, str(len(group.runs)), steps, *texts))
    return table(rows, names=2)


def remarks(runs: Sequence[Run]) -> Iterator[str]:
    """Say of which runs the evaluations should not be compared as they are."""
    for run in runs:
        if run.evaluation is None or run.evaluation.get("steps", 0) < run.steps[-1]:
            yield f"not evaluated after its last step: rpo evaluate {run.path}"
    by_episodes: dict[int, list[str]] = {}
    for run in runs:
        if run.episodes is not None:
            by_episodes.setdefault(run.episodes, []).append(str(run.path))
    if len(by_episodes) > 1:
        yield from (f"evaluated over {count} episodes: {' '.join(by_episodes[count])}" for count in sorted(by_episodes))


def run(args: Sequence[str]) -> None:
    """Compare as the arguments say; a mistake of the user ends the program with one message."""
    with mistakes.told_in_one_message():
        options = tyro.cli(CompareOptions, prog="rpo compare", args=list(args))
        if not options.runs:
            raise ValueError("rpo compare needs the folders of runs.")
        runs = [Run.read(path) for path in options.runs]
        groups = group_runs(runs)
        print(comparison_table(groups))
        for remark in remarks(runs):
            print(remark, file=sys.stderr)
        image, numbers = (options.output.with_name(f"{options.output.name}{end}") for end in (".png", ".json"))
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(numbers, {"groups": [group.to_dict() for group in groups]})
        plotting.comparison(groups, image)
        print(f"  {numbers}\n  {image}")
