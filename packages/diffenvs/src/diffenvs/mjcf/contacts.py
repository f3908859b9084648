"""Which geoms touch the ground and each other, by MuJoCo's rules of filtering."""

from __future__ import annotations

from itertools import combinations

import mujoco

_PRIMITIVES = (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_BOX)
_KEEPS_PARENTS = mujoco.mjtDisableBit.mjDSBL_FILTERPARENT


class Contacts:
    """The contacts that are wanted of a compiled model.

    Parameters
    ----------
    m
        The compiled model.
    ground
        Whether there is a ground; None if that is to be read from the model: a plane that something moving touches.
    collisions
        Whether bodies touch each other where the model says so.
    """

    def __init__(self, m: mujoco.MjModel, *, ground: bool | None, collisions: bool) -> None:
        self._m = m
        self._pairs = {frozenset(pair): p for p, pair in enumerate(zip(m.pair_geom1, m.pair_geom2, strict=True))}
        self._excluded = {frozenset((int(s) >> 16, int(s) & 0xFFFF)) for s in m.exclude_signature}
        touching = [pair for pair in combinations(range(m.ngeom), 2) if self._touch(*pair)]
        planes = {g for pair in touching for g in pair if m.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE}
        self.ground = bool(planes) if ground is None else ground
        """Whether there is a ground."""
        self.planes = sorted(planes) if self.ground else []
        """Planes that something touches, if they are wanted."""
        self.collisions = [pair for pair in touching if collisions and not planes.intersection(pair)]
        """Other pairs of geoms that touch, if they are wanted."""
        robots = set(m.body_rootid[m.body_weldid > 0])
        scenery = {g for pair in touching for g in pair if m.body_rootid[m.geom_bodyid[g]] not in robots} - planes
        self.scenery = [] if collisions else sorted(scenery)
        """Geoms that something touches and that are no part of a robot, if collisions are not wanted."""

    def touches_ground(self, geom: int) -> bool:
        """Whether a geom touches the ground; one that the model lacks is touched by all that touch at all."""
        if not self.ground or not self.moves(geom):
            return False
        return bool(self.planes_below(geom)) if self.planes else self._is_solid(geom)

    def shapes(self) -> dict[int, list[int]]:
        """Geoms that become shapes, by the root body of their link.

        They are those that touch the ground or another link; where there is no ground, all that move and touch at all.
        """
        colliding = {g for pair in self.collisions for g in pair}
        found: dict[int, list[int]] = {}
        for g in range(self._m.ngeom):
            alone = not self.ground and self.moves(g) and self._is_solid(g) and is_primitive(self._m, g)
            if alone or g in colliding or self.touches_ground(g):
                found.setdefault(self.root(g), []).append(g)
        return found

    def geoms(self) -> list[int]:
        """Geoms that become shapes."""
        return sorted(g for geoms in self.shapes().values() for g in geoms)

    def links(self) -> dict[tuple[int, int], bool]:
        """Root bodies of links that touch each other, and whether all shapes of one touch all of the other."""
        shapes = self.shapes()
        found: dict[tuple[int, int], int] = {}
        for g, h in self.collisions:
            low, high = sorted((self.root(g), self.root(h)))
            found[low, high] = found.get((low, high), 0) + 1
        return {(a, b): count == len(shapes[a]) * len(shapes[b]) for (a, b), count in found.items()}

    def moves(self, geom: int) -> bool:
        """Whether a geom can move."""
        return self._m.body_weldid[self._m.geom_bodyid[geom]] != 0

    def root(self, geom: int) -> int:
        """Body that stands for the link of a geom: the first of those fixed to each other, or itself in the world."""
        body = int(self._m.geom_bodyid[geom])
        return int(self._m.body_weldid[body]) or body

    def pair(self, g: int, h: int) -> int | None:
        """Index of the pair by which the file lets two geoms touch; None without one."""
        return self._pairs.get(frozenset((g, h)))

    def planes_below(self, geom: int) -> list[int]:
        """Planes that a geom touches."""
        return [plane for plane in self.planes if self._touch(geom, plane)]

    def plane_below(self, geom: int) -> int:
        """Plane that a geom touches, or itself if it touches none."""
        return next(iter(self.planes_below(geom)), geom)

    def friction(self, geom: int) -> float:
        """Coulomb coefficient of a shape: that against the plane below it."""
        return self.friction_between(geom, self.plane_below(geom))

    def friction_between(self, g: int, h: int) -> float:
        """Coulomb coefficient of two geoms: that of a pair, of the geom of higher priority, or the larger one."""
        m, pair = self._m, self.pair(g, h)
        if pair is not None:
            return 0.0 if m.pair_dim[pair] == 1 else float(m.pair_friction[pair, 0])
        both = [g, h]
        decisive = [geom for geom in both if m.geom_priority[geom] == max(m.geom_priority[both])]
        return 0.0 if max(m.geom_condim[decisive]) == 1 else float(max(m.geom_friction[decisive, 0]))

    def _is_solid(self, geom: int) -> bool:
        paired = any(geom in pair for pair in self._pairs)
        return paired or bool(self._m.geom_contype[geom] | self._m.geom_conaffinity[geom])

    def _touch(self, g: int, h: int) -> bool:
        m = self._m
        a, b = int(m.geom_bodyid[g]), int(m.geom_bodyid[h])
        welds = [int(m.body_weldid[body]) for body in (a, b)]
        if welds[0] == welds[1]:
            return False
        if self.pair(g, h) is not None:
            return True
        if frozenset((a, b)) in self._excluded:
            return False
        above = [int(m.body_weldid[m.body_parentid[weld]]) for weld in welds]
        related = 0 not in welds and (welds[0] == above[1] or welds[1] == above[0])
        if related and not m.opt.disableflags & _KEEPS_PARENTS:
            return False
        masks = m.geom_contype, m.geom_conaffinity
        return bool(masks[0][g] & masks[1][h] or masks[0][h] & masks[1][g])


def is_primitive(m: mujoco.MjModel, geom: int) -> bool:
    """Whether the engine has a shape for a geom."""
    return mujoco.mjtGeom(m.geom_type[geom]) in _PRIMITIVES
