"""Arguments of the kernel: structure and constants of a model, intermediate results."""

import enum
import functools
from types import SimpleNamespace
from typing import Any, Final

import warp as wp

from diffenvs.spatial import algebra

# Kernel array -> parameters in the order of its components, each with its number of components.
# "body" has an entry per link, "joint" per degree of freedom, "material" per shape, "gear" per actuator.
ARRAYS: Final[dict[str, dict[str, int]]] = {
    "body": {"mass": 1, "com": 3, "inertia": 6},
    "joint": {
        "stiffness": 1,
        "rest": 1,
        "damping": 1,
        "armature": 1,
        "limit_stiffness": 1,
        "limit_damping": 1,
        "lower": 1,
        "upper": 1,
    },
    "material": {"contact_stiffness": 1, "contact_damping": 1, "tangential_damping": 1, "friction": 1},
    "gear": {"gear": 1},
    "gravity": {"gravity": 3},
}


def component(array: str, parameter: str) -> int:
    """Return the component of a kernel array at which a parameter begins, as a constant for kernels."""
    before = list(ARRAYS[array]).index(parameter)
    return wp.constant(sum(list(ARRAYS[array].values())[:before]))


class ContactKind(enum.IntEnum):
    """What a segment with a radius touches."""

    GROUND = 0
    SEGMENT = 1
    BOX = 2


@wp.struct
class Tree:
    """Structure of a model. Rows of links in the scratch start with the world: link i of the model has row i + 1."""

    links: int
    coordinates: int
    dofs: int
    actuators: int
    entries: int
    """Nonzero entries of the lower triangle of the mass matrix."""
    ground_candidates: int
    """Candidates that may touch the ground; they come before all others."""
    shapes: int
    pairs: int
    link: wp.array[wp.vec4i]
    """Row of the parent, joint type, first coordinate, first degree of freedom."""
    dof_link: wp.array[int]
    """Row of the link that a degree of freedom moves."""
    actuator_dof: wp.array[int]
    entry: wp.array[wp.vec2i]
    """Row and column in the mass matrix."""
    shape_link: wp.array[int]
    """Row of the link of a shape."""
    pair: wp.array[wp.vec4i]
    """Two shapes that may touch each other, first and end of their candidates, which differ in their segments only."""
    candidate_kind: wp.array[int]
    candidate_owner: wp.array[wp.vec4i]
    """Rows of the two links, indices of the two shapes; beside the ground the world and the same shape."""


@functools.cache
def arguments(real: Any) -> SimpleNamespace:
    """Structs ``Constants`` and ``Scratch`` for one scalar type."""
    types = algebra(real)
    vec2, vec3, vec4, vec6, vec8 = types.vec2, types.vec3, types.vec4, types.vec6, types.vec8
    mat33, transform = types.mat33, types.transform

    @wp.struct
    class Constants:
        """Numbers of a model that carry no gradient."""

        h: real
        """Length of a substep [s]."""
        substeps: int
        interval: int
        """Substeps for which one mass matrix serves."""
        up: vec3
        joint_frame: wp.array[transform]
        joint_axis: wp.array[vec3]
        shape_bound: wp.array[vec4]
        """Sphere around a shape: centre in the link's frame, radius [m]."""
        segment: wp.array[vec4]
        """Of each candidate: middle of the first body's segment in its link's frame, and radius [m]."""
        segment_half: wp.array[vec3]
        """From the middle to an end, in the link's frame [m]."""
        other_frame: wp.array[transform]
        """Of each candidate: the second body's box, or the middle of its segment, in its link's frame."""
        other_size: wp.array[vec4]
        """Half extents of the box, or half vector and radius of the segment [m]."""
        law: wp.array[vec2]
        """Of each shape: depth beyond which damping no longer grows [m], share of the damping in the Coulomb bound."""

    @wp.struct
    class Scratch:
        """Intermediate results [lane, substep, index], those of the mass matrix [lane, block of substeps, index].

        ``x_rows`` is the memory of ``x`` in pieces of eight numbers, ``x_adjoint`` that of its gradient.
        """

        lanes: int
        drive: wp.array2d[real]
        q: wp.array3d[real]
        qd: wp.array3d[real]
        pose: wp.array3d[transform]
        subspace: wp.array3d[vec6]
        velocity: wp.array3d[vec6]
        bias: wp.array3d[vec6]
        force: wp.array3d[vec6]
        tau: wp.array3d[real]
        tau_adjoint: wp.array3d[real]
        rotational: wp.array3d[mat33]
        coupling: wp.array3d[mat33]
        translational: wp.array3d[mat33]
        momentum: wp.array3d[vec6]
        H: wp.array3d[real]
        H_adjoint: wp.array3d[real]
        inverse: wp.array4d[real]
        inverse_rows: wp.array4d[vec8]
        sums: wp.array4d[real]
        sums_rows: wp.array4d[vec8]
        qdd: wp.array3d[real]
        qdd_rows: wp.array3d[vec8]
        qdd_adjoint: wp.array3d[real]
        work: wp.array2d[real]
        work_rows: wp.array2d[vec8]
        bound: wp.array2d[vec4]
        """Spheres around the shapes now."""
        active: wp.array3d[int]
        """The number of contacts, and then their candidates."""

    return SimpleNamespace(Constants=Constants, Scratch=Scratch)
