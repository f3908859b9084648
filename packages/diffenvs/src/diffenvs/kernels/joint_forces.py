"""Forces along a joint: drive, spring and damper, limits."""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.kernels.arguments import component
from diffenvs.spatial import algebra

STIFFNESS = component("joint", "stiffness")
REST = component("joint", "rest")
DAMPING = component("joint", "damping")
LIMIT_STIFFNESS = component("joint", "limit_stiffness")
LIMIT_DAMPING = component("joint", "limit_damping")
LOWER = component("joint", "lower")
UPPER = component("joint", "upper")


@functools.cache
def joint_forces(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    vec8 = algebra(real).vec8

    @wp.func
    def passive_force(q: real, qd: real, joint: vec8) -> real:
        """Spring, damper and limits; ``joint`` holds the constants of a degree of freedom."""
        force = -joint[STIFFNESS] * (q - joint[REST]) - joint[DAMPING] * qd
        limit = real(0.0)
        if q < joint[LOWER]:
            limit = joint[LIMIT_STIFFNESS] * (joint[LOWER] - q) - joint[LIMIT_DAMPING] * qd
        if q > joint[UPPER]:
            limit = joint[LIMIT_STIFFNESS] * (joint[UPPER] - q) - joint[LIMIT_DAMPING] * qd
        return force + limit

    @wp.func
    def drive_force(action: real, gear: real) -> real:
        """Force of an actuator; the action is clipped to [-1, 1], with zero derivative outside, and NaN stays NaN."""
        clipped = action
        if action < real(-1.0):
            clipped = real(-1.0)
        if action > real(1.0):
            clipped = real(1.0)
        return gear * clipped

    return SimpleNamespace(passive_force=passive_force, drive_force=drive_force)
