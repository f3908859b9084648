r"""Semi-implicit Euler: velocities first, coordinates with the new velocities.

A free joint moves its link by :math:`\dot p = v_O + \omega \times p` and
:math:`\dot r = \tfrac12 (\omega, 0)\, r`, and its quaternion is normalised after each step.
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.spatial import algebra


@functools.cache
def integrator(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec6, transform, quat = types.vec6, types.transform, types.quat
    angular, point_velocity = types.angular, types.point_velocity

    @wp.func
    def integrate_pose(X_WB: transform, V_WB: vec6, h: real) -> transform:
        """Pose after a step ``h`` [s] with the spatial velocity ``V_WB``."""
        p = wp.transform_get_translation(X_WB)
        r = wp.transform_get_rotation(X_WB)
        omega = angular(V_WB)
        spin = quat(omega[0], omega[1], omega[2], real(0.0)) * r
        return transform(p + point_velocity(V_WB, p) * h, wp.normalize(r + spin * (h * real(0.5))))

    return SimpleNamespace(integrate_pose=integrate_pose)
