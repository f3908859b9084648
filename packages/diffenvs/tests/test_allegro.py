"""The hand's numbers against those of the published one, and which of its links touch."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import rigid_bodies
from hands import LINKS, one_substep, published_hand
from simulators import golden, simulator, tensor

from diffenvs.model import Box, Capsule, Joint, JointType, Link, Model, Sphere
from diffenvs.robots.allegro import FINGERS, MATERIAL, allegro

CLOSE = {"rtol": 1e-6, "atol": 1e-7}
"""The recorded numbers are float32."""
TIPS = [finger[-1] for finger in FINGERS.values()]
TIP_MASS, TIP_INERTIA = 0.0168, 0.968e-6
POSES = 1500
SLACK = 0.05
"""By which joints may leave their soft limits [rad]."""
THUMB_START = 0.05
"""Lowest first angle of the thumb's base, far below its limit [rad]."""


@pytest.fixture(scope="module")
def data():
    return golden("hand", "")


@pytest.fixture(scope="module")
def model():
    return allegro()


def test_tree_is_the_published_one_on_a_palm(model, data):
    assert [link.name for link in model.links] == ["palm", *LINKS, "cube"]
    ours, theirs = model.links[1:], published_hand(data).links
    parents = [None if link.parent == "palm" else link.parent for link in ours]
    assert parents == [link.parent for link in theirs]
    assert [link.joint.type for link in ours] == [link.joint.type for link in theirs]
    assert (model.nq, model.nv, model.nu) == (23, 22, 16)
    assert [actuator.link for actuator in model.actuators] == LINKS


def test_frames_are_the_published_ones(model, data):
    rest = [rigid_bodies.rest_q(hand) for hand in (model, published_hand(data))]
    angles = np.random.default_rng(0).uniform(-1.0, 1.0, 16)
    frames = []
    for hand, q in zip((model, published_hand(data)), rest, strict=True):
        q[:16], zero = angles, np.zeros(hand.nv)
        frames.append(rigid_bodies.frames(hand, q, zero, zero)[-17:])
    for ours, theirs in zip(*frames, strict=True):
        np.testing.assert_allclose(ours.p, theirs.p, **CLOSE)
        np.testing.assert_allclose(ours.R, theirs.R, rtol=0, atol=1e-6)


def test_joints_are_the_published_ones(model, data):
    for ours, theirs in zip(model.links[1:-1], published_hand(data).links[:-1], strict=True):
        for name in ("axis", "lower", "upper", "limit_stiffness", "limit_damping", "armature", "stiffness", "damping"):
            np.testing.assert_allclose(getattr(ours.joint, name), getattr(theirs.joint, name), **CLOSE)


def test_masses_and_inertias_are_the_published_ones_but_for_those_of_the_last_links(model, data):
    for ours, theirs in zip(model.links[1:], published_hand(data).links, strict=True):
        if ours.name not in TIPS:
            np.testing.assert_allclose(ours.mass, theirs.mass, **CLOSE)
            np.testing.assert_allclose(ours.com, theirs.com, **CLOSE)
            np.testing.assert_allclose(ours.inertia, theirs.inertia, rtol=1e-6, atol=1e-12)


def with_loose_tips(data) -> Model:
    """Take both tips off each of the recorded hand's last links, and fix one to it as a link of its own."""
    model = published_hand(data)
    links = []
    for link in model.links:
        links.append(link)
        if link.name in TIPS:
            mass = link.mass - 2 * TIP_MASS
            length = link.com[2] * link.mass / (2 * TIP_MASS)
            twice = 2 * np.array([TIP_INERTIA + TIP_MASS * length**2] * 2 + [TIP_INERTIA, 0.0, 0.0, 0.0])
            links[-1] = replace(link, mass=mass, com=(0.0, 0.0, 0.0), inertia=tuple(link.inertia - twice))
            joint = Joint(type=JointType.FIXED, position=(0.0, 0.0, length))
            inertia = (*[TIP_INERTIA] * 3, 0.0, 0.0, 0.0)
            links.append(Link(name=f"{link.name}_tip", parent=link.name, joint=joint, mass=TIP_MASS, inertia=inertia))
    return replace(model, links=tuple(links))


def test_last_links_are_merged_with_one_tip_each_about_their_common_centre_of_mass(model, data):
    loose, random = with_loose_tips(data), np.random.default_rng(1)
    for _ in range(5):
        q, qd, qdd = random.normal(size=23), 10 * random.normal(size=22), 100 * random.normal(size=22)
        q[19:] /= np.linalg.norm(q[19:])
        for law in (
            lambda hand: rigid_bodies.mass_matrix(hand, q),  # noqa: B023 - called at once
            lambda hand: rigid_bodies.inverse_dynamics(hand, q, qd, qdd),  # noqa: B023
        ):
            ours, theirs = law(model), law(loose)
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * np.abs(theirs).max())


def test_boxes_capsules_and_tips_lie_in_the_published_shapes(model, data):
    bodies = data["model_shape_body"]
    numbers = {"palm": -1, **{f"link_{k}": k for k in range(16)}, "cube": 16}
    for link in model.links:
        theirs = [i for i, body in enumerate(bodies) if body == numbers[link.name]]
        assert len(theirs) == len(link.shapes)
        for shape, i in zip(link.shapes, theirs, strict=True):
            size, position = data["model_shape_scale"][i], data["model_shape_transform"][i][:3]
            if isinstance(shape, Box):
                np.testing.assert_allclose(shape.half_extents, size, **CLOSE)
            elif isinstance(shape, Sphere):
                np.testing.assert_allclose(shape.radius, size[0], **CLOSE)
            else:
                np.testing.assert_allclose((shape.radius, shape.half_length), (size[:2].min(), size[2]), **CLOSE)
                assert shape.axis == (0.0, 0.0, 1.0)
            if link.name != "palm":  # theirs is part of the world
                np.testing.assert_allclose(shape.position, position, **CLOSE)


def test_material_has_the_published_constants_and_its_damping_from_a_millimetre_on(data):
    for name, value in (("ke", MATERIAL.stiffness), ("kf", MATERIAL.tangential_damping), ("mu", MATERIAL.friction)):
        np.testing.assert_allclose(data[f"model_shape_{name}"], value)
    assert MATERIAL.damping_depth == 1e-3
    np.testing.assert_allclose(data["model_shape_kd"], MATERIAL.damping * MATERIAL.damping_depth)
    assert MATERIAL.friction_bound == "total"


def test_options_are_the_published_ones(model, data):
    assert (model.substeps, model.mass_matrix_interval) == (data["model_substeps"], data["model_mass_matrix_every"])
    assert math.isclose(model.dt, data["model_frame_dt"])
    np.testing.assert_allclose(model.gravity, data["model_gravity"], atol=1e-6)
    assert model.up == (0.0, 0.0, 1.0)
    assert not model.ground
    assert {actuator.gear for actuator in model.actuators} == {2.0}


def link_gaps(model: Model) -> dict[frozenset[str], np.ndarray]:
    """Distances of all pairs of the hand's links, but box from box, at random poses, many joints at their limits."""
    random = np.random.default_rng(0)
    joints = [link.joint for link in model.links if link.joint.type is JointType.HINGE]
    lower = np.array([joint.lower - SLACK for joint in joints])
    lower[0] = THUMB_START
    share = random.uniform(size=(POSES, len(joints)))
    share = np.where(random.uniform(size=share.shape) < 1 / 3, share.round(), share)
    q = tensor(np.tile(rigid_bodies.rest_q(model), (POSES, 1)))
    q[:, :16] = tensor(lower + share * ([joint.upper + SLACK for joint in joints] - lower))
    sim = simulator(replace(one_substep(model), collisions=()), POSES)
    poses = sim.trace(q, q.new_zeros(POSES, model.nv), q.new_zeros(POSES, model.nu)).link_pose[:, 0].numpy()
    gaps = {}
    for (i, a), (j, b) in itertools.combinations(enumerate(model.links[:-1]), 2):
        pairs = [(x, y) for x in a.shapes for y in b.shapes if not (isinstance(x, Box) and isinstance(y, Box))]
        if pairs:
            all_gaps = [shape_gap(poses[:, i], x, poses[:, j], y) for x, y in pairs]
            gaps[frozenset((a.name, b.name))] = np.min(all_gaps, axis=0)
    return gaps


def rotated(quaternion: np.ndarray, x: np.ndarray) -> np.ndarray:
    u, w = quaternion[:, None, :3], quaternion[:, None, 3:]
    return x + 2 * w * np.cross(u, x) + 2 * np.cross(u, np.cross(u, x))


def axis_points(pose: np.ndarray, shape: Capsule | Sphere) -> np.ndarray:
    """Points of a capsule's axis or a sphere's centre in the world, (N, points, 3)."""
    extent = np.zeros((1, 3))
    if isinstance(shape, Capsule):
        extent = np.linspace(-1, 1, 9)[:, None] * shape.half_length * np.array(shape.axis)
    return pose[:, None, :3] + rotated(pose[:, 3:], np.array(shape.position) + extent)


def shape_gap(pose_a, a, pose_b, b) -> np.ndarray:
    """Distance of two shapes, at most one of them a box, (N,); negative where they overlap."""
    if isinstance(b, Box):
        pose_a, a, pose_b, b = pose_b, b, pose_a, a
    points = axis_points(pose_b, b)
    if isinstance(a, Box):
        back = pose_a[:, 3:] * (-1, -1, -1, 1)
        outside = np.abs(rotated(back, points - pose_a[:, None, :3]) - a.position) - a.half_extents
        distance = np.linalg.norm(outside.clip(0), axis=-1) + outside.max(-1).clip(max=0)
        return distance.min(1) - b.radius
    others = axis_points(pose_a, a)
    distance = np.linalg.norm(points[:, :, None] - others[:, None], axis=-1)
    return distance.min((1, 2)) - a.radius - b.radius


def test_links_that_may_touch_do_not_overlap_by_construction_and_the_others_cannot_touch_or_always_overlap(model):
    listed = {frozenset(pair) for pair in model.collisions}
    assert {frozenset(("cube", name)) for name in ("palm", *LINKS)} <= listed
    for pair, gap in link_gaps(model).items():
        touching = (gap < 0.0).mean()
        parent_and_child = any(model.links[model.link_index(name)].parent in pair for name in pair)
        if pair in listed:
            assert gap.max() > 0.005, pair
            assert touching < 0.25, pair
        elif parent_and_child or pair == {"palm", "link_13"}:
            assert touching > 0.5, pair
        else:
            assert gap.min() > 0.002, pair
