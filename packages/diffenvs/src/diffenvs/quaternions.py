"""Rotations of NumPy arrays by unit quaternions (x, y, z, w), as in :mod:`diffenvs.spatial`, which has the kernels'."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def rotate(quaternion: ArrayLike, x: ArrayLike) -> np.ndarray:
    """Rotate vectors (..., 3) by quaternions (..., 4); numbers of axes in front may differ.

    Examples
    --------
    A quarter turn about z takes x to y:

    >>> rotate((0.0, 0.0, 0.5**0.5, 0.5**0.5), (1.0, 0.0, 0.0)).round(6) + 0.0
    array([0., 1., 0.])
    """
    quaternion, x = np.asarray(quaternion), np.asarray(x)
    u, w = quaternion[..., :3], quaternion[..., 3:]
    return (2 * w * w - 1) * x + 2 * w * np.cross(u, x) + 2 * u * (u * x).sum(-1, keepdims=True)


def matrix(quaternion: ArrayLike) -> np.ndarray:
    """Matrix (3, 3) of the rotation by a quaternion (4,): its columns are the rotated axes."""
    return rotate(quaternion, np.eye(3)).T


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rotate by b, then by a: quaternions (..., 4) each."""
    u, s, v, t = a[..., :3], a[..., 3:], b[..., :3], b[..., 3:]
    return np.concatenate([s * v + t * u + np.cross(u, v), s * t - (u * v).sum(-1, keepdims=True)], axis=-1)


def conjugate(quaternion: np.ndarray) -> np.ndarray:
    """Rotate back: the inverse of unit quaternions (..., 4)."""
    return quaternion * [-1.0, -1.0, -1.0, 1.0]


def from_z(axis: np.ndarray) -> np.ndarray:
    """Quaternion (4,) that turns z into a unit vector (3,) by the shortest way."""
    if axis[2] < -1.0 + 1e-12:
        return np.array([1.0, 0.0, 0.0, 0.0])
    quaternion = np.array([-axis[1], axis[0], 0.0, 1.0 + axis[2]])
    return quaternion / np.linalg.norm(quaternion)
