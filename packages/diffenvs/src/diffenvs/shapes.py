"""Shapes that touch, and what they are made of; frozen and checked like all of a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from diffenvs.fields import convert_fields
from diffenvs.quantities import (
    Quaternion,
    Vector3,
    as_unit,
    as_vector,
    require_non_negative,
    require_positive,
    set_field,
)
from diffenvs.quaternions import rotate

FrictionBound = Literal["elastic", "total"]


@dataclass(frozen=True, kw_only=True)
class Material:
    """Compliant contact of a shape; the law stands in :mod:`diffenvs.kernels.contact`.

    The ground takes the material of the shape that touches it. Where two shapes touch, the constants are the means of
    theirs, and `damping_depth` and `friction_bound` must be the same.
    """

    stiffness: float
    """Normal force per depth [N/m]."""
    damping: float
    """Normal force per depth and approach velocity [N s/m^2]."""
    tangential_damping: float
    """Friction force per sliding velocity, below the Coulomb bound [N s/m]."""
    friction: float
    """Coulomb coefficient."""
    damping_depth: float = math.inf
    """Depth beyond which the damping no longer grows [m]."""
    friction_bound: FrictionBound = "elastic"
    """Whether the Coulomb coefficient bounds friction by the elastic part of the normal force or by all of it."""

    def __post_init__(self) -> None:
        convert_fields(self, "Material")
        for name in ("stiffness", "damping", "tangential_damping", "friction"):
            require_non_negative(f"`{name}` of Material", getattr(self, name))
        if not self.damping_depth > 0.0:
            raise ValueError(f"`damping_depth` of Material must be positive. Got {self.damping_depth!r}.")


@dataclass(frozen=True, kw_only=True)
class Sphere:
    """A sphere fixed to a link."""

    radius: float
    """[m]"""
    material: Material
    position: Vector3 = (0.0, 0.0, 0.0)
    """Centre in the link's frame [m]."""

    def __post_init__(self) -> None:
        convert_fields(self, "Sphere")
        require_positive("`radius` of Sphere", self.radius)

    def contact_points(self) -> tuple[tuple[Vector3, float], ...]:
        """Points in the link's frame that touch the ground first, each with its radius."""
        return ((self.position, self.radius),)


@dataclass(frozen=True, kw_only=True)
class Capsule:
    """A cylinder with two half spheres as its ends, fixed to a link."""

    radius: float
    """[m]"""
    half_length: float
    """From the centre to the centre of a half sphere [m]."""
    axis: Vector3
    """Unit direction in the link's frame."""
    material: Material
    position: Vector3 = (0.0, 0.0, 0.0)
    """Centre in the link's frame [m]."""

    def __post_init__(self) -> None:
        convert_fields(self, "Capsule")
        require_positive("`radius` of Capsule", self.radius)
        require_positive("`half_length` of Capsule", self.half_length)
        set_field(self, "axis", as_unit("`axis` of Capsule", self.axis, 3))

    def contact_points(self) -> tuple[tuple[Vector3, float], ...]:
        """Points in the link's frame that touch the ground first, each with its radius."""
        centre, offset = np.array(self.position), self.half_length * np.array(self.axis)
        return (as_vector("", centre - offset, 3), self.radius), (as_vector("", centre + offset, 3), self.radius)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box fixed to a link."""

    half_extents: Vector3
    """Half edge lengths along the box's own axes [m]."""
    material: Material
    position: Vector3 = (0.0, 0.0, 0.0)
    """Centre in the link's frame [m]."""
    rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)
    """Of the box in the link's frame."""

    def __post_init__(self) -> None:
        convert_fields(self, "Box")
        for extent in self.half_extents:
            require_positive("each of `half_extents` of Box", extent)
        set_field(self, "rotation", as_unit("`rotation` of Box", self.rotation, 4))

    def contact_points(self) -> tuple[tuple[Vector3, float], ...]:
        """Points in the link's frame that touch the ground first, each with its radius."""
        corners = np.array(list(product((-1.0, 1.0), repeat=3))) * np.array(self.half_extents)
        return tuple((as_vector("", corner, 3), 0.0) for corner in self.position + rotate(self.rotation, corners))


Shape = Sphere | Capsule | Box
