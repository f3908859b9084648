"""Forces along a joint: drive, spring and damper, limits."""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.spatial import algebra


@functools.cache
def joint_forces(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    vec8 = algebra(real).vec8

    @wp.func
    def passive_force(q: real, qd: real, joint: vec8) -> real:
        """Spring, damper and limits; ``joint`` holds the constants in the order of ``ARRAYS["joint"]``."""
        force = -joint[0] * (q - joint[1]) - joint[2] * qd
        limit = real(0.0)
        if q < joint[6]:
            limit = joint[4] * (joint[6] - q) - joint[5] * qd
        if q > joint[7]:
            limit = joint[4] * (joint[7] - q) - joint[5] * qd
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
