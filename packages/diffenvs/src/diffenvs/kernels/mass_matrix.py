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

from diffenvs.spatial import algebra


@functools.cache
def mass_matrix(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec3, vec6, vec8, vec10, transform = types.vec3, types.vec6, types.vec8, types.vec10, types.transform
    inertia_about_origin, transform_point = types.inertia_about_origin, types.transform_point

    @wp.func
    def link_inertia(X_WB: transform, body: vec10) -> vec10:
        """Inertia of a link about the world origin."""
        c_W = transform_point(X_WB, vec3(body[1], body[2], body[3]))
        inertia_B = vec6(body[4], body[5], body[6], body[7], body[8], body[9])
        return inertia_about_origin(wp.transform_get_rotation(X_WB), c_W, body[0], inertia_B)

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

    return SimpleNamespace(link_inertia=link_inertia, invert=invert, solve=solve)
