"""What may touch what: the shapes of a model as segments and boxes, and the pairs of these."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import numpy as np

from diffenvs.kernels.arguments import ContactKind
from diffenvs.model import Box, Capsule, Model, Shape, Sphere, Vector3

STILL: Vector3 = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Segment:
    """A sphere, a capsule or an edge."""

    middle: Vector3
    """In the link's frame [m]."""
    half: Vector3
    """From the middle to an end, zero for a sphere [m]."""
    radius: float
    """[m]"""


@dataclass(frozen=True)
class Candidates:
    """Tables of what may touch what, by index.

    Candidates with the ground come first. Those of a pair of shapes are neighbours.
    """

    shapes: tuple[Shape, ...]
    """All shapes of the model, in the order of its links."""
    shape_links: tuple[int, ...]
    """Link of each shape."""
    segments: tuple[Segment, ...]
    boxes: tuple[Box, ...]
    touches: tuple[tuple[ContactKind, int, int], ...]
    """Kind of each candidate, its segment, and the segment or box that it may touch."""
    owners: tuple[tuple[int, int], ...]
    """Shapes of the segment and of what it may touch, which is itself in the place of the ground."""
    pairs: tuple[tuple[int, int, int, int], ...]
    """Two shapes that may touch each other, their first candidate, and the end of their candidates."""

    @property
    def ground(self) -> int:
        """Number of candidates with the ground."""
        return sum(kind is ContactKind.GROUND for kind, _, _ in self.touches)

    @classmethod
    def of(cls, model: Model) -> Candidates:
        """Derive the tables of a model."""
        owned = [(i, shape) for i, link in enumerate(model.links) for shape in link.shapes]
        tables = _Tables([shape for _, shape in owned])
        if model.ground:
            for k, shape in enumerate(tables.shapes):
                for segment in _points(shape):
                    tables.add(ContactKind.GROUND, k, segment, k, None)
        shapes_of = defaultdict(list)
        for k, (link, _) in enumerate(owned):
            shapes_of[link].append(k)
        for names in model.collisions:
            first, second = (shapes_of[model.link_index(name)] for name in names)
            for k, m in product(first, second):
                tables.add_pair(k, m)
        return cls(
            shapes=tuple(tables.shapes),
            shape_links=tuple(link for link, _ in owned),
            segments=tuple(tables.segments),
            boxes=tuple(tables.boxes),
            touches=tuple(tables.touches),
            owners=tuple(tables.owners),
            pairs=tuple(tables.pairs),
        )


class _Tables:
    """The tables while they are made; what is used twice is listed once."""

    def __init__(self, shapes: list[Shape]) -> None:
        self.shapes = shapes
        self.segments: dict[Segment, int] = {}
        self.boxes: dict[Box, int] = {}
        self.touches: list[tuple[ContactKind, int, int]] = []
        self.owners: list[tuple[int, int]] = []
        self.pairs: list[tuple[int, int, int, int]] = []

    def add(self, kind: ContactKind, k: int, segment: Segment, m: int, other: Segment | Box | None) -> None:
        """Let the segment of shape `k` touch something of shape `m`."""
        a = self.segments.setdefault(segment, len(self.segments))
        b = 0
        if isinstance(other, Segment):
            b = self.segments.setdefault(other, len(self.segments))
        if isinstance(other, Box):
            b = self.boxes.setdefault(other, len(self.boxes))
        self.touches.append((kind, a, b))
        self.owners.append((k, m))

    def add_pair(self, k: int, m: int) -> None:
        """Let two shapes touch each other."""
        start = len(self.touches)
        for a, b in ((k, m), (m, k)):
            if isinstance(self.shapes[b], Box):
                shape = self.shapes[a]
                for segment in _edges(shape) if isinstance(shape, Box) else [_axis(shape)]:
                    self.add(ContactKind.BOX, a, segment, b, self.shapes[b])
        if len(self.touches) == start:
            self.add(ContactKind.SEGMENT, k, _axis(self.shapes[k]), m, _axis(self.shapes[m]))
        self.pairs.append((k, m, start, len(self.touches)))


def bounding_sphere(shape: Shape) -> tuple[float, float, float, float]:
    """Centre in the link's frame and radius [m] of the sphere around a shape."""
    match shape:
        case Sphere():
            radius = shape.radius
        case Capsule():
            radius = shape.half_length + shape.radius
        case Box():
            radius = math.hypot(*shape.half_extents)
    return (*shape.position, radius)


def _points(shape: Shape) -> list[Segment]:
    """Make spheres of the points that touch a plane."""
    return [Segment(position, STILL, radius) for position, radius in shape.contact_points()]


def _axis(shape: Sphere | Capsule) -> Segment:
    """Make a segment of the whole shape."""
    half = STILL
    if isinstance(shape, Capsule):
        half = shape.half_length * np.array(shape.axis)
    return Segment(shape.position, _vector(half), shape.radius)


def _edges(box: Box) -> list[Segment]:
    """Make segments of all twelve edges."""
    corners = np.array([corner for corner, _ in box.contact_points()]).reshape(2, 2, 2, 3)
    edges = []
    for axis in range(3):
        ends = np.moveaxis(corners, axis, 0).reshape(2, 4, 3)
        for start, end in zip(*ends, strict=True):
            edges.append(Segment(_vector((start + end) / 2), _vector((end - start) / 2), 0.0))
    return edges


def _vector(values: np.ndarray | Vector3) -> Vector3:
    x, y, z = np.asarray(values, dtype=float).tolist()
    return x, y, z
