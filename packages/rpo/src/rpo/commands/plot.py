"""`rpo plot`: how runs trained, in one picture."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import tyro

from rpo import plotting
from rpo.commands import mistakes
from rpo.comparison import Run, group_runs


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """Draw how runs trained: return over steps and over time, divergence, clipping and gradients.

    Runs that agree in everything but their seed and device become one curve: their mean, and a band of one standard
    deviation to each side.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs."""
    output: Path = Path("training")
    """Files to write, without their endings: .png and .svg are added."""


def run(args: Sequence[str]) -> None:
    """Draw as the arguments say; a mistake of the user ends the program with one message."""
    with mistakes.told_in_one_message():
        options = tyro.cli(PlotOptions, prog="rpo plot", args=list(args))
        if not options.runs:
            raise ValueError("rpo plot needs the folders of runs.")
        groups = group_runs(Run.read(path) for path in options.runs)
        images = [options.output.with_name(f"{options.output.name}{end}") for end in (".png", ".svg")]
        options.output.parent.mkdir(parents=True, exist_ok=True)
        plotting.training(groups, images)
        for image in images:
            print(f"  {image}")
