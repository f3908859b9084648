"""Mechanics of a tree of links in NumPy, on other roads than the engine: rotation matrices, Jacobians of the centres of
mass, classical accelerations, and Kane's equations. One environment at a time; joints as in :mod:`diffenvs.model`.
"""

from dataclasses import dataclass

import numpy as np

from diffenvs.model import JointType, Model


def matrix(q: np.ndarray) -> np.ndarray:
    """Rotation matrix of a unit quaternion (x, y, z, w), by its homogeneous form."""
    x, y, z, w = q
    return np.array(
        [
            [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
        ]
    )


def cross_matrix(a: np.ndarray) -> np.ndarray:
    """Matrix of the cross product with ``a`` from the left."""
    return np.array([[0, -a[2], a[1]], [a[2], 0, -a[0]], [-a[1], a[0], 0]])


def turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation matrix by Rodrigues' formula."""
    K = cross_matrix(axis)
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def rest_q(model: Model) -> np.ndarray:
    """Coordinates of the pose in which all joints are at zero, (nq,)."""
    q = np.zeros(model.nq)
    for link, start in zip(model.links, model.q_start, strict=True):
        if link.joint.type is JointType.FREE:
            q[start + 6] = 1.0
    return q


@dataclass
class Frame:
    """Motion of a link; all in world axes, of its origin unless said."""

    R: np.ndarray
    p: np.ndarray
    omega: np.ndarray
    v: np.ndarray
    alpha: np.ndarray
    a: np.ndarray
    J_angular: np.ndarray
    """(3, nv)"""
    J_linear: np.ndarray
    """Of the origin, (3, nv)."""


def frames(model: Model, q: np.ndarray, qd: np.ndarray, qdd: np.ndarray) -> list[Frame]:
    """Positions, velocities and accelerations of all links."""
    nv, still = model.nv, np.zeros(3)
    result: list[Frame] = []
    world = Frame(np.eye(3), still, still, still, still, still, np.zeros((3, nv)), np.zeros((3, nv)))
    for i, link in enumerate(model.links):
        parent = result[model.parents[i]] if model.parents[i] >= 0 else world
        joint, c, d = link.joint, model.q_start[i], model.v_start[i]
        if joint.type is JointType.FREE:
            p, omega, v_O, alpha = q[c : c + 3], qd[d : d + 3], qd[d + 3 : d + 6], qdd[d : d + 3]
            v = v_O + np.cross(omega, p)
            a = qdd[d + 3 : d + 6] + np.cross(alpha, p) + np.cross(omega, v)
            J_angular, J_linear = np.zeros((3, nv)), np.zeros((3, nv))
            J_angular[:, d : d + 3] = np.eye(3)
            J_linear[:, d : d + 6] = np.hstack([-cross_matrix(p), np.eye(3)])
            result.append(Frame(matrix(q[c + 3 : c + 7]), p, omega, v, alpha, a, J_angular, J_linear))
            continue
        r = parent.R @ joint.position
        R = parent.R @ matrix(joint.rotation)
        e = R @ joint.axis
        J_angular, J_linear = parent.J_angular.copy(), parent.J_linear.copy()
        omega, alpha, relative_velocity, relative_acceleration = parent.omega, parent.alpha, still, still
        if joint.type is JointType.SLIDE:
            r = r + e * q[c]
            relative_velocity = e * qd[d]
            relative_acceleration = e * qdd[d] + 2 * np.cross(parent.omega, relative_velocity)
        J_linear -= cross_matrix(r) @ parent.J_angular
        if joint.type is JointType.SLIDE:
            J_linear[:, d] += e
        elif joint.type is JointType.HINGE:
            R = R @ turn(np.array(joint.axis), q[c])
            omega = parent.omega + e * qd[d]
            alpha = parent.alpha + e * qdd[d] + np.cross(parent.omega, e * qd[d])
            J_angular[:, d] += e
        v = parent.v + np.cross(parent.omega, r) + relative_velocity
        centripetal = np.cross(parent.omega, np.cross(parent.omega, r))
        a = parent.a + np.cross(parent.alpha, r) + centripetal + relative_acceleration
        result.append(Frame(R, parent.p + r, omega, v, alpha, a, J_angular, J_linear))
    return result


def inertia_matrix(six: tuple[float, ...]) -> np.ndarray:
    """Symmetric matrix of xx, yy, zz, xy, xz, yz."""
    xx, yy, zz, xy, xz, yz = six
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def mass_matrix(model: Model, q: np.ndarray) -> np.ndarray:
    """Sum of J^T I J over the links, at their centres of mass, and the armature."""
    zero = np.zeros(model.nv)
    total = np.diag([link.joint.armature for link in model.links for _ in range(link.joint.type.nv)])
    for link, frame in zip(model.links, frames(model, q, zero, zero), strict=True):
        J = frame.J_linear - cross_matrix(frame.R @ link.com) @ frame.J_angular
        inertia = frame.R @ inertia_matrix(link.inertia) @ frame.R.T
        total = total + link.mass * J.T @ J + frame.J_angular.T @ inertia @ frame.J_angular
    return total


def inverse_dynamics(model: Model, q: np.ndarray, qd: np.ndarray, qdd: np.ndarray) -> np.ndarray:
    """Generalised force that an acceleration needs beside gravity: Newton's and Euler's laws along the Jacobians."""
    force = np.zeros(model.nv)
    for link, frame in zip(model.links, frames(model, q, qd, qdd), strict=True):
        c = frame.R @ link.com
        J = frame.J_linear - cross_matrix(c) @ frame.J_angular
        inertia = frame.R @ inertia_matrix(link.inertia) @ frame.R.T
        acceleration = frame.a + np.cross(frame.alpha, c) + np.cross(frame.omega, np.cross(frame.omega, c))
        moment = inertia @ frame.alpha + np.cross(frame.omega, inertia @ frame.omega)
        force += J.T @ (link.mass * (acceleration - model.gravity)) + frame.J_angular.T @ moment
    armature = [link.joint.armature for link in model.links for _ in range(link.joint.type.nv)]
    return force + np.array(armature) * qdd
