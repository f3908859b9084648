r"""Mass matrix by composite inertias, its inverse, and the solve with its adjoint.

With links numbered from root to leaf, :math:`H_{jk} = S_k^T I^c_j S_j` is nonzero only where k is j or one of its
ancestors or descendants (Featherstone 2008, table 6.2); only the entries of the lower triangle are made.

One inverse serves all solves of a block of substeps, in the step and in its adjoint. A factorisation along the tree
needs fewer operations, but these are single ones, and multiplying by dense rows, eight numbers at a time, was measured
to be several times faster for trees of 6 to 27 degrees of freedom.

For :math:`x = H^{-1} b` the adjoints are :math:`\bar b = H^{-1} \bar x` and :math:`\bar H = -\bar b x^T`. The solves of
a block add the latter up in ``sums``, from where it reaches the entries of H in the adjoint of the inversion.
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
def mass_matrix(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec3, vec6, vec8, vec10 = types.vec3, types.vec6, types.vec8, types.vec10
    mat33, transform = types.mat33, types.transform
    angular, linear, spatial = types.angular, types.linear, types.spatial

    @wp.func
    def com_to_origin(X_WB: transform, R_WB: mat33, body: vec10) -> mat33:
        """Lower left block of T: what an angular velocity in the world adds to that of the centre of mass, in B."""
        R_BW = wp.transpose(R_WB)
        c_B = R_BW * (wp.transform_get_translation(X_WB) + R_WB * vec3(body[COM], body[COM + 1], body[COM + 2]))
        return -wp.skew(c_B) * R_BW

    @wp.func
    def rotational_inertia(R_WB: mat33, S_BW: mat33, body: vec10) -> mat33:
        """Upper left block of the inertia about the origin; ``S_BW`` comes from `com_to_origin`."""
        xx, yy, zz = body[INERTIA], body[INERTIA + 1], body[INERTIA + 2]
        xy, xz, yz = body[INERTIA + 3], body[INERTIA + 4], body[INERTIA + 5]
        inertia_B = mat33(xx, xy, xz, xy, yy, yz, xz, yz, zz)
        return R_WB * inertia_B * wp.transpose(R_WB) + wp.transpose(S_BW) * S_BW * body[MASS]

    @wp.func
    def coupling_inertia(R_WB: mat33, S_BW: mat33, body: vec10) -> mat33:
        """Upper right block."""
        return wp.transpose(S_BW) * wp.transpose(R_WB) * body[MASS]

    @wp.func
    def translational_inertia(R_WB: mat33, body: vec10) -> mat33:
        """Lower right block: the mass, for unit quaternions."""
        return R_WB * wp.transpose(R_WB) * body[MASS]

    @wp.func
    def inertia_apply(rotational: mat33, coupling: mat33, translational: mat33, V: vec6) -> vec6:
        """Momentum of an inertia of these blocks moving with ``V``."""
        return spatial(
            rotational * angular(V) + coupling * linear(V),
            wp.transpose(coupling) * angular(V) + translational * linear(V),
        )

    @wp.func
    def invert(
        H: wp.array[real],
        H_adjoint: wp.array[real],
        entry: wp.array[wp.vec2i],
        entries: int,
        dofs: int,
        inverse: wp.array2d[real],
        inverse_rows: wp.array2d[vec8],
        sums: wp.array2d[real],
    ):
        """Invert H by elimination, which needs no pivoting for a symmetric positive definite matrix."""
        chunks = inverse_rows.shape[1]
        for j in range(dofs):
            for c in range(chunks):
                inverse_rows[j, c] = vec8()
        for e in range(entries):
            j = entry[e][0]
            k = entry[e][1]
            inverse[j, k] = H[e]
            inverse[k, j] = H[e]
        for p in range(dofs):
            pivot = real(1.0) / inverse[p, p]
            inverse[p, p] = real(1.0)
            for c in range(chunks):
                inverse_rows[p, c] = inverse_rows[p, c] * pivot
            for j in range(dofs):
                if j != p:
                    ratio = inverse[j, p]
                    inverse[j, p] = real(0.0)
                    for c in range(chunks):
                        inverse_rows[j, c] = inverse_rows[j, c] - inverse_rows[p, c] * ratio

    @wp.func_replay(invert)
    def replay_invert(
        H: wp.array[real],
        H_adjoint: wp.array[real],
        entry: wp.array[wp.vec2i],
        entries: int,
        dofs: int,
        inverse: wp.array2d[real],
        inverse_rows: wp.array2d[vec8],
        sums: wp.array2d[real],
    ):
        """Nothing: the inverse is in its array."""

    @wp.func_grad(invert)
    def adj_invert(
        H: wp.array[real],
        H_adjoint: wp.array[real],
        entry: wp.array[wp.vec2i],
        entries: int,
        dofs: int,
        inverse: wp.array2d[real],
        inverse_rows: wp.array2d[vec8],
        sums: wp.array2d[real],
    ):
        """Give H what the solves have summed; an entry off the diagonal stands for two."""
        for e in range(entries):
            j = entry[e][0]
            k = entry[e][1]
            value = sums[j, k]
            sums[j, k] = real(0.0)
            if j != k:
                value = value + sums[k, j]
                sums[k, j] = real(0.0)
            H_adjoint[e] = H_adjoint[e] + value

    @wp.func
    def multiply(inverse_rows: wp.array2d[vec8], dofs: int, b: wp.array[real], x_rows: wp.array[vec8]):
        """Product of the (symmetric) inverse with ``b``."""
        for c in range(inverse_rows.shape[1]):
            total = vec8()
            for j in range(dofs):
                total = total + inverse_rows[j, c] * b[j]
            x_rows[c] = total

    @wp.func_grad(multiply)
    def adj_multiply(inverse_rows: wp.array2d[vec8], dofs: int, b: wp.array[real], x_rows: wp.array[vec8]):
        """Nothing: only solve calls it, and has the derivative."""

    @wp.func
    def solve(
        inverse_rows: wp.array2d[vec8],
        sums: wp.array2d[vec8],
        dofs: int,
        b: wp.array[real],
        b_adjoint: wp.array[real],
        x: wp.array[vec8],
        x_adjoint: wp.array[real],
        work: wp.array[real],
        work_rows: wp.array[vec8],
    ):
        """Solve H x = b; the adjoint arrays are those of b and x."""
        multiply(inverse_rows, dofs, b, x)

    @wp.func_replay(solve)
    def replay_solve(
        inverse_rows: wp.array2d[vec8],
        sums: wp.array2d[vec8],
        dofs: int,
        b: wp.array[real],
        b_adjoint: wp.array[real],
        x: wp.array[vec8],
        x_adjoint: wp.array[real],
        work: wp.array[real],
        work_rows: wp.array[vec8],
    ):
        """Nothing: the solution is in its array."""

    @wp.func_grad(solve)
    def adj_solve(
        inverse_rows: wp.array2d[vec8],
        sums: wp.array2d[vec8],
        dofs: int,
        b: wp.array[real],
        b_adjoint: wp.array[real],
        x: wp.array[vec8],
        x_adjoint: wp.array[real],
        work: wp.array[real],
        work_rows: wp.array[vec8],
    ):
        """Solve for the adjoint of b, and add that of H to the sums."""
        multiply(inverse_rows, dofs, x_adjoint, work_rows)
        for j in range(dofs):
            y_j = work[j]
            b_adjoint[j] = b_adjoint[j] + y_j
            x_adjoint[j] = real(0.0)
            for c in range(inverse_rows.shape[1]):
                sums[j, c] = sums[j, c] - x[c] * y_j

    return SimpleNamespace(
        com_to_origin=com_to_origin,
        rotational_inertia=rotational_inertia,
        coupling_inertia=coupling_inertia,
        translational_inertia=translational_inertia,
        inertia_apply=inertia_apply,
        invert=invert,
        solve=solve,
    )
