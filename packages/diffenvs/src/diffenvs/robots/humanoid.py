"""The Humanoid: torso, waist and pelvis on two legs, with two arms, driven at 21 hinges.

A body that turns about several axes is a chain of links, of which the last has the body's mass and shapes. Masses,
centres of mass and inertias are the numbers that define the published task. They come from a density of 1000 kg/m^3
and merge rotated shapes element by element, so the inertias of most links are not those of the capsules they are drawn
with; they are kept because they are the task.
"""

from __future__ import annotations

import math

from diffenvs.model import Actuator, Capsule, Joint, JointType, Link, Material, Model, Sphere, Vector3

MATERIAL = Material(stiffness=2e4, damping=2e3, tangential_damping=1e3, friction=0.75)
TORQUES = {
    "abdomen_z": 70.0,
    "abdomen_y": 70.0,
    "abdomen_x": 70.0,
    "hip_x": 70.0,
    "hip_z": 70.0,
    "hip_y": 210.0,
    "knee": 140.0,
    "ankle_y": 35.0,
    "ankle_x": 35.0,
    "shoulder1": 35.0,
    "shoulder2": 35.0,
    "elbow": 70.0,
}
"""Of a full action, by the joint without its side [N m]."""
_SIDES = {"right": -1.0, "left": 1.0}
"""Sign of y, in the order of the action."""


def humanoid() -> Model:
    """Build the model: 28 coordinates, 27 velocities, 21 actions (abdomen, right and left leg, right and left arm)."""
    links = (
        *_trunk(),
        *(link for side in _SIDES for link in _leg(side)),
        *(link for side in _SIDES for link in _arm(side)),
    )
    driven = [link.name for link in links if link.joint.type is JointType.HINGE]
    return Model(
        name="humanoid",
        links=links,
        actuators=tuple(Actuator(link=name, gear=TORQUES[_without_side(name)]) for name in driven),
        substeps=48,
        mass_matrix_interval=48,
        physical_inertias=False,
    )


def _without_side(name: str) -> str:
    return name.removeprefix("right_").removeprefix("left_")


def _trunk() -> tuple[Link, ...]:
    return (
        Link(
            name="torso",
            parent=None,
            joint=Joint(type=JointType.FREE),
            mass=8.90746237047826,
            com=(-0.0025393839642605213, 0.0, 0.034662591112156124),
            inertia=(0.14199948700116435, 0.1421682421601741, 0.04121185152639685, 0.0, -0.0018328804439076518, 0.0),
            shapes=(
                _capsule(0.07, (0.0, -0.07, 0.0), (0.0, 0.07, 0.0)),
                _capsule(0.06, (-0.01, -0.06, -0.12), (-0.01, 0.06, -0.12)),
                Sphere(radius=0.09, position=(0.0, 0.0, 0.19), material=MATERIAL),
            ),
        ),
        Link(
            name="abdomen_z",
            parent="torso",
            joint=_hinge((0.0, 0.0, 1.0), (-0.01, 0.0, -0.195), (-45.0, 45.0), stiffness=20.0, armature=0.02),
        ),
        Link(
            name="abdomen_y",
            parent="abdomen_z",
            joint=_hinge((0.0, 1.0, 0.0), (0.0, 0.0, 0.0), (-75.0, 30.0), stiffness=20.0),
            mass=2.2619467105846507,
            com=(0.0, 0.0, -0.065),
            inertia=(0.0, 0.0, 0.009853039871306738, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.06, (0.0, -0.06, -0.065), (0.0, 0.06, -0.065)),),
        ),
        Link(
            name="abdomen_x",
            parent="abdomen_y",
            joint=_hinge((1.0, 0.0, 0.0), (0.0, 0.0, -0.13), (-35.0, 35.0)),
            mass=6.616194128460103,
            com=(-0.02, 0.0, -0.1),
            inertia=(0.0, 0.0, 0.05231797918580651, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.09, (-0.02, -0.07, -0.1), (-0.02, 0.07, -0.1)),),
        ),
    )


def _leg(side: str) -> tuple[Link, ...]:
    y = _SIDES[side]
    tilted = (2.0 / math.sqrt(5.0), 0.0, 1.0 / math.sqrt(5.0))
    ankle = {"stiffness": 2.0, "damping": 11.0, "armature": 0.006}
    return (
        Link(
            name=f"{side}_hip_x",
            parent="abdomen_x",
            joint=_hinge((-y, 0.0, 0.0), (0.0, 0.1 * y, -0.14), (-25.0, 5.0)),
        ),
        Link(
            name=f"{side}_hip_z",
            parent=f"{side}_hip_x",
            joint=_hinge((0.0, 0.0, -y), (0.0, 0.0, 0.0), (-60.0, 35.0)),
        ),
        Link(
            name=f"{side}_hip_y",
            parent=f"{side}_hip_z",
            joint=_hinge((0.0, 1.0, 0.0), (0.0, 0.0, 0.0), (-80.0, 20.0), stiffness=20.0),
            mass=4.75175092880624,
            com=(0.0, -0.005 * y, -0.17),
            inertia=(0.0, 0.07482214779198668, 5.59905201925452e-08, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.06, (0.0, 0.0, 0.0), (0.0, -0.01 * y, -0.34)),),
        ),
        Link(
            name=f"{side}_knee",
            parent=f"{side}_hip_y",
            joint=_hinge(
                (0.0, -1.0, 0.0), (0.0, -0.01 * y, -0.383), (-160.0, 2.0), stiffness=5.0, damping=10.1, armature=0.007
            ),
            mass=2.755696167183642,
            com=(0.0, 0.0, -0.17),
            inertia=(0.0, 0.032608015464339946, 0.0, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.049, (0.0, 0.0, -0.02), (0.0, 0.0, -0.32)),),
        ),
        Link(
            name=f"{side}_ankle_y",
            parent=f"{side}_knee",
            joint=_hinge((0.0, 1.0, 0.0), (0.0, 0.0, -0.33), (-50.0, 50.0), **ankle),
        ),
        Link(
            name=f"{side}_ankle_x",
            parent=f"{side}_ankle_y",
            joint=_hinge(tilted, (0.0, 0.0, 0.0), (-50.0, 50.0), **ankle),
            mass=1.131141232389984,
            com=(0.035, 0.01 * y, -0.08),
            inertia=(0.0008491385368698955, 0.005940126353486632, 0.006446461543526402, 0.0, 0.0, 0.0),
            shapes=(
                _capsule(0.027, (-0.07, 0.02 * y, -0.08), (0.14, 0.04 * y, -0.08)),
                _capsule(0.027, (-0.07, 0.0, -0.08), (0.14, -0.02 * y, -0.08)),
            ),
        ),
    )


def _arm(side: str) -> tuple[Link, ...]:
    y = _SIDES[side]
    bend = (0.0, -math.sqrt(0.5), -y * math.sqrt(0.5))
    com, product = 0.10962313368871249, 0.0016980130267101065
    return (
        Link(
            name=f"{side}_shoulder1",
            parent="torso",
            joint=_hinge(
                (-2.0 * y / math.sqrt(6.0), 1.0 / math.sqrt(6.0), -y / math.sqrt(6.0)),
                (0.0, 0.17 * y, 0.06),
                (-60.0, 60.0),
            ),
        ),
        Link(
            name=f"{side}_shoulder2",
            parent=f"{side}_shoulder1",
            joint=_hinge(bend, (0.0, 0.0, 0.0), (-60.0, 60.0)),
            mass=1.6610804848382084,
            com=(0.08, 0.08 * y, -0.08),
            inertia=(0.00042865705872451807, 0.009893382047096125, 0.009893382047096125, 0.0, 0.0, 0.0),
            shapes=(_capsule(0.04, (0.0, 0.0, 0.0), (0.16, 0.16 * y, -0.16)),),
        ),
        Link(
            name=f"{side}_elbow",
            parent=f"{side}_shoulder2",
            joint=_hinge(bend, (0.18, 0.18 * y, -0.18), (-90.0, 50.0), stiffness=2.0, damping=11.0, armature=0.006),
            mass=1.2295401928310803,
            com=(com, -com * y, com),
            inertia=(
                0.0037175949787248397,
                0.008793475448519914,
                0.008793475448519914,
                product * y,
                -product,
                product * y,
            ),
            shapes=(
                _capsule(0.031, (0.01, -0.01 * y, 0.01), (0.17, -0.17 * y, 0.17)),
                Sphere(radius=0.04, position=(0.18, -0.18 * y, 0.18), material=MATERIAL),
            ),
        ),
    )


def _hinge(
    axis: Vector3,
    position: Vector3,
    degrees: tuple[float, float],
    *,
    stiffness: float = 10.0,
    damping: float = 15.0,
    armature: float = 0.01,
) -> Joint:
    """Turn between limits; 10 N m s/rad of the damping are those of the limits, which damp everywhere."""
    return Joint(
        type=JointType.HINGE,
        axis=axis,
        position=position,
        lower=math.radians(degrees[0]),
        upper=math.radians(degrees[1]),
        limit_stiffness=1e3,
        stiffness=stiffness,
        damping=damping,
        armature=armature,
    )


def _capsule(radius: float, start: Vector3, end: Vector3) -> Capsule:
    """Put the centres of the half spheres at `start` and `end`."""
    length = math.dist(start, end)
    (ax, ay, az), (bx, by, bz) = start, end
    return Capsule(
        radius=radius,
        half_length=0.5 * length,
        axis=((bx - ax) / length, (by - ay) / length, (bz - az) / length),
        position=(0.5 * (ax + bx), 0.5 * (ay + by), 0.5 * (az + bz)),
        material=MATERIAL,
    )
