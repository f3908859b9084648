"""Frames, the live view and replays of a task's environments; what draws them is loaded when it is needed first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from diffenvs.checks import check_count
from diffenvs.envs.arguments import check_render_mode
from diffenvs.simulator import Simulator
from diffenvs.state import State
from diffenvs.tasks.base import AbstractTask

if TYPE_CHECKING:
    from diffenvs.rendering.browser import TaskReplay
    from diffenvs.rendering.frames import TaskFrames
    from diffenvs.rendering.live import LiveView
    from diffenvs.rendering.view import TaskView

RENDER_MODES = ["rgb_array", "human"]


class Pictures:
    """What is seen of a task's environments.

    Parameters
    ----------
    task
        The task.
    mode
        One of `RENDER_MODES`, or None.
    height, width
        Of the frames [pixels].

    Raises
    ------
    ValueError
        If an argument has another value.
    """

    def __init__(self, task: AbstractTask, mode: str | None, height: int, width: int) -> None:
        self.mode = check_render_mode(mode, RENDER_MODES)
        self._task = task
        self._size = check_count("height", height), check_count("width", width)
        self._frames: TaskFrames | None = None
        self._live: LiveView | None = None

    def draw(self, simulator: Simulator, state: State) -> tuple[np.ndarray, ...] | None:
        """Draw all environments, a frame each, or show them in the live view."""
        if self.mode is None:
            gymnasium.logger.warn("render does nothing without a render_mode, such as 'rgb_array'.")
            return None
        if self.mode == "human":
            self._live_view(simulator, state).show(state)
            return None
        if self._frames is None:
            from diffenvs.rendering.frames import TaskFrames

            self._frames = TaskFrames(self._view(simulator, state), *self._size)
        return self._frames.draw(state)

    def _live_view(self, simulator: Simulator, state: State) -> LiveView:
        if self._live is None:
            from diffenvs.rendering.live import LiveView

            self._live = LiveView(self._view(simulator, state), simulator.num_envs, simulator.model.dt)
        return self._live

    def record(self, simulator: Simulator, state: Callable[[], State], environment: int, every: int) -> TaskReplay:
        """Begin a replay of an environment; `state` returns the present one."""
        if not 0 <= environment < simulator.num_envs:
            raise ValueError(f"`environment` must be in [0, {simulator.num_envs}). Got {environment!r}.")
        from diffenvs.rendering.browser import TaskReplay

        view = self._view(simulator, state())
        return TaskReplay(view, state, environment, simulator.model.dt, check_count("every", every))

    def _view(self, simulator: Simulator, state: State) -> TaskView:
        from diffenvs.rendering.view import TaskView

        return TaskView(self._task, simulator, state)

    def close(self) -> None:
        """Release what draws."""
        for view in (self._frames, self._live):
            if view is not None:
                view.close()
        self._frames = self._live = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what draws, which cannot be copied and is made again when it is needed."""
        return {**self.__dict__, "_frames": None, "_live": None}
