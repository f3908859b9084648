r"""Spatial algebra: the conventions of the engine, stated once, and the functions that carry them out.

**Units** are SI. **Which way is up** is data of the model.

**Frames.** ``W`` is the world, ``P`` the parent link, ``J`` the frame of a joint before its motion, ``B`` the link
after it. Names read ``quantity_reference target`` (Drake's monogram notation): ``X_WB`` is the pose of ``B`` in
``W``, ``V_WB`` the spatial velocity of ``B`` in ``W``, ``S_W`` a motion subspace, ``F_W`` a spatial force.

**Spatial vectors** are six numbers, angular part first, in world axes and **about the origin of the world**:
a velocity is :math:`(\omega, v_O)`, where :math:`v_O` is the velocity of the material point that passes the origin,
so that a point :math:`p` moves with :math:`v_O + \omega \times p`; a force is :math:`(n_O, f)`, the moment about the
origin and the force. Nothing has to be shifted between links, and sums over links are plain sums. Because moments
about a far origin lose precision, callers keep the robot near it (see ``DiffVectorEnv``).

**Quaternions** are (x, y, z, w). Rotating by :math:`(u, w)` is the polynomial
:math:`(2 w^2 - 1) x + 2 w\, u \times x + 2 u (u \cdot x)`, which is a rotation for unit quaternions only; derivatives
with respect to the four components are those of this polynomial. The conjugate serves as the inverse.

**Coordinates.** A hinge [rad] or slide [m] has one coordinate and one velocity. A free joint has the coordinates
(p, quaternion) and the velocities :math:`(\omega, v_O)`: its velocity *is* the spatial velocity of its link, so
:math:`\dot p = v_O + \omega \times p`. A fixed joint has none.

**Inertia** of a link about the origin is :math:`T^T \mathrm{diag}(I_B, m) T`, where T takes a spatial velocity to the
axes of the link and its centre of mass. Inertias add up over links. Derivatives with respect to a quaternion that is
not of unit length are those of this formula too; it needs no unit length anywhere.

Functions are built for one scalar type by :func:`algebra`; kernels call them by name and hold no formula of their own
for what is here.

References: R. Featherstone, Rigid Body Dynamics Algorithms, 2008, chapter 2.
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp


@functools.cache
def algebra(real: Any) -> SimpleNamespace:
    """Build the types and functions for one scalar type.

    Parameters
    ----------
    real
        ``wp.float32`` or ``wp.float64``.

    Returns
    -------
    SimpleNamespace
        Types ``vec2`` to ``vec10``, ``mat33``, ``quat``, ``transform`` and the functions below, callable in kernels.
    """
    vec2 = wp.types.vector(length=2, dtype=real)
    vec3 = wp.types.vector(length=3, dtype=real)
    vec4 = wp.types.vector(length=4, dtype=real)
    vec6 = wp.types.vector(length=6, dtype=real)
    vec8 = wp.types.vector(length=8, dtype=real)
    vec10 = wp.types.vector(length=10, dtype=real)
    mat33 = wp.types.matrix(shape=(3, 3), dtype=real)
    quat = wp.types.quaternion(dtype=real)
    transform = wp.types.transformation(dtype=real)

    @wp.func
    def rotate(q: quat, x: vec3) -> vec3:
        """Rotate ``x`` by the quaternion ``q``."""
        return wp.quat_rotate(q, x)

    @wp.func
    def rotation_matrix(q: quat) -> mat33:
        """Matrix of the rotation by ``q``."""
        x = q[0]
        y = q[1]
        z = q[2]
        w = q[3]
        two = real(2.0)
        d = two * w * w - real(1.0)
        return mat33(
            d + two * x * x,
            two * (x * y - w * z),
            two * (x * z + w * y),
            two * (x * y + w * z),
            d + two * y * y,
            two * (y * z - w * x),
            two * (x * z - w * y),
            two * (y * z + w * x),
            d + two * z * z,
        )

    @wp.func
    def axis_rotation(axis: vec3, angle: real) -> quat:
        """Quaternion of a rotation by ``angle`` about the unit vector ``axis``."""
        half = angle * real(0.5)
        s = wp.sin(half)
        return quat(axis[0] * s, axis[1] * s, axis[2] * s, wp.cos(half))

    @wp.func
    def compose(X_AB: transform, X_BC: transform) -> transform:
        """Pose of C in A."""
        q_AB = wp.transform_get_rotation(X_AB)
        return transform(
            wp.transform_get_translation(X_AB) + rotate(q_AB, wp.transform_get_translation(X_BC)),
            q_AB * wp.transform_get_rotation(X_BC),
        )

    @wp.func
    def invert_pose(X_AB: transform) -> transform:
        """Pose of A in B."""
        q_AB = wp.transform_get_rotation(X_AB)
        q_BA = quat(-q_AB[0], -q_AB[1], -q_AB[2], q_AB[3])
        return transform(-rotate(q_BA, wp.transform_get_translation(X_AB)), q_BA)

    @wp.func
    def transform_point(X_AB: transform, p_B: vec3) -> vec3:
        """Point given in B, expressed in A."""
        return wp.transform_get_translation(X_AB) + rotate(wp.transform_get_rotation(X_AB), p_B)

    @wp.func
    def angular(a: vec6) -> vec3:
        """Angular part of a spatial vector."""
        return vec3(a[0], a[1], a[2])

    @wp.func
    def linear(a: vec6) -> vec3:
        """Linear part of a spatial vector."""
        return vec3(a[3], a[4], a[5])

    @wp.func
    def spatial(top: vec3, bottom: vec3) -> vec6:
        """Spatial vector of its angular and linear parts."""
        return vec6(top[0], top[1], top[2], bottom[0], bottom[1], bottom[2])

    @wp.func
    def unit(k: int) -> vec6:
        """Spatial vector with a one at index ``k``."""
        one = real(1.0)
        zero = real(0.0)
        return vec6(
            wp.where(k == 0, one, zero),
            wp.where(k == 1, one, zero),
            wp.where(k == 2, one, zero),
            wp.where(k == 3, one, zero),
            wp.where(k == 4, one, zero),
            wp.where(k == 5, one, zero),
        )

    @wp.func
    def point_velocity(V: vec6, p: vec3) -> vec3:
        """Velocity of the material point at ``p``."""
        return linear(V) + wp.cross(angular(V), p)

    @wp.func
    def force_at(f: vec3, p: vec3) -> vec6:
        """Spatial force of the force ``f`` acting at ``p``."""
        return spatial(wp.cross(p, f), f)

    @wp.func
    def cross_motion(V: vec6, U: vec6) -> vec6:
        """Rate of change of the motion vector ``U`` carried by the velocity ``V`` (Featherstone, eq. 2.31)."""
        return spatial(
            wp.cross(angular(V), angular(U)),
            wp.cross(linear(V), angular(U)) + wp.cross(angular(V), linear(U)),
        )

    @wp.func
    def symmetric_apply(I: vec6, x: vec3) -> vec3:  # noqa: E741 - the inertia
        """Product of the symmetric matrix (xx, yy, zz, xy, xz, yz) with ``x``."""
        return vec3(
            I[0] * x[0] + I[3] * x[1] + I[4] * x[2],
            I[3] * x[0] + I[1] * x[1] + I[5] * x[2],
            I[4] * x[0] + I[5] * x[1] + I[2] * x[2],
        )

    @wp.func
    def cross_force(V: vec6, F: vec6) -> vec6:
        """Rate of change of the force vector ``F`` carried by the velocity ``V`` (Featherstone, eq. 2.32)."""
        return spatial(
            wp.cross(angular(V), angular(F)) + wp.cross(linear(V), linear(F)),
            wp.cross(angular(V), linear(F)),
        )

    return SimpleNamespace(**{name: value for name, value in locals().items()})
