"""The Hopper: a torso on one leg that moves in a vertical plane, driven at thigh, knee and ankle.

The torso hangs on two slides and a hinge at the world. Masses, centres of mass and inertias are the numbers that
define the published task; only the inertias about y matter in the plane, and of the torso, thigh and leg only these
are there.
"""

from __future__ import annotations

import math

from diffenvs.model import Actuator, Capsule, Joint, JointType, Link, Material, Model, Vector3

MATERIAL = Material(stiffness=2e4, damping=2e3, tangential_damping=1e3, friction=0.9)
TORQUE = 200.0
"""Of a full action [N m]."""
ARMATURE = 1.0
"""Of every joint, those of the root included [kg or kg m^2]."""
_HALF = math.sqrt(0.5)


def hopper() -> Model:
    """Build the model: 6 coordinates (x, z, pitch, thigh, leg, foot) and velocities, 3 actions."""
    lying = (-_HALF, 0.0, 0.0, _HALF)  # the robot's z is the world's y
    links = (
        Link(name="rootx", parent=None, joint=_root(JointType.SLIDE, (1.0, 0.0, 0.0), rotation=lying)),
        Link(name="rootz", parent="rootx", joint=_root(JointType.SLIDE, (0.0, 0.0, 1.0), position=(0.0, 0.0, 1.25))),
        Link(
            name="torso",
            parent="rootz",
            joint=_root(JointType.HINGE, (0.0, 1.0, 0.0)),
            mass=3.6651914291880927,
            inertia=(0.0, 0.06924593807287505, 0.0, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.05, 0.2, (0.0, 0.0, 0.0)),),
        ),
        Link(
            name="thigh",
            parent="torso",
            joint=_hinge((0.0, 0.0, -0.2), -2.61799, 0.0),
            mass=4.057890510886817,
            com=(0.0, 0.0, -0.225),
            inertia=(0.0, 0.0932987568269219, 0.0, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.05, 0.225, (0.0, 0.0, -0.225)),),
        ),
        Link(
            name="leg",
            parent="thigh",
            joint=_hinge((0.0, 0.0, -0.45), -2.61799, 0.0),
            mass=2.7813566959781637,
            com=(0.0, 0.0, -0.25),
            inertia=(0.0, 0.0723025401732097, 0.0, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.04, 0.25, (0.0, 0.0, -0.25)),),
        ),
        Link(
            name="foot",
            parent="leg",
            joint=_hinge((0.0, 0.0, -0.5), -0.785398, 0.785398),
            mass=5.315574769873929,
            com=(0.06, 0.0, 0.0),
            inertia=(0.00924231425944888, 0.10352308059000537, 0.10352333687107418, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.06, 0.195, (0.06, 0.0, 0.0), axis=(-1.0, 0.0, 0.0)),),
        ),
    )
    return Model(
        name="hopper",
        links=links,
        actuators=tuple(Actuator(link=name, gear=TORQUE) for name in ("thigh", "leg", "foot")),
        substeps=16,
        mass_matrix_interval=4,
        physical_inertias=False,
    )


def _root(
    kind: JointType,
    axis: Vector3,
    *,
    position: Vector3 = (0.0, 0.0, 0.0),
    rotation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0),
) -> Joint:
    return Joint(type=kind, axis=axis, position=position, rotation=rotation, damping=10.0, armature=ARMATURE)


def _hinge(position: Vector3, lower: float, upper: float) -> Joint:
    return Joint(
        type=JointType.HINGE,
        axis=(0.0, -1.0, 0.0),
        position=position,
        lower=lower,
        upper=upper,
        limit_stiffness=1e3,
        damping=12.0,
        armature=ARMATURE,
    )


def _capsule(radius: float, half_length: float, position: Vector3, axis: Vector3 = (0.0, 0.0, 1.0)) -> Capsule:
    return Capsule(radius=radius, half_length=half_length, axis=axis, position=position, material=MATERIAL)
