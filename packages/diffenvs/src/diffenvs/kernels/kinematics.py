"""Forward kinematics: joint coordinates to link poses, motion subspaces and velocities.

R. Featherstone, Rigid Body Dynamics Algorithms, 2008, section 4.4 and table 4.1.
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.kernels.arguments import Tree, arguments
from diffenvs.model import JointType
from diffenvs.spatial import algebra

FIXED = wp.constant(int(JointType.FIXED))
HINGE = wp.constant(int(JointType.HINGE))
FREE = wp.constant(int(JointType.FREE))


@functools.cache
def kinematics(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec3, vec6, transform, quat = types.vec3, types.vec6, types.transform, types.quat
    axis_rotation, compose, rotate, spatial = types.axis_rotation, types.compose, types.rotate, types.spatial

    @wp.func
    def free_pose(q: wp.array[real], start: int) -> transform:
        """Pose X_WB of a link with a free joint, from its seven coordinates."""
        return transform(
            vec3(q[start], q[start + 1], q[start + 2]),
            quat(q[start + 3], q[start + 4], q[start + 5], q[start + 6]),
        )

    @wp.func
    def free_velocity(qd: wp.array[real], start: int) -> vec6:
        """Spatial velocity V_WB of a link with a free joint: its six velocities themselves."""
        return vec6(
            qd[start],
            qd[start + 1],
            qd[start + 2],
            qd[start + 3],
            qd[start + 4],
            qd[start + 5],
        )

    @wp.func
    def joint_pose(X_WJ: transform, joint_type: int, axis: vec3, q: real) -> transform:
        """Pose X_WB of a link behind a hinge or slide at coordinate ``q``."""
        zero = real(0.0)
        if joint_type == HINGE:
            X_JB = transform(vec3(zero, zero, zero), axis_rotation(axis, q))
        else:
            X_JB = transform(axis * q, quat(zero, zero, zero, real(1.0)))
        return compose(X_WJ, X_JB)

    @wp.func
    def motion_subspace(X_WJ: transform, joint_type: int, axis: vec3) -> vec6:
        """Motion subspace S_W of a hinge or slide: its spatial velocity at unit rate."""
        axis_W = rotate(wp.transform_get_rotation(X_WJ), axis)
        if joint_type == HINGE:
            S_W = spatial(axis_W, wp.cross(wp.transform_get_translation(X_WJ), axis_W))
        else:
            S_W = spatial(vec3(real(0.0), real(0.0), real(0.0)), axis_W)
        return S_W

    return SimpleNamespace(
        free_pose=free_pose, free_velocity=free_velocity, joint_pose=joint_pose, motion_subspace=motion_subspace
    )


@functools.cache
def link_poses(real: Any) -> Any:
    """Kernel of the poses X_WB alone, [environment, link], after that of the world; it has no adjoint."""
    types = algebra(real)
    vec3, quat, transform, compose = types.vec3, types.quat, types.transform, types.compose
    Constants = arguments(real).Constants
    stage = kinematics(real)
    free_pose, joint_pose = stage.free_pose, stage.joint_pose

    @wp.kernel(module="unique", enable_backward=False)
    def kernel(tree: Tree, constants: Constants, q: wp.array2d[real], pose_out: wp.array2d[transform]):
        env = wp.tid()
        q_env = q[env]
        pose_env = pose_out[env]
        zero = real(0.0)
        pose_env[0] = transform(vec3(zero, zero, zero), quat(zero, zero, zero, real(1.0)))
        for i in range(tree.links):
            link = tree.link[i]
            if link[1] == FREE:
                X_WB = free_pose(q_env, link[2])
            else:
                X_WB = compose(pose_env[link[0]], constants.joint_frame[i])
                if link[1] != FIXED:
                    X_WB = joint_pose(X_WB, link[1], constants.joint_axis[i], q_env[link[2]])
            pose_env[i + 1] = X_WB

    return kernel
