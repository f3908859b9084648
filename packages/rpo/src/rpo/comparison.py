"""Runs side by side: groups that differ in their seeds only, and the statistics of each."""

import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from rpo.evaluation import POLICIES
from rpo.logs import read_progress
from rpo.runs import RunFolder, RunSettings
from rpo.statistics import confidence_interval, interquartile_mean

CURVE_POINTS = 200
"""Steps at which the curves of a group are compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What a run's folder says."""

    path: Path
    """The folder."""
    settings: RunSettings
    """Its settings."""
    steps: np.ndarray
    """Environment steps of the logged windows in which a training return is known, (window,)."""
    returns: np.ndarray
    """Mean return of the last training episodes there, (window,)."""
    evaluation: dict[str, Any] | None
    """Its evaluation, if there is one."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a run's folder.

        Raises
        ------
        ValueError
            If there is no run, or it has no log, or no return in it.
        """
        folder = RunFolder(path)
        settings = folder.read_settings()
        if not folder.progress.exists():
            raise ValueError(f"{path} has nothing to compare: {folder.progress.name} is missing.")
        rows = [row for row in read_progress(folder.progress) if row.get("rollout/ep_rew_mean")]
        if not rows:
            raise ValueError(f"{path} has nothing to compare yet: no training episode has ended.")
        return cls(
            path=path,
            settings=settings,
            steps=np.array([int(row["time/total_timesteps"]) for row in rows]),
            returns=np.array([float(row["rollout/ep_rew_mean"]) for row in rows]),
            evaluation=folder.read_evaluation(),
        )

    @property
    def episodes(self) -> int | None:
        """Episodes that the run was evaluated over; None if it was not."""
        return None if self.evaluation is None else self.evaluation[POLICIES[0]]["episodes"]

    def setting_values(self) -> dict[str, Any]:
        """Return what runs are compared by, by name, but for task, algorithm, seed and device."""
        values = dataclasses.asdict(self.settings)
        config, env_args = values.pop("config"), values.pop("env_args")
        others = {field.name for field in dataclasses.fields(self.settings) if not field.compare}
        others |= {"env", "algorithm", "seed", "device"}
        own = {name: value for name, value in values.items() if name not in others}
        return {**own, **{f"env_args.{name}": value for name, value in env_args.items()}, **config}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Aggregate:
    """Statistics of one score of each run of a group."""

    runs: int
    """Runs that have the score."""
    iqm: float
    """Interquartile mean."""
    interval: tuple[float, float] | None
    """Its 95 % confidence interval; None for one run."""
    mean: float
    """Mean."""
    std: float
    """Standard deviation over the runs."""

    @classmethod
    def of(cls, scores: Sequence[float]) -> Self | None:
        """Return the statistics, or None where no run has the score."""
        if not scores:
            return None
        values = np.array(scores, dtype=np.float64)
        low, high = confidence_interval(values)
        return cls(
            runs=len(values),
            iqm=float(interquartile_mean(values)),
            interval=(float(low), float(high)) if len(values) > 1 else None,
            mean=float(values.mean()),
            std=float(values.std()),
        )

    def __str__(self) -> str:
        interval = "" if self.interval is None else " [{:.1f}, {:.1f}]".format(*self.interval)
        return f"{self.iqm:.1f}{interval}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """Interquartile mean of the training returns of a group."""

    steps: np.ndarray
    """Environment steps that all runs of the group have, (point,)."""
    iqm: np.ndarray
    """Interquartile mean there, (point,)."""
    low: np.ndarray
    """Lower bound of its 95 % confidence interval, (point,); NaN for one run."""
    high: np.ndarray
    """Upper bound, (point,)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Runs of one algorithm on one task with the same settings and different seeds."""

    task: str
    """Environment id."""
    label: str
    """The algorithm, and the settings in which it differs from the task's other groups of that algorithm."""
    runs: tuple[Run, ...]
    """The runs, by seed."""

    @property
    def algorithm(self) -> str:
        """Name of the algorithm, with which the label begins."""
        return self.runs[0].settings.algorithm

    def evaluated(self, policy: str) -> Aggregate | None:
        """Return the statistics of the runs' evaluated mean returns, for one of `POLICIES`."""
        return Aggregate.of([run.evaluation[policy]["mean"] for run in self.runs if run.evaluation])

    def trained(self) -> Aggregate | None:
        """Return the statistics of the last training return."""
        return Aggregate.of([run.returns[-1] for run in self.runs])

    def curve(self) -> Curve:
        """Return the training returns over the steps that all runs have, interpolated linearly."""
        start, end = max(run.steps[0] for run in self.runs), min(run.steps[-1] for run in self.runs)
        steps = np.linspace(start, max(start, end), CURVE_POINTS)
        returns = np.stack([np.interp(steps, run.steps, run.returns) for run in self.runs])
        low, high = confidence_interval(returns)
        return Curve(steps=steps, iqm=interquartile_mean(returns), low=low, high=high)

    def to_dict(self) -> dict[str, Any]:
        """Return what a comparison says of the group, as plain values."""
        scores = {**{policy: self.evaluated(policy) for policy in POLICIES}, "training": self.trained()}
        return {
            "task": self.task,
            "label": self.label,
            "seeds": [run.settings.seed for run in self.runs],
            "runs": [str(run.path) for run in self.runs],
            **{name: score and dataclasses.asdict(score) for name, score in scores.items()},
        }


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Group runs by task and algorithm, and by all other settings but the seed.

    Raises
    ------
    ValueError
        If two runs of a group have the same seed: they would count as independent.
    """
    grouped: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.settings.task, run.settings.algorithm, run.settings.seed)):
        key = [run.settings.task, run.settings.algorithm, sorted(run.setting_values().items())]
        grouped.setdefault(_text(key), []).append(run)
    groups = list(grouped.values())
    for group in groups:
        for first, second in itertools.pairwise(group):
            if first.settings.seed == second.settings.seed:
                raise ValueError(f"{first.path} and {second.path} have the same settings and the same seed.")
    return [
        Group(task=group[0].settings.task, label=_label(group[0], [other[0] for other in groups]), runs=tuple(group))
        for group in groups
    ]


def _text(value: Any) -> str:
    """Return a value as JSON that is the same for equal values: 1 and 1.0 are one number, and True is none."""
    return json.dumps(_with_floats(value))


def _with_floats(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_with_floats(each) for each in value]
    if isinstance(value, dict):
        return {name: _with_floats(each) for name, each in value.items()}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _label(run: Run, others: Iterable[Run]) -> str:
    """Return the run's algorithm and the settings in which it differs from others of that algorithm on its task."""
    settings = run.settings
    same = [o for o in others if (o.settings.task, o.settings.algorithm) == (settings.task, settings.algorithm)]
    values = [other.setting_values() for other in same]
    own = run.setting_values()
    differing = [
        name for name in own if any(name not in value or _text(value[name]) != _text(own[name]) for value in values)
    ]
    return settings.algorithm + (f" ({', '.join(f'{name}={own[name]}' for name in differing)})" if differing else "")
