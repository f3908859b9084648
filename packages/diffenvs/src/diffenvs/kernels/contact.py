r"""Compliant contact at a point, with the ground or of two bodies.

With the signed distance c < 0 (there is no force elsewhere), its gradient n (of length one, but shorter deep inside of
a shape and at the edges of boxes), velocity u of the first body against the second at the point, and the material's
constants:

.. math::
    u_n = n \cdot u, \qquad u_t = u - u_n n, \qquad
    N = k_e |c| + k_d \min(|c|, \delta) \max(-u_n, 0), \qquad
    F = N n - \frac{u_t}{|u_t|} \min(k_f |u_t|, \mu |n|^2 B)

F acts on the first body, -F on the second. The damping grows with the depth up to :math:`\delta`, so the force is
continuous at touch and never adhesive. The Coulomb bound takes the elastic part of N, :math:`B = k_e |c|`, or all of
it, as the material says; below it friction is viscous. (With infinite :math:`\delta`, the elastic bound and the ground
the law of DFlex: Xu et al., Accelerated Policy Learning with Parallel Differentiable Simulation, 2022.)
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.kernels.arguments import component
from diffenvs.spatial import algebra

STIFFNESS = component("material", "contact_stiffness")
DAMPING = component("material", "contact_damping")
TANGENTIAL_DAMPING = component("material", "tangential_damping")
FRICTION = component("material", "friction")


@functools.cache
def contact(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec2, vec3, vec4 = types.vec2, types.vec3, types.vec4

    @wp.func
    def contact_force(distance: real, velocity: vec3, normal: vec3, material: vec4, law: vec2) -> vec3:
        """Force on the body that moves with ``velocity``, at a point of this signed distance.

        The distance may be positive: rounding decides at touch, here other than where contacts are detected.
        ``material`` holds the constants of a shape, ``law`` the depth beyond which the damping no longer grows, and the
        share of the damping in the Coulomb bound.
        """
        normal_speed = wp.dot(velocity, normal)
        slip = velocity - normal * normal_speed
        depth = wp.max(-distance, real(0.0))
        elastic = material[STIFFNESS] * depth
        damping = material[DAMPING] * wp.min(depth, law[0]) * wp.max(-normal_speed, real(0.0))
        # Written without a division where the point sticks, so that the derivative exists at rest.
        friction = slip * material[TANGENTIAL_DAMPING]
        bound = material[FRICTION] * (elastic + damping * law[1]) * wp.dot(normal, normal)
        if wp.length(slip) * material[TANGENTIAL_DAMPING] >= bound:
            friction = wp.normalize(slip) * bound
        return normal * (elastic + damping) - friction

    return SimpleNamespace(contact_force=contact_force)
