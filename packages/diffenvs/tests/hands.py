"""Hands that the tests share, and what the recorded ones consist of."""

from dataclasses import replace

import numpy as np

from diffenvs.model import Actuator, Joint, JointType, Link, Model

CHAINS = {
    "thumb": (slice(0, 4), slice(0, 4)),
    "ring": (slice(4, 8), slice(4, 8)),
    "middle": (slice(8, 12), slice(8, 12)),
    "index": (slice(12, 16), slice(12, 16)),
    "cube": (slice(16, 23), slice(16, 22)),
}
"""Coordinates and velocities of each finger and of the cube, which move without each other but for contact."""
LINKS = [f"link_{i}" for i in (12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3)]
"""In the order of coordinates and actions."""


def published_hand(data: dict[str, np.ndarray]) -> Model:
    """Make the recorded hand without shapes: its fingertips count twice, its inertias are about wrong points."""
    names = [str(name).removesuffix("_geom") for name in data["model_body_name"]]
    links = []
    for i in range(len(data["model_joint_child"])):
        child, parent = data["model_joint_child"][i], data["model_joint_parent"][i]
        joint = Joint(type=JointType.FREE)
        if i < len(LINKS):
            joint = Joint(
                type=JointType.HINGE,
                axis=data["model_joint_axis"][i],
                position=data["model_joint_X_p"][i][:3],
                rotation=data["model_joint_X_p"][i][3:],
                lower=float(data["model_joint_limit_lower"][i]),
                upper=float(data["model_joint_limit_upper"][i]),
                limit_stiffness=float(data["model_joint_limit_ke"][i]),
                limit_damping=float(data["model_joint_limit_kd"][i]),
                armature=float(data["model_joint_armature"][i]),
            )
        links.append(
            Link(
                name=names[child],
                parent=names[parent] if parent >= 0 else None,
                joint=joint,
                mass=float(data["model_body_mass"][child]),
                com=data["model_body_com"][child],
                inertia=data["model_body_inertia"][child][[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]],
            )
        )
    return Model(
        name="published hand",
        links=tuple(links),
        actuators=tuple(Actuator(link=name, gear=2.0) for name in LINKS),
        ground=False,
        up=(0.0, 0.0, 1.0),
        gravity=data["model_gravity"],
        dt=float(data["model_frame_dt"]),
        substeps=int(data["model_substeps"]),
        mass_matrix_interval=int(data["model_mass_matrix_every"]),
        physical_inertias=False,
    )


def one_substep(model: Model) -> Model:
    """Make control steps of one substep."""
    return replace(model, dt=model.dt / model.substeps, substeps=1, mass_matrix_interval=1)
