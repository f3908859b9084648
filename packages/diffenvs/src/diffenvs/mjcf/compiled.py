"""Names of the parts of a compiled model, and their poses."""

from __future__ import annotations

from typing import Final

import mujoco

_OBJECTS: Final = {
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "equality": mujoco.mjtObj.mjOBJ_EQUALITY,
    "flex": mujoco.mjtObj.mjOBJ_FLEX,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "pair": mujoco.mjtObj.mjOBJ_PAIR,
    "tendon": mujoco.mjtObj.mjOBJ_TENDON,
}


def name_of(m: mujoco.MjModel, kind: str, index: int) -> str:
    """Name of a part, or its kind and index if it has none."""
    return mujoco.mj_id2name(m, _OBJECTS[kind], index) or f"{kind}{index}"


def label(m: mujoco.MjModel, kind: str, index: int) -> str:
    """Kind and name of a part, for messages."""
    return f"{kind} '{name_of(m, kind, index)}'"


def kind_of(value: object) -> str:
    """Last word of the name of a value of one of MuJoCo's enumerations, in lower case."""
    return str(getattr(value, "name", value)).rsplit("_", 1)[-1].lower()


def kinematics(m: mujoco.MjModel) -> mujoco.MjData:
    """Poses of all parts at the reference pose."""
    d = mujoco.MjData(m)
    mujoco.mj_kinematics(m, d)
    return d
