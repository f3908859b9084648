"""The Anymal: a base on four legs of hip, thigh and shank, driven at twelve hinges.

Its parts without a joint between them are merged to 13 links. Masses, centres of mass and inertias are those of the
collision shapes at 1000 kg/m^3, which define the published task; the real robot is another. Lengths of 5e-13 m come
from right angles given with eleven digits.
"""

from __future__ import annotations

from dataclasses import dataclass

from diffenvs.model import Actuator, Capsule, Joint, JointType, Link, Material, Model, Quaternion, Sphere, Vector3

MATERIAL = Material(stiffness=2e3, damping=5e2, tangential_damping=1e2, friction=0.75)
TORQUE = 200.0
"""Of a full action [N m]."""


@dataclass(frozen=True, kw_only=True)
class _Leg:
    """What differs from leg to leg. Joints turn about the x axes of their frames, `..._sign` says which way."""

    hip_position: Vector3
    hip_rotation: Quaternion
    hip_sign: float
    thigh_position: Vector3
    thigh_rotation: Quaternion
    thigh_sign: float
    """Of thigh and shank."""
    foot: Vector3
    """Centre of the foot in the shank's frame [m]."""

    @property
    def skew(self) -> float:
        """Sideways position of knee and thigh [m]."""
        return self.thigh_sign * 4.911328566059581e-13


_LEGS = {
    "LF": _Leg(
        hip_position=(0.2999, 0.104, 0.0),
        hip_rotation=(0.9659258262888749, 0.0, 0.0, 0.25881904510324244),
        hip_sign=1.0,
        thigh_position=(0.0599, -0.07258158909111118, -0.04190500000010845),
        thigh_rotation=(-0.6830127018937548, 0.6830127018904103, 0.18301270189228155, 0.1830127018931777),
        thigh_sign=1.0,
        foot=(0.01305000000043066, -0.0879499999999361, -0.31547),
    ),
    "RF": _Leg(
        hip_position=(0.2999, -0.104, 0.0),
        hip_rotation=(-0.9659258262888749, 0.0, 0.0, 0.25881904510324244),
        hip_sign=1.0,
        thigh_position=(0.0599, 0.07258158909111118, -0.04190500000010845),
        thigh_rotation=(0.6830127018937548, 0.6830127018904103, -0.18301270189228155, 0.1830127018931777),
        thigh_sign=-1.0,
        foot=(0.01305000000043066, 0.0879499999999361, -0.31547),
    ),
    "LH": _Leg(
        hip_position=(-0.2999, 0.104, 0.0),
        hip_rotation=(-9.979170349418583e-14, -0.9659258262888749, 0.25881904510324244, 2.673910636267305e-14),
        hip_sign=-1.0,
        thigh_position=(0.059900000000015, 0.07258158909109881, -0.04190500000010845),
        thigh_rotation=(-0.6830127018904809, -0.6830127018936842, 0.1830127018931966, -0.18301270189226265),
        thigh_sign=1.0,
        foot=(0.013049999999569344, 0.08795000000006391, -0.31547),
    ),
    "RH": _Leg(
        hip_position=(-0.2999, -0.104, 0.0),
        hip_rotation=(9.979170349418583e-14, 0.9659258262888749, 0.25881904510324244, 2.673910636267305e-14),
        hip_sign=-1.0,
        thigh_position=(0.05989999999998501, -0.07258158909112357, -0.04190500000010845),
        thigh_rotation=(-0.6830127018903397, 0.6830127018938255, 0.1830127018931588, 0.18301270189230046),
        thigh_sign=-1.0,
        foot=(0.013049999999569344, -0.08795000000006391, -0.31547),
    ),
}
"""In the order of the action: left and right, front and hind."""


def anymal() -> Model:
    """Build the model: 19 coordinates, 18 velocities, 12 actions (hip, thigh, shank of each leg in turn)."""
    base = Link(
        name="base",
        parent=None,
        joint=Joint(type=JointType.FREE),
        mass=27.750735106709843,
        inertia=(0.13456488532876285, 1.8869845374093197, 1.8869845374093197, 0.0, 0.0, 0.0),
        shapes=(Capsule(radius=0.1, half_length=0.375, axis=(-1.0, 0.0, 0.0), material=MATERIAL),),
    )
    legs = tuple(link for name, leg in _LEGS.items() for link in _links(name, leg))
    return Model(
        name="anymal",
        links=(base, *legs),
        actuators=tuple(Actuator(link=link.name, gear=TORQUE) for link in legs),
        substeps=16,
        mass_matrix_interval=16,
    )


def _links(name: str, leg: _Leg) -> tuple[Link, ...]:
    drive = (0.0503, leg.skew, -0.285)
    inertia = (0.0037457837527281814, 0.009853039871306738, 0.009853039871306738, 0.0, 0.0, 0.0)
    return (
        Link(name=f"{name}_HIP", parent="base", joint=_hinge(leg.hip_sign, leg.hip_position, leg.hip_rotation)),
        Link(
            name=f"{name}_THIGH",
            parent=f"{name}_HIP",
            joint=_hinge(leg.thigh_sign, leg.thigh_position, leg.thigh_rotation),
            mass=2.2619467105846507,
            com=drive,
            inertia=inertia,
            shapes=(Capsule(radius=0.06, half_length=0.06, axis=(-1.0, 0.0, 0.0), position=drive, material=MATERIAL),),
        ),
        Link(
            name=f"{name}_SHANK",
            parent=f"{name}_THIGH",
            joint=_hinge(leg.thigh_sign, (0.1003, leg.skew, -0.285), (0.0, 0.0, 0.0, 1.0)),
            mass=0.11309733552923254,
            com=leg.foot,
            inertia=(*[4.071504079052371e-05] * 3, 0.0, 0.0, 0.0),
            shapes=(Sphere(radius=0.03, position=leg.foot, material=MATERIAL),),
        ),
    )


def _hinge(sign: float, position: Vector3, rotation: Quaternion) -> Joint:
    return Joint(
        type=JointType.HINGE,
        axis=(sign, 0.0, 0.0),
        position=position,
        rotation=rotation,
        stiffness=85.0,
        damping=12.0,
        armature=0.006,
    )
