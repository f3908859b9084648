"""What a training shows on screen, and the checkpoints it writes: Stable-Baselines3 callbacks of the command line."""

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean

from rpo.persistence import PersistentModel


class ProgressDisplay(BaseCallback):
    """A bar with return and steps/s on a terminal, and a plain line every few seconds elsewhere.

    Parameters
    ----------
    total_timesteps
        Steps at which the training ends.
    interval
        Seconds between plain lines.
    """

    def __init__(self, total_timesteps: int, interval: float = 5.0) -> None:
        super().__init__()
        self.total_timesteps = total_timesteps
        self.interval = interval
        self._bar: Any = None
        self._last_line = 0.0

    def _on_training_start(self) -> None:
        self._start, self._steps_before = time.perf_counter(), self.num_timesteps
        if sys.stdout.isatty():
            with suppress(ImportError):  # the extra `logs` brings it; plain lines do without
                from tqdm import tqdm

                self._bar = tqdm(total=self.total_timesteps, initial=self.num_timesteps, unit=" steps", unit_scale=True)

    def _on_rollout_start(self) -> None:
        self._show()

    def _on_step(self) -> bool:
        if self._bar is not None:
            self._bar.update(self.num_timesteps - self._bar.n)
        return True

    def _on_training_end(self) -> None:
        self._last_line = 0.0
        self._show()
        if self._bar is not None:
            self._bar.close()

    def _show(self) -> None:
        episodes = self.model.ep_info_buffer
        value = f"{safe_mean([episode['r'] for episode in episodes]):.1f}" if episodes else "none yet"
        if self._bar is not None:
            self._bar.set_postfix_str(f"return {value}")
        elif time.perf_counter() - self._last_line >= self.interval and self.num_timesteps > self._steps_before:
            self._last_line = time.perf_counter()
            steps = self.model.num_timesteps
            speed = (steps - self._steps_before) / (self._last_line - self._start)
            print(
                f"{steps:>10,} / {self.total_timesteps:,} steps   return {value:>9}   {speed:,.0f} steps/s", flush=True
            )


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
    """

    def __init__(self, folder: Path, every: int, keep: int = 3) -> None:
        super().__init__()
        self.folder, self.every, self.keep = folder, every, keep

    def _on_training_start(self) -> None:
        if self.model.num_timesteps == 0:
            self.save()
        self._last = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps - self._last >= self.every:
            self.save()

    def save(self) -> None:
        """Write a checkpoint of where the training stands, and delete the oldest beyond `keep`."""
        assert isinstance(self.model, PersistentModel)
        self._last = self.model.num_timesteps
        self.model.save_training(self.folder / f"steps_{self._last:012d}.zip")
        for old in checkpoint_files(self.folder)[self.keep :]:
            old.unlink()


def checkpoint_files(folder: Path) -> list[Path]:
    """Return the training checkpoints of a folder, newest first."""
    return sorted(folder.glob("steps_*.zip"), reverse=True)
