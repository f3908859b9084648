"""Whether something resists each joint of a model, in the pose in which all joints are at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from diffenvs.quaternions import matrix

if TYPE_CHECKING:
    from diffenvs.model import Joint, Link, Model


def require_resistance(model: Model, precision: str) -> None:
    """Raise ValueError, naming the links, if nothing resists a joint in numbers of a precision such as "float64"."""
    links = ", ".join(f"'{name}'" for name in _unresisted(model, float(np.finfo(precision).eps)))
    if links:
        raise ValueError(
            f"in {precision} nothing resists the joints of these links, with all joints at zero and those beyond free: "
            f"{links}. Each needs an armature, or mass and inertia that it moves."
        )


def _unresisted(model: Model, epsilon: float) -> list[str]:
    """Name the links whose joints nothing resists while the joints beyond them are free.

    The mass matrix is positive definite if no pivot of its factorisation from the leaves to the root vanishes. The
    pivot of a joint is :math:`D = S^T I^A S + a`: what of the articulated-body inertia :math:`I^A` resists it, and its
    armature. It is compared with what it could be at most, from the trace of the inertia and the mass that the joint
    moves, and must exceed its rounding error: of n velocities, n epsilon of that bound.

    References
    ----------
    R. Featherstone, Rigid Body Dynamics Algorithms, 2008, section 7.3. N. J. Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., 2002, theorem 10.7.
    """
    found = []
    rigid = [_inertia(link) for link in model.links]
    articulated = [inertia.copy() for inertia in rigid]
    for i in reversed(range(len(model.links))):
        joint, parent = model.links[i].joint, model.parents[i]
        S = _motion_subspace(joint)
        I_A = articulated[i]
        armature = np.full(joint.type.nv, joint.armature)
        D = S.T @ I_A @ S + np.diag(armature)
        bound = np.repeat([np.trace(rigid[i][:3, :3]), rigid[i][5, 5]], 3) @ S**2 + armature
        if joint.type.nv and not _is_definite(D, bound, model.nv * epsilon):
            found.append(model.links[i].name)
        elif joint.type.nv:
            I_A = I_A - I_A @ S @ np.linalg.solve(D, S.T @ I_A)
        if parent >= 0:
            X = _to_link(joint)
            rigid[parent] += X.T @ rigid[i] @ X
            articulated[parent] += X.T @ I_A @ X
    return found[::-1]


def _is_definite(D: np.ndarray, bound: np.ndarray, tolerance: float) -> bool:
    """Whether the smallest eigenvalue of D, with rows and columns divided by the roots of the bound, is above zero."""
    if not bound.all():
        return False
    scale = np.sqrt(bound)
    return bool(np.linalg.eigvalsh(D / np.outer(scale, scale))[0] > tolerance)


def _inertia(link: Link) -> np.ndarray:
    """Spatial inertia about the link's origin, in its axes, (6, 6)."""
    xx, yy, zz, xy, xz, yz = link.inertia
    to_com = _velocity_at(link.com)
    inertia = link.mass * to_com.T @ to_com
    inertia[:3, :3] += [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    return inertia


def _motion_subspace(joint: Joint) -> np.ndarray:
    """Velocities of the link that its joint allows, about its origin and in its axes, (6, nv)."""
    axis, still = np.array(joint.axis), np.zeros(3)
    columns = {"FIXED": np.empty((0, 6)), "SLIDE": [[*still, *axis]], "HINGE": [[*axis, *still]], "FREE": np.eye(6)}
    return np.array(columns[joint.type.name]).T


def _to_link(joint: Joint) -> np.ndarray:
    """Matrix (6, 6) that takes a velocity of the parent to the origin and the axes of the link."""
    turn = matrix(joint.rotation).T
    return np.vstack([np.hstack([turn, np.zeros((3, 3))]), turn @ _velocity_at(joint.position)])


def _velocity_at(point: tuple[float, float, float]) -> np.ndarray:
    """Matrix (3, 6) that takes a spatial velocity about the origin to that of a point."""
    return np.hstack([np.cross(np.eye(3), point).T, np.eye(3)])
