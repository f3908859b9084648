"""Scenes in a web browser, drawn by viser: replays that are files, and a live view."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffenvs.model import Box, Capsule, Sphere
from diffenvs.quaternions import from_z
from diffenvs.rendering.scene import CHECKER, GHOST_OPACITY, Colour, Scene, turned
from diffenvs.rendering.view import TaskView
from diffenvs.state import State

try:
    import trimesh
    import viser
except ImportError as error:
    raise ImportError("views in the browser need viser: pip install 'diffenvs[render]'.") from error

CAMERA = np.array([1.8, -1.25, 0.95])
"""From what is looked at to the camera, in radii of what is framed."""


class BrowserScene:
    """A scene among the nodes of a viser server.

    The anchor stays where it is over the ground, and the ground moves below it, so that no camera has to follow.

    Parameters
    ----------
    server
        Viser's server.
    scene
        What to show.
    name
        Of the node that all of it hangs on.
    position
        Where the anchor stays, from the origin [m].
    """

    def __init__(
        self, server: viser.ViserServer, scene: Scene, name: str = "robot", position: Sequence[float] = (0.0, 0.0)
    ) -> None:
        self._scene = scene
        self._position = np.array([*position, 0.0])
        self._root = server.scene.add_frame(f"/{name}", show_axes=False)
        self.shift = np.zeros(3)
        """From the pictures' world to where things are shown, (3,) [m]."""
        nodes = [f"{name}/link{i}" for i in range(scene.links)] + [f"{name}/ghost{i}" for i in scene.ghosts]
        self._nodes = [server.scene.add_frame(f"/{node}", show_axes=False) for node in nodes]
        for k, (i, shape, colour) in enumerate(scene.shapes):
            _add_shape(server, f"/{name}/link{i}/shape{k}", shape, colour)
            if i in scene.ghosts:
                _add_shape(server, f"/{name}/ghost{i}/shape{k}", shape, (*colour[:3], GHOST_OPACITY))

    def show(self, poses: np.ndarray, ghosts: np.ndarray) -> np.ndarray:
        """Put links (links, 7) and ghosts (ghosts, 7) where they are; returns where the ground's pattern is, (3,)."""
        upright = turned(np.concatenate([poses, ghosts]), self._scene.rotation)
        self.shift = self._position - self._scene.look_at(upright) * [1.0, 1.0, 0.0]
        for node, pose in zip(self._nodes, upright, strict=True):
            node.position = pose[:3] + self.shift
            node.wxyz = pose[[6, 3, 4, 5]]
        return np.mod(self.shift, 2.0 * CHECKER)

    @property
    def visible(self) -> bool:
        """Whether it is shown."""
        return self._root.visible

    @visible.setter
    def visible(self, value: bool) -> None:
        self._root.visible = value


def prepare(server: viser.ViserServer, scene: Scene, extent: float = 0.0) -> Any:
    """Set up light, ground and camera for a scene, or several within `extent` [m]; returns the ground, if any."""
    server.scene.set_up_direction("+z")
    server.scene.configure_environment_map(None)  # the others would be loaded from the network
    server.scene.configure_default_lights(cast_shadow=True)
    server.scene.add_light_ambient("/ambient", intensity=1.2)
    look_at = np.array([0.0, 0.0, scene.centre[2]])
    server.initial_camera.look_at = look_at
    server.initial_camera.position = look_at + CAMERA * (scene.radius + extent)
    if not scene.ground:
        return None
    return server.scene.add_grid(
        "/ground",
        infinite_grid=True,
        cell_size=CHECKER,
        section_size=2.0 * CHECKER,
        fade_distance=30.0 * max(scene.radius, 1.0),
        plane_color=(225, 228, 232),
        plane_opacity=1.0,
    )


class Replay:
    """Records the poses of a scene and writes them as one HTML file that plays in any browser, without a network.

    Parameters
    ----------
    scene
        What is recorded.
    dt
        Time between two recorded states [s].
    """

    def __init__(self, scene: Scene, dt: float) -> None:
        self._scene, self._dt = scene, dt
        self._states: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, poses: np.ndarray, ghosts: np.ndarray) -> None:
        """Record a state: poses of links (links, 7) and ghosts (ghosts, 7)."""
        self._states.append((poses.copy(), ghosts.copy()))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the recording to an HTML file.

        Raises
        ------
        ValueError
            If nothing was recorded.
        """
        if not self._states:
            raise ValueError("there is nothing to write: no state was added to this replay.")
        with quiet():
            server = viser.ViserServer(host="127.0.0.1", verbose=False)  # the recorder is part of it
        try:
            ground = prepare(server, self._scene)
            drawn = BrowserScene(server, self._scene)
            drawn.show(*self._states[0])
            recorder = server.get_scene_serializer()
            for state in self._states:
                offset = drawn.show(*state)
                if ground is not None:
                    ground.position = offset
                recorder.insert_sleep(self._dt)
            text = recorder.as_html()
        finally:
            with quiet():
                server.stop()
        Path(path).write_text(text)


class TaskReplay:
    """Recorder of one of a task's environments, to be written as an HTML file that plays in any browser.

    Parameters
    ----------
    view
        Of the task.
    state
        Returns the present state of all environments.
    environment
        Index of the one that is recorded.
    dt
        Length of a control step [s].
    every
        Control steps from one call of :meth:`add` that records to the next.
    """

    def __init__(self, view: TaskView, state: Callable[[], State], environment: int, dt: float, every: int) -> None:
        self._view, self._state, self._environment, self._every = view, state, environment, every
        self._replay = Replay(view.scene, dt * every)
        self._calls = 0

    def add(self) -> None:
        """Record the present state; to be called once after the reset and after every step."""
        if self._calls % self._every == 0:
            links, ghosts = self._view.poses(self._state())
            self._replay.add(links[self._environment], ghosts[self._environment])
        self._calls += 1

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write what was recorded; see :meth:`diffenvs.rendering.browser.Replay.write`."""
        self._replay.write(path)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep viser from printing its banner."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _add_shape(server: viser.ViserServer, name: str, shape: Any, colour: Colour) -> None:
    """Add a shape below the node of its link."""
    rotation = shape.rotation if isinstance(shape, Box) else (0.0, 0.0, 0.0, 1.0)
    if isinstance(shape, Sphere):
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=shape.radius)
    elif isinstance(shape, Capsule):
        rotation = from_z(np.array(shape.axis))
        mesh = trimesh.creation.capsule(height=2.0 * shape.half_length, radius=shape.radius, count=[24, 24])
    else:
        mesh = trimesh.creation.box(extents=2.0 * np.array(shape.half_extents))
    x, y, z, w = rotation
    server.scene.add_mesh_simple(
        name,
        vertices=mesh.vertices,
        faces=mesh.faces,
        color=colour[:3],
        opacity=colour[3] if colour[3] < 1.0 else None,
        flat_shading=isinstance(shape, Box),
        position=shape.position,
        wxyz=(w, x, y, z),
    )
