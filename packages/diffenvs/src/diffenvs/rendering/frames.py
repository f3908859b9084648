"""Frames of a scene, drawn by MuJoCo's renderer, on a screen or without one."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib
import os
import sys
import weakref
from typing import Any

import numpy as np

from diffenvs.model import Capsule, Sphere
from diffenvs.quaternions import from_z
from diffenvs.rendering.scene import CHECKER, GHOST_OPACITY, Colour, Scene, turned
from diffenvs.rendering.view import TaskView
from diffenvs.state import State

try:
    import mujoco as untyped
except ImportError as error:
    raise ImportError("rendering needs MuJoCo: pip install 'diffenvs[render]'.") from error

mujoco: Any = untyped  # a compiled module without types

LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
"""Ways to draw without a screen on Linux, by the value of MUJOCO_GL that chooses them, and their libraries."""
ADVICE = "To draw without a screen or a GPU on Debian or Ubuntu: apt install libegl1 libegl-mesa0 libgl1-mesa-dri"
AZIMUTH, ELEVATION, FIELD_OF_VIEW = 145.0, -18.0, 40.0
"""Of the camera [degrees]: about z, over the horizon, and vertically."""
SHADOW_SIZE = 2048
"""Edge of the map of shadows [pixels]."""


class FrameRenderer:
    """Draws states of one scene.

    Parameters
    ----------
    scene
        What to draw.
    height, width
        Of the frames [pixels].

    Raises
    ------
    RuntimeError
        If the system has no OpenGL that draws without a screen; the message says what to install.
    """

    def __init__(self, scene: Scene, height: int, width: int) -> None:
        self._scene = scene
        self._model = _specification(scene, height, width).compile()
        self._data = mujoco.MjData(self._model)
        self._camera = mujoco.MjvCamera()
        self._camera.azimuth, self._camera.elevation = AZIMUTH, ELEVATION
        self._camera.distance = 1.15 * scene.radius / np.sin(np.radians(FIELD_OF_VIEW / 2))
        self._options, self._drawn = mujoco.MjvOption(), mujoco.MjvScene(self._model, maxgeom=1000)
        self._view = mujoco.MjrRect(0, 0, width, height)
        self._context = _make_context(width, height)
        self._renderer = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._renderer)
        self._free = weakref.finalize(self, _free, self._context, self._renderer)
        self._free.atexit = False  # by then MuJoCo has closed the display

    def draw(self, poses: np.ndarray, ghosts: np.ndarray) -> np.ndarray:
        """Draw one state.

        Parameters
        ----------
        poses
            Position [m] and quaternion (x, y, z, w) of each link in the model's world, (links, 7).
        ghosts
            The same of each of the scene's ghosts, (ghosts, 7).

        Returns
        -------
        numpy.ndarray
            Red, green and blue, (height, width, 3) uint8.
        """
        self._pose(poses, ghosts)
        self._context.make_current()
        mujoco.mjv_updateScene(
            self._model, self._data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._drawn
        )
        mujoco.mjr_render(self._view, self._drawn, self._renderer)
        frame = np.empty((self._view.height, self._view.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(frame, None, self._view, self._renderer)
        return np.flipud(frame).copy()

    def close(self) -> None:
        """Release what the graphics system holds; the renderer cannot be used afterwards."""
        self._free()

    def _pose(self, poses: np.ndarray, ghosts: np.ndarray) -> None:
        """Put the links, the camera and the light where they belong."""
        upright = turned(np.concatenate([poses, ghosts]), self._scene.rotation)
        look_at = self._scene.look_at(upright)
        self._camera.lookat = look_at
        self._data.mocap_pos[:] = np.concatenate([upright[:, :3], look_at[np.newaxis]])
        self._data.mocap_quat[:-1] = upright[:, [6, 3, 4, 5]]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)


def _free(context: Any, renderer: Any) -> None:
    """Release a renderer's objects, which have their names in its own context only."""
    context.make_current()
    renderer.free()
    context.free()


def _specification(scene: Scene, height: int, width: int) -> Any:
    """Describe sky, ground, light and, as bodies that are placed by hand, the links, the ghosts and the light's rig."""
    spec = mujoco.MjSpec()
    spec.visual.global_.offheight, spec.visual.global_.offwidth = height, width
    spec.visual.global_.fovy = FIELD_OF_VIEW
    spec.visual.quality.shadowsize = SHADOW_SIZE
    spec.visual.headlight.ambient, spec.visual.headlight.diffuse = [0.35] * 3, [0.45] * 3
    spec.visual.headlight.specular = [0.1] * 3
    spec.visual.map.znear, spec.visual.map.zfar, spec.visual.map.shadowclip = 0.01, 100.0, 3.0
    spec.stat.extent, spec.stat.center = 2.0 * scene.radius, [0.0, 0.0, 0.0]
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.55, 0.72, 0.90],
        rgb2=[0.95, 0.97, 1.0],
        width=256,
        height=256,
    )
    if scene.ground:
        _add_ground(spec)
    bodies = [spec.worldbody.add_body(mocap=True) for _ in range(scene.links)]
    for i, shape, colour in scene.shapes:
        _add_shape(bodies[i], shape, colour)
    for link in scene.ghosts:
        body = spec.worldbody.add_body(mocap=True)
        for i, shape, colour in scene.shapes:
            if i == link:
                _add_shape(body, shape, (*colour[:3], GHOST_OPACITY))
    rig = spec.worldbody.add_body(mocap=True)
    rig.add_light(
        pos=[-1.0 * scene.radius, -1.5 * scene.radius, 4.0 * scene.radius],
        dir=[0.25, 0.375, -1.0],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=True,
        diffuse=[0.6] * 3,
        specular=[0.2] * 3,
    )
    return spec


def _add_ground(spec: Any) -> None:
    spec.add_texture(
        name="ground",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
        rgb1=[0.82, 0.84, 0.86],
        rgb2=[0.70, 0.73, 0.76],
        width=256,
        height=256,
    )
    material = spec.add_material(name="ground", texuniform=True, texrepeat=[0.5 / CHECKER] * 2)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "ground"
    spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 1.0], material="ground")


def _add_shape(body: Any, shape: Any, colour: Colour) -> None:
    """Add a shape of a link to its body."""
    if isinstance(shape, Sphere):
        kind, size, rotation = mujoco.mjtGeom.mjGEOM_SPHERE, [shape.radius, 0.0, 0.0], (0.0, 0.0, 0.0, 1.0)
    elif isinstance(shape, Capsule):
        kind, size = mujoco.mjtGeom.mjGEOM_CAPSULE, [shape.radius, shape.half_length, 0.0]
        rotation = from_z(np.array(shape.axis))
    else:
        kind, size, rotation = mujoco.mjtGeom.mjGEOM_BOX, list(shape.half_extents), shape.rotation
    x, y, z, w = rotation
    body.add_geom(type=kind, size=size, pos=shape.position, quat=[w, x, y, z], rgba=colour)


def _make_context(width: int, height: int) -> Any:
    """Make an OpenGL context current: on Linux one that needs no screen, elsewhere MuJoCo's own choice."""
    chosen = os.environ.get("MUJOCO_GL")
    if sys.platform == "linux" and not chosen:
        chosen = next((name for name, library in LIBRARIES.items() if ctypes.util.find_library(library)), None)
        if chosen is None:
            raise RuntimeError(f"found none of {', '.join(LIBRARIES.values())} to draw with. {ADVICE}")
    # Mesa's software renderer and Triton, which PyTorch for CUDA imports late, bring an LLVM each. Triton's crashes the
    # process where Mesa's was loaded before it; the other way round both work.
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
    try:
        if chosen == "egl":
            from mujoco.egl import GLContext
        elif chosen == "osmesa":
            from mujoco.osmesa import GLContext
        else:
            from mujoco.gl_context import GLContext
        context = GLContext(width, height)
        context.make_current()
        return context
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise RuntimeError(f"OpenGL cannot draw here: {error}. {ADVICE}") from error


class TaskFrames:
    """Frames of a task's environments, one each.

    Parameters
    ----------
    view
        Of the task.
    height, width
        Of the frames [pixels].
    """

    def __init__(self, view: TaskView, height: int, width: int) -> None:
        self._view = view
        self.renderer = FrameRenderer(view.scene, height, width)

    def draw(self, state: State) -> tuple[np.ndarray, ...]:
        """Draw all environments, (height, width, 3) uint8 each."""
        return tuple(self.renderer.draw(*poses) for poses in zip(*self._view.poses(state), strict=True))

    def close(self) -> None:
        """Release what the graphics system holds."""
        self.renderer.close()
