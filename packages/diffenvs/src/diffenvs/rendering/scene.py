"""What is seen of a model: coloured primitives on links, and where a camera looks. Knows no renderer.

Pictures have z up, whatever is up in the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffenvs.model import Box, Capsule, JointType, Material, Model, Shape
from diffenvs.quaternions import conjugate, from_z, product, rotate

Colour = tuple[float, float, float, float]
"""Red, green, blue and opacity, 0 to 1."""

TORSO: Colour = (0.90, 0.62, 0.0, 1.0)
LIMBS: tuple[Colour, ...] = (
    (0.34, 0.71, 0.91, 1.0),
    (0.0, 0.62, 0.45, 1.0),
    (0.80, 0.47, 0.65, 1.0),
    (0.0, 0.45, 0.70, 1.0),
    (0.84, 0.37, 0.0, 1.0),
)
"""Of the branches of a tree in turn. Okabe and Ito's palette, which the colour-blind can tell apart."""
PALE = 0.35
"""Share of white that every second link along a branch has, so that joints are seen."""
SLIMMER = 0.01
"""Part of its radius that every second link along a branch loses, because surfaces that coincide flicker."""
IDLE = Material(stiffness=0.0, damping=0.0, tangential_damping=0.0, friction=0.0)
BONE: Colour = (0.35, 0.37, 0.40, 1.0)
BONE_RADIUS = 0.012
"""Of the rods that join what a robot's shapes leave apart, as a part of its size."""
GHOST_OPACITY = 0.3
CHECKER = 1.0
"""Edge of a square on the ground [m]; origins move by whole multiples of two, so that the pattern stays."""
CLOSEST = 0.1
"""Least radius of what the camera frames [m]."""


@dataclass(frozen=True)
class Scene:
    """A model to be drawn."""

    links: int
    """Number of links."""
    shapes: tuple[tuple[int, Shape, Colour], ...]
    """Index of the link, shape in the link's frame, and colour."""
    ghosts: tuple[int, ...]
    """Indices of the links that are drawn a second time, translucent."""
    ground: bool
    rotation: np.ndarray
    """Quaternion (x, y, z, w) that turns the model's up into z."""
    anchor: int
    """Index of the link that the camera follows over the ground."""
    centre: np.ndarray
    """What the camera looks at: horizontally from the anchor, and height, z up, (3,) [m]."""
    radius: float
    """Of what the camera frames [m]."""

    @classmethod
    def of(cls, model: Model, start_pose: np.ndarray, ghosts: Sequence[str] = ()) -> Scene:
        """Compose the scene of a model.

        Parameters
        ----------
        model
            The robot.
        start_pose
            Poses of the links at the start, which the camera frames, (links, 7).
        ghosts
            Names of links that are drawn a second time, translucent.
        """
        colours, levels = _colours(model), _levels(model)
        shapes = tuple(
            (i, _slim(shape, levels[i]), colours[i]) for i, link in enumerate(model.links) for shape in link.shapes
        )
        if not shapes:
            raise ValueError(f"there is nothing to draw: no link of '{model.name}' has shapes.")
        rotation = conjugate(from_z(np.array(model.up)))
        anchor = shapes[0][0]
        poses = turned(start_pose, rotation)
        low, high = np.full(3, np.inf), np.full(3, -np.inf)
        for i, shape, _ in shapes:
            for point, radius in shape.contact_points():
                position = poses[i, :3] + rotate(poses[i, 3:], point)
                low, high = np.minimum(low, position - radius), np.maximum(high, position + radius)
        centre = 0.5 * (low + high)
        centre[:2] -= poses[anchor, :2]
        radius = max(CLOSEST, 0.5 * float(np.linalg.norm(high - low)))
        shapes += tuple((i, bone, BONE) for i, bone in _bones(model, BONE_RADIUS * radius))
        links = tuple(model.link_index(name) for name in ghosts)
        return cls(len(model.links), shapes, links, model.ground, rotation, anchor, centre, radius)

    def look_at(self, poses: np.ndarray) -> np.ndarray:
        """Where the camera looks for poses with z up, (links, 7); (3,)."""
        return np.append(poses[self.anchor, :2] + self.centre[:2], self.centre[2])


def turned(poses: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Turn poses (..., 7) by a quaternion (x, y, z, w) about the origin."""
    return np.concatenate([rotate(rotation, poses[..., :3]), product(rotation, poses[..., 3:])], axis=-1)


def _bones(model: Model, radius: float) -> list[tuple[int, Capsule]]:
    """Rods from the origin of each link to its shapes and to the links that hang on it, from the first shapes on."""
    bones = []
    for i, link in enumerate(model.links):
        if not _drawn(model, i):
            continue
        ends = [shape.position for shape in link.shapes]
        ends += [other.joint.position for j, other in enumerate(model.links) if model.parents[j] == i]
        for end in {end for end in ends if np.linalg.norm(end) > radius}:
            length = float(np.linalg.norm(end))
            middle, axis = (tuple(float(x) * part for x in end) for part in (0.5, 1.0 / length))
            bones.append(
                (i, Capsule(radius=radius, half_length=0.5 * length, axis=axis, position=middle, material=IDLE))
            )
    return bones


def _slim(shape: Shape, level: int) -> Shape:
    if isinstance(shape, Box) or level % 2 == 0:
        return shape
    return dataclasses.replace(shape, radius=shape.radius * (1.0 - SLIMMER))


def _levels(model: Model) -> list[int]:
    """Count the links with shapes between each link and the world."""
    levels: list[int] = []
    for parent in model.parents:
        levels.append(0 if parent < 0 else levels[parent] + bool(model.links[parent].shapes))
    return levels


def _colours(model: Model) -> list[Colour]:
    """One colour a branch; a tree's trunk, which reaches to the first link with shapes, has one of its own."""
    colours: list[Colour] = []
    branches: list[int | None] = []
    depths: list[int] = []
    count = 0
    for i, link in enumerate(model.links):
        parent = model.parents[i]
        trunk = parent < 0 or (branches[parent] is None and not _drawn(model, parent))
        if trunk:
            branch, depth = None, 0
        elif branches[parent] is None:
            branch, depth, count = count, 0, count + 1
        else:
            branch, depth = branches[parent], depths[parent] + bool(model.links[parent].shapes)
        colour = TORSO if branch is None else LIMBS[branch % len(LIMBS)]
        if branch is None and link.joint.type is JointType.FIXED:
            colour = (0.55, 0.55, 0.58, 1.0)
        if depth % 2:
            colour = (*((1.0 - PALE) * part + PALE for part in colour[:3]), colour[3])
        colours.append(colour)
        branches.append(branch)
        depths.append(depth)
    return colours


def _drawn(model: Model, index: int) -> bool:
    """Whether a link or one of its ancestors has shapes."""
    while index >= 0:
        if model.links[index].shapes:
            return True
        index = model.parents[index]
    return False
