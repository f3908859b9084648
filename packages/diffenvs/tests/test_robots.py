"""The robots' numbers against those of the published tasks."""

import numpy as np
import pytest
from simulators import ROBOTS, golden

from diffenvs.model import Capsule, JointType, Sphere

CLOSE = {"rtol": 1e-12, "atol": 1e-15}
TYPES = {JointType.SLIDE: 0, JointType.HINGE: 1, JointType.FIXED: 3, JointType.FREE: 4}
ALWAYS_DAMPED = 10.0
"""The limits' damping acts everywhere in the published tasks, so the models have it in the joints' damping."""
NO_LIMIT = 1e3
"""Limits from here on are none [rad or m]."""


@pytest.fixture(params=ROBOTS)
def robot(request):
    return ROBOTS[request.param], golden(request.param)


def moving(model):
    """Links whose joint has an axis, with their index."""
    return [(i, link) for i, link in enumerate(model.links) if link.joint.type in (JointType.SLIDE, JointType.HINGE)]


def test_tree_equals_the_published_one(robot):
    model, data = robot
    # A link that ends a chain of joints also has, in parentheses, the name of the body.
    assert [link.name for link in model.links] == [name.partition("(")[0] for name in data["model_link_names"]]
    assert [TYPES[link.joint.type] for link in model.links] == list(data["model_joint_type"])
    assert list(model.parents) == list(data["model_joint_parent"])
    assert list(model.q_start) == list(data["model_joint_q_start"][:-1])
    assert list(model.v_start) == list(data["model_joint_qd_start"][:-1])


def test_joints_equal_the_published_ones(robot):
    model, data = robot
    frames = [(*link.joint.position, *link.joint.rotation) for link in model.links]
    np.testing.assert_allclose(frames, data["model_joint_X_pj"], **CLOSE)
    for i, link in moving(model):
        joint, q, v = link.joint, model.q_start[i], model.v_start[i]
        np.testing.assert_allclose(joint.axis, data["model_joint_axis"][i], **CLOSE)
        np.testing.assert_allclose(joint.armature, data["model_joint_armature"][v], **CLOSE)
        np.testing.assert_allclose(joint.stiffness, data["model_joint_target_ke"][i], **CLOSE)
        np.testing.assert_allclose(joint.damping, data["model_joint_target_kd"][i] + ALWAYS_DAMPED, **CLOSE)
        assert data["model_joint_limit_kd"][i] == ALWAYS_DAMPED
        limits = np.array([data["model_joint_limit_lower"][q], data["model_joint_limit_upper"][q]])
        limits[np.abs(limits) >= NO_LIMIT] *= np.inf
        np.testing.assert_allclose([joint.lower, joint.upper], limits, **CLOSE)
        if np.isfinite(joint.lower):
            assert joint.limit_stiffness == data["model_joint_limit_ke"][i]
        assert joint.limit_damping == 0.0


def test_masses_and_inertias_equal_the_published_ones(robot):
    model, data = robot
    np.testing.assert_allclose([link.mass for link in model.links], data["model_body_mass"], **CLOSE)
    np.testing.assert_allclose([link.com for link in model.links], data["model_joint_X_cm"][:, :3], **CLOSE)
    order = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    expected = [[inertia[entry] for entry in order] for inertia in data["model_body_inertia"]]
    np.testing.assert_allclose([link.inertia for link in model.links], expected, **CLOSE)


def test_contact_points_and_materials_equal_the_published_ones(robot):
    model, data = robot
    shapes = [(i, shape) for i, link in enumerate(model.links) for shape in link.shapes]
    points = [(i, *position, radius) for i, shape in shapes for position, radius in shape.contact_points()]
    expected = [data["model_contact_body0"], *data["model_contact_point0"].T, data["model_contact_dist"]]
    np.testing.assert_allclose(points, np.stack(expected, axis=-1), **CLOSE)
    materials = [
        (m.stiffness, m.damping, m.tangential_damping, m.friction) for m in (shape.material for _, shape in shapes)
    ]
    np.testing.assert_allclose(materials, data["model_shape_materials"], **CLOSE)


def test_shapes_equal_the_published_ones(robot):
    model, data = robot
    shapes = [shape for link in model.links for shape in link.shapes]
    sizes = [(s.radius, s.half_length, 0) if isinstance(s, Capsule) else (s.radius, 0, 0) for s in shapes]
    np.testing.assert_allclose(sizes, data["model_shape_geo_scale"], **CLOSE)
    np.testing.assert_allclose([s.position for s in shapes], data["model_shape_transform"][:, :3], **CLOSE)
    assert [0 if isinstance(s, Sphere) else 2 for s in shapes] == list(data["model_shape_geo_type"])


def test_options_and_gears_equal_the_published_ones(robot):
    model, data = robot
    np.testing.assert_allclose(model.gravity, data["model_gravity"], **CLOSE)
    np.testing.assert_allclose(model.dt, data["env_dt"], **CLOSE)
    assert model.substeps == data["env_substeps"]
    assert model.mass_matrix_interval == data["env_mm_caching_frequency"]
    np.testing.assert_allclose([actuator.gear for actuator in model.actuators], data["env_action_scale"], **CLOSE)
