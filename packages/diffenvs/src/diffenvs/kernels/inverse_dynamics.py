"""Force that a link needs to follow its velocity-product acceleration in the field of gravity.

The outward half of the recursive Newton-Euler algorithm (Featherstone 2008, table 5.1) with zero joint accelerations;
sums over subtrees are taken in the control step.
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.kernels.arguments import component
from diffenvs.spatial import algebra

MASS = component("body", "mass")
COM = component("body", "com")
INERTIA = component("body", "inertia")


@functools.cache
def inverse_dynamics(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec3, vec6, vec10, mat33, transform = types.vec3, types.vec6, types.vec10, types.mat33, types.transform
    angular, linear, spatial, symmetric_apply = types.angular, types.linear, types.spatial, types.symmetric_apply
    cross_force, force_at, rotation_matrix = types.cross_force, types.force_at, types.rotation_matrix

    @wp.func
    def momentum(R_WB: mat33, R_BW: mat33, c_B: vec3, body: vec10, V_WB: vec6) -> vec6:
        """Inertia times ``V_WB`` about the origin; ``c_B`` is the centre of mass in the world, in axes of B."""
        omega_B = R_BW * angular(V_WB)
        p_B = (R_BW * linear(V_WB) - wp.cross(c_B, omega_B)) * body[MASS]
        I_B = vec6(
            body[INERTIA],
            body[INERTIA + 1],
            body[INERTIA + 2],
            body[INERTIA + 3],
            body[INERTIA + 4],
            body[INERTIA + 5],
        )
        spin_B = symmetric_apply(I_B, omega_B)
        return spatial(R_WB * (spin_B + wp.cross(c_B, p_B)), R_WB * p_B)

    @wp.func
    def bias_force(X_WB: transform, V_WB: vec6, A_WB: vec6, body: vec10, gravity: vec3) -> vec6:
        """I A + V x* (I V) minus the weight (Featherstone, eq. 5.9)."""
        R_WB = rotation_matrix(wp.transform_get_rotation(X_WB))
        R_BW = wp.transpose(R_WB)
        c_W = wp.transform_get_translation(X_WB) + R_WB * vec3(body[COM], body[COM + 1], body[COM + 2])
        c_B = R_BW * c_W
        return (
            momentum(R_WB, R_BW, c_B, body, A_WB)
            + cross_force(V_WB, momentum(R_WB, R_BW, c_B, body, V_WB))
            - force_at(gravity * body[MASS], c_W)
        )

    return SimpleNamespace(bias_force=bias_force)
