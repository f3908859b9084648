"""The Allegro Hand with a cube: a palm fixed in the world, four fingers of four hinges each, and a free box.

Frames, masses, inertias, limits and boxes of the links are those of the hand's published URDF, though the inertias of
nine links are such as no body has. Pose of the palm, cube, armature and contact constants are those of Rewarped's task
(E. Xing, V. Luk, J. Oh, Stabilizing Reinforcement Learning in Differentiable Multiphysics Simulation, 2025). That
task counts the fingertips twice and takes inertias about other points than the centres of mass; here the URDF holds.
Fingers touch with capsules along their links, as thick as the thinner side of the links' boxes, so that contact is
smooth. The limits of the joints are that task's too: their damping acts beyond them only, so that the torque jumps
where a joint crosses its limit with a velocity.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from diffenvs.model import (
    Actuator,
    Box,
    Capsule,
    Joint,
    JointType,
    Link,
    Material,
    Model,
    Quaternion,
    Sphere,
    Vector3,
)
from diffenvs.quantities import STANDARD_GRAVITY

MATERIAL = Material(
    stiffness=500.0,
    damping=1e5,
    damping_depth=1e-3,
    tangential_damping=100.0,
    friction=0.5,
    friction_bound="total",
)
TORQUE = 2.0
"""Of a full action [N m]."""
CUBE_SIZE = 0.065
"""Edge [m]."""
CUBE_MASS = 0.5
"""[kg]"""
FINGERS = {
    "thumb": ("link_12", "link_13", "link_14", "link_15"),
    "ring": ("link_8", "link_9", "link_10", "link_11"),
    "middle": ("link_4", "link_5", "link_6", "link_7"),
    "index": ("link_0", "link_1", "link_2", "link_3"),
}
"""Links from the palm to the tip, in the order of coordinates and actions."""

_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
_WIDTH = 0.0098
"""Half the smaller width of the fingers' boxes [m]."""
_TIP_RADIUS = 0.012
_TIP_MASS = 0.0168
_TIP_INERTIA = (0.968e-6, 0.968e-6, 0.968e-6, 0.0, 0.0, 0.0)

Inertia = tuple[float, float, float, float, float, float]


def allegro() -> Model:
    """Build the model: 23 coordinates, 22 velocities, 16 actions (four a finger), z up and no ground."""
    palm = Link(
        name="palm",
        parent=None,
        joint=Joint(
            type=JointType.FIXED, position=(0.0, 0.0, 0.5), rotation=_rotation(0.0, -0.53 * math.pi, 0.5 * math.pi)
        ),
        mass=0.4154,
        shapes=(_box((0.0408, 0.113, 0.095), (-0.0093, 0.0, -0.0475)),),
    )
    links = (
        palm,
        *_thumb(),
        *_finger("ring", (0.0, -0.0435, -0.001542), 0.0872665),
        *_finger("middle", (0.0, 0.0, 0.0007), 0.0),
        *_finger("index", (0.0, 0.0435, -0.001542), -0.0872665),
        cube(),
    )
    return Model(
        name="allegro",
        links=links,
        actuators=tuple(Actuator(link=name, gear=TORQUE) for finger in FINGERS.values() for name in finger),
        collisions=tuple(_collisions()),
        ground=False,
        up=_Z,
        gravity=(0.0, 0.0, -STANDARD_GRAVITY),
        dt=1.0 / 120.0,
        substeps=64,
        mass_matrix_interval=64,
        physical_inertias=False,
    )


def cube() -> Link:
    """Build the free cube."""
    moment = CUBE_MASS * CUBE_SIZE**2 / 6.0
    return Link(
        name="cube",
        parent=None,
        joint=Joint(type=JointType.FREE),
        mass=CUBE_MASS,
        inertia=(moment, moment, moment, 0.0, 0.0, 0.0),
        shapes=(_box((CUBE_SIZE, CUBE_SIZE, CUBE_SIZE), (0.0, 0.0, 0.0)),),
    )


def _finger(name: str, position: Vector3, roll: float) -> Iterator[Link]:
    """Ring, middle or index finger: one hinge to the side and three that bend."""
    base, proximal, medial, distal = FINGERS[name]
    yield Link(
        name=base,
        parent="palm",
        joint=_hinge(_Z, position, (-0.47, 0.47), _rotation(roll, 0.0, 0.0)),
        mass=0.0119,
        inertia=(1.016667e-6, 0.6476773e-6, 1.016667e-6, 0.0, 0.0, 0.0),
        shapes=(_capsule(0.0164),),
    )
    yield Link(
        name=proximal,
        parent=base,
        joint=_hinge(_Y, (0.0, 0.0, 0.0164), (-0.196, 1.61)),
        mass=0.065,
        inertia=(79.56542e-6, 24.70888e-6, 79.56542e-6, 17.199e-6, 8.75875e-6, 24.13125e-6),
        shapes=(_capsule(0.054),),
    )
    yield Link(
        name=medial,
        parent=proximal,
        joint=_hinge(_Y, (0.0, 0.0, 0.054), (-0.174, 1.709)),
        mass=0.0355,
        inertia=(26.39792e-6, 13.49485e-6, 26.39792e-6, 6.67968e-6, 4.783625e-6, 9.372e-6),
        shapes=(_capsule(0.0384),),
    )
    yield _with_tip(
        name=distal,
        parent=medial,
        joint=_hinge(_Y, (0.0, 0.0, 0.0384), (-0.227, 1.618)),
        mass=0.0096,
        inertia=(4.701247e-6, 3.649308e-6, 4.701247e-6, 1.255968e-6, 1.2936e-6, 1.7622e-6),
        length=0.0267,
    )


def _thumb() -> Iterator[Link]:
    """Thumb: one hinge that opposes it to the fingers, one to the side and two that bend."""
    base, side, proximal, distal = FINGERS["thumb"]
    yield Link(
        name=base,
        parent="palm",
        joint=_hinge(
            (-1.0, 0.0, 0.0),
            (-0.0182, 0.019333, -0.045987),
            (0.263, 1.396),
            _rotation(0.0, -1.658063, -1.570796),
        ),
        mass=0.0176,
        inertia=(18.92733e-6, 14.30082e-6, 18.92733e-6, 7.16716e-6, 5.35568e-6, 6.8068e-6),
        shapes=(_box((0.0358, 0.034, 0.0455), (-0.0179, 0.009, 0.0145)),),
    )
    yield Link(
        name=side,
        parent=base,
        joint=_hinge(_Z, (-0.027, 0.005, 0.0399), (-0.105, 1.163)),
        mass=0.0119,
        inertia=(4.242509e-6, 4.523627e-6, 4.242509e-6, 1.032087e-6, 1.603525e-6, 1.448081e-6),
        shapes=(_capsule(0.0177),),
    )
    yield Link(
        name=proximal,
        parent=side,
        joint=_hinge(_Y, (0.0, 0.0, 0.0177), (-0.189, 1.644)),
        mass=0.038,
        inertia=(43.04399e-6, 14.44519e-6, 43.04399e-6, 9.57068e-6, 5.1205e-6, 13.42825e-6),
        shapes=(_capsule(0.0514),),
    )
    yield _with_tip(
        name=distal,
        parent=proximal,
        joint=_hinge(_Y, (0.0, 0.0, 0.0514), (-0.162, 1.719)),
        mass=0.0388,
        inertia=(32.92232e-6, 14.74931e-6, 32.92232e-6, 8.042076e-6, 5.2283e-6, 11.28353e-6),
        length=0.0423,
    )


def _with_tip(*, name: str, parent: str, joint: Joint, mass: float, inertia: Inertia, length: float) -> Link:
    """Last link of a finger, merged with the fingertip at its end; its own centre of mass is at its origin."""
    total = mass + _TIP_MASS
    com = _TIP_MASS * length / total
    across = mass * com**2 + _TIP_MASS * (length - com) ** 2
    xx, yy, zz, xy, xz, yz = (own + tip for own, tip in zip(inertia, _TIP_INERTIA, strict=True))
    return Link(
        name=name,
        parent=parent,
        joint=joint,
        mass=total,
        com=(0.0, 0.0, com),
        inertia=(xx + across, yy + across, zz, xy, xz, yz),
        shapes=(_capsule(length), Sphere(radius=_TIP_RADIUS, position=(0.0, 0.0, length), material=MATERIAL)),
    )


def _collisions() -> Iterator[tuple[str, str]]:
    """Pairs of links that can touch within the joints' limits, less those that overlap in most poses.

    The latter are parents and children, and the palm with the thumb's second link.
    """
    thumb, ring, middle, index = FINGERS.values()
    for ones, others in (
        (("palm", *thumb, *ring, *middle, *index), ("cube",)),
        (("palm",), (*thumb[2:], ring[3], middle[3], index[3])),
        (thumb[:1], thumb[3:]),
        (thumb[:2], (middle[3], index[3])),
        (thumb[2:3], (*ring[2:], *middle[2:], *index[2:])),
        (thumb[3:], (*ring, *middle, *index)),
        (ring[1:], middle[1:]),
        (middle[1:], index[1:]),
        (ring[2:], index[2:]),
    ):
        yield from itertools.product(ones, others)


def _hinge(
    axis: Vector3, position: Vector3, limits: tuple[float, float], rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)
) -> Joint:
    return Joint(
        type=JointType.HINGE,
        axis=axis,
        position=position,
        rotation=rotation,
        lower=limits[0],
        upper=limits[1],
        limit_stiffness=100.0,
        limit_damping=10.0,
        armature=1e-3,
    )


def _rotation(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Quaternion of turns [rad] about the fixed axes x, then y, then z (URDF's rpy)."""
    (sr, cr), (sp, cp), (sy, cy) = ((math.sin(angle / 2), math.cos(angle / 2)) for angle in (roll, pitch, yaw))
    return (
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
        cr * cp * cy + sr * sp * sy,
    )


def _box(size: Vector3, position: Vector3) -> Box:
    x, y, z = size
    return Box(half_extents=(x / 2, y / 2, z / 2), position=position, material=MATERIAL)


def _capsule(length: float) -> Capsule:
    """Lie along z from the link's origin to the next joint."""
    return Capsule(radius=_WIDTH, half_length=length / 2, axis=_Z, position=(0.0, 0.0, length / 2), material=MATERIAL)
