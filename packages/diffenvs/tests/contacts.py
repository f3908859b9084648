"""Contacts along a trace in PyTorch, all environments, substeps and candidates at once, and the sides of their kinks.

The geometry is written a second time, from the definitions: projections by their conditions instead of closed forms.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffenvs.contact_candidates import Candidates
from diffenvs.kernels.arguments import ContactKind
from diffenvs.model import Model
from diffenvs.parameters import ARRAYS
from diffenvs.simulator import Trace

PARALLEL = 0.02
"""Draws the nearest points of two parallel segments to their middles, relative to the square of their length."""
ROUNDING = 0.1
"""Smoothing of a box per least half extent."""
FLAT = 1e-12
"""A chord that rises less than this between its ends [m] lies along a face."""
ROUNDED = 1e-12
"""A coordinate beyond its bound by less has only been rounded."""


@dataclass(frozen=True)
class Contacts:
    """State of the contact candidates in each substep, (N, substeps, candidates[, 3])."""

    depth: Tensor
    """Signed distance, negative where it touches [m]."""
    normal: Tensor
    """Towards the first body."""
    point: Tensor
    """Where the force acts [m]."""
    force: Tensor
    """On the first body, zero where it does not touch [N]."""
    touching: Tensor
    sliding: Tensor
    """Whether it touches and friction is at the Coulomb bound."""
    approaching: Tensor
    """Whether it touches and the bodies approach each other there."""
    deep: Tensor
    """Whether it is below the depth where damping grows."""
    sides: Tensor
    """Sides of the kinks of the geometry, zero where it does not touch, (N, substeps, any number)."""


def contacts(model: Model, trace: Trace, values: dict[str, Tensor]) -> Contacts:
    """Contact candidates of the model along a trace, with the parameters `values` (N or 1, shapes)."""
    candidates, pose = Candidates.of(model), trace.link_pose
    every = candidates.all
    kinds = torch.tensor([c.kind for c in every], dtype=torch.long)
    first, second = (torch.tensor([getattr(c, k) for c in every], dtype=torch.long) for k in ("first", "second"))
    # The world is the last link, and that of the ground.
    world = pose.new_tensor([0, 0, 0, 0, 0, 0, 1]).expand(*pose.shape[:2], 1, 7)
    pose = torch.cat([pose, world], dim=2)
    velocity = torch.cat([trace.link_velocity, torch.zeros_like(world[..., :6])], dim=2)
    links = torch.tensor(candidates.shape_links, dtype=torch.long)
    rows = links[first], torch.where(kinds == ContactKind.GROUND, len(model.links), links[second])

    gap, normal, point = (pose.new_zeros(*pose.shape[:2], len(kinds), *size) for size in ((), (3,), (3,)))
    sides = []
    for kind, geometry in ((ContactKind.GROUND, _ground), (ContactKind.SEGMENT, _segment), (ContactKind.BOX, _box)):
        (chosen,) = torch.nonzero(kinds == kind, as_tuple=True)
        if not len(chosen):
            continue
        X_A, X_B = (pose[:, :, row[chosen]] for row in rows)
        its, others = [every[k].segment for k in chosen], [every[k].other for k in chosen]
        match kind:
            case ContactKind.GROUND:
                other = pose.new_tensor(model.up)
            case ContactKind.SEGMENT:
                other = _placed(others, X_B)
            case ContactKind.BOX:
                other = (*_frames(others, X_B), pose.new_tensor([box.half_extents for box in others]))
        gap[:, :, chosen], normal[:, :, chosen], point[:, :, chosen], its_sides = geometry(_placed(its, X_A), other)
        sides += [torch.where(gap[:, :, chosen] < 0.0, side.long(), 0) for side in its_sides]

    V = velocity[:, :, rows[0]] - velocity[:, :, rows[1]]
    speed = V[..., 3:] + torch.linalg.cross(V[..., :3], point)
    materials = [values[name] for name in ARRAYS["material"]]
    constants = [((value[:, first] + value[:, second]) / 2)[:, None] for value in materials]
    laws = [candidates.shapes[k].material for k in first]
    return _law(gap, speed, normal, point, torch.cat([gap[..., :0].long(), *sides], -1), constants, laws)


def _law(gap, speed, normal, point, sides, constants, laws) -> Contacts:
    stiffness, damping, viscosity, friction = constants
    damping_depth = gap.new_tensor([material.damping_depth for material in laws])
    total = gap.new_tensor([material.friction_bound == "total" for material in laws])
    touching, depth = gap < 0.0, (-gap).clamp(min=0.0)
    normal_speed = (speed * normal).sum(-1)
    slip = speed - normal_speed[..., None] * normal
    viscous = damping * torch.minimum(depth, damping_depth) * (-normal_speed).clamp(min=0.0)
    bound = friction * (stiffness * depth + total * viscous) * (normal**2).sum(-1)
    drag = viscosity * slip.norm(dim=-1)
    share = torch.where(drag > bound, bound / drag, 1.0)
    push = (stiffness * depth + viscous)[..., None] * normal - (share * viscosity)[..., None] * slip
    return Contacts(
        depth=gap,
        normal=normal,
        point=point,
        force=torch.where(touching[..., None], push, 0.0),
        touching=touching,
        sliding=touching & (drag > bound),
        approaching=touching & (normal_speed < 0.0),
        deep=depth > damping_depth,
        sides=sides,
    )


def _ground(a, up: Tensor):
    p, _, radius = a
    return p @ up - radius, up, p - up * radius[:, None], []


def _segment(a, b):
    """Nearest points by trying all sides of the constraints: free, or at an end."""
    (p_A, d_A, r_A), (p_B, d_B, r_B) = a, b
    aa, bb, ab = _dot(d_A, d_A), _dot(d_B, d_B), _dot(d_A, d_B)
    D = p_A - p_B
    pull = PARALLEL * ab**2 / (aa * bb).clamp(min=1e-30)
    best = None
    for case, (s_end, t_end) in enumerate((s, t) for s in (None, -1.0, 1.0) for t in (None, -1.0, 1.0)):
        s = D.new_tensor(0.0 if s_end is None else s_end).expand(ab.shape)
        t = D.new_tensor(0.0 if t_end is None else t_end).expand(ab.shape)
        m_A, m_B = aa * (1 + pull), bb * (1 + pull)
        x, y = -_dot(d_A, D), _dot(d_B, D)
        if s_end is None and t_end is None:
            det = (m_A * m_B - ab * ab).clamp(min=1e-30)
            s, t = (x * m_B + ab * y) / det, (m_A * y + ab * x) / det
        elif s_end is None:
            s = (x + ab * t) / m_A.clamp(min=1e-30)
        elif t_end is None:
            t = (y + ab * s) / m_B.clamp(min=1e-30)
        apart = D + s[..., None] * d_A - t[..., None] * d_B
        cost = _dot(apart, apart) + pull * (aa * s * s + bb * t * t)
        cost = torch.where((s.abs() <= 1.0) & (t.abs() <= 1.0), cost, torch.inf)
        found = (cost, s, t, torch.full_like(cost, case))
        if best is not None:
            found = [torch.where(cost < best[0], new, old) for new, old in zip(found, best, strict=True)]
        best = found
    _, s, t, case = best
    q_A, q_B = p_A + s[..., None] * d_A, p_B + t[..., None] * d_B
    core = (r_A + r_B) / 2
    length = (q_A - q_B).norm(dim=-1)
    shallow = length > core
    g = (q_A - q_B) / torch.where(shallow, length, core)[..., None]
    gap = torch.where(shallow, length, length**2 / (2 * core) + core / 2) - (r_A + r_B)
    return gap, g, (q_A + q_B + g * (r_B - r_A)[:, None]) / 2, [case, shallow]


def _box(a, b):
    (p_W, d_W, radius), (o_W, r_W, h) = a, b
    p, d = _rotate_back(r_W, p_W - o_W), _rotate_back(r_W, d_W)
    H, one = h + radius[:, None], torch.ones_like(p[..., :1])
    # Crossings with the six planes; a segment that does not move between two of them crosses neither.
    still = d.abs() < 1e-9
    slope = torch.where(still, 1e-9, d)
    crossings = torch.stack([(-H - p) / slope, (H - p) / slope])
    enter, enter_side = torch.cat([crossings.amin(0), -one], -1).max(-1)
    leave, leave_side = torch.cat([crossings.amax(0), one], -1).min(-1)

    def inner(t: Tensor) -> tuple[Tensor, Tensor]:
        return (H - (p + t[..., None] * d).abs()).min(-1)

    (first, side_0), (last, side_1), (middle, side_2) = (inner(t) for t in (enter, leave, (enter + leave) / 2))
    first, last = first.clamp(min=0.0), last.clamp(min=0.0)
    rise = middle.clamp(min=0.0) - (first + last) / 2
    rises = rise > FLAT
    rise = torch.where(rises, 4.0 * rise, 0.0)
    t = (enter * first + leave * last + (enter + leave) / 2 * rise) / (first + last + rise).clamp(min=1e-20)
    q = p + t[..., None] * d
    on_box = torch.maximum(torch.minimum(q, h), -h)
    t = _dot(on_box - p, d) / _dot(d, d).clamp(min=1e-20)
    x = p + t.clamp(-1.0, 1.0)[..., None] * d
    gap, g, box_sides = _smooth_box(x, h)
    gap = torch.where(enter > leave, torch.inf, gap - radius)
    # Where nothing rises, the nearest face in the middle is that at the ends.
    sides = [enter_side, leave_side, side_0, side_1, torch.where(rises, side_2, -1), _code(q > h), _code(q < -h)]
    sides += [(t > 1.0 + ROUNDED).long() - (t < -1.0 - ROUNDED).long(), *box_sides]
    return gap, _rotate(r_W, g), o_W + _rotate(r_W, x - g * radius[:, None]), sides


def _smooth_box(x: Tensor, h: Tensor):
    """Maximum of w . s - rounding / 2 (|w|^2 - 1) over w >= 0 with sum at least one and length at most one.

    The maximiser is found by its conditions: the length is one, or the sum is one, or neither binds.
    """
    core = h / 2
    s = torch.where(x.abs() > core, x.abs(), x**2 / (2 * core) + core / 2) - h
    rounding = ROUNDING * h.amin(-1, keepdim=True)
    v = s / rounding
    positive = v.clamp(min=0.0)
    # The sum of the positive parts of v - shift falls with the shift; between two of the v it is linear.
    ordered = v.sort(-1, descending=True).values
    shifts = (ordered.cumsum(-1) - 1.0) / torch.arange(1.0, 4.0, dtype=v.dtype)
    count = (ordered > shifts).sum(-1, keepdim=True)
    on_simplex = (v - shifts.gather(-1, count - 1)).clamp(min=0.0)
    w = torch.where(positive.sum(-1, keepdim=True) < 1.0, on_simplex, positive)
    long = positive.norm(dim=-1, keepdim=True) > 1.0
    w = torch.where(long, positive / positive.norm(dim=-1, keepdim=True), w)
    gap = (w * s).sum(-1) + rounding[..., 0] / 2 * (1.0 - (w**2).sum(-1))
    sides = [_code(w > 0.0), _code(x > core), _code(x < -core), long[..., 0], positive.sum(-1) < 1.0]
    return gap, w * (x / core).clamp(-1.0, 1.0), sides


def _code(flags: Tensor) -> Tensor:
    """Three flags as one number."""
    return (flags.long() * torch.tensor([1, 2, 4])).sum(-1)


def _placed(segments, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Middles, half vectors and radii in the world."""
    middle, half, radius = (
        pose.new_tensor([getattr(s, name) for s in segments]) for name in ("middle", "half", "radius")
    )
    return pose[..., :3] + _rotate(pose[..., 3:], middle), _rotate(pose[..., 3:], half), radius


def _frames(boxes, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and quaternions of boxes in the world."""
    position, rotation = (pose.new_tensor([getattr(box, name) for box in boxes]) for name in ("position", "rotation"))
    (u, w), (v, s) = ((r[..., :3], r[..., 3:]) for r in torch.broadcast_tensors(pose[..., 3:], rotation))
    vector = w * v + s * u + torch.linalg.cross(u, v)
    turned = torch.cat([vector, w * s - (u * v).sum(-1, keepdim=True)], -1)
    return pose[..., :3] + _rotate(pose[..., 3:], position), turned


def _rotate(r: Tensor, x: Tensor) -> Tensor:
    u, w = r[..., :3], r[..., 3:]
    u, x = torch.broadcast_tensors(u, x)
    return (2 * w * w - 1) * x + 2 * w * torch.linalg.cross(u, x) + 2 * u * (u * x).sum(-1, keepdim=True)


def _rotate_back(r: Tensor, x: Tensor) -> Tensor:
    return _rotate(torch.cat([-r[..., :3], r[..., 3:]], -1), x)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
