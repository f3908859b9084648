"""A live view of running environments in the browser."""

from __future__ import annotations

import math
import time

import numpy as np
import viser

from diffenvs.quaternions import rotate
from diffenvs.rendering.browser import BrowserScene, prepare, quiet
from diffenvs.rendering.view import TaskView
from diffenvs.state import State

MOST_SHOWN = 16
"""Environments that can be shown side by side."""
SPACING = 2.5
"""Of environments side by side, as a multiple of a robot's size."""
FORCE_COLOUR = (220, 40, 40)
NAP = 0.02
"""Time between two looks at whether the view is still paused [s]."""


class LiveView:
    """Shows environments while they run, with controls for pause, speed, number and contact forces.

    Parameters
    ----------
    view
        Of the task.
    num_envs
        Environments that run.
    dt
        Length of a control step [s].

    Attributes
    ----------
    url : str
        Where a browser finds it.
    """

    def __init__(self, view: TaskView, num_envs: int, dt: float) -> None:
        self._view, self._dt, scene = view, dt, view.scene
        self._server = viser.ViserServer(host="127.0.0.1", label="diffenvs", verbose=False)
        self.url = f"http://127.0.0.1:{self._server.get_port()}"
        shown = min(num_envs, MOST_SHOWN)
        side, spacing = math.ceil(math.sqrt(shown)), SPACING * scene.radius
        half = 0.5 * (side - 1)
        places = [(spacing * (i % side - half), spacing * (i // side - half)) for i in range(shown)]
        self._ground = prepare(self._server, scene, extent=spacing * half)
        self._robots = [BrowserScene(self._server, scene, f"robot{i}", place) for i, place in enumerate(places)]
        self._forces = self._server.scene.add_line_segments(
            "/forces", np.zeros((1, 2, 3)), FORCE_COLOUR, thickness=0.02 * scene.radius
        )
        self.paused = self._server.gui.add_checkbox("Pause", False)
        self.speed = self._server.gui.add_slider("Speed", 0.1, 4.0, 0.1, 1.0, hint="1 is real time")
        self.count = self._server.gui.add_slider("Environments", 1, max(2, shown), 1, shown, disabled=shown == 1)
        self.forces = self._server.gui.add_checkbox("Contact forces", False)
        self._next = time.perf_counter()

    def show(self, state: State) -> None:
        """Show a state as soon as the view is not paused and its time has come."""
        while self.paused.value:
            time.sleep(NAP)
        self._next = max(self._next + self._dt / self.speed.value, time.perf_counter() - NAP)
        time.sleep(max(0.0, self._next - time.perf_counter()))
        links, ghosts = self._view.poses(state)
        ground = np.zeros(3)
        with self._server.atomic():
            for i, robot in enumerate(self._robots):
                robot.visible = i < self.count.value
                offset = robot.show(links[i], ghosts[i])
                ground = offset if i == 0 else ground
            if self._ground is not None:
                self._ground.position = ground
            self._show_forces(state, links)

    def _show_forces(self, state: State, links: np.ndarray) -> None:
        """Draw the force on each touched link, of the weight's size as long as the robot."""
        self._forces.visible = self.forces.value
        if not self.forces.value:
            return
        scene, segments = self._view.scene, []
        points, forces = self._view.contact_forces(state)
        for i in range(min(len(self._robots), int(self.count.value))):
            shift = self._robots[i].shift
            touched = np.linalg.norm(forces[i], axis=-1) > 0.0
            start = rotate(scene.rotation, points[i][touched]) + shift
            arrow = rotate(scene.rotation, forces[i][touched]) * (scene.radius / self._view.weight)
            segments.append(np.stack([start, start + arrow], axis=1))
        found = np.concatenate(segments)
        self._forces.points = (found if len(found) else np.zeros((1, 2, 3))).astype(np.float32)

    def close(self) -> None:
        """Stop the server."""
        with quiet():
            self._server.stop()
