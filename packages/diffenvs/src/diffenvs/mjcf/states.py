"""States in MuJoCo's coordinates and in ours."""

from __future__ import annotations

import numpy as np

from diffenvs.model import JointType, Model
from diffenvs.quaternions import conjugate, rotate

_TO_XYZW, _TO_WXYZ = [4, 5, 6, 3], [6, 3, 4, 5]
"""Coordinates of a quaternion in those of a free joint, from the other order."""


def from_mujoco(model: Model, qpos: np.ndarray, qvel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Translate states of MuJoCo to ours.

    Parameters
    ----------
    model
        The robot; its coordinates have the order of MuJoCo's.
    qpos, qvel
        Coordinates (..., nq) and velocities (..., nv) of MuJoCo: of a free joint the position, the quaternion
        (w, x, y, z), the velocity :math:`\dot p` of the body's origin in the world, and the angular velocity
        :math:`\omega_B` in the body's axes.

    Returns
    -------
    tuple of numpy.ndarray
        ``q`` (..., nq) and ``qd`` (..., nv), where a free joint has the quaternion (x, y, z, w) and the velocities
        :math:`\omega = R \omega_B` and :math:`v_O = \dot p - \omega \times p`. Other joints are the same in both.

    Raises
    ------
    ValueError
        If a size is wrong.
    """
    q, qd = _copies(model, qpos=qpos, qvel=qvel)
    for c, d in _free_joints(model):
        q[..., c : c + 7] = q[..., c + np.array([0, 1, 2, *_TO_XYZW])]
        omega = rotate(q[..., c + 3 : c + 7], qd[..., d + 3 : d + 6])
        linear = qd[..., d : d + 3] - np.cross(omega, q[..., c : c + 3])
        qd[..., d : d + 6] = np.concatenate([omega, linear], axis=-1)
    return q, qd


def to_mujoco(model: Model, q: np.ndarray, qd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Translate our states to MuJoCo's: the inverse of :func:`from_mujoco`.

    Parameters
    ----------
    model
        The robot.
    q, qd
        Coordinates (..., nq) and velocities (..., nv), relative to the world's origin.

    Returns
    -------
    tuple of numpy.ndarray
        ``qpos`` (..., nq) and ``qvel`` (..., nv).

    Raises
    ------
    ValueError
        If a size is wrong.
    """
    qpos, qvel = _copies(model, q=q, qd=qd)
    for c, d in _free_joints(model):
        omega = qvel[..., d : d + 3]
        linear = qvel[..., d + 3 : d + 6] + np.cross(omega, qpos[..., c : c + 3])
        turned = rotate(conjugate(qpos[..., c + 3 : c + 7]), omega)
        qpos[..., c : c + 7] = qpos[..., c + np.array([0, 1, 2, *_TO_WXYZ])]
        qvel[..., d : d + 6] = np.concatenate([linear, turned], axis=-1)
    return qpos, qvel


def _copies(model: Model, **values: np.ndarray) -> list[np.ndarray]:
    """Copy coordinates and velocities, of one shape but for the last axis."""
    copies = [np.array(value, dtype=np.float64) for value in values.values()]
    for name, copy, size in zip(values, copies, (model.nq, model.nv), strict=True):
        if copy.shape != (*copies[0].shape[:-1], size):
            raise ValueError(f"`{name}` must be (..., {size}), with the same in front for both. Got {copy.shape}.")
    return copies


def _free_joints(model: Model) -> list[tuple[int, int]]:
    """First coordinate and first velocity of each free joint."""
    starts = zip(model.links, model.q_start, model.v_start, strict=True)
    return [(c, d) for link, c, d in starts if link.joint.type is JointType.FREE]
