"""Checkpoints of a training: written while it runs, and the newest readable one found again."""

import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from stable_baselines3.common.callbacks import BaseCallback

from rpo.algorithms import algorithm_of
from rpo.checkpoint import CheckpointError, trained_steps
from rpo.interruption import StopSignals, TrainingStopped
from rpo.logs import read_progress
from rpo.persistence import PersistentModel
from rpo.runs import RunFolder

ModelT = TypeVar("ModelT")
CHECKPOINT = re.compile(r"steps_\d+\.zip")
"""Names of training checkpoints; a copy of one under another name is none."""


class TrainingCheckpoints(BaseCallback):
    """Save the training at its start and between two windows every so many steps, and keep the last few files.

    Parameters
    ----------
    folder
        Folder of the files `steps_<number>.zip`.
    every
        Environment steps between two of them.
    keep
        Files to keep.
    signals
        Those that end the training at its next window, with a last checkpoint (`TrainingStopped`).
    """

    def __init__(self, folder: Path, every: int, keep: int, signals: StopSignals) -> None:
        super().__init__()
        self.folder, self.every, self.keep, self.signals = folder, every, keep, signals

    def _on_training_start(self) -> None:
        if self.model.num_timesteps == 0:
            self.save()
        self._last = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        number = self.signals.received  # read once: a signal after this ends the next window
        if number is not None or self.model.num_timesteps - self._last >= self.every:
            self.save()
        if number is not None:
            raise TrainingStopped(number)

    def save(self) -> None:
        """Write a checkpoint of where the training stands, and delete the oldest beyond `keep`."""
        assert isinstance(self.model, PersistentModel)
        self._last = self.model.num_timesteps
        self.model.save_training(self.folder / f"steps_{self._last:012d}.zip")
        for old in checkpoint_files(self.folder)[self.keep :]:
            old.unlink()


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the training checkpoints of a folder, newest first."""
    return sorted((path for path in folder.glob("steps_*.zip") if CHECKPOINT.fullmatch(path.name)), reverse=True)


def steps_of(path: Path) -> int:
    """Return the environment steps that the name of a training checkpoint tells."""
    return int(path.stem.removeprefix("steps_"))


def steps_done(folder: RunFolder) -> int:
    """Return the environment steps that a run has logged, or has a checkpoint of, whichever are more."""
    rows = read_progress(folder.progress) if folder.progress.exists() else []
    logged = [int(row["time/total_timesteps"]) for row in rows[-1:]]
    return max([0, *logged, *map(steps_of, checkpoint_files(folder.checkpoints)[:1])])


def load_first(folder: RunFolder, paths: Iterable[Path], load: Callable[[Path], ModelT]) -> tuple[ModelT, list[Path]]:
    """Load the first file that can be read; say on stderr why others before it could not.

    Parameters
    ----------
    folder
        Of the run that is to have them, for a message.
    paths
        Files, the best first.
    load
        What reads one, and raises CheckpointError where it cannot.

    Returns
    -------
    tuple
        What was loaded, and the files that could not be.

    Raises
    ------
    CheckpointError
        If no file can be read. It gives the reason of each.
    """
    reasons: dict[Path, CheckpointError] = {}
    for path in paths:
        try:
            return load(path), list(reasons)
        except CheckpointError as error:
            print(f"skipping a file: {error}", file=sys.stderr)
            reasons[path] = error
    none = f"There is no checkpoint that can be read in {folder.path}."
    raise CheckpointError(" ".join([none, *map(str, reasons.values())]))


def load_trained(folder: RunFolder, device: torch.device | str = "auto") -> PersistentModel[Any]:
    """Load what a run has trained longest: its model, or a checkpoint where the training went on after the model.

    Parameters
    ----------
    folder
        The run's folder.
    device
        Device of the networks.

    Raises
    ------
    CheckpointError
        If neither the model nor a checkpoint can be read.
    """

    def steps(path: Path) -> float:
        try:
            return trained_steps(path)
        except CheckpointError:
            return math.inf  # tried, to say what is wrong with it
        except FileNotFoundError:
            return -1  # no model yet, or a checkpoint that the training has deleted since

    algorithm = algorithm_of(folder.read_settings().algorithm)
    trained = {path: steps(path) for path in (folder.model, *checkpoint_files(folder.checkpoints))}
    files = sorted((path for path in trained if trained[path] >= 0), key=trained.__getitem__, reverse=True)
    return load_first(folder, files, lambda path: algorithm.load(path, device=device))[0]


def set_aside(path: Path) -> None:
    """Rename a checkpoint that could not be read, so that it no longer counts as one."""
    path.rename(path.with_name(f"{path.name}.refused"))
