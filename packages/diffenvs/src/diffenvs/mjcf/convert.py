"""A file, compiled by MuJoCo, as a model of ours."""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import mujoco
import numpy as np

from diffenvs.fields import converted
from diffenvs.mjcf.compiled import kinematics, name_of
from diffenvs.mjcf.contacts import Contacts
from diffenvs.mjcf.drives import drive
from diffenvs.mjcf.unsupported import refuse_unsupported
from diffenvs.model import Actuator, Box, Capsule, Joint, JointType, Link, Material, Model, Quaternion, Shape, Sphere
from diffenvs.quantities import STANDARD_GRAVITY

_TYPES: Final = {
    mujoco.mjtJoint.mjJNT_FREE: JointType.FREE,
    mujoco.mjtJoint.mjJNT_SLIDE: JointType.SLIDE,
    mujoco.mjtJoint.mjJNT_HINGE: JointType.HINGE,
}
CONTACT_DEPTH: Final = 0.03
"""Depth at which one contact point of the default material carries all links [m]."""
CONTACT_DAMPING: Final = 0.1
"""Damping of the default material over its stiffness [s/m]."""
CONTACT_TANGENTIAL_DAMPING: Final = 0.05
"""Tangential damping of the default material over its stiffness [s]."""
LIMIT_FREQUENCY: Final = 100.0
"""At which a joint vibrates against the default stiffness of its limit [rad/s]."""


def load(
    source: str | os.PathLike[str],
    *,
    dt: float,
    substeps: int,
    mass_matrix_interval: int,
    material: Material | None,
    limit_stiffness: float | None,
    limit_damping: float,
    ground: bool | None,
    collisions: bool,
    floating: bool,
) -> Model:
    """Read a robot; :meth:`diffenvs.Model.from_mjcf` describes it all."""
    converted("`material`", material, Material | None)
    spec = _parsed(source)
    spec.compiler.fusestatic = False  # bodies are merged below, where the base of a robot can be told from scenery
    if floating:
        _free_root(spec)
    if not spec.actuators:
        _drive_by_force_limits(spec)
    m = spec.compile()
    contacts = Contacts(m, ground=ground, collisions=collisions)
    refuse_unsupported(m, contacts, spec.modelname, friction=material is None)
    robot = _Robot(m, contacts, material=material, limit_stiffness=limit_stiffness, limit_damping=limit_damping)
    return Model(
        name=spec.modelname,
        links=robot.links(),
        actuators=robot.actuators(),
        collisions=tuple((name_of(m, "body", a), name_of(m, "body", b)) for a, b in contacts.links()),
        ground=contacts.ground,
        up=(0.0, 0.0, 1.0),
        gravity=m.opt.gravity,
        dt=dt,
        substeps=substeps,
        mass_matrix_interval=mass_matrix_interval,
    )


def _parsed(source: str | os.PathLike[str]) -> mujoco.MjSpec:
    if isinstance(source, str) and source.lstrip().startswith("<"):
        return mujoco.MjSpec.from_string(source)
    if not Path(source).is_file():
        raise FileNotFoundError(f"there is no file '{source}'; text of a model must start with '<'.")
    return mujoco.MjSpec.from_file(os.fspath(source))


def _free_root(spec: mujoco.MjSpec) -> None:
    roots = spec.worldbody.bodies
    if len(roots) != 1 or roots[0].joints:
        found = ", ".join(f"'{root.name}' with {len(root.joints)} joints" for root in roots)
        raise ValueError(f"`floating` needs one root body, without joints. There is {found or 'none'}.")
    roots[0].add_freejoint()


def _drive_by_force_limits(spec: mujoco.MjSpec) -> None:
    """Give each joint with a limited force, such as URDF's effort, a motor of that force."""
    taken = {joint.name for joint in spec.joints}
    for i, joint in enumerate(spec.joints):
        if any(joint.actfrcrange) and joint.actfrclimited != mujoco.mjtLimited.mjLIMITED_FALSE:
            if not joint.name:  # actuators find their joint by its name
                joint.name = next(name for k in itertools.count(i) if (name := f"joint{k}") not in taken)
                taken.add(joint.name)
            motor = spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            motor.set_to_motor()
            motor.ctrlrange = joint.actfrcrange


@dataclass(frozen=True, eq=False)
class _Frame:
    """Pose of a frame."""

    position: np.ndarray = field(default_factory=lambda: np.zeros(3))
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    """Matrix whose columns are the frame's axes."""

    def inverse_times(self, other: _Frame) -> _Frame:
        """Pose of another frame in this one."""
        back = self.rotation.T
        return _Frame(back @ (other.position - self.position), back @ other.rotation)

    def displaced(self, kind: JointType, axis: np.ndarray, coordinate: float) -> _Frame:
        """Pose behind a hinge or slide at this frame."""
        if kind is JointType.SLIDE:
            return _Frame(self.position + self.rotation @ axis * coordinate, self.rotation)
        quaternion, turn = np.zeros(4), np.zeros(9)
        mujoco.mju_axisAngle2Quat(quaternion, axis, coordinate)
        mujoco.mju_quat2Mat(turn, quaternion)
        return _Frame(self.position, self.rotation @ turn.reshape(3, 3))

    def quaternion(self) -> Quaternion:
        """Rotation as (x, y, z, w)."""
        quaternion = np.zeros(4)
        mujoco.mju_mat2Quat(quaternion, self.rotation.ravel())
        w, x, y, z = quaternion.tolist()
        return x, y, z, w


class _Robot:
    """The links of a compiled model.

    Bodies that have no joint between them are one link, named by the first of them, its root. Everything is read in
    the world at the reference pose, where the joints displace nothing.
    """

    def __init__(
        self,
        m: mujoco.MjModel,
        contacts: Contacts,
        *,
        material: Material | None,
        limit_stiffness: float | None,
        limit_damping: float,
    ) -> None:
        self._m, self._contacts = m, contacts
        self._d = kinematics(m)
        self._shapes = contacts.shapes()
        self._material = material
        self._limit_stiffness, self._limit_damping = limit_stiffness, limit_damping
        self._drives = {this.joint: this for this in map(partial(drive, m), range(m.nactuator))}

    def links(self) -> tuple[Link, ...]:
        """All links, parents before children, and then the bodies fixed to the world that something touches."""
        m = self._m
        roots = [b for b in range(1, m.nbody) if m.body_weldid[b] == b]
        still = [b for b in self._shapes if m.body_weldid[b] == 0]
        fixed = Joint(type=JointType.FIXED)
        return (
            *(link for root in roots for link in self._chain(root)),
            *(
                Link(name=name_of(m, "body", b), parent=None, joint=fixed, shapes=self._link_shapes(b, _Frame()))
                for b in still
            ),
        )

    def actuators(self) -> tuple[Actuator, ...]:
        """Drives in the order of the file."""
        return tuple(Actuator(link=self._link_name(joint), gear=this.gear) for joint, this in self._drives.items())

    def _chain(self, root: int) -> list[Link]:
        """Links of a root body, one a joint; the last one is the body."""
        m = self._m
        first = int(m.body_jntadr[root])
        joints = range(first, first + int(m.body_jntnum[root]))
        above = int(m.body_weldid[m.body_parentid[root]])
        parent, frame = (name_of(m, "body", above), self._frame(above)) if above else (None, _Frame())
        links = []
        for j in joints:
            here = self._frame(root, j)
            body = self._body(root, here) if j == joints[-1] else {}
            links.append(Link(name=self._link_name(j), parent=parent, joint=self._joint(j, frame, here), **body))
            parent, frame = links[-1].name, here
        return links

    def _link_name(self, joint: int) -> str:
        m = self._m
        body = int(m.jnt_bodyid[joint])
        last = joint == m.body_jntadr[body] + m.body_jntnum[body] - 1
        name = name_of(m, "body", body)
        return name if last else f"{name}/{name_of(m, 'joint', joint)}"

    def _frame(self, root: int, joint: int | None = None) -> _Frame:
        """Frame behind a joint of a body, by default the last one: the body's axes at the joint's anchor."""
        m, d = self._m, self._d
        rotation = d.xmat[root].reshape(3, 3)
        anchor = m.jnt_pos[m.body_jntadr[root] + m.body_jntnum[root] - 1 if joint is None else joint]
        return _Frame(d.xpos[root] + rotation @ anchor, rotation)

    def _joint(self, j: int, parent: _Frame, here: _Frame) -> Joint:
        m = self._m
        kind, dof = _TYPES[mujoco.mjtJoint(m.jnt_type[j])], int(m.jnt_dofadr[j])
        if kind is JointType.FREE:
            return Joint(type=kind)
        axis, reference = m.jnt_axis[j], float(m.qpos0[m.jnt_qposadr[j]])
        frame = parent.inverse_times(here).displaced(kind, axis, -reference)
        drive = self._drives.get(j)
        spring = float(m.jnt_stiffness[j])
        pull = spring * float(m.qpos_spring[m.jnt_qposadr[j]]) + (drive.constant if drive else 0.0)
        stiffness = spring + (drive.stiffness if drive else 0.0)
        limited = bool(m.jnt_limited[j])
        limit_stiffness = self._limit_stiffness
        if limit_stiffness is None:
            limit_stiffness = LIMIT_FREQUENCY**2 / float(m.dof_invweight0[dof])
        return Joint(
            type=kind,
            axis=axis,
            position=frame.position,
            rotation=frame.quaternion(),
            lower=float(m.jnt_range[j, 0]) if limited else -math.inf,
            upper=float(m.jnt_range[j, 1]) if limited else math.inf,
            limit_stiffness=limit_stiffness if limited else 0.0,
            limit_damping=self._limit_damping if limited else 0.0,
            stiffness=stiffness,
            rest=pull / stiffness if stiffness else 0.0,
            damping=float(m.dof_damping[dof]) + (drive.damping if drive else 0.0),
            armature=float(m.dof_armature[dof]),
        )

    def _body(self, root: int, frame: _Frame) -> dict[str, Any]:
        """Mass, centre of mass, inertia and shapes of a link in its frame."""
        m, d = self._m, self._d
        members = np.flatnonzero(m.body_weldid == root)
        mass = float(m.body_mass[members].sum())
        com = m.body_mass[members] @ d.xipos[members] / mass
        inertia = np.zeros((3, 3))
        for b in members:
            rotation, offset = d.ximat[b].reshape(3, 3), d.xipos[b] - com
            inertia += rotation @ np.diag(m.body_inertia[b]) @ rotation.T
            inertia += m.body_mass[b] * (offset @ offset * np.eye(3) - np.outer(offset, offset))
        inertia = frame.rotation.T @ inertia @ frame.rotation
        rows, columns = (0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)
        return {
            "mass": mass,
            "com": frame.rotation.T @ (com - frame.position),
            "inertia": inertia[rows, columns],
            "shapes": self._link_shapes(root, frame),
        }

    def _link_shapes(self, root: int, frame: _Frame) -> tuple[Shape, ...]:
        return tuple(self._shape(geom, frame) for geom in self._shapes.get(root, ()))

    def _shape(self, geom: int, link: _Frame) -> Shape:
        m, d = self._m, self._d
        frame = link.inverse_times(_Frame(d.geom_xpos[geom], d.geom_xmat[geom].reshape(3, 3)))
        kind, size = m.geom_type[geom], m.geom_size[geom].tolist()
        common = {"position": frame.position, "material": self._material_of(geom)}
        if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
            return Sphere(radius=size[0], **common)
        if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            return Capsule(radius=size[0], half_length=size[1], axis=frame.rotation[:, 2], **common)
        return Box(half_extents=size, rotation=frame.quaternion(), **common)

    def _material_of(self, geom: int) -> Material:
        if self._material is not None:
            return self._material
        weight = STANDARD_GRAVITY * float(self._m.body_mass[self._m.body_weldid > 0].sum())
        stiffness = weight / CONTACT_DEPTH
        return Material(
            stiffness=stiffness,
            damping=CONTACT_DAMPING * stiffness,
            tangential_damping=CONTACT_TANGENTIAL_DAMPING * stiffness,
            friction=self._contacts.friction(geom),
        )
