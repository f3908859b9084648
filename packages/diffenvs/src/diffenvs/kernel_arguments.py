"""Arguments of the kernel: the structure and constants of a model, and the scratch for intermediate results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import warp as wp
from torch import Tensor

from diffenvs.contact_candidates import Candidates, Segment, bounding_sphere
from diffenvs.kernels.arguments import ContactKind, Tree, arguments
from diffenvs.model import Box, Model
from diffenvs.spatial import algebra

CHUNK = 8
"""Numbers in a piece of a row of the mass matrix; the length of ``vec8``."""
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
"""Quaternion that turns nothing."""


@dataclass(frozen=True)
class Structure:
    """Index tables of a model, in the order of the kernel."""

    model: Model
    candidates: Candidates
    dof_links: tuple[int, ...]
    """Index of the link that each degree of freedom moves."""
    entries: tuple[tuple[int, int], ...]
    """Row and column of the nonzero entries in the lower triangle of the mass matrix."""

    @classmethod
    def of(cls, model: Model) -> Structure:
        """Derive the tables of a model."""
        dof_links, dof_parents = [], []
        last_dof = {-1: -1}
        for i, link in enumerate(model.links):
            previous = last_dof[model.parents[i]]
            for _ in range(link.joint.type.nv):
                dof_parents.append(previous)
                previous = len(dof_links)
                dof_links.append(i)
            last_dof[i] = previous

        entries = []
        for row in range(model.nv):
            column = row
            while column >= 0:
                entries.append((row, column))
                column = dof_parents[column]
        return cls(model, Candidates.of(model), tuple(dof_links), tuple(entries))


def make_tree(structure: Structure, device: Any) -> Any:
    """Kernel argument ``tree``."""
    model, candidates = structure.model, structure.candidates
    tree = Tree()
    tree.links = len(model.links)
    tree.coordinates = model.nq
    tree.dofs = model.nv
    tree.actuators = model.nu
    tree.entries = len(structure.entries)
    tree.ground_candidates = len(candidates.ground)
    tree.shapes = len(candidates.shapes)
    tree.pairs = len(candidates.pairs)
    types = (int(link.joint.type) for link in model.links)
    links = zip((parent + 1 for parent in model.parents), types, model.q_start, model.v_start, strict=True)
    tree.link = _integers(list(links), wp.vec4i, device)
    tree.dof_link = _integers([link + 1 for link in structure.dof_links], wp.int32, device)
    actuated = [model.v_start[model.link_index(actuator.link)] for actuator in model.actuators]
    tree.actuator_dof = _integers(actuated, wp.int32, device)
    tree.entry = _integers(structure.entries, wp.vec2i, device)
    rows = [link + 1 for link in candidates.shape_links]
    tree.shape_link = _integers(rows, wp.int32, device)
    ends = itertools.accumulate(map(len, candidates.pairs), initial=len(candidates.ground))
    spans = zip(candidates.pairs, itertools.pairwise(ends), strict=True)
    tree.pair = _integers([(pair[0].first, pair[0].second, *span) for pair, span in spans], wp.vec4i, device)
    tree.candidate_kind = _integers([candidate.kind for candidate in candidates.all], wp.int32, device)
    owners = [
        (rows[c.first], 0 if c.kind is ContactKind.GROUND else rows[c.second], c.first, c.second)
        for c in candidates.all
    ]
    tree.candidate_owner = _integers(owners, wp.vec4i, device)
    return tree


def make_constants(structure: Structure, real: Any, device: Any) -> Any:
    """Kernel argument ``constants``."""
    model, candidates, types = structure.model, structure.candidates, algebra(real)
    joints = [link.joint for link in model.links]
    constants = arguments(real).Constants()
    constants.h = model.dt / model.substeps
    constants.substeps = model.substeps
    constants.interval = model.mass_matrix_interval
    constants.up = types.vec3(*model.up)
    frames = [(*joint.position, *joint.rotation) for joint in joints]
    constants.joint_frame = _reals(frames, types.transform, device)
    constants.joint_axis = _reals([joint.axis for joint in joints], types.vec3, device)
    constants.shape_bound = _reals([bounding_sphere(shape) for shape in candidates.shapes], types.vec4, device)
    segments = [candidate.segment for candidate in candidates.all]
    constants.segment = _reals([(*segment.middle, segment.radius) for segment in segments], types.vec4, device)
    constants.segment_half = _reals([segment.half for segment in segments], types.vec3, device)
    others = [_frame_and_size(candidate.other) for candidate in candidates.all]
    constants.other_frame = _reals([frame for frame, _ in others], types.transform, device)
    constants.other_size = _reals([size for _, size in others], types.vec4, device)
    materials = [shape.material for shape in candidates.shapes]
    laws = [(material.damping_depth, float(material.friction_bound == "total")) for material in materials]
    constants.law = _reals(laws, types.vec2, device)
    return constants


def _frame_and_size(other: Segment | Box | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Describe what a segment may touch as the kernel's ``other_frame`` and ``other_size``."""
    match other:
        case Box():
            return (*other.position, *other.rotation), (*other.half_extents, 0.0)
        case Segment():
            return (*other.middle, *UPRIGHT), (*other.half, other.radius)
        case None:
            return (0.0, 0.0, 0.0, *UPRIGHT), (0.0, 0.0, 0.0, 0.0)


class Scratch:
    """Memory for the intermediate results of one control step in `lanes` environments at a time.

    Parameters
    ----------
    structure
        What the kernel knows of the model.
    lanes
        Environments that are simulated at a time.
    dtype, device, real
        Type for torch, device, and type for Warp.
    lane_last
        Order the memory so that the same element of neighbouring lanes is adjacent: on a GPU neighbouring threads have
        neighbouring lanes, and their reads coalesce.

    Attributes
    ----------
    argument
        Kernel argument ``scratch``.
    values : dict of torch.Tensor
        The fields of the kernel's ``Scratch`` by name, (lanes, rows, index[, components]).
    """

    def __init__(
        self,
        structure: Structure,
        lanes: int,
        dtype: torch.dtype,
        device: torch.device,
        real: Any,
        *,
        lane_last: bool,
    ) -> None:
        model, types = structure.model, algebra(real)
        steps, rows, dofs = model.substeps, len(model.links) + 1, model.nv
        blocks, chunks = steps // model.mass_matrix_interval, -(-dofs // CHUNK)
        self.argument = arguments(real).Scratch()
        self.argument.lanes = lanes
        self.values: dict[str, Tensor] = {}

        fields = {
            "drive": ((dofs,), real),
            "q": ((steps + 1, model.nq), real),
            "qd": ((steps + 1, dofs), real),
            "pose": ((steps, rows), types.transform),
            "subspace": ((steps, dofs), types.vec6),
            "velocity": ((steps, rows), types.vec6),
            "bias": ((steps, rows), types.vec6),
            "force": ((steps, rows), types.vec6),
            "tau": ((steps, dofs), real),
            "rotational": ((blocks, rows), types.mat33),
            "coupling": ((blocks, rows), types.mat33),
            "translational": ((blocks, rows), types.mat33),
            "momentum": ((blocks, dofs), types.vec6),
            "H": ((blocks, len(structure.entries)), real),
        }
        for name, (shape, kind) in fields.items():
            components = () if kind is real else kind._shape_
            size = (*shape, lanes, *components) if lane_last else (lanes, *shape, *components)
            value, gradient = (torch.zeros(2, *size, dtype=dtype, device=device)).unbind()
            if lane_last:
                value, gradient = value.movedim(len(shape), 0), gradient.movedim(len(shape), 0)
            adjoint = as_warp(gradient, kind)
            setattr(self.argument, name, as_warp(value, kind, adjoint))
            if name in ("tau", "H"):
                setattr(self.argument, f"{name}_adjoint", adjoint)
            self.values[name] = value

        for name, shape in {"inverse": (blocks, dofs), "sums": (blocks, dofs), "qdd": (steps,), "work": ()}.items():
            value, gradient = torch.zeros(2, lanes, *shape, chunks * CHUNK, dtype=dtype, device=device).unbind()
            adjoint = as_warp(gradient, real)
            setattr(self.argument, name, as_warp(value, real, adjoint))
            setattr(self.argument, f"{name}_rows", as_warp(value.unflatten(-1, (chunks, CHUNK)), types.vec8))
            if name == "qdd":
                self.argument.qdd_adjoint = adjoint
            self.values[name] = value

        candidates = structure.candidates
        self.values["bound"] = torch.zeros(lanes, len(candidates.shapes), 4, dtype=dtype, device=device)
        self.argument.bound = as_warp(self.values["bound"], types.vec4)
        contacts = 1 + len(candidates.all)
        self.values["active"] = torch.zeros(lanes, steps, contacts, dtype=torch.int32, device=device)
        self.argument.active = as_warp(self.values["active"], wp.int32)


def as_warp(tensor: Tensor, kind: Any, adjoint: Any = None) -> Any:
    """Warp array on the memory of a tensor; the last axis of a vector type `kind` is that of its components."""
    return wp.from_torch(tensor, dtype=kind, requires_grad=False, grad=adjoint)


def _integers(values: Sequence[Any], kind: Any, device: Any) -> Any:
    width = getattr(kind, "_shape_", ())
    return wp.array(np.array(values, dtype=np.int32).reshape(-1, *width), dtype=kind, device=device)


def _reals(values: Sequence[Any], kind: Any, device: Any) -> Any:
    return wp.array(np.array(values, dtype=np.float64).reshape(-1, *kind._shape_), dtype=kind, device=device)
