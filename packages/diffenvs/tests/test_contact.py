"""Contact between moving bodies: geometry against exact distances, forces against the law, and what they keep."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import cos, radians, sin

import numpy as np
import pytest
import rigid_bodies
import torch
from contacts import contacts
from simulators import body, momentum, simulator, steps, tensor
from torch import Tensor

from diffenvs.contact_candidates import Candidates
from diffenvs.kernels.arguments import ContactKind
from diffenvs.model import Box, Capsule, Joint, JointType, Link, Material, Model, Shape, Sphere

G = 9.81
FREE, FIXED = Joint(type=JointType.FREE), Joint(type=JointType.FIXED)
SPRING = Material(stiffness=1.0, damping=0.0, tangential_damping=0.0, friction=0.0)
"""Its force is the depth."""
RUBBER = Material(stiffness=800.0, damping=3e3, tangential_damping=50.0, friction=0.4)
HAND = Material(
    stiffness=500.0, damping=1e5, damping_depth=1e-3, tangential_damping=100.0, friction=0.5, friction_bound="total"
)
SAME = 1e-11
"""Relative; rounding of float64."""


def two(upper: Shape, lower: Shape, **options) -> Model:
    """Free body and a fixed one, without gravity."""
    links = (
        Link(name="lower", parent=None, joint=FIXED, shapes=(lower,)),
        body(FREE, name="upper", shapes=(upper,)),
    )
    options = {"gravity": (0.0, 0.0, 0.0), "substeps": 1, "ground": False, **options}
    return Model(name="two", links=links, collisions=(("lower", "upper"),), **options)


def sphere(radius: float, material: Material = SPRING) -> Sphere:
    return Sphere(radius=radius, material=material)


def capsule(radius: float, half_length: float, axis=(1.0, 0.0, 0.0), material: Material = SPRING) -> Capsule:
    return Capsule(radius=radius, half_length=half_length, axis=axis, material=material)


def box(x: float, y: float, z: float, material: Material = SPRING, **frame) -> Box:
    return Box(half_extents=(x, y, z), material=material, **frame)


def states(position: np.ndarray, rotation=(0.0, 0.0, 0.0, 1.0)) -> Tensor:
    """Coordinates of the free body at these positions, (N, 3)."""
    position = np.atleast_2d(position)
    return tensor(np.hstack([position, np.broadcast_to(rotation, (len(position), 4))]))


def wrench(model: Model, q: Tensor, velocity=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Moment about the origin and force on the free body, which translates, (N, 6)."""
    qd = torch.cat([torch.zeros(len(q), 3).double(), tensor(velocity).expand(len(q), 3)], dim=1)
    trace = simulator(model, len(q)).trace(q, qd, q[:, :0])
    return -trace.subtree_force[:, 0, -1].numpy()


# Upper and lower shape, position of the upper one, depth, normal, point and number of equal contacts.
LAID = {
    "sphere on sphere": (sphere(0.5), sphere(0.3), (0.36, 0.0, 0.48), 0.2, (0.6, 0.0, 0.8), (0.12, 0, 0.16), 1),
    "sphere on capsule": (sphere(0.5), capsule(0.3, 1.0), (0.7, 0.0, 0.7), 0.1, (0, 0, 1), (0.7, 0.0, 0.25), 1),
    "sphere at the end of a capsule": (
        sphere(0.5),
        capsule(0.3, 1.0),
        (1.36, 0.0, 0.48),
        0.2,
        (0.6, 0.0, 0.8),
        (1.12, 0.0, 0.16),
        1,
    ),
    "capsule across capsule": (
        capsule(0.2, 1.0, (0.0, 1.0, 0.0)),
        capsule(0.3, 1.0),
        (0.4, 0.3, 0.4),
        0.1,
        (0, 0, 1),
        (0.4, 0, 0.25),
        1,
    ),
    "capsule along capsule": (capsule(0.2, 1.0), capsule(0.3, 1.0), (0, 0, 0.4), 0.1, (0, 0, 1), (0, 0, 0.25), 1),
    "sphere on box": (sphere(0.3), box(1, 1, 0.5), (0.3, 0.2, 0.75), 0.05, (0, 0, 1), (0.3, 0.2, 0.45), 1),
    "capsule on box": (capsule(0.3, 0.5), box(1, 1, 0.5), (0.3, 0.2, 0.75), 0.05, (0, 0, 1), (0.3, 0.2, 0.45), 1),
    "capsule standing on a box": (
        capsule(0.3, 0.5, (0, 0, 1)),
        box(1, 1, 0.5),
        (0.3, 0.2, 1.25),
        0.05,
        (0, 0, 1),
        (0.3, 0.2, 0.45),
        1,
    ),
    "box on box": (box(0.4, 0.3, 0.2), box(1, 1, 0.5), (0.1, 0.2, 0.65), 0.05, (0, 0, 1), (0.1, 0.2, 0.45), 8),
}


VELOCITIES = np.array([[0.0, 0.0, 0.0], [0.02, -0.01, 0.03], [0.02, 0.01, -0.05], [5.0, 1.0, -0.5]])
"""At rest, sticking and leaving, sticking and approaching, sliding."""


@pytest.mark.parametrize("bound", ["elastic", "total"])
@pytest.mark.parametrize("damping_depth", [0.02, 1.0])
@pytest.mark.parametrize("case", LAID)
def test_force_of_a_contact_is_that_of_the_law(case, damping_depth, bound):
    upper, lower, position, depth, normal, point, count = LAID[case]
    law = {"damping_depth": damping_depth, "friction_bound": bound}
    hard = replace(RUBBER, **law)
    soft = Material(stiffness=200.0, damping=1e3, tangential_damping=10.0, friction=0.2, **law)
    model = two(replace(upper, material=hard), replace(lower, material=soft))
    # The constants are the means; the law is that of the ground.
    n, expected = np.array(normal), []
    for u in VELOCITIES:
        slip = u - n * (u @ n)
        damping = 2e3 * min(depth, damping_depth) * max(-u @ n, 0.0)
        limit = 0.3 * (500.0 * depth + (damping if bound == "total" else 0.0))
        drag = min(30.0 * np.linalg.norm(slip), limit)
        force = n * (500.0 * depth + damping) - (slip / np.linalg.norm(slip) * drag if drag else 0.0)
        expected.append(count * np.r_[np.cross(point, force), force])
    found = wrench(model, states(position).expand(len(VELOCITIES), -1), VELOCITIES)
    np.testing.assert_allclose(found, expected, atol=SAME * np.abs(expected).max())


# Upper shape, lower shape, distance of their centres at touch, contacts.
GRAZING = {
    "sphere": (sphere(0.012, HAND), 0.012, 1),
    "lying capsule": (capsule(0.0098, 0.02, material=HAND), 0.0098, 1),
    "standing capsule": (capsule(0.0098, 0.02, (0.0, 0.0, 1.0), HAND), 0.0298, 1),
    "box": (box(0.02, 0.02, 0.02, HAND), 0.02, 8),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", GRAZING)
def test_force_is_small_at_touch_where_rounding_decides_whether_shapes_touch(case, dtype):
    upper, reach, count = GRAZING[case]
    lower, top, speed, depth, poses = box(0.0325, 0.0325, 0.0325, HAND), 0.0325, 0.5, 1e-5, 20_000
    links = (body(FREE, name="lower", shapes=(lower,)), body(FREE, name="upper", shapes=(upper,)))
    model = Model(
        name="grazing",
        links=links,
        collisions=(("lower", "upper"),),
        gravity=(0.0, 0.0, 0.0),
        substeps=1,
        dt=1 / 7680,
        ground=False,
    )
    random = np.random.default_rng(0)
    rotation, place = random.normal(size=(poses, 4)), random.uniform(-0.5, 0.5, (poses, 3))
    rotation /= np.linalg.norm(rotation, axis=1, keepdims=True)
    normal = rigid_bodies.matrix(rotation.T)[:, 2].T
    apart = reach + top - random.uniform(0.0, depth, (poses, 1))
    q = np.hstack([place, rotation, place + apart * normal, rotation])
    qd = np.hstack([np.zeros((poses, 9)), -speed * normal])
    q, qd = tensor(q, dtype), tensor(qd, dtype)
    trace = simulator(model, poses, dtype).trace(q, qd, q[:, :0])
    force = trace.subtree_force[:, 0, 1, 3:].norm(dim=1)
    law = count * (HAND.stiffness + HAND.damping * speed) * depth
    assert force.median() > 0.1 * law
    assert force.max() < 1.5 * law


def random_poses(count: int, reach: float, seed: int) -> Tensor:
    """Positions in a cube about the origin, and rotations."""
    random = np.random.default_rng(seed)
    rotation = random.normal(size=(count, 4))
    position = random.uniform(-reach, reach, (count, 3))
    return tensor(np.hstack([position, rotation / np.linalg.norm(rotation, axis=1)[:, None]]))


def along(q: Tensor, axis: np.ndarray, half_length: float, count: int = 301) -> np.ndarray:
    """Points of the axis of a capsule, (count, N, 3)."""
    offsets = np.linspace(-half_length, half_length, count)[:, None, None]
    return q[:, :3].numpy() + offsets * np.stack([rigid_bodies.matrix(r) @ axis for r in q[:, 3:].numpy()])


def box_distance(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """Exact signed distance of points (..., 3) to a box."""
    s = np.abs(x) - h
    return np.linalg.norm(np.maximum(s, 0.0), axis=-1) + np.minimum(s.max(-1), 0.0)


H = np.array([0.3, 0.4, 0.5])
ROUNDING = 0.1 * H.min()


def test_distance_of_a_sphere_to_a_box_is_exact_but_for_its_edges_and_its_middle():
    radius, q = 0.25, random_poses(20000, 0.8, 0)
    force = np.linalg.norm(wrench(two(sphere(radius), box(*H)), q)[:, 3:], axis=1)
    x = q[:, :3].numpy()
    depth, s = radius - box_distance(x, H), np.sort(np.abs(x) - H, axis=1)
    outside = np.linalg.norm(np.maximum(s, 0.0), axis=1) > ROUNDING
    below_a_face = (s[:, 2] - s[:, 1] > ROUNDING) & (s[:, 2] > -H.min() / 3)
    exact = outside | below_a_face
    assert (exact & (depth > radius)).sum() > 1000
    np.testing.assert_allclose(force[exact], np.maximum(depth[exact], 0.0), atol=SAME)
    assert (force <= np.maximum(depth, 0.0) + SAME).all()


def test_edges_of_a_box_are_rounded_by_no_more_than_a_third_of_the_smoothing():
    q = random_poses(20000, 0.55, 1)
    touches = wrench(two(sphere(1e-9), box(*H)), q)[:, 3:].any(1)
    depth = -box_distance(q[:, :3].numpy(), H)
    assert not touches[depth < -1e-9].any()
    assert touches[(depth > ROUNDING / 3) & (np.abs(q[:, :3].numpy()) > 1e-3).all(1)].all()


@pytest.mark.parametrize("other", ["capsule", "box"])
def test_capsule_touches_where_its_distance_is_below_zero(other):
    radius, half_length, q = 0.1, 0.3, random_poses(5000, 0.8, 2)
    axis = along(q, np.array([1.0, 0.0, 0.0]), half_length)
    if other == "box":
        shape, slack = box(*H), ROUNDING / 3 + 0.1 * radius
        exact = box_distance(axis, H).min(0) - radius
    else:
        shape, slack = capsule(0.2, 0.4, (0.0, 1.0, 0.0)), 0.05 * radius
        nearest = axis - np.array([0.0, 1.0, 0.0]) * np.clip(axis[..., 1:2], -0.4, 0.4)
        exact = np.linalg.norm(nearest, axis=-1).min(0) - radius - 0.2
    touches = wrench(two(capsule(radius, half_length), shape), q)[:, 3:].any(1)
    assert not touches[exact > 0.0].any()
    assert touches[exact < -slack].all()
    assert 500 < touches.sum() < 4500


def test_boxes_touch_where_an_edge_of_one_is_in_the_other():
    q = random_poses(5000, 0.9, 3)
    small = np.array([0.2, 0.3, 0.1])
    touches = wrench(two(box(*small), box(*H)), q)[:, 3:].any(1)
    # Separating axes: the faces of both and the cross products of their edges.
    R = np.stack([rigid_bodies.matrix(r) for r in q[:, 3:].numpy()])
    gaps = []
    for n in [
        *np.eye(3)[:, None] + 0 * R[:, 0],
        *R.transpose(2, 0, 1),
        *np.cross(np.eye(3)[:, None, None], R.transpose(2, 0, 1)).reshape(9, -1, 3),
    ]:
        length = np.linalg.norm(n, axis=-1)
        gap = np.abs((n * q[:, :3].numpy()).sum(-1)) - np.abs(n) @ H - np.abs(np.einsum("nij,ni->nj", R, n)) @ small
        gaps.append(np.where(length > 1e-6, gap / np.maximum(length, 1e-6), -np.inf))
    apart = np.max(gaps, axis=0)
    assert not touches[apart > 0.0].any()
    assert touches[apart < -ROUNDING].all()
    assert 500 < touches.sum() < 4500


SHAPES = {
    "sphere": sphere(0.012, HAND),
    "capsule": capsule(0.01, 0.02, material=HAND),
    "box": box(0.03, 0.025, 0.02, HAND),
}
PAIRS = [("sphere", "sphere"), ("sphere", "capsule"), ("capsule", "capsule")] + [(name, "box") for name in SHAPES]


def path(index: int) -> Callable[[np.ndarray], Tensor]:
    """Poses along a line through the other shape; every third starts parallel to it and turns but little."""
    random = np.random.default_rng(index)
    middle, reach = 0.003 * random.normal(size=3), 0.04 * random.normal(size=3)
    r = np.vstack([random.normal(size=(2, 4))])
    if index % 3 == 0:
        r = np.array([0.0, 0.0, 0.0, 1.0]) + [[0.0], [1e-2]] * r - 5e-3 * r[1]

    def poses(t: np.ndarray) -> Tensor:
        rotation = r[0] + t[:, None] * (r[1] - r[0])
        rotation /= np.linalg.norm(rotation, axis=1, keepdims=True)
        return tensor(np.hstack([middle + (2 * t[:, None] - 1) * reach, rotation]))

    return poses


@pytest.mark.parametrize("index", range(6))
@pytest.mark.parametrize(("upper", "lower"), PAIRS)
def test_force_and_moment_are_continuous_also_deep_inside_and_where_the_nearest_feature_changes(upper, lower, index):
    model, velocity = two(SHAPES[upper], SHAPES[lower]), (0.3, -0.2, -0.5)
    low, high, count = 0.0, 1.0, 2001
    largest = 0.0
    for _ in range(4):
        t = np.linspace(low, high, count)
        forces = wrench(model, path(index)(t), velocity) * [50.0, 50.0, 50.0, 1.0, 1.0, 1.0]
        jumps = np.abs(np.diff(forces, axis=0)).max(1)
        largest = max(largest, np.abs(forces).max())
        k = jumps.argmax()
        low, high = t[k], t[k + 1]
    assert largest > 1.0
    # The largest change is looked at closer and closer; a jump would stay.
    assert jumps.max() < 1e-6 * largest


@pytest.mark.parametrize(("upper", "lower"), PAIRS)
def test_force_on_one_body_is_minus_that_on_the_other_whichever_is_named_first(upper, lower):
    links = [body(FREE, name=name, shapes=(SHAPES[shape],)) for name, shape in (("a", upper), ("b", lower))]
    q = torch.cat([random_poses(400, 0.03, 4), random_poses(400, 0.01, 5)], dim=1)
    qd = 0.3 * torch.randn(400, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    qd[:200] = 0.0
    options = {"ground": False, "substeps": 1, "gravity": (0.0, 0.0, 0.0)}
    forces = []
    for collisions in ((("a", "b"),), (("b", "a"),), ()):
        model = Model(name="two", links=links, collisions=collisions, **options)
        forces.append(simulator(model, 400).trace(q, qd, q[:, :0]).subtree_force[:, 0])
    touching = (forces[0] - forces[2]).abs().amax((1, 2)) > 0.0
    assert touching[:200].sum() > 30
    assert touching[200:].sum() > 30
    on_a, on_b = (forces[2] - forces[0]).unbind(1)
    scale = float(on_a.abs().max())
    torch.testing.assert_close(on_a, -on_b, rtol=0.0, atol=SAME * scale)
    # Where nothing moves there is no other force, and no rounding: it is the same number.
    assert torch.equal(on_a[:200], -on_b[:200])
    torch.testing.assert_close(forces[0], forces[1], rtol=0.0, atol=SAME * scale)


DEGENERATE = {
    "spheres about one centre": ("sphere", "sphere", (0.0, 0.0, 0.0)),
    "sphere on the axis of a capsule": ("sphere", "capsule", (0.01, 0.0, 0.0)),
    "capsules on one axis": ("capsule", "capsule", (0.01, 0.0, 0.0)),
    "capsule beside a parallel one": ("capsule", "capsule", (0.0, 0.0, 0.015)),
    "sphere in the middle of a box": ("sphere", "box", (0.0, 0.0, 0.0)),
    "sphere at a corner of a box": ("sphere", "box", (0.03, 0.025, 0.02)),
    "capsule flat on a box": ("capsule", "box", (0.0, 0.0, 0.028)),
    "capsule at an edge of a box": ("capsule", "box", (0.0, 0.025, 0.02)),
    "box in the place of a box": ("box", "box", (0.0, 0.0, 0.0)),
    "box on a box of its size": ("box", "box", (0.0, 0.0, 0.039)),
    "box on a box, face within face": ("box", "box", (0.01, 0.01, 0.039)),
}


@pytest.fixture
def denormals_are_zero():
    """What libraries built for speed do to the whole process."""
    assert torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.usefixtures("denormals_are_zero")
def test_gradients_are_finite_where_shapes_coincide_or_are_parallel(case, dtype):
    upper, lower, position = DEGENERATE[case]
    sim = simulator(two(SHAPES[upper], SHAPES[lower], substeps=4), 1, dtype)
    leaves = [states(position).to(dtype), torch.zeros(1, 6, dtype=dtype)]
    parameters = {name: value for name, value in sim.parameters.items() if value.numel()}
    leaves = [value.clone().requires_grad_() for value in (*leaves, *parameters.values())]
    parameters = dict(zip(parameters, leaves[2:], strict=True))
    end = torch.cat(sim.step(*leaves[:2], torch.zeros(1, 0, dtype=dtype), parameters), dim=1)
    assert end.isfinite().all()
    for gradient in torch.autograd.grad(end.sum(), leaves):
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e4


def test_boxes_meet_by_their_edges_and_round_shapes_by_themselves():
    shapes = [(SHAPES["box"],), (SHAPES["capsule"], SHAPES["sphere"]), (SHAPES["box"],)]
    links = [body(FREE, name=str(k), shapes=its) for k, its in enumerate(shapes)]
    pairs = (("0", "1"), ("0", "2"))
    table = Candidates.of(Model(name="three", links=links, collisions=pairs))
    assert [len(pair) for pair in table.pairs] == [1, 1, 12, 12]
    assert [(pair[0].first, pair[0].second) for pair in table.pairs] == [(1, 0), (2, 0), (0, 3), (3, 0)]
    assert len(table.ground) == 8 + 2 + 1 + 8
    edges = {
        tuple(sorted(tuple(np.round(np.array(edge.middle) + sign * np.array(edge.half), 12)) for sign in (-1, 1)))
        for edge in (candidate.segment for candidate in table.pairs[2])
    }
    corners = list(product((-0.03, 0.03), (-0.025, 0.025), (-0.02, 0.02)))
    assert edges == {(a, b) for a in corners for b in corners if a < b and np.equal(a, b).sum() == 2}
    assert not Candidates.of(Model(name="three", links=links, ground=False)).all


def test_engine_and_reference_agree_on_all_contacts_of_a_pile():
    turned = replace(SHAPES["box"], position=(0.01, 0.0, -0.01), rotation=(0.48, 0.0, 0.64, 0.6))
    shapes = [(SHAPES["box"],), (SHAPES["capsule"], SHAPES["sphere"]), (turned, SHAPES["capsule"])]
    links = [body(FREE, name=str(k), shapes=its) for k, its in enumerate(shapes)]
    pairs = (("0", "1"), ("0", "2"), ("2", "1"))
    model = Model(name="pile", links=links, collisions=pairs, substeps=1, gravity=(0.0, 0.0, 0.0))
    q = torch.cat([random_poses(300, 0.03, seed) for seed in (6, 7, 8)], dim=1)
    qd = q.new_zeros(300, 18)
    sim = simulator(model, 300)
    trace = sim.trace(q, qd, q[:, :0])
    found = contacts(model, trace, sim.parameters)
    assert (found.touching.sum(-1) > 3).float().mean() > 0.5
    total = torch.zeros(300, 3, 6).double()
    links_of = torch.tensor([0, 1, 1, 2, 2])
    wrenches = torch.cat([torch.linalg.cross(found.point, found.force), found.force], dim=-1)[:, 0]
    for k, candidate in enumerate(Candidates.of(model).all):
        total[:, links_of[candidate.first]] += wrenches[:, k]
        if candidate.kind is not ContactKind.GROUND:
            total[:, links_of[candidate.second]] -= wrenches[:, k]
    torch.testing.assert_close(-trace.subtree_force[:, 0], total, rtol=0.0, atol=SAME * float(total.abs().max()))


def cube(**options) -> Link:
    moment = 0.5 * 0.065**2 / 6
    shape = box(0.0325, 0.0325, 0.0325, HAND)
    return Link(
        joint=FREE, mass=0.5, inertia=(moment, moment, moment, 0, 0, 0), shapes=(shape,), parent=None, **options
    )


def collision_drift(substeps: int) -> np.ndarray:
    """Change of the angular and linear momentum of two cubes that collide and part, relative to what it was."""
    model = Model(
        name="cubes",
        links=(cube(name="a"), cube(name="b")),
        collisions=(("a", "b"),),
        ground=False,
        gravity=(0.0, 0.0, 0.0),
        substeps=substeps,
    )
    q = torch.cat(
        [tensor([[0.1, 0.2, 0.3, 0.1, 0.2, 0.0, 0.97]]), tensor([[0.18, 0.21, 0.32, 0.0, 0.0, 0.0, 1.0]])], dim=1
    )
    q[:, 3:7] /= q[:, 3:7].norm()
    omega, v = tensor([[1.0, -2.0, 0.5]]), tensor([[0.8, 0.1, 0.1]])
    qd = torch.cat([omega, v - torch.linalg.cross(omega, q[:, :3]), torch.zeros(1, 6).double()], dim=1)
    sim, none = simulator(model, 1), q.new_zeros(1, 0)
    q_end, qd_end = (value[-1] for value in steps(sim, q, qd, none.expand(12, 1, 0)))
    before, after = (momentum(sim.trace(*state, none), model) for state in ((q, qd), (q_end, qd_end)))
    assert qd_end[0, 9:].norm() > 0.3, "the second cube has been pushed"
    assert np.linalg.norm(qd_end[0, 3:6] - qd[0, 3:6]) > 0.3
    change = (after - before).reshape(2, 3)
    return np.linalg.norm(change, axis=1) / np.linalg.norm(before.reshape(2, 3), axis=1)


def test_momentum_of_two_colliding_cubes_is_kept():
    # Exactly in continuous time; half the step leaves half the drift.
    coarse, fine = collision_drift(64), collision_drift(128)
    assert (fine < 2e-3).all()
    np.testing.assert_allclose(fine / coarse, 0.5, atol=0.1)


def on_a_palm(tilt: float) -> Model:
    """Cube on a fixed horizontal box; gravity is tilted."""
    palm = Link(name="palm", parent=None, joint=FIXED, shapes=(box(0.0565, 0.0475, 0.0204, HAND),))
    return Model(
        name="palm",
        links=(palm, cube(name="cube")),
        collisions=(("palm", "cube"),),
        ground=False,
        gravity=(G * sin(tilt), 0.0, -G * cos(tilt)),
        dt=1 / 120,
        substeps=64,
        mass_matrix_interval=64,
    )


def after_two_seconds(model: Model, height: float) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates, velocities and spins of cubes that were let go at this height, turned differently about it."""
    angles = torch.tensor([0.0, 0.2, 0.5], dtype=torch.float64)
    q, sim = states([0.0, 0.0, 0.0204 + 0.0325 + height]).repeat(3, 1), simulator(model, 3)
    q[:, 5], q[:, 6] = (angles / 2).sin(), (angles / 2).cos()
    none = q.new_zeros(240, 3, 0)
    q, qd = (value[-1] for value in steps(sim, q, q.new_zeros(3, 6), none))
    count = contacts(model, sim.trace(q, qd, none[0]), sim.parameters).touching[:, 0].sum(-1)
    assert (count == 8).all()
    return q, qd[:, 3:] + torch.linalg.cross(qd[:, :3], q[:, :3]), qd[:, :3]


@pytest.mark.parametrize("height", [0.0, 0.02])
def test_dropped_cube_comes_to_rest_at_the_depth_where_its_eight_points_carry_it(height):
    q, velocity, spin = after_two_seconds(on_a_palm(0.0), height)
    np.testing.assert_allclose(0.0204 + 0.0325 - q[:, 2], 0.5 * G / (8 * HAND.stiffness), rtol=1e-4)
    assert velocity.norm(dim=1).max() < 1e-5
    assert spin.norm(dim=1).max() < 1e-4


def test_cube_on_a_tilted_palm_creeps_at_the_speed_where_friction_carries_it():
    tilt = radians(5.4)
    _, velocity, _ = after_two_seconds(on_a_palm(tilt), 0.0)
    np.testing.assert_allclose(velocity[:, 0], 0.5 * G * sin(tilt) / (8 * HAND.tangential_damping), rtol=1e-3)
    assert velocity[:, 1:].abs().max() < 1e-5


def test_cube_pushed_deep_into_another_comes_out_again_gently():
    model = two(box(0.03, 0.03, 0.03, HAND), box(0.03, 0.03, 0.03, HAND), substeps=64, dt=1 / 120)
    q = random_poses(50, 0.03, 9)
    none = q.new_zeros(120, 50, 0)
    _, qd = steps(simulator(model, 50), q, q.new_zeros(50, 6), none)
    assert qd.isfinite().all()
    # The energy of all 24 points at most 2 cm deep.
    assert qd[..., 3:].norm(dim=-1).max() < (24 * 500.0 * 0.02**2) ** 0.5
