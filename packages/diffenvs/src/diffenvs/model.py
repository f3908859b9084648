"""Robots as data: links, joints, collision shapes and materials, actuators, and the options that define the physics.

Everything here is frozen, made of plain numbers and checked when it is made. Frames and signs are those of
:mod:`diffenvs.spatial`.
"""

from __future__ import annotations

import enum
import math
import os
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import accumulate
from typing import Final

import numpy as np

from diffenvs.fields import convert_fields
from diffenvs.quantities import (
    STANDARD_GRAVITY,
    as_unit,
    as_vector,
    exceeds_the_others,
    require_non_negative,
    require_positive,
    set_field,
)
from diffenvs.quantities import Quaternion as Quaternion
from diffenvs.quantities import Vector3 as Vector3
from diffenvs.resistance import require_resistance
from diffenvs.shapes import Box as Box
from diffenvs.shapes import Capsule as Capsule
from diffenvs.shapes import Material as Material
from diffenvs.shapes import Shape
from diffenvs.shapes import Sphere as Sphere


class JointType(enum.IntEnum):
    """How a link may move against its parent."""

    FIXED = 0
    SLIDE = 1
    HINGE = 2
    FREE = 3

    @property
    def nq(self) -> int:
        """Number of coordinates."""
        return (0, 1, 1, 7)[self]

    @property
    def nv(self) -> int:
        """Number of velocities."""
        return (0, 1, 1, 6)[self]


_USED: Final = {JointType.FREE: ("type",), JointType.FIXED: ("type", "position", "rotation")}
"""Fields of a joint that mean something, where it has no axis."""


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Connection of a link to its parent, with the passive forces that act along it.

    The passive torque of a hinge (force of a slide) is
    ``-stiffness (q - rest) - damping qd``, and outside [lower, upper] in addition
    ``limit_stiffness (limit - q) - limit_damping qd``. With a ``limit_damping`` this force jumps where the joint
    crosses its limit with a velocity, and gradients that cross such a jump do not know of it.

    A free joint has a type only, a fixed one a position and rotation beside it.

    Raises
    ------
    TypeError, ValueError
        If a field has a wrong type or is out of range, has no meaning for the type of joint, or there is a limit
        without a stiffness to hold it.
    """

    type: JointType
    axis: Vector3 = (0.0, 0.0, 1.0)
    """Unit axis of a hinge or slide, in the joint's frame."""
    position: Vector3 = (0.0, 0.0, 0.0)
    """Origin of the joint's frame in the parent link's [m]."""
    rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)
    """Of the joint's frame in the parent link's."""
    lower: float = -math.inf
    """[rad or m]"""
    upper: float = math.inf
    """[rad or m]"""
    limit_stiffness: float = 0.0
    """Only outside the limits; positive if there is one [N m/rad or N/m]."""
    limit_damping: float = 0.0
    """Only outside the limits, so that the force jumps there unless it is zero [N m s/rad or N s/m]."""
    stiffness: float = 0.0
    """[N m/rad or N/m]"""
    rest: float = 0.0
    """Coordinate at which the stiffness pulls no more [rad or m]."""
    damping: float = 0.0
    """[N m s/rad or N s/m]"""
    armature: float = 0.0
    """Inertia of the drive, added to the diagonal of the mass matrix [kg m^2 or kg]."""

    def __post_init__(self) -> None:
        convert_fields(self, "Joint")
        set_field(self, "axis", as_unit("`axis` of Joint", self.axis, 3))
        set_field(self, "rotation", as_unit("`rotation` of Joint", self.rotation, 4))
        for name in ("limit_stiffness", "limit_damping", "stiffness", "damping", "armature"):
            require_non_negative(f"`{name}` of Joint", getattr(self, name))
        if not math.isfinite(self.rest):
            raise ValueError(f"`rest` of Joint must be finite. Got {self.rest}.")
        if not self.lower < self.upper:
            raise ValueError(f"`lower` of Joint must be below `upper`. Got {self.lower} and {self.upper}.")
        if math.isfinite(self.lower) or math.isfinite(self.upper):
            require_positive("`limit_stiffness` of Joint with `lower` or `upper`", self.limit_stiffness)
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in _USED.get(self.type, (each.name,)) and value != each.default:
                raise ValueError(f"a {self.type.name.lower()} Joint has no `{each.name}`. Got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Link:
    """A rigid body and the joint that connects it to its parent. Its frame is the joint's frame after the motion."""

    name: str
    parent: str | None
    """Name of the parent link; None for the world."""
    joint: Joint
    mass: float = 0.0
    """[kg]"""
    com: Vector3 = (0.0, 0.0, 0.0)
    """Centre of mass in the link's frame [m]."""
    inertia: tuple[float, float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    """xx, yy, zz, xy, xz, yz about the centre of mass, in the link's axes [kg m^2]."""
    shapes: tuple[Shape, ...] = ()

    def __post_init__(self) -> None:
        where = f"of link '{self.name}'"
        convert_fields(self, where.removeprefix("of "))
        require_non_negative(f"`mass` {where}", self.mass)
        moments = self.principal_moments
        if moments[0] < -1e-9 * max(1.0, moments[-1]):
            raise ValueError(f"`inertia` {where} must be positive semidefinite. Its moments are {moments}.")
        if self.mass == 0.0 and any(self.inertia):
            raise ValueError(f"`inertia` {where} must be zero for a massless link. Got {self.inertia}.")

    @property
    def principal_moments(self) -> tuple[float, float, float]:
        """Principal moments of inertia, the smallest first [kg m^2]."""
        xx, yy, zz, xy, xz, yz = self.inertia
        return as_vector("", np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]), 3)


@dataclass(frozen=True, kw_only=True)
class Actuator:
    """A drive that turns an action in [-1, 1] into the torque (force) ``gear * action`` along a joint."""

    link: str
    """Name of the link whose hinge or slide is driven."""
    gear: float
    """[N m or N]"""

    def __post_init__(self) -> None:
        convert_fields(self, f"Actuator of link '{self.link}'")
        if not math.isfinite(self.gear):
            raise ValueError(f"`gear` of Actuator of link '{self.link}' must be finite. Got {self.gear}.")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A robot, what it touches, and how time is divided.

    Raises
    ------
    TypeError
        If a field has a wrong type.
    ValueError
        If a name is unknown or used twice, a link comes before its parent, a free joint has a parent other than the
        world, nothing resists a joint, an actuator drives a joint without an axis, a collision has no shapes or no
        common law, an inertia is not that of a body, or a number is out of range.

    Examples
    --------
    A ball on a cart on a rail:

    >>> rubber = Material(stiffness=1e4, damping=1e3, tangential_damping=1e3, friction=0.8)
    >>> cart = Link(name="cart", parent=None, joint=Joint(type=JointType.SLIDE, axis=(1.0, 0.0, 0.0)), mass=1.0)
    >>> ball = Link(
    ...     name="ball",
    ...     parent="cart",
    ...     joint=Joint(type=JointType.HINGE, position=(0.0, 0.5, 0.0)),
    ...     mass=0.1,
    ...     inertia=(4e-5, 4e-5, 4e-5, 0.0, 0.0, 0.0),
    ...     shapes=(Sphere(radius=0.03, material=rubber),),
    ... )
    >>> model = Model(name="ball on cart", links=(cart, ball), actuators=(Actuator(link="cart", gear=10.0),))
    >>> model.nq, model.nv, model.nu
    (2, 2, 1)
    """

    name: str
    links: tuple[Link, ...]
    """Parents before children."""
    actuators: tuple[Actuator, ...] = ()
    """In the order of the action's entries."""
    collisions: tuple[tuple[str, str], ...] = ()
    """Pairs of links that touch each other: names of two links, all shapes of one against all of the other."""
    ground: bool = True
    """Whether there is a ground, which every shape touches."""
    up: Vector3 = (0.0, 1.0, 0.0)
    """Unit normal of the ground, which is the plane through the origin."""
    gravity: Vector3 = (0.0, -STANDARD_GRAVITY, 0.0)
    """[m/s^2]"""
    dt: float = 1.0 / 60.0
    """Length of a control step [s]."""
    substeps: int = 16
    """Integration steps in a control step."""
    mass_matrix_interval: int = 1
    """Substeps for which one mass matrix serves; divides `substeps`."""
    physical_inertias: bool = True
    """Whether inertias that no body has are refused: no principal moment exceeds the sum of the two others. The engine
    integrates any positive semidefinite inertia, and some published tasks are defined by such numbers."""
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        convert_fields(self, "Model")
        set_field(self, "up", as_unit("`up` of Model", self.up, 3))
        require_positive("`dt` of Model", self.dt)
        if not self.links:
            raise ValueError("`links` of Model must hold at least one link.")
        for name in ("substeps", "mass_matrix_interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` of Model must be positive. Got {getattr(self, name)}.")
        if self.substeps % self.mass_matrix_interval:
            raise ValueError(
                f"`mass_matrix_interval` of Model must divide `substeps`. "
                f"Got {self.mass_matrix_interval} and {self.substeps}."
            )
        index: dict[str, int] = {}
        for i, link in enumerate(self.links):
            if link.name in index:
                raise ValueError(f"link names must differ. '{link.name}' occurs twice.")
            if link.parent is not None and link.parent not in index:
                raise ValueError(f"`parent` of link '{link.name}' must name an earlier link. Got '{link.parent}'.")
            if link.joint.type is JointType.FREE and link.parent is not None:
                raise ValueError(f"link '{link.name}' has a free joint, so its `parent` must be None (the world).")
            index[link.name] = i
        set_field(self, "_index", index)
        require_resistance(self, "float64")
        if self.physical_inertias:
            self._require_physical_inertias()
        for actuator in self.actuators:
            joint = self.links[self.link_index(actuator.link)].joint
            if joint.type not in (JointType.HINGE, JointType.SLIDE):
                raise ValueError(f"actuator of '{actuator.link}' needs a hinge or slide. It is {joint.type.name}.")
        if len({actuator.link for actuator in self.actuators}) < self.nu:
            raise ValueError("`actuators` of Model must drive different joints.")
        self._require_collisions()

    def _require_physical_inertias(self) -> None:
        """Refuse inertias that break the triangle inequality, all at once."""
        moments = {link.name: link.principal_moments for link in self.links}
        broken = [f"'{name}' {values}" for name, values in moments.items() if exceeds_the_others(*values)]
        if broken:
            raise ValueError(
                f"no principal moment of inertia may exceed the sum of the two others, as those of these links do: "
                f"{', '.join(broken)}. `physical_inertias=False` lets them pass."
            )

    def _require_collisions(self) -> None:
        """Refuse pairs of links that cannot touch each other, or by two laws."""
        seen: set[frozenset[str]] = set()
        for pair in self.collisions:
            if len(pair) != 2:
                raise ValueError(f"each of `collisions` of Model must name two links. Got {pair!r}.")
            first, second = (self.links[self.link_index(name)] for name in pair)
            names = f"'{first.name}' and '{second.name}'"
            if first is second:
                raise ValueError(f"`collisions` of Model must name two different links. Got '{first.name}' twice.")
            if frozenset(pair) in seen:
                raise ValueError(f"`collisions` of Model must name a pair once. {names} occur twice.")
            seen.add(frozenset(pair))
            for link in (first, second):
                if not link.shapes:
                    raise ValueError(f"`collisions` of Model must name links with shapes. '{link.name}' has none.")
            laws = {(s.material.damping_depth, s.material.friction_bound) for s in (*first.shapes, *second.shapes)}
            if len(laws) > 1:
                raise ValueError(f"the materials of {names} must have one `damping_depth` and one `friction_bound`.")

    @classmethod
    def from_mjcf(
        cls,
        source: str | os.PathLike[str],
        *,
        dt: float = 1.0 / 60.0,
        substeps: int = 16,
        mass_matrix_interval: int = 1,
        material: Material | None = None,
        limit_stiffness: float | None = None,
        limit_damping: float = 0.0,
        ground: bool | None = None,
        collisions: bool = False,
        floating: bool = False,
    ) -> Model:
        """Read a robot from an MJCF or URDF file, compiled by MuJoCo (``pip install diffenvs[mjcf]``).

        Coordinates have the order and the values of MuJoCo's, except those of free joints: see
        :func:`diffenvs.mjcf.from_mujoco`. Bodies without a joint between them become one link, which has the name of
        the first of them. A body with several joints becomes a chain of links, of which the last one is the body and
        the others, "body/joint", have no mass. The world is z-up.

        Actuators are motors and servos whose force is affine in control, position and velocity: the action of one is
        the upper end of ``ctrlrange``, and what depends on position and velocity is added to the joint's spring and
        damper. In a file without actuators, such as a URDF, each joint with a limited force (URDF's ``effort``) gets a
        motor of that force.

        Not taken are MuJoCo's time step, integrator and solver, and its law of contact and limits (``solref``,
        ``solimp``, ``margin``, torsional and rolling friction).

        Parameters
        ----------
        source
            Path of a file, or its text.
        dt, substeps, mass_matrix_interval
            Fields of the model.
        material
            Of all shapes. By default one contact point carries the robot's weight at a depth of 3 cm, the damping is
            0.1 s/m and the tangential damping 0.05 s times that stiffness, and the friction is the file's, of the geom
            against the ground. Where links touch each other, the engine takes the mean of two shapes; a file whose
            friction (by its pairs, priorities, or the larger one of two geoms) is another is refused, and so is a pair
            with friction that depends on the direction. A material that is given replaces all friction of the file.
        limit_stiffness
            Of all joints with a range, positive [N m/rad or N/m]. By default a joint against its limit vibrates at
            100 rad/s, for its inertia in the reference pose.
        limit_damping
            Of all joints with a range; only outside it, so that its force jumps at the limit [N m s/rad or N s/m].
        ground
            Whether there is a ground, at z = 0. By default, if the file has a plane that something touches. Geoms that
            do not touch it are left out, and where the file has none, all touch it that touch anything.
        collisions
            Whether links touch each other, and what stands in the world, where the file says so. By default they touch
            the ground only; then what stands in the world is refused, but for the base of a robot, which is left out.
        floating
            Whether to put a root body that has no joint, such as that of a URDF, on a free joint.

        Returns
        -------
        Model

        Raises
        ------
        ImportError
            If MuJoCo is not installed.
        FileNotFoundError
            If there is no such file.
        NotImplementedError
            If the file asks for what this engine cannot simulate; the message names all of it.
        ValueError
            If MuJoCo cannot compile the file, an inertia is not that of a body, nothing resists a joint, or an argument
            does not fit.
        """
        from diffenvs import mjcf

        return mjcf.load(
            source,
            dt=dt,
            substeps=substeps,
            mass_matrix_interval=mass_matrix_interval,
            material=material,
            limit_stiffness=limit_stiffness,
            limit_damping=limit_damping,
            ground=ground,
            collisions=collisions,
            floating=floating,
        )

    def link_index(self, name: str) -> int:
        """Position of the named link in `links`; ValueError if there is none."""
        if name not in self._index:
            raise ValueError(f"model '{self.name}' has no link '{name}'. It has {', '.join(self._index)}.")
        return self._index[name]

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Index of each link's parent, -1 for the world."""
        return tuple(-1 if link.parent is None else self._index[link.parent] for link in self.links)

    @cached_property
    def q_start(self) -> tuple[int, ...]:
        """Index of each link's first coordinate."""
        return tuple(accumulate((link.joint.type.nq for link in self.links), initial=0))[:-1]

    @property
    def quaternions(self) -> tuple[int, ...]:
        """First columns of the quaternions in the coordinates."""
        joints = zip(self.links, self.q_start, strict=True)
        return tuple(start + 3 for link, start in joints if link.joint.type is JointType.FREE)

    @cached_property
    def v_start(self) -> tuple[int, ...]:
        """Index of each link's first velocity."""
        return tuple(accumulate((link.joint.type.nv for link in self.links), initial=0))[:-1]

    @property
    def nq(self) -> int:
        """Number of coordinates."""
        return sum(link.joint.type.nq for link in self.links)

    @property
    def nv(self) -> int:
        """Number of velocities (degrees of freedom)."""
        return sum(link.joint.type.nv for link in self.links)

    @property
    def nu(self) -> int:
        """Number of actuators."""
        return len(self.actuators)
