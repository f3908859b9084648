"""Force that a link needs to follow its velocity-product acceleration in the field of gravity.

The outward half of the recursive Newton-Euler algorithm (Featherstone 2008, table 5.1) with zero joint accelerations;
sums over subtrees are taken in the control step.
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.spatial import algebra


@functools.cache
def inverse_dynamics(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec3, vec6, vec10, transform = types.vec3, types.vec6, types.vec10, types.transform
    angular, spatial = types.angular, types.spatial
    point_velocity, rotation_matrix, symmetric_apply = (
        types.point_velocity,
        types.rotation_matrix,
        types.symmetric_apply,
    )

    @wp.func
    def bias_force(X_WB: transform, V_WB: vec6, A_WB: vec6, body: vec10, gravity: vec3) -> vec6:
        """I A + V x* (I V) minus the weight, by the laws of Newton and Euler at the centre of mass."""
        R_WB = rotation_matrix(wp.transform_get_rotation(X_WB))
        R_BW = wp.transpose(R_WB)
        c_W = wp.transform_get_translation(X_WB) + R_WB * vec3(body[1], body[2], body[3])
        inertia_B = vec6(body[4], body[5], body[6], body[7], body[8], body[9])
        omega = angular(V_WB)
        acceleration = point_velocity(A_WB, c_W) + wp.cross(omega, point_velocity(V_WB, c_W))
        f_W = (acceleration - gravity) * body[0]
        omega_B = R_BW * omega
        n_B = symmetric_apply(inertia_B, R_BW * angular(A_WB)) + wp.cross(omega_B, symmetric_apply(inertia_B, omega_B))
        return spatial(R_WB * n_B + wp.cross(c_W, f_W), f_W)

    return SimpleNamespace(bias_force=bias_force)
