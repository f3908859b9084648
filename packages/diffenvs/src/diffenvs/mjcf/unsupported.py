"""What a compiled model has and the engine cannot simulate."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import mujoco
import numpy as np

from diffenvs.mjcf.compiled import kind_of, kinematics, label, name_of
from diffenvs.mjcf.contacts import Contacts, is_primitive
from diffenvs.mjcf.drives import unsupported_drive

# Field of the compiled model -> what it is called, and its value where there is none of it.
_BODY: Final[dict[str, tuple[str, Any]]] = {
    "body_gravcomp": ("gravity compensation", 0),
    "body_mocapid": ("motion capture", -1),
    "body_plugin": ("a plugin", -1),
}
_JOINT: Final[dict[str, tuple[str, Any]]] = {
    "jnt_stiffnesspoly": ("nonlinear stiffness", 0),
    "jnt_plasticadr": ("a yielding spring", -1),
}
_DOF: Final[dict[str, tuple[str, Any]]] = {
    "dof_frictionloss": ("frictionloss", 0),
    "dof_dampingpoly": ("nonlinear damping", 0),
}
_FREE_JOINT: Final[dict[str, tuple[str, Any]]] = {"jnt_stiffness": ("stiffness", 0)}
_FREE_DOF: Final[dict[str, tuple[str, Any]]] = {"dof_damping": ("damping", 0), "dof_armature": ("armature", 0)}
_GEOM: Final[dict[str, tuple[str, Any]]] = {
    "geom_surfacevel": ("a surface velocity", 0),
    "geom_adhesion": ("adhesion", 0),
    "geom_plugin": ("a plugin", -1),
}
_PAIR: Final[dict[str, tuple[str, Any]]] = {"pair_adhesion": ("adhesion", 0)}
_TENDON: Final[dict[str, tuple[str, Any]]] = {
    "tendon_stiffness": ("stiffness", 0),
    "tendon_stiffnesspoly": ("nonlinear stiffness", 0),
    "tendon_plasticadr": ("a yielding spring", -1),
    "tendon_damping": ("damping", 0),
    "tendon_dampingpoly": ("nonlinear damping", 0),
    "tendon_armature": ("armature", 0),
    "tendon_frictionloss": ("frictionloss", 0),
    "tendon_limited": ("a limit", False),
}
_ACTUATOR: Final[dict[str, tuple[str, Any]]] = {
    "actuator_armature": ("armature", 0),
    "actuator_damping": ("damping", 0),
    "actuator_dampingpoly": ("nonlinear damping", 0),
    "actuator_delay": ("a delay", 0),
    "actuator_plugin": ("a plugin", -1),
}
_DISABLED: Final = (
    mujoco.mjtDisableBit.mjDSBL_ACTUATION,
    mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL,
    mujoco.mjtDisableBit.mjDSBL_CONSTRAINT,
    mujoco.mjtDisableBit.mjDSBL_CONTACT,
    mujoco.mjtDisableBit.mjDSBL_DAMPER,
    mujoco.mjtDisableBit.mjDSBL_GRAVITY,
    mujoco.mjtDisableBit.mjDSBL_LIMIT,
    mujoco.mjtDisableBit.mjDSBL_SPRING,
)
"""Parts of the physics that a model may switch off; the engine has no such switches."""


def refuse_unsupported(m: mujoco.MjModel, contacts: Contacts, source: str, *, friction: bool) -> None:
    """Raise NotImplementedError that names all that the engine cannot simulate, if there is anything.

    Parameters
    ----------
    m
        The compiled model.
    contacts
        That are wanted.
    source
        What the message calls the model.
    friction
        Whether that of the file is wanted.
    """
    found = [
        *_options(m),
        *_parts(m, "body", range(m.nbody), _BODY),
        *_joints(m),
        *_geoms(m, contacts),
        *(_frictions(m, contacts) if friction else ()),
        *(label(m, "equality", e) for e in range(m.neq) if m.eq_active0[e]),
        *(label(m, "flex", f) for f in range(m.nflex)),
        *_parts(m, "tendon", range(m.ntendon), _TENDON),
        *_parts(m, "actuator", range(m.nactuator), _ACTUATOR),
        *filter(None, (unsupported_drive(m, a) for a in range(m.nactuator))),
    ]
    if found:
        verb = "is" if len(found) == 1 else "are"
        raise NotImplementedError(f"{', '.join(found)} {verb} not supported ({source}).")


def _options(m: mujoco.MjModel) -> Iterator[str]:
    for name in ("density", "viscosity"):
        if getattr(m.opt, name):
            yield f"{name} of a fluid"
    for flag in _DISABLED:
        if m.opt.disableflags & flag:
            yield f"disabled {kind_of(flag)}"


def _parts(
    m: mujoco.MjModel, kind: str, indices: range | list[int], fields: Mapping[str, tuple[str, Any]]
) -> Iterator[str]:
    """Name the parts of a kind of which one of the fields is set."""
    for i in indices:
        found = _found(m, i, fields)
        if found:
            yield f"{label(m, kind, i)} with {' and '.join(found)}"


def _found(m: mujoco.MjModel, index: int | slice, fields: Mapping[str, tuple[str, Any]]) -> list[str]:
    return [what for field, (what, none) in fields.items() if np.any(getattr(m, field)[index] != none)]


def _joints(m: mujoco.MjModel) -> Iterator[str]:
    for j in range(m.njnt):
        if m.jnt_type[j] == mujoco.mjtJoint.mjJNT_BALL:
            yield f"ball {label(m, 'joint', j)}"
            continue
        free, dof = m.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE, int(m.jnt_dofadr[j])
        dofs = slice(dof, dof + (6 if free else 1))
        of_joint, of_dof = ({**_JOINT, **_FREE_JOINT}, {**_DOF, **_FREE_DOF}) if free else (_JOINT, _DOF)
        found = [*_found(m, j, of_joint), *_found(m, dofs, of_dof)]
        if found:
            yield f"{label(m, 'joint', j)} with {' and '.join(found)}"


def _geoms(m: mujoco.MjModel, contacts: Contacts) -> Iterator[str]:
    """Name the geoms whose contact cannot be simulated."""
    d = kinematics(m)
    for g in contacts.planes:
        if not np.allclose([*d.geom_xmat[g, 6:], d.geom_xpos[g, 2]], [0.0, 0.0, 1.0, 0.0], atol=1e-12):
            yield f"{label(m, 'geom', g)} (a plane other than z = 0)"
    yield from (f"{label(m, 'geom', g)} (which does not move; only with `collisions`)" for g in contacts.scenery)
    shapes = contacts.geoms()
    for g in shapes:
        if not is_primitive(m, g):
            yield f"{kind_of(mujoco.mjtGeom(m.geom_type[g]))} {label(m, 'geom', g)}"
        elif contacts.ground and contacts.moves(g) and not contacts.touches_ground(g):
            yield f"{label(m, 'geom', g)} (which touches bodies but not the ground)"
        elif len(contacts.planes_below(g)) > 1:
            yield f"{label(m, 'geom', g)} (which touches the ground more than once)"
    yield from _parts(m, "geom", [*contacts.planes, *shapes], _GEOM)
    yield from _parts(m, "pair", range(m.npair), _PAIR)
    for (a, b), all_touch in contacts.links().items():
        if not all_touch:
            yield f"touch of some geoms only of bodies '{name_of(m, 'body', a)}' and '{name_of(m, 'body', b)}'"


def _frictions(m: mujoco.MjModel, contacts: Contacts) -> Iterator[str]:
    """Name the frictions that have a direction, are overridden, or, of two shapes, are not the mean of theirs."""
    shapes = contacts.geoms()
    if shapes and m.opt.enableflags & mujoco.mjtEnableBit.mjENBL_OVERRIDE:
        yield "enabled override of all contacts' parameters"
    touching = [*((g, contacts.plane_below(g)) for g in shapes), *contacts.collisions]
    for p in sorted({pair for pair in (contacts.pair(g, h) for g, h in touching) if pair is not None}):
        if m.pair_dim[p] > 1 and m.pair_friction[p, 0] != m.pair_friction[p, 1]:
            yield f"{label(m, 'pair', p)} with friction that depends on the direction"
    for g, h in contacts.collisions:
        given, mean = contacts.friction_between(g, h), (contacts.friction(g) + contacts.friction(h)) / 2
        if not math.isclose(given, mean, rel_tol=1e-9):
            names = f"'{name_of(m, 'geom', g)}' and '{name_of(m, 'geom', h)}'"
            yield f"friction {given:g} between geoms {names} (other than the mean of theirs, {mean:g})"
