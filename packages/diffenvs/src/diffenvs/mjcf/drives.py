"""Actuators whose force is affine in the control, the position and the velocity of one joint: motors and servos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import mujoco
import numpy as np

from diffenvs.mjcf.compiled import kind_of, label

_JOINTS: Final = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
_KINDS: Final = {
    "actuator_trntype": (mujoco.mjtTrn, "transmission", ("joint", "jointinparent")),
    "actuator_dyntype": (mujoco.mjtDyn, "dynamics", ("none",)),
    "actuator_gaintype": (mujoco.mjtGain, "gain", ("fixed",)),
    "actuator_biastype": (mujoco.mjtBias, "bias", ("none", "affine")),
}
"""Field of the compiled model: its enumeration, what it is, and the values that map."""


@dataclass(frozen=True, kw_only=True)
class Drive:
    """Torque (force) of an actuator along its joint: ``gear * action + constant - stiffness * q - damping * qd``."""

    joint: int
    gear: float
    """Of an action of one, which stands for the upper end of the control's range [N m or N]."""
    constant: float
    """[N m or N]"""
    stiffness: float
    """[N m/rad or N/m]"""
    damping: float
    """[N m s/rad or N s/m]"""


def drive(m: mujoco.MjModel, actuator: int) -> Drive:
    """Read an actuator of a kind that :func:`unsupported_drive` accepts."""
    gear = float(m.actuator_gear[m.actuator_outadr[actuator], 0])
    low, high = (float(value) for value in m.actuator_ctrlrange[m.actuator_ctrladr[actuator]])
    gain = float(m.actuator_gainprm[actuator, 0])
    affine = m.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_AFFINE
    bias = [float(value) for value in m.actuator_biasprm[actuator, :3]] if affine else [0.0] * 3
    return Drive(
        joint=int(m.actuator_trnid[actuator, 0]),
        gear=gear * gain * (high - low) / 2,
        constant=gear * (gain * (high + low) / 2 + bias[0]),
        stiffness=-bias[1] * gear**2,
        damping=-bias[2] * gear**2,
    )


def unsupported_drive(m: mujoco.MjModel, actuator: int) -> str | None:
    """Name what of an actuator the engine cannot do, if there is anything."""
    found = list(_unsupported_kinds(m, actuator)) or list(_unsupported_numbers(m, actuator))
    return f"{label(m, 'actuator', actuator)} with {' and '.join(found)}" if found else None


def _unsupported_kinds(m: mujoco.MjModel, actuator: int) -> Iterator[str]:
    for field, (enum, what, known) in _KINDS.items():
        kind = kind_of(enum(getattr(m, field)[actuator]))
        if kind not in known:
            yield f"{kind} {what}"
            if what == "transmission":
                return
    joint = int(m.actuator_trnid[actuator, 0])
    kind = mujoco.mjtJoint(m.jnt_type[joint])
    if kind not in _JOINTS:
        yield f"a {kind_of(kind)} joint"
    if not m.actuator_ctrllimited[m.actuator_ctrladr[actuator]]:
        yield "no ctrlrange"
    if m.opt.disableactuator & (1 << max(int(m.actuator_group[actuator]), 0)):
        yield "a disabled group"


def _unsupported_numbers(m: mujoco.MjModel, actuator: int) -> Iterator[str]:
    this, j = drive(m, actuator), int(m.actuator_trnid[actuator, 0])
    if this.stiffness < 0.0 or this.damping < 0.0:
        yield "a force that grows with position or velocity"
    elif this.constant and not (this.stiffness or m.jnt_stiffness[j]):
        yield "a constant force (a ctrlrange that is not symmetric)"
    before = [a for a in range(actuator) if m.actuator_trnid[a, 0] == j and _drives_joint(m, a)]
    if before:
        yield f"the joint of {label(m, 'actuator', before[0])}"
    gear = float(m.actuator_gear[m.actuator_outadr[actuator], 0])
    if m.actuator_forcelimited[actuator] and _exceeds(this, gear * m.actuator_forcerange[actuator]):
        yield "a forcerange that cuts its force"
    if m.jnt_actfrclimited[j] and _exceeds(this, m.jnt_actfrcrange[j]):
        yield "an actuatorfrcrange of its joint that cuts its force"


def _drives_joint(m: mujoco.MjModel, actuator: int) -> bool:
    return kind_of(mujoco.mjtTrn(m.actuator_trntype[actuator])) in _KINDS["actuator_trntype"][2]


def _exceeds(drive: Drive, limits: np.ndarray) -> bool:
    """Whether the torque may leave its limits; that of a servo may be anything."""
    reach = abs(drive.gear)
    inside = min(limits) <= drive.constant - reach and drive.constant + reach <= max(limits)
    return bool(drive.stiffness or drive.damping) or not inside
