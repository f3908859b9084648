"""Trees of links in MuJoCo, with its coordinates and velocities for ours."""

import mujoco
import numpy as np
from rigid_bodies import cross_matrix, matrix

from diffenvs.model import JointType, Model

KINDS = {JointType.HINGE: mujoco.mjtJoint.mjJNT_HINGE, JointType.SLIDE: mujoco.mjtJoint.mjJNT_SLIDE}


def mujoco_tree(model: Model) -> mujoco.MjModel:
    """Compile the tree of a model: masses, joints and armatures, without shapes, springs and limits.

    The compiler refuses inertias that no body can have, such as a robot's numbers may be, so it gets them with a
    multiple of the unit matrix added, which is taken off again.
    """
    spec = mujoco.MjSpec()
    spec.option.gravity = model.gravity
    bodies, added = {None: spec.worldbody}, max(sum(link.inertia[:3]) for link in model.links)
    for link in model.links:
        joint = link.joint
        x, y, z, w = joint.rotation
        body = bodies[link.parent].add_body(name=link.name, pos=joint.position, quat=(w, x, y, z))
        bodies[link.name] = body
        body.explicitinertial = True
        body.mass, body.ipos, body.fullinertia = link.mass, link.com, np.add(link.inertia, (*[added] * 3, 0, 0, 0))
        if joint.type is JointType.FREE:
            body.add_freejoint()
        elif joint.type is not JointType.FIXED:
            body.add_joint(type=KINDS[joint.type], axis=joint.axis, armature=joint.armature)
    tree = spec.compile()
    tree.body_inertia[1:] -= added
    mujoco.mj_setConst(tree, mujoco.MjData(tree))
    return tree


def mujoco_state(model: Model, q: np.ndarray, qd: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates and velocities in MuJoCo's terms.

    A free joint's quaternion is (w, x, y, z) there, and its velocities are that of its origin in world axes and the
    angular one in the link's.

    Returns
    -------
    tuple of numpy.ndarray
        Coordinates (nq,); velocities (nv,); the matrix from our velocities to these (nv, nv), and the product of its
        rate of change with our velocities (nv,).
    """
    q, to_theirs, drift = q.copy(), np.eye(model.nv), np.zeros(model.nv)
    for link, c, d in zip(model.links, model.q_start, model.v_start, strict=True):
        if link.joint.type is JointType.FREE:
            p, rotation, omega, v_O = q[c : c + 3], q[c + 3 : c + 7].copy(), qd[d : d + 3], qd[d + 3 : d + 6]
            q[c + 3 : c + 7] = rotation[[3, 0, 1, 2]]
            to_theirs[d : d + 6, d : d + 6] = np.block(
                [[-cross_matrix(p), np.eye(3)], [matrix(rotation).T, np.zeros((3, 3))]]
            )
            drift[d : d + 3] = np.cross(omega, v_O + np.cross(omega, p))
    return q, to_theirs @ qd, to_theirs, drift


def mujoco_dynamics(tree: mujoco.MjModel, model: Model, q: np.ndarray, qd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mass matrix (nv, nv) and the force that zero acceleration needs (nv,), in our coordinates and velocities."""
    data = mujoco.MjData(tree)
    data.qpos[:], data.qvel[:], to_theirs, drift = mujoco_state(model, q, qd)
    mujoco.mj_forward(tree, data)
    mass_matrix, bias = np.zeros((model.nv, model.nv)), np.zeros(model.nv)
    mujoco.mj_fullM(tree, data, mass_matrix)
    mujoco.mj_rne(tree, data, 0, bias)
    return to_theirs.T @ mass_matrix @ to_theirs, to_theirs.T @ (bias + mass_matrix @ drift)
