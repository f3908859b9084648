r"""Compliant contact of a point with the ground, the plane through the origin with normal ``up``.

With depth c < 0, velocity :math:`u = u_n n + u_t` of the lowered point, and the material's constants:

.. math:: N = k_e |c| + k_d |c| \max(-u_n, 0), \qquad T = -\frac{u_t}{|u_t|} \min(k_f |u_t|, \mu k_e |c|)

The damping grows with the depth, so the force is continuous at touch and never adhesive; the Coulomb bound takes the
elastic part only, and below it friction is viscous. (The law of DFlex: Xu et al., Accelerated Policy Learning with
Parallel Differentiable Simulation, 2022.)
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
    vec3, vec4, vec6 = types.vec3, types.vec4, types.vec6
    force_at, point_velocity = types.force_at, types.point_velocity

    @wp.func
    def ground_force(p_W: vec3, depth: real, V_WB: vec6, up: vec3, material: vec4) -> vec6:
        """Spatial force of the ground on a link, at its point ``p_W`` that is at ``depth`` < 0."""
        velocity = point_velocity(V_WB, p_W)
        normal_speed = wp.dot(velocity, up)
        slip = velocity - up * normal_speed
        slip_speed = wp.length(slip)
        elastic = -material[0] * depth
        normal_force = elastic - material[1] * depth * wp.max(-normal_speed, real(0.0))
        friction = wp.normalize(slip) * wp.min(material[2] * slip_speed, material[3] * elastic)
        return force_at(up * normal_force - friction, p_W)

    return SimpleNamespace(ground_force=ground_force)
