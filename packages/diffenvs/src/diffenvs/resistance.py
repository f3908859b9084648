"""Whether something resists each joint of a model, in the pose in which all joints are at zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from diffenvs.quaternions import matrix

if TYPE_CHECKING:
    from diffenvs.model import Joint, Model

RESISTING: Final = ("mass", "com", "inertia", "armature")
"""Parameters on which it depends."""


def require_resistance(model: Model, precision: str) -> None:
    """Raise ValueError, naming the links, if nothing resists a joint in numbers of a precision such as "float64"."""
    links = unresisted(model, precision)
    if links:
        raise ValueError(complaint(precision, links))


def complaint(precision: str, links: Mapping[str, np.ndarray]) -> str:
    """Say what is wrong with links that :func:`unresisted` found."""
    return (
        f"in {precision} nothing resists the joints of these links, with all joints at zero and those beyond free: "
        f"{', '.join(map(repr, links))}. Each needs an armature, or mass and inertia that it moves."
    )


def unresisted(
    model: Model, precision: str, parameters: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Find the links whose joints nothing resists while the joints beyond them are free.

    The mass matrix is positive definite if no pivot of its factorisation from the leaves to the root vanishes. The
    pivot of a joint is :math:`D = S^T I^A S + a`: what of the articulated-body inertia :math:`I^A` resists it, and its
    armature. It is compared with what it could be at most, from the trace of the inertia and the mass that the joint
    moves, and must exceed its rounding error: of n velocities, n epsilon of that bound.

    Parameters
    ----------
    model
        The model.
    precision
        Of the numbers with which it is simulated, such as "float64".
    parameters
        The `RESISTING` ones of many environments by name, (N or 1, count[, components]); the model's by default.

    Returns
    -------
    dict of numpy.ndarray
        In which environments it is so, (N or 1,) bool, by name of the link.

    References
    ----------
    R. Featherstone, Rigid Body Dynamics Algorithms, 2008, section 7.3. N. J. Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., 2002, theorem 10.7.
    """
    mass, com, inertia, armature = _parameters_of(model) if parameters is None else (parameters[n] for n in RESISTING)
    rigid = [_inertia(mass[:, i], com[:, i], inertia[:, i]) for i in range(len(model.links))]
    articulated, found = list(rigid), {}
    for i in reversed(range(len(model.links))):
        joint, parent = model.links[i].joint, model.parents[i]
        S = _motion_subspace(joint)
        I_A = articulated[i]
        a = armature[:, model.v_start[i] : model.v_start[i] + joint.type.nv]
        if joint.type.nv:
            D = S.T @ I_A @ S + a[..., np.newaxis] * np.eye(joint.type.nv)
            largest = np.stack([np.trace(rigid[i][:, :3, :3], axis1=1, axis2=2), rigid[i][:, 5, 5]], axis=-1)
            bound = np.repeat(largest, 3, axis=-1) @ S**2 + a
            definite = _are_definite(D, bound, model.nv * float(np.finfo(precision).eps))
            if not definite.all():
                found[model.links[i].name] = ~definite
            definite = definite[:, np.newaxis, np.newaxis]
            left = I_A @ S @ np.linalg.solve(np.where(definite, D, np.eye(joint.type.nv)), S.T @ I_A)
            I_A = I_A - np.where(definite, left, 0.0)
        if parent >= 0:
            X = _to_link(joint)
            rigid[parent] = rigid[parent] + X.T @ rigid[i] @ X
            articulated[parent] = articulated[parent] + X.T @ I_A @ X
    return dict(reversed(found.items()))


def _are_definite(D: np.ndarray, bound: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether the smallest eigenvalue of each D, its rows and columns divided by the roots of the bound, is above 0."""
    scale = np.sqrt(np.where(bound > 0.0, bound, 1.0))
    smallest = np.linalg.eigvalsh(D / (scale[..., np.newaxis] * scale[..., np.newaxis, :]))[..., 0]
    return bound.all(-1) & (smallest > tolerance)


def _parameters_of(model: Model) -> list[np.ndarray]:
    """Return the `RESISTING` parameters of a model, a row each."""
    links = model.links
    armature = [link.joint.armature for link in links for _ in range(link.joint.type.nv)]
    values = [[link.mass for link in links], [link.com for link in links], [link.inertia for link in links], armature]
    return [np.array(value, dtype=np.float64)[np.newaxis] for value in values]


def _inertia(mass: np.ndarray, com: np.ndarray, inertia: np.ndarray) -> np.ndarray:
    """Spatial inertias of a link in many environments about its origin, in its axes, (N or 1, 6, 6)."""
    to_com = _velocity_at(com)
    own = np.zeros((len(inertia), 6, 6))
    own[:, :3, :3] = inertia[:, [0, 3, 4, 3, 1, 5, 4, 5, 2]].reshape(-1, 3, 3)  # of xx, yy, zz, xy, xz, yz
    return mass[:, np.newaxis, np.newaxis] * to_com.swapaxes(-1, -2) @ to_com + own


def _motion_subspace(joint: Joint) -> np.ndarray:
    """Velocities of the link that its joint allows, about its origin and in its axes, (6, nv)."""
    axis, still = np.array(joint.axis), np.zeros(3)
    columns = {"FIXED": np.empty((0, 6)), "SLIDE": [[*still, *axis]], "HINGE": [[*axis, *still]], "FREE": np.eye(6)}
    return np.array(columns[joint.type.name]).T


def _to_link(joint: Joint) -> np.ndarray:
    """Matrix (6, 6) that takes a velocity of the parent to the origin and the axes of the link."""
    turn = matrix(joint.rotation).T
    return np.vstack([np.hstack([turn, np.zeros((3, 3))]), turn @ _velocity_at(joint.position)])


def _velocity_at(points: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """Matrices (..., 3, 6) that take spatial velocities about the origin to those of points (..., 3)."""
    points = np.asarray(points)
    arms = np.cross(np.eye(3), points[..., np.newaxis, :]).swapaxes(-1, -2)
    return np.concatenate([arms, np.broadcast_to(np.eye(3), arms.shape)], axis=-1)
