"""The Ant: a torso on four legs of two links, driven at eight hinges.

Masses, centres of mass and inertias are the numbers that define the published task. They come from a density of
1000 kg/m^3 and merge rotated shapes element by element, so the inertias of the links are not those of the capsules
they are drawn with; they are kept because they are the task.
"""

from __future__ import annotations

import math

from diffenvs.model import Actuator, Capsule, Joint, JointType, Link, Material, Model, Sphere, Vector3

MATERIAL = Material(stiffness=4e4, damping=1e4, tangential_damping=3e3, friction=0.75)
TORQUE = 200.0
"""Of a full action [N m]."""
_RADIUS = 0.08
_DIAGONAL = math.sqrt(0.5)
_LEGS = {"front_left": (1.0, 1.0), "front_right": (-1.0, 1.0), "left_back": (-1.0, -1.0), "right_back": (1.0, -1.0)}
"""Signs of x and y of the corners, in the order of the action."""


def ant() -> Model:
    """Build the model: 15 coordinates, 14 velocities, 8 actions (hip, ankle of each leg in turn)."""
    torso = Link(
        name="torso",
        parent=None,
        joint=Joint(type=JointType.FREE),
        mass=96.77604993256071,
        inertia=(1.9968849627962466, 2.1766946368495375, 2.717143099954392, 0.08521117696354477, 0.0, 0.0),
        shapes=(
            Sphere(radius=0.25, material=MATERIAL),
            *(_capsule((0.1 * x, 0.1 * y, 0.0), 0.1) for x, y in _LEGS.values()),
        ),
    )
    legs = tuple(link for corner in _LEGS for link in _leg(corner))
    return Model(
        name="ant",
        links=(torso, *legs),
        actuators=tuple(Actuator(link=link.name, gear=TORQUE) for link in legs),
        substeps=16,
        mass_matrix_interval=16,
        physical_inertias=False,
    )


def _leg(corner: str) -> tuple[Link, Link]:
    x, y = _LEGS[corner]
    inner, outer = math.radians(30.0), math.radians(100.0)
    lower, upper = (inner, outer) if x > 0 else (-outer, -inner)
    leg = Link(
        name=f"{corner}_leg",
        parent="torso",
        joint=_hinge((0.0, 0.0, 1.0), (0.2 * x, 0.2 * y, 0.0), -math.radians(40.0), math.radians(40.0)),
        mass=7.831550745693342,
        com=(0.1 * x, 0.1 * y, 0.0),
        inertia=(0.011844189805957145, 0.056796608319280004, 0.11359321663856004, 0.0, 0.0, 0.0),
        shapes=(_capsule((0.1 * x, 0.1 * y, 0.0), 0.1),),
    )
    foot = Link(
        name=f"{corner}_foot",
        parent=leg.name,
        joint=_hinge((-x * y * _DIAGONAL, _DIAGONAL, 0.0), (0.2 * x, 0.2 * y, 0.0), lower, upper),
        mass=13.518440906536052,
        com=(0.2 * x, 0.2 * y, 0.0),
        inertia=(0.02094321406330548, 0.2674790660038181, 0.5349581320076363, 0.0, 0.0, 0.0),
        shapes=(_capsule((0.2 * x, 0.2 * y, 0.0), 0.2),),
    )
    return leg, foot


def _hinge(axis: Vector3, position: Vector3, lower: float, upper: float) -> Joint:
    return Joint(
        type=JointType.HINGE,
        axis=axis,
        position=position,
        lower=lower,
        upper=upper,
        limit_stiffness=1e3,
        damping=11.0,
        armature=0.05,
    )


def _capsule(position: Vector3, extent: float) -> Capsule:
    """Lie along the diagonal that leads to `position`, `extent` to each side in x and in y."""
    x, y, _ = position
    return Capsule(
        radius=_RADIUS,
        half_length=extent * math.sqrt(2.0),
        axis=(math.copysign(_DIAGONAL, x), math.copysign(_DIAGONAL, y), 0.0),
        position=position,
        material=MATERIAL,
    )
