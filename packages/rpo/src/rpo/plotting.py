"""Pictures of runs. Matplotlib is imported at the call."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rpo.comparison import Group
from rpo.evaluation import POLICIES
from rpo.files import replacing
from rpo.logs import read_progress
from rpo.training_curves import Curve, curve, gradient_by_horizon_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

ABSENT = {"ha": "center", "va": "center", "color": "0.4"}
"""Look of the words that stand where there is nothing to draw."""

TRAINING_PANELS = (
    ("time/total_timesteps", "rollout/ep_rew_mean", "environment steps", "return of training episodes", "linear"),
    ("time/time_elapsed", "rollout/ep_rew_mean", "wall time [s]", "return of training episodes", "linear"),
    ("time/total_timesteps", "train/kl", "environment steps", "KL(old policy, new policy) [nat]", "log"),
    ("time/total_timesteps", "train/clip_fraction", "environment steps", "clipped fraction", "linear"),
)
"""Columns of the log over each other, the names of their axes, and the scale of the second one."""


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


def comparison(groups: Sequence[Group], image: Path) -> None:
    """Draw a row for each task: learning curves, and the returns of the evaluated policies with their intervals.

    Parameters
    ----------
    groups
        The groups of runs; those of one algorithm and settings look the same in all rows.
    image
        PNG file to write.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If a task has more groups than there are styles.
    """
    tasks = list(dict.fromkeys(group.task for group in groups))
    style = _styles_of(groups)
    figure = _new_figure(11.0, 3.4 * len(tasks))
    for row, task in zip(figure.subplots(len(tasks), 2, squeeze=False), tasks, strict=True):
        own = [group for group in groups if group.task == task]
        _draw_curves(row[0], own, style)
        _draw_intervals(row[1], own, style)
        row[0].set_title(task)
    _save(figure, image)


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
    tasks = list(dict.fromkeys(group.task for group in groups))
    style = _styles_of(groups)
    figure = _new_figure(11.0, 6.2 * len(tasks))
    for block, task in zip(figure.subfigures(len(tasks), 1, squeeze=False)[:, 0], tasks, strict=True):
        own = [group for group in groups if group.task == task]
        panels = block.subplots(2, 3).flat
        for axes, (x, y, x_label, y_label, scale) in zip(panels, TRAINING_PANELS, strict=False):
            _draw_means(axes, [(group, curve(group, x, y)) for group in own], style)
            axes.set(xlabel=x_label, ylabel=y_label, yscale=scale)
            if x == "time/total_timesteps":
                _shorten_numbers(axes)
        axes = panels[len(TRAINING_PANELS)]
        _draw_means(axes, [(group, gradient_by_horizon_step(group)) for group in own], style)
        y_label = "gradient to the action\n(norm, last quarter of windows)"
        axes.set(xlabel="control step of the window", ylabel=y_label, yscale="log")
        _draw_legend(panels[-1], own, style)
        block.suptitle(task)
    for image in images:
        _save(figure, image)
    return figure


def _draw_means(axes: "Axes", lines: Iterable[tuple[Group, Curve | None]], style: dict) -> None:
    """Draw the mean of each group, and its spread where there are several runs."""
    for group, line in lines:
        if line is None:
            continue
        color, dashes, marker = style[group.label]
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


def _draw_legend(axes: "Axes", groups: Iterable[Group], style: dict) -> None:
    """Fill a panel with the names of the groups."""
    for group in groups:
        color, line, marker = style[group.label]
        axes.plot([], [], color=color, linestyle=line, marker=marker, label=_name_of(group))
    axes.axis("off")
    axes.legend(loc="center", frameon=False)


def _name_of(group: Group) -> str:
    """Return the group's label and how many runs it has."""
    return f"{group.label}, {len(group.runs)} seed{'s' * (len(group.runs) > 1)}"


def _styles_of(groups: Iterable[Group]) -> dict:
    """Return the style of each label.

    Raises
    ------
    ValueError
        If there are more labels than styles.
    """
    labels = list(dict.fromkeys(group.label for group in groups))
    if len(labels) > len(STYLES):
        raise ValueError(f"A picture tells {len(STYLES)} algorithms apart. Got {len(labels)}: {', '.join(labels)}.")
    return dict(zip(labels, STYLES, strict=False))


def _draw_curves(axes: "Axes", groups: Iterable[Group], style: dict) -> None:
    for place, group in enumerate(groups):
        color, line, marker = style[group.label]
        curve = group.curve()
        axes.fill_between(curve.steps, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)
        label = _name_of(group)
        every = (10 + 5 * place, 40)  # points between markers; those of the groups are beside each other
        axes.plot(
            curve.steps, curve.iqm, color=color, linestyle=line, marker=marker, ms=5, markevery=every, label=label
        )
    _shorten_numbers(axes)
    axes.set(xlabel="environment steps", ylabel="return of training episodes\n(interquartile mean)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)  # below the axis


def _draw_intervals(axes: "Axes", groups: Sequence[Group], style: dict) -> None:
    for place, group in enumerate(groups):
        color, _, marker = style[group.label]
        for policy, shift, face in zip(POLICIES, (-0.12, 0.12), (color, "white"), strict=True):
            score = group.evaluated(policy)
            if score is None:
                across = axes.get_yaxis_transform()
                axes.text(0.5, place + shift, f"{policy}: not evaluated", transform=across, **ABSENT)
                continue
            if score.interval is not None:
                axes.hlines(place + shift, *score.interval, color=color, linewidth=2)
            axes.plot(score.iqm, place + shift, marker=marker, color=color, mfc=face, linestyle="none")
    axes.set_yticks(range(len(groups)), [group.label for group in groups])
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


def _save(figure: "Figure", image: Path) -> None:
    with replacing(image) as temporary:
        figure.savefig(temporary, dpi=150, format=image.suffix[1:])
