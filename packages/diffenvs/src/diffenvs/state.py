"""The state of many environments, as tasks see it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class State:
    """Coordinates and velocities, relative to each environment's origin.

    Order, frames and signs are those of :mod:`diffenvs.spatial`: the velocity of a free joint is its angular velocity
    and the velocity of the material point that passes the origin.
    """

    q: Tensor
    """Coordinates [m, rad or quaternion (x, y, z, w)], (N, nq)."""
    qd: Tensor
    """Velocities [rad/s or m/s], (N, nv)."""
    origin: Tensor
    """Where the origin of `q` and `qd` is in the world [m], (N, 3); it moves with a robot that travels."""
    memory: Tensor
    """What the task remembers besides, as its ``MEMORY`` lays out, (N, memory)."""
