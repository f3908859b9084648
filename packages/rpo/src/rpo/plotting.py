"""Pictures of runs. Matplotlib is imported at the call."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rpo.comparison import Group
from rpo.evaluation import POLICIES
from rpo.files import replacing
from rpo.logs import read_progress
from rpo.training_curves import Curve, curve, gradient_by_horizon_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

STYLES = (
    ("#000000", "-", "o"),
    ("#D55E00", "--", "s"),
    ("#0072B2", "-.", "^"),
    ("#009E73", ":", "D"),
    ("#CC79A7", (0, (5, 1, 1, 1, 1, 1)), "v"),
    ("#56B4E9", (0, (8, 2)), "P"),
)
"""Colour, line and marker of each algorithm: colours that the colour-blind tell apart (Okabe and Ito 2008), and lines
and markers that differ without any colour."""

KEY_SIZE = 8
"""Letters of the key [pt]."""
KEY_LINE = 0.16
"""Height of a line of the key [inch]."""

ABSENT = {"ha": "center", "va": "center", "color": "0.4"}
"""Look of the words that stand where there is nothing to draw."""

TRAINING_PANELS = (
    ("time/total_timesteps", "rollout/ep_rew_mean", "environment steps", "return of training episodes", "linear"),
    ("time/time_elapsed", "rollout/ep_rew_mean", "wall time [s]", "return of training episodes", "linear"),
    ("time/total_timesteps", "train/kl", "environment steps", "KL(old policy, new policy) [nat]", "log"),
    ("time/total_timesteps", "train/clip_fraction", "environment steps", "clipped fraction", "linear"),
)
"""Columns of the log over each other, the names of their axes, and the scale of the second one."""


class Look(NamedTuple):
    """How the groups of one label are drawn."""

    name: str
    """The algorithm, numbered if the label has settings too: short enough for an axis."""
    color: str
    """As Matplotlib names it."""
    line: Any
    """Style of lines."""
    marker: str
    """Style of points."""


Looks = dict[str, Look]
"""Label of groups -> how they are drawn."""


def learning_curve(progress: Path, image: Path, title: str = "") -> None:
    """Draw the return of training episodes over environment steps.

    Parameters
    ----------
    progress
        The run's progress.csv.
    image
        PNG file to write.
    title
        Line above the plot.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    figure = _new_figure(6.4, 4.0)
    rows = [row for row in read_progress(progress) if row.get("rollout/ep_rew_mean")]
    steps = [float(row["time/total_timesteps"]) for row in rows]
    axes = figure.add_subplot()
    axes.plot(steps, [float(row["rollout/ep_rew_mean"]) for row in rows])
    axes.set(xlabel="environment steps", ylabel="return (last 100 training episodes)", title=title)
    _shorten_numbers(axes)
    axes.grid(alpha=0.3)
    _save(figure, image)


def comparison(groups: Sequence[Group], image: Path) -> "Figure":
    """Draw a row for each task: learning curves, and the returns of the evaluated policies with their intervals.

    Parameters
    ----------
    groups
        The groups of runs; those of one algorithm and settings look the same in all rows.
    image
        PNG file to write.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If a task has more groups than there are styles.
    """
    looks, tasks = _looks_of(groups), _by_task(groups)
    keys = [_key(own, looks, width=68) for own in tasks.values()]
    heights = [3.0 + KEY_LINE * _lines(key, columns=2) for key in keys]
    figure, blocks = _new_blocks(heights)
    for block, (task, own), key in zip(blocks, tasks.items(), keys, strict=True):
        left, right = block.subplots(1, 2)
        _draw_curves(left, own, looks)
        _draw_intervals(right, own, looks)
        left.set_title(task)
        _draw_key(block, own, looks, key, loc="outside lower center", ncols=2)
    _save(figure, image)
    return figure


def training(groups: Sequence[Group], images: Iterable[Path]) -> "Figure":
    """Draw how runs trained, a block of panels for each task.

    Parameters
    ----------
    groups
        The groups of runs, one curve each; those of one algorithm and settings look the same in all blocks.
    images
        Files to write, in the formats that their endings name.

    Returns
    -------
    matplotlib.figure.Figure
        What was drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are more algorithms than styles.
    """
    looks, tasks = _looks_of(groups), _by_task(groups)
    keys = [_key(own, looks, width=42) for own in tasks.values()]
    heights = [2 * max(3.1, 0.8 + KEY_LINE * _lines(key)) for key in keys]  # the key fills one of two panels
    figure, blocks = _new_blocks(heights)
    for block, (task, own), key in zip(blocks, tasks.items(), keys, strict=True):
        panels = block.subplots(2, 3).flat
        for axes, (x, y, x_label, y_label, scale) in zip(panels, TRAINING_PANELS, strict=False):
            _draw_means(axes, [(group, curve(group, x, y)) for group in own], looks)
            axes.set(xlabel=x_label, ylabel=y_label, yscale=scale)
            if x == "time/total_timesteps":
                _shorten_numbers(axes)
        axes = panels[len(TRAINING_PANELS)]
        _draw_means(axes, [(group, gradient_by_horizon_step(group)) for group in own], looks)
        y_label = "gradient to the action\n(norm, last quarter of windows)"
        axes.set(xlabel="control step of the window", ylabel=y_label, yscale="log")
        panels[-1].axis("off")
        _draw_key(panels[-1], own, looks, key, loc="center")
        block.suptitle(task)
    for image in images:
        _save(figure, image)
    return figure


def _draw_means(axes: "Axes", lines: Iterable[tuple[Group, Curve | None]], looks: Looks) -> None:
    """Draw the mean of each group, and its spread where there are several runs."""
    for group, line in lines:
        if line is None:
            continue
        _, color, dashes, marker = looks[group.label]
        if len(group.runs) > 1:
            low, high = line.mean - line.std, line.mean + line.std
            axes.fill_between(line.x, low, high, color=color, alpha=0.15, linewidth=0)
        every = max(1, len(line.x) // 8)
        axes.plot(line.x, line.mean, color=color, linestyle=dashes, marker=marker, markevery=every, markersize=5)
    if not axes.lines:
        axes.text(0.5, 0.5, "not logged", transform=axes.transAxes, **ABSENT)
    axes.grid(alpha=0.3)


def _shorten_numbers(axes: "Axes") -> None:
    """Write 400k for 400,000 environment steps along the horizontal axis."""
    from matplotlib.ticker import EngFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _by_task(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """Return the groups of each task."""
    tasks: dict[str, list[Group]] = {}
    for group in groups:
        tasks.setdefault(group.task, []).append(group)
    return tasks


def _looks_of(groups: Sequence[Group]) -> Looks:
    """Return the look of each label.

    Raises
    ------
    ValueError
        If there are more labels than styles.
    """
    algorithms = {group.label: group.algorithm for group in groups}
    if len(algorithms) > len(STYLES):
        names = ", ".join(algorithms)
        raise ValueError(f"A picture tells {len(STYLES)} algorithms apart. Got {len(algorithms)}: {names}.")
    looks: Looks = {}
    for (label, algorithm), style in zip(algorithms.items(), STYLES, strict=False):
        alike = [other for other in algorithms if algorithms[other] == algorithm != other]
        looks[label] = Look(algorithm if label == algorithm else f"{algorithm} {alike.index(label) + 1}", *style)
    return looks


def _key(groups: Iterable[Group], looks: Looks, width: int) -> list[str]:
    """Return each group's short name, what it differs in and how many runs it has, in lines of so many letters."""
    entries = []
    for group in groups:
        seeds = f"{len(group.runs)}\N{NO-BREAK SPACE}seed{'s' * (len(group.runs) > 1)}"
        text = f"{looks[group.label].name}{group.label.removeprefix(group.algorithm)}, {seeds}"
        entries.append(textwrap.fill(text, width, break_on_hyphens=False))
    return entries


def _lines(key: Sequence[str], columns: int = 1) -> int:
    """Return how many lines a key is high."""
    lines = [entry.count("\n") + 1 for entry in key]
    rows = -(-len(key) // columns)
    return max(sum(lines[start : start + rows]) for start in range(0, len(lines), rows))


def _draw_key(
    place: "Axes | SubFigure", groups: Iterable[Group], looks: Looks, key: Sequence[str], **options: Any
) -> None:
    """Write the key beside the looks of the groups; panels do not shrink for it."""
    from matplotlib.lines import Line2D

    handles = []
    for group in groups:
        _, color, line, marker = looks[group.label]
        handles.append(Line2D([], [], color=color, linestyle=line, marker=marker, markersize=5))
    place.legend(handles, key, fontsize=KEY_SIZE, frameon=False, **options)


def _draw_curves(axes: "Axes", groups: Iterable[Group], looks: Looks) -> None:
    for place, group in enumerate(groups):
        _, color, line, marker = looks[group.label]
        curve = group.curve()
        axes.fill_between(curve.steps, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
        every = (10 + 5 * place, 40)  # points between markers; those of the groups are beside each other
        axes.plot(curve.steps, curve.iqm, color=color, linestyle=line, marker=marker, markersize=5, markevery=every)
    _shorten_numbers(axes)
    axes.set(xlabel="environment steps", ylabel="return of training episodes\n(interquartile mean)")
    axes.grid(alpha=0.3)


def _draw_intervals(axes: "Axes", groups: Sequence[Group], looks: Looks) -> None:
    for place, group in enumerate(groups):
        _, color, _, marker = looks[group.label]
        for policy, shift, face in zip(POLICIES, (-0.12, 0.12), (color, "white"), strict=True):
            score = group.evaluated(policy)
            if score is None:
                across = axes.get_yaxis_transform()
                axes.text(0.5, place + shift, f"{policy}: not evaluated", transform=across, **ABSENT)
                continue
            if score.interval is not None:
                axes.hlines(place + shift, *score.interval, color=color, linewidth=2)
            axes.plot(score.iqm, place + shift, marker=marker, color=color, mfc=face, linestyle="none")
    axes.set_yticks(range(len(groups)), [looks[group.label].name for group in groups])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set(xlabel="evaluated return, interquartile mean and 95 % interval")
    axes.set_title("filled: deterministic, open: stochastic", fontsize=9)
    axes.grid(axis="x", alpha=0.3)


def _new_figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("A picture needs matplotlib: pip install rpo-rl[plots].") from error
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # [inch] # type: ignore[union-attr]
    FigureCanvasAgg(figure)
    return figure


def _new_blocks(heights: Sequence[float]) -> "tuple[Figure, list[SubFigure]]":
    """Return a figure, and its blocks of these heights [inch] below each other."""
    figure = _new_figure(11.0, sum(heights))
    return figure, list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0])


def _save(figure: "Figure", image: Path) -> None:
    with replacing(image) as temporary:
        figure.savefig(temporary, dpi=150, format=image.suffix[1:])
