"""What may touch what: the shapes of a model as segments with a radius, against the ground, segments and boxes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
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
class Candidate:
    """A segment and what it may touch."""

    first: int
    """Shape of the segment."""
    segment: Segment
    second: int
    """Shape that it may touch, itself in place of the ground."""
    other: Segment | Box | None
    """The part of that shape, None for the ground."""

    @property
    def kind(self) -> ContactKind:
        """By what the segment may touch."""
        if self.other is None:
            return ContactKind.GROUND
        return ContactKind.BOX if isinstance(self.other, Box) else ContactKind.SEGMENT


@dataclass(frozen=True)
class Candidates:
    """Tables of what may touch what, by index."""

    shapes: tuple[Shape, ...]
    """All shapes of the model, in the order of its links."""
    shape_links: tuple[int, ...]
    """Link of each shape."""
    ground: tuple[Candidate, ...]
    """Those with the ground."""
    pairs: tuple[tuple[Candidate, ...], ...]
    """Those of a pair of shapes, which differ in their segments only."""

    @property
    def all(self) -> tuple[Candidate, ...]:
        """In the order of the kernel: with the ground, then pair by pair."""
        return (*self.ground, *(candidate for pair in self.pairs for candidate in pair))

    @classmethod
    def of(cls, model: Model) -> Candidates:
        """Derive the tables of a model."""
        owned = [(i, shape) for i, link in enumerate(model.links) for shape in link.shapes]
        shapes = [shape for _, shape in owned]
        shapes_of = defaultdict(list)
        for k, (link, _) in enumerate(owned):
            shapes_of[link].append(k)
        ground, pairs = [], []
        if model.ground:
            for k, shape in enumerate(shapes):
                points = (Segment(position, STILL, radius) for position, radius in shape.contact_points())
                ground.extend(Candidate(k, point, k, None) for point in points)
        for names in model.collisions:
            first, second = (shapes_of[model.link_index(name)] for name in names)
            for k, m in product(first, second):
                pairs.extend(_pairs(shapes, k, m))
        return cls(tuple(shapes), tuple(link for link, _ in owned), tuple(ground), tuple(pairs))


def _pairs(shapes: list[Shape], k: int, m: int) -> Iterator[tuple[Candidate, ...]]:
    """Let two shapes touch each other; two boxes by the edges of the one and by those of the other."""
    boxes = [(a, b) for a, b in ((k, m), (m, k)) if isinstance(shapes[b], Box)]
    for a, b in boxes:
        yield tuple(Candidate(a, segment, b, shapes[b]) for segment in _segments(shapes[a]))
    if not boxes:
        (first,), (second,) = _segments(shapes[k]), _segments(shapes[m])
        yield (Candidate(k, first, m, second),)


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


def _segments(shape: Shape) -> list[Segment]:
    """Make segments of a shape: itself, or the twelve edges of a box."""
    match shape:
        case Sphere():
            return [Segment(shape.position, STILL, shape.radius)]
        case Capsule():
            return [Segment(shape.position, _vector(shape.half_length * np.array(shape.axis)), shape.radius)]
        case Box():
            corners = np.array([corner for corner, _ in shape.contact_points()]).reshape(2, 2, 2, 3)
            edges = (np.moveaxis(corners, axis, 0).reshape(2, 4, 3) for axis in range(3))
            return [
                Segment(_vector((start + end) / 2), _vector((end - start) / 2), 0.0)
                for starts, ends in edges
                for start, end in zip(starts, ends, strict=True)
            ]


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = values.tolist()
    return x, y, z
