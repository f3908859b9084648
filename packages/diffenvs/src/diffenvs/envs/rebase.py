"""Robots that run far are described from an origin that runs after them, because float32 is coarse far from zero.

The origin moves by whole multiples of :data:`REBASE_DISTANCE`, which float32 adds and subtracts exactly, and gradients
pass unchanged: to the graph the shift is a constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from diffenvs.envs.masks import known_empty
from diffenvs.model import JointType, Model
from diffenvs.quaternions import matrix

REBASE_DISTANCE = 8.0
"""Horizontal distance of a robot from its origin at which the origin moves [m]; a power of two."""


@dataclass(frozen=True)
class Rebase:
    """The coordinates along which a robot travels over the ground, and how to shift them.

    A robot travels by the position of its free root, or by horizontal slides without limit or spring that lead from
    the world to its body.
    """

    columns: tuple[int, int]
    """First and one past the last of the coordinates that hold the horizontal position."""
    normal: Tensor
    """Normal of the ground in these coordinates, zero if they cannot leave it, (k,)."""
    directions: Tensor
    """World direction of each [1], (k, 3)."""
    free: bool
    """Whether the root is free, so that its velocity depends on the origin."""

    @classmethod
    def of(cls, model: Model, *, dtype: torch.dtype, device: torch.device) -> Self | None:
        """Find how the robot travels; None if it cannot, or if not all links hang on one root."""
        if sum(link.parent is None for link in model.links) > 1:
            return None
        up = np.array(model.up)
        if model.links[0].joint.type is JointType.FREE:
            normal, directions, columns, free = up, np.eye(3), (0, 3), True
        else:
            found = _travelling_slides(model)
            if not found:
                return None
            columns, directions, free = (found[0][0], found[-1][0] + 1), np.array([axis for _, axis in found]), False
            normal = np.zeros(len(found))
        as_tensor = {"dtype": dtype, "device": device}
        return cls(columns, torch.tensor(normal, **as_tensor), torch.tensor(directions, **as_tensor), free)

    def __call__(self, q: Tensor, qd: Tensor, origin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Move the origins of robots that are far from theirs.

        Parameters
        ----------
        q, qd
            Coordinates (N, nq) and velocities (N, nv) about the origins.
        origin
            In the world [m], (N, 3).

        Returns
        -------
        tuple of Tensor
            The same motion about the new origins, and these.
        """
        start, stop = self.columns
        position = self._horizontal(q[:, start:stop].detach())
        far = position.square().sum(-1, keepdim=True) > REBASE_DISTANCE**2
        if known_empty(far):
            return q, qd, origin
        steps = self._horizontal((position / REBASE_DISTANCE).round())
        shift = torch.where(far, steps * REBASE_DISTANCE, 0.0)
        shift_W = (shift.unsqueeze(-1) * self.directions).sum(-2)  # noqa: N806 - world axes
        q = torch.cat([q[:, :start], q[:, start:stop] - shift, q[:, stop:]], dim=-1)
        if self.free:
            # After kilometres both terms are large and nearly cancel.
            linear = qd[:, 3:6].double() + torch.linalg.cross(qd[:, 0:3].double(), shift_W.double())
            linear = linear.to(qd.dtype)
            qd = torch.cat([qd[:, 0:3], linear, qd[:, 6:]], dim=-1)
        return q, qd, origin + shift_W

    def _horizontal(self, position: Tensor) -> Tensor:
        """Part of (N, k) along the ground.

        No matrix product, here and where shifts are turned: its threads would get in the simulator's way, and a GPU may
        be told to round it to ten bits.
        """
        return position - (position * self.normal).sum(-1, keepdim=True) * self.normal


def _travelling_slides(model: Model) -> list[tuple[int, np.ndarray]]:
    """Coordinate and world axis of each horizontal slide without limit or spring that leads from the world on."""
    found: list[tuple[int, np.ndarray]] = []
    rotation = np.eye(3)
    for i, link in enumerate(model.links):
        joint = link.joint
        if joint.type is not JointType.SLIDE or model.parents[i] != i - 1:
            break
        rotation = rotation @ matrix(joint.rotation)
        axis = _snapped(rotation @ np.array(joint.axis))
        bound = math.isfinite(joint.lower) or math.isfinite(joint.upper) or joint.stiffness > 0.0
        crossing = [axis @ other for _, other in found]
        if not np.allclose([axis @ np.array(model.up), *crossing], 0.0, atol=1e-9) or bound:
            break
        found.append((model.q_start[i], axis))
    return found


def _snapped(axis: np.ndarray) -> np.ndarray:
    """Make components exact that are -1, 0 or 1 but for rounding, so that whole shifts stay whole."""
    whole = np.round(axis) + 0.0
    return np.where(np.abs(axis - whole) < 1e-12, whole, axis)
