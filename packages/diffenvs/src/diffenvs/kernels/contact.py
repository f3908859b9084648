r"""Compliant contact of a point with the ground, the plane through the origin with normal ``up``.

With depth c < 0, velocity :math:`u = u_n n + u_t` of the lowered point, and the material's constants:

.. math::
    N = k_e |c| + k_d \min(|c|, \delta) \max(-u_n, 0), \qquad
    T = -\frac{u_t}{|u_t|} \min(k_f |u_t|, \mu B)

The damping grows with the depth up to :math:`\delta`, so the force is continuous at touch and never adhesive. The
Coulomb bound takes the elastic part of N, :math:`B = k_e |c|`, or all of it, as the material says; below it friction
is viscous. (With infinite :math:`\delta` and the elastic bound the law of DFlex: Xu et al., Accelerated Policy Learning
with Parallel Differentiable Simulation, 2022.)
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.spatial import algebra


@functools.cache
def contact(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec2, vec3, vec4, vec6 = types.vec2, types.vec3, types.vec4, types.vec6
    transform = types.transform
    force_at, point_velocity, transform_point = types.force_at, types.point_velocity, types.transform_point

    @wp.func
    def point_depth(X_WB: transform, point: vec4, up: vec3) -> real:
        """Signed distance to the ground of a contact point, a position in the link's frame and a radius."""
        return wp.dot(transform_point(X_WB, vec3(point[0], point[1], point[2])), up) - point[3]

    @wp.func
    def touches_ground(poses: wp.array[transform], link: int, point: vec4, up: vec3) -> bool:
        """Whether a contact point is below the ground."""
        return point_depth(poses[link], point, up) < real(0.0)

    @wp.func_grad(touches_ground)
    def adj_touches_ground(poses: wp.array[transform], link: int, point: vec4, up: vec3, adj_ret: bool):
        """Nothing: most points are in the air, and the adjoint need not visit their links."""

    @wp.func
    def contact_force(depth: real, velocity: vec3, normal: vec3, material: vec4, law: vec2) -> vec3:
        """Force at a point whose signed distance ``depth`` is negative, on what moves with ``velocity``.

        ``material`` holds the constants in the order of ``ARRAYS["material"]``, ``law`` the depth beyond which the
        damping no longer grows, and the share of the damping in the Coulomb bound.
        """
        normal_speed = wp.dot(velocity, normal)
        slip = velocity - normal * normal_speed
        elastic = -material[0] * depth
        damping = material[1] * wp.min(-depth, law[0]) * wp.max(-normal_speed, real(0.0))
        # Written without a division where the point sticks, so that the derivative exists at rest.
        friction = slip * material[2]
        bound = material[3] * (elastic + damping * law[1])
        if wp.length(slip) * material[2] >= bound:
            friction = wp.normalize(slip) * bound
        return normal * (elastic + damping) - friction

    @wp.func
    def ground_force(X_WB: transform, V_WB: vec6, point: vec4, up: vec3, material: vec4, law: vec2) -> vec6:
        """Spatial force of the ground on a link, at a contact point that touches it."""
        depth = point_depth(X_WB, point, up)
        p_W = transform_point(X_WB, vec3(point[0], point[1], point[2])) - up * point[3]
        return force_at(contact_force(depth, point_velocity(V_WB, p_W), up, material, law), p_W)

    return SimpleNamespace(touches_ground=touches_ground, ground_force=ground_force)
