"""What a training shows on screen."""

import sys
import time
from contextlib import suppress
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import safe_mean


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
