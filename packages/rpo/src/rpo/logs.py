"""A run's log files, whole after the process that wrote them was killed, and without doubled rows once it goes on."""

import csv
import io
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, TensorBoardOutputFormat, filter_excluded_keys
from stable_baselines3.common.utils import safe_mean

from rpo.files import replacing


def read_progress(path: Path) -> list[dict[str, str]]:
    """Return the rows of a progress.csv, values as text, empty where a window had none.

    A last row without its line end is left out: its writer was killed, or is at it.
    """
    text = path.read_text()
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))


def dump_progress(model: BaseAlgorithm, iteration: int) -> None:
    """Write the numbers of a window, and how far training has come, to the outputs of a model's logger.

    As the algorithms of Stable-Baselines3 do it, but with the time in parts of a second [s]: a window may be shorter.
    """
    episodes, logger = model.ep_info_buffer, model.logger
    assert episodes is not None
    elapsed = max((time.time_ns() - model.start_time) / 1e9, sys.float_info.epsilon)
    if episodes:
        logger.record("rollout/ep_rew_mean", safe_mean([episode["r"] for episode in episodes]))
        logger.record("rollout/ep_len_mean", safe_mean([episode["l"] for episode in episodes]))
    if model.ep_success_buffer:
        logger.record("rollout/success_rate", safe_mean(model.ep_success_buffer))
    logger.record("time/iterations", iteration, exclude="tensorboard")
    logger.record("time/fps", int((model.num_timesteps - model._num_timesteps_at_start) / elapsed))
    logger.record("time/time_elapsed", round(elapsed, 3), exclude="tensorboard")
    logger.record("time/total_timesteps", model.num_timesteps, exclude="tensorboard")
    logger.dump(step=model.num_timesteps)


def plain(value: Any) -> Any:
    """Return a NumPy number as the Python number that JSON keeps of it, and anything else as it is."""
    return value.item() if isinstance(value, np.number) else value


@dataclass(frozen=True, kw_only=True)
class InterruptedLearn:
    """Where a call of `learn` stands between two windows: the logs of a resumed one go on as if it had never ended."""

    first_timestep: int
    """Environment steps before it."""
    nanoseconds: int
    """Time since it began [ns]."""
    not_logged_yet: dict[str, tuple[float, int, tuple[str, ...]]]
    """Scalars that wait for the next output, by name: value, count of what it averages, and outputs without it."""

    @classmethod
    def of(cls, model: BaseAlgorithm) -> Self:
        """Return where the model's `learn` stands."""
        logger = model.logger
        return cls(
            first_timestep=model._num_timesteps_at_start,
            nanoseconds=time.time_ns() - model.start_time,
            not_logged_yet={
                name: (plain(value), logger.name_to_count[name], logger.name_to_excluded[name])
                for name, value in logger.name_to_value.items()
                if isinstance(value, (int, float, np.number))
            },
        )

    def restore(self, model: BaseAlgorithm) -> None:
        """Let the `learn` that has just begun be the one that was interrupted."""
        model._num_timesteps_at_start = self.first_timestep
        model.start_time -= self.nanoseconds
        for name, (value, count, excluded) in self.not_logged_yet.items():
            model.logger.name_to_value[name], model.logger.name_to_count[name] = value, count
            model.logger.name_to_excluded[name] = tuple(excluded)


class ProgressTable(KVWriter):
    """Stable-Baselines3's log as a CSV file of whole rows, with columns in the order in which they first came.

    Stable-Baselines3's own `CSVOutputFormat` rewrites the file in its place whenever a column comes up: a process
    killed there leaves a torn table.

    Parameters
    ----------
    path
        File to write; an existing one is replaced.
    rows
        Rows to start with, as `read_progress` gives them.
    """

    def __init__(self, path: Path, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.path = path
        self.columns = list(rows[0]) if rows else []
        self._rewrite(rows)

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        """Append one row."""
        values = filter_excluded_keys(key_values, key_excluded, "csv")
        new = [name for name in values if name not in self.columns]
        if new:
            self._file.close()
            self.columns += new
            self._rewrite(read_progress(self.path))
        self._writer.writerow({name: plain(value) for name, value in values.items()})
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the file by one with all columns and these rows, and open it for more."""
        with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            table = self._table(file)
            table.writeheader()
            table.writerows(rows)
        self._file = self.path.open("a", newline="")
        self._writer = self._table(self._file)

    def _table(self, file: io.TextIOWrapper) -> csv.DictWriter:
        return csv.DictWriter(file, self.columns, restval="", lineterminator="\n")


def tensorboard_from(folder: Path, steps: int) -> TensorBoardOutputFormat:
    """Return a writer of TensorBoard's events after a number of steps; what is there of later ones is shown no more.

    Raises
    ------
    ImportError
        If TensorBoard is not installed.
    """
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog

    _wait_for_a_later_name(folder)
    output = TensorBoardOutputFormat(str(folder))
    assert output.writer.file_writer is not None
    # Readers drop the events that a file before this one has from the step of this mark on.
    output.writer.file_writer.add_event(Event(step=steps + 1, session_log=SessionLog(status=SessionLog.START)))
    return output


def _wait_for_a_later_name(folder: Path) -> None:
    """Let the second pass in which a file of events was made: readers take files in the order of their names."""
    now = time.time()
    if list(folder.glob(f"events.out.tfevents.{int(now)}.*")):
        time.sleep(int(now) + 1.01 - now)
