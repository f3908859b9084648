"""Curves of what runs logged while they trained: mean and spread over the seeds of a group."""

from dataclasses import dataclass

import numpy as np

from rpo.comparison import Group, Run
from rpo.logs import read_progress
from rpo.runs import RunFolder

BY_HORIZON_STEP = "action_grad_mean_by_step/"
"""Start of the columns with the gradient's norm at each control step of the window."""
LAST_SHARE = 0.25
"""Share of the windows, the last ones, over which the norm by horizon step is averaged."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Values of the runs of a group at the same places."""

    x: np.ndarray
    """Where the runs are compared, (point,)."""
    values: np.ndarray
    """The runs' values there, (run, point)."""

    @property
    def mean(self) -> np.ndarray:
        """Mean over the runs, (point,)."""
        return self.values.mean(0)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation over the runs, (point,); zero for one run."""
        return self.values.std(0)


Table = dict[str, np.ndarray]
"""Columns of a progress.csv, (window,), NaN where a window has no value."""


def read_table(run: Run) -> Table:
    """Return the columns of a run's log."""
    rows = read_progress(RunFolder(run.path).progress)
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def curve(group: Group, x: str, y: str) -> Curve | None:
    """Return a column over another one, or None where a run did not log it.

    The points are those of the first run within the range that all runs have. Between the points of another run its
    values are interpolated linearly, so runs with the same points keep their numbers.
    """
    lines = []
    for table in map(read_table, group.runs):
        if y not in table:
            return None
        known = np.isfinite(table[y])
        lines.append((table[x][known], table[y][known]))
    if not all(len(points) for points, _ in lines):
        return None
    points = lines[0][0]
    start, end = max(own[0] for own, _ in lines), min(own[-1] for own, _ in lines)
    points = points[(points >= start) & (points <= end)]
    return Curve(x=points, values=np.stack([np.interp(points, own, values) for own, values in lines]))


def gradient_by_horizon_step(group: Group) -> Curve | None:
    """Return the norm of the gradient to an action over its place in the window, or None where a run did not log it.

    It is the mean over the environments, and over the last quarter of a run's windows.
    """
    values = []
    for table in map(read_table, group.runs):
        columns = [table[name] for name in sorted(table) if name.startswith(BY_HORIZON_STEP)]
        if not columns:
            return None
        last = max(1, round(LAST_SHARE * len(columns[0])))
        values.append([np.nanmean(column[-last:]) for column in columns])
    return Curve(x=np.arange(len(values[0])), values=np.array(values))
