r"""Signed distances of round shapes and boxes, smooth enough for a continuous contact force.

Each function returns the signed distance :math:`\varphi` of two features, a normal :math:`g` that points to the first,
and the point where they touch, all of them continuous in the poses and differentiable almost everywhere. A feature is
a segment with a radius: a sphere (of no length), a capsule, an edge of a box (of no radius); or a solid box.

**Smoothing.** A signed distance has kinks inside of a shape, where the nearest side changes, and a force along its
gradient would jump there. So distances are replaced by their Moreau envelopes. They are maxima of linear functions,
:math:`f(s) = \max_{w \in W} w \cdot s`, with the envelope (Nesterov 2005, section 2, up to a constant)

.. math:: f_\mu(s) = \max_{w \in W} \; w \cdot s + \tfrac{\mu}{2} (1 - |w|^2)

whose gradient is the maximiser, the projection of :math:`s / \mu` onto W: it is continuous and no longer than one, and
where :math:`|w| = 1` the distance is exact. Deep in a shape the gradient gets shorter and passes zero on its way to
the other side: a shape that has been pushed through is pushed on, and nothing flips.

- The **distance between two points** (of the axes of round shapes) is :math:`|D|`, W the unit ball, :math:`\mu` half of
  the sum of the radii: exact down to where the axes are that far apart.
- The **distance to a box** with half extents h is, by :math:`s_i = |x_i| - h_i`, the maximum over the unit vectors
  :math:`w \ge 0` of :math:`w \cdot s` (inside the largest :math:`s_i`, outside the length of their positive part). W is
  the hull of these vectors, :math:`\{w \ge 0, \sum w_i \ge 1, |w| \le 1\}`, :math:`\mu` a tenth of the least half
  extent. Before each face it is exact; edges are rounded, the surface stays within :math:`0.6 \mu` of the corner.
- :math:`|x_i|` itself, W the interval [-1, 1], with :math:`\mu = h_i / 2`: exact down to half way to the middle.

**Where segments touch.** The nearest points of two segments jump when they pass through parallel. Those that minimise
:math:`|D|^2 + \epsilon \cos^2\!\alpha\, (|s\,d_A|^2 + |t\,d_B|^2)` do not, with the half vectors d, the angle
:math:`\alpha` between them, and the coordinates s and t in [-1, 1]; since this is quadratic and convex, clamping one
after the other finds them (Lumelsky 1985). For spheres and for capsules at right angles they are the nearest.

Likewise the deepest point of a segment in a box jumps. In its place stands a point of the chord that the box, grown by
the radius of the segment, cuts out (Liang and Barsky 1984), and which shrinks to nothing at touch: the mean of its ends
and its middle, each end weighted by its depth below the nearest face, the middle by four times what it is deeper than
the ends are on average. So the point is the end that pokes into a face; the middle where a segment lies on a face, and
in between where it rocks there, as if half the stiffness were at each end; and the middle again where the segment
crosses an edge. Beside an edge, one step to the box and back leads a round segment on to where it is nearest.

A box touches a box with the twelve edges of each, which has no cases of corners and faces: laid flat on a larger one it
has eight points at one depth, the middles of four edges and the ends of the four upright ones.

References: Y. Nesterov, Smooth minimization of non-smooth functions, Mathematical Programming 103, 2005.
V. J. Lumelsky, On fast computation of distance between line segments, Information Processing Letters 21, 1985.
Y.-D. Liang and B. A. Barsky, A new concept and method for line clipping, ACM Transactions on Graphics 3, 1984.
"""

import functools
from types import SimpleNamespace
from typing import Any

import warp as wp

from diffenvs.spatial import algebra

PARALLEL = wp.constant(0.02)
"""Weight that draws the nearest points of two parallel segments to their middles."""
RISE = wp.constant(4.0)
"""Weight of the middle of a chord, by how much deeper it is than the mean of the ends."""
ROUNDING = wp.constant(0.1)
"""Smoothing of the edges of a box per least half extent."""


@functools.cache
def distance(real: Any) -> SimpleNamespace:
    """Functions of this stage for one scalar type."""
    types = algebra(real)
    vec2, vec3 = types.vec2, types.vec3

    @wp.func
    def plane_distance(p_W: vec3, radius: real, up: vec3):
        """Distance of a sphere to the ground."""
        return wp.dot(p_W, up) - radius, up, p_W - up * radius

    @wp.func
    def nearest(D: vec3, d_A: vec3, d_B: vec3) -> vec2:
        """Coordinates of the points where two segments touch; ``D`` leads from the middle of B to that of A."""
        one = real(1.0)
        tiny = real(1e-20)
        point = real(1e-12)  # squared length of a point, whose square is a normal number of float32
        a = wp.max(wp.dot(d_A, d_A), point)
        b = wp.dot(d_A, d_B)
        e = wp.max(wp.dot(d_B, d_B), point)
        pull = real(PARALLEL) * b * b / (a * e)
        a = a + a * pull
        e = e + e * pull
        c = wp.dot(d_A, D)
        f = wp.dot(d_B, D)
        first = wp.clamp((b * f - c * e) / wp.max(a * e - b * b, tiny), -one, one)
        t = wp.clamp((b * first + f) / e, -one, one)
        return vec2(wp.clamp((b * t - c) / a, -one, one), t)

    @wp.func
    def envelope(s: vec3, w: vec3, mu: real) -> real:
        """Moreau envelope of the maximum of w . s, with its maximiser ``w``."""
        return wp.dot(w, s) + real(0.5) * mu * (real(1.0) - wp.dot(w, w))

    @wp.func
    def segment_distance(p_A: vec3, d_A: vec3, radius_A: real, p_B: vec3, d_B: vec3, radius_B: real):
        """Distance of two round segments with these middles and half vectors."""
        half = real(0.5)
        both = radius_A + radius_B
        at = nearest(p_A - p_B, d_A, d_B)
        q_A = p_A + d_A * at[0]
        q_B = p_B + d_B * at[1]
        D = q_A - q_B
        core = half * both
        g = D / wp.max(wp.length(D), core)
        phi = envelope(D, g, core) - both
        return phi, g, (q_A + q_B + g * (radius_B - radius_A)) * half

    @wp.func
    def chord(p: vec3, d: vec3, H: vec3) -> vec2:
        """Coordinates where a segment enters and leaves a box, the latter less than the former where it misses it."""
        one = real(1.0)
        tiny = real(1e-9)
        a = one / wp.where(wp.abs(d[0]) < tiny, tiny, d[0])
        b = one / wp.where(wp.abs(d[1]) < tiny, tiny, d[1])
        c = one / wp.where(wp.abs(d[2]) < tiny, tiny, d[2])
        x = wp.abs(a) * H[0]
        y = wp.abs(b) * H[1]
        z = wp.abs(c) * H[2]
        return vec2(
            wp.max(wp.max(-a * p[0] - x, -b * p[1] - y), wp.max(-c * p[2] - z, -one)),
            wp.min(wp.min(-a * p[0] + x, -b * p[1] + y), wp.min(-c * p[2] + z, one)),
        )

    @wp.func
    def depth_between_faces(x: vec3, H: vec3) -> real:
        """Distance of a point in a box to the nearest face, zero outside."""
        return wp.max(wp.min(wp.min(H[0] - wp.abs(x[0]), H[1] - wp.abs(x[1])), H[2] - wp.abs(x[2])), real(0.0))

    @wp.func
    def centre_of_pressure(p: vec3, d: vec3, ends: vec2, H: vec3) -> real:
        """Coordinate of the point that stands for the chord of a segment in a box."""
        half = real(0.5)
        middle = (ends[0] + ends[1]) * half
        first = depth_between_faces(p + d * ends[0], H)
        last = depth_between_faces(p + d * ends[1], H)
        rise = real(RISE) * wp.max(depth_between_faces(p + d * middle, H) - (first + last) * half, real(0.0))
        total = wp.max(first + last + rise, real(1e-20))
        return (ends[0] * first + ends[1] * last + middle * rise) / total

    @wp.func
    def towards_box(p: vec3, d: vec3, t: real, h: vec3) -> vec3:
        """Point of a segment nearest to the point of a box that is nearest to the point of the segment at ``t``."""
        one = real(1.0)
        q = p + d * t
        to_box = vec3(
            wp.clamp(q[0], -h[0], h[0]) - p[0],
            wp.clamp(q[1], -h[1], h[1]) - p[1],
            wp.clamp(q[2], -h[2], h[2]) - p[2],
        )
        return p + d * wp.clamp(wp.dot(to_box, d) / wp.max(wp.dot(d, d), real(1e-20)), -one, one)

    @wp.func
    def weights(s: vec3, rounding: real) -> vec3:
        """Gradient of the smoothed maximum over the unit vectors w >= 0 of w . s: the projection onto their hull."""
        zero = real(0.0)
        one = real(1.0)
        half = real(0.5)
        v = s / rounding
        total = v[0] + v[1] + v[2]
        most = wp.max(wp.max(v[0], v[1]), v[2])
        least = wp.min(wp.min(v[0], v[1]), v[2])
        # The sum of the positive parts of v - shift is one, or more without a shift: then v is beyond the simplex.
        shift = wp.max(wp.max(most - one, (total - least - one) * half), (total - one) / real(3.0))
        shift = wp.min(shift, zero)
        w = vec3(wp.max(v[0] - shift, zero), wp.max(v[1] - shift, zero), wp.max(v[2] - shift, zero))
        return w / wp.max(wp.length(w), one)

    @wp.func
    def box_distance(x: vec3, h: vec3):
        """Distance of a point to a box, and its gradient."""
        one = real(1.0)
        two = real(2.0)
        quarter = real(0.25)
        c = vec3(
            wp.clamp(two * x[0] / h[0], -one, one),
            wp.clamp(two * x[1] / h[1], -one, one),
            wp.clamp(two * x[2] / h[2], -one, one),
        )
        s = vec3(
            x[0] * c[0] + h[0] * (quarter * (one - c[0] * c[0]) - one),
            x[1] * c[1] + h[1] * (quarter * (one - c[1] * c[1]) - one),
            x[2] * c[2] + h[2] * (quarter * (one - c[2] * c[2]) - one),
        )
        rounding = real(ROUNDING) * wp.min(wp.min(h[0], h[1]), h[2])
        w = weights(s, rounding)
        return envelope(s, w, rounding), vec3(w[0] * c[0], w[1] * c[1], w[2] * c[2])

    @wp.func
    def misses_box(p: vec3, d: vec3, radius: real, h: vec3) -> bool:
        """Whether a segment is beyond a face of a box by more than its radius."""
        return (
            wp.abs(p[0]) > wp.abs(d[0]) + h[0] + radius
            or wp.abs(p[1]) > wp.abs(d[1]) + h[1] + radius
            or wp.abs(p[2]) > wp.abs(d[2]) + h[2] + radius
        )

    @wp.func
    def segment_box_distance(p: vec3, d: vec3, radius: real, h: vec3):
        """Distance of a round segment to a box, in its frame, positive where it misses the box grown by its radius."""
        H = vec3(h[0] + radius, h[1] + radius, h[2] + radius)
        ends = chord(p, d, H)
        t = centre_of_pressure(p, d, ends, H)
        x = p + d * t
        if radius > real(0.0):
            x = towards_box(p, d, t, h)
        phi, g = box_distance(x, h)
        return wp.where(ends[0] > ends[1], real(1.0), phi - radius), g, x - g * radius

    return SimpleNamespace(
        plane_distance=plane_distance,
        segment_distance=segment_distance,
        misses_box=misses_box,
        segment_box_distance=segment_box_distance,
    )
