"""Rotations of NumPy arrays, against matrices and each other."""

import numpy as np
import pytest
import rigid_bodies

from diffenvs import quaternions


@pytest.fixture
def sample():
    random = np.random.default_rng(0)
    turns = random.normal(size=(20, 2, 4))
    return turns / np.linalg.norm(turns, axis=-1, keepdims=True), random.normal(size=(20, 3))


def test_rotation_is_that_of_the_matrix(sample):
    turns, points = sample
    rotated = quaternions.rotate(turns[:, 0], points)
    for turn, point, result in zip(turns[:, 0], points, rotated, strict=True):
        np.testing.assert_allclose(quaternions.matrix(turn), rigid_bodies.matrix(turn), atol=1e-14)
        np.testing.assert_allclose(result, rigid_bodies.matrix(turn) @ point, atol=1e-14)


def test_product_turns_by_the_second_and_then_by_the_first_and_the_conjugate_back(sample):
    turns, points = sample
    first, second = turns[:, 0], turns[:, 1]
    both = quaternions.rotate(quaternions.product(first, second), points)
    np.testing.assert_allclose(both, quaternions.rotate(first, quaternions.rotate(second, points)), atol=1e-13)
    back = quaternions.rotate(quaternions.conjugate(first), quaternions.rotate(first, points))
    np.testing.assert_allclose(back, points, atol=1e-13)


@pytest.mark.parametrize("axis", [(0, 0, 1), (0, 0, -1), (0.6, 0, 0.8), (0, 1, 0), (-0.48, 0.6, -0.64)])
def test_z_is_turned_into_an_axis(axis):
    turn = quaternions.from_z(np.array(axis, dtype=float))
    np.testing.assert_allclose(quaternions.rotate(turn, (0.0, 0.0, 1.0)), axis, atol=1e-14)
    assert np.linalg.norm(turn) == pytest.approx(1.0)
