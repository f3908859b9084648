"""What tasks compute about free rigid bodies: rotations as quaternions (x, y, z, w), and velocities."""

from __future__ import annotations

import torch
from torch import Tensor


def quaternion_product(a: Tensor, b: Tensor) -> Tensor:
    """Rotate by b, then by a: quaternions (x, y, z, w), (N, 4) each.

    Examples
    --------
    Two quarter turns about z are a half turn:

    >>> quarter = torch.tensor([[0.0, 0.0, 0.5**0.5, 0.5**0.5]], dtype=torch.float64)
    >>> quaternion_product(quarter, quarter).round(decimals=6)
    tensor([[0., 0., 1., 0.]], dtype=torch.float64)
    """
    u, s = a[:, 0:3], a[:, 3:4]
    v, t = b[:, 0:3], b[:, 3:4]
    vector = s * v + t * u + torch.linalg.cross(u, v)
    return torch.cat([vector, s * t - (u * v).sum(-1, keepdim=True)], dim=-1)


def quaternion_conjugate(a: Tensor) -> Tensor:
    """Rotate back: the inverse of a unit quaternion (x, y, z, w), (N, 4)."""
    return torch.cat([-a[:, 0:3], a[:, 3:4]], dim=-1)


def origin_velocity(position: Tensor, twist: Tensor) -> Tensor:
    """Velocity of the origin of a body, (N, 3).

    Parameters
    ----------
    position
        Of its origin, (N, 3).
    twist
        Its spatial velocity, the six velocities of a free joint (see :mod:`diffenvs.spatial`), (N, 6).

    Examples
    --------
    A body at x = 2 m that turns about the origin's z with 1 rad/s moves along y, though its linear velocity is zero:

    >>> origin_velocity(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]))
    tensor([[0., 2., 0.]])
    """
    return twist[:, 3:6] + torch.linalg.cross(twist[:, 0:3], position)
