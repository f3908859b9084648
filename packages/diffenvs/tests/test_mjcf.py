"""Robots from files against MuJoCo, which compiled them."""

import warnings
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import rigid_bodies
import torch
from mjcf_files import random_robot, written
from mujoco_trees import mujoco_state
from simulators import ROBOTS, simulator, tensor

from diffenvs import Model, mjcf
from diffenvs.model import Box, Capsule, JointType

ASSETS = Path(gymnasium.__file__).parent / "envs/mujoco/assets"
EXACT = 1e-9
"""Relative to the largest entry; seen: 2e-14."""
SOURCES = {name: ASSETS / f"{name}.xml" for name in ("half_cheetah", "walker2d", "ant", "hopper", "humanoid")}
SOURCES["anymal"] = written(ROBOTS["anymal"])
SOURCES |= {f"random {seed}": random_robot(seed) for seed in range(6)}


@pytest.fixture(scope="module", params=SOURCES)
def sample(request):
    """Both models of a robot, random states and actions, and what MuJoCo makes of them."""
    source, count = SOURCES[request.param], 100 if request.param.startswith("random") else 1000
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "compiler attribute 'settotalmass' is deprecated")
        model = Model.from_mjcf(source, substeps=1, ground=False)
        is_text = isinstance(source, str)
        m = (mujoco.MjSpec.from_string(source) if is_text else mujoco.MjSpec.from_file(str(source))).compile()
    random = np.random.default_rng(0)
    q, qd = random.normal(size=(count, m.nq)), 3 * random.normal(size=(count, m.nv))
    for link, start in zip(model.links, model.q_start, strict=True):
        if link.joint.type is JointType.FREE:
            q[:, start + 3 : start + 7] /= np.linalg.norm(q[:, start + 3 : start + 7], axis=-1, keepdims=True)
    actions = random.uniform(-1, 1, size=(count, m.nu))
    return m, model, q, qd, actions, reference(m, model, q, qd, actions)


def reference(m, model, q, qd, actions):
    """What MuJoCo makes of states, field by field in our coordinates and velocities, (states, ...)."""
    d, made = mujoco.MjData(m), []
    low, high = m.actuator_ctrlrange.T
    for q_i, qd_i, action in zip(q, qd, actions, strict=True):
        d.qpos[:], d.qvel[:], to_theirs, drift = mujoco_state(model, q_i, qd_i)
        d.ctrl[:] = low + (high - low) * (action + 1) / 2
        mujoco.mj_forward(m, d)
        mass_matrix, bias = np.zeros((m.nv, m.nv)), np.zeros(m.nv)
        mujoco.mj_fullM(m, d, mass_matrix)
        mujoco.mj_rne(m, d, 0, bias)
        state = {name: getattr(d, name).copy() for name in ("qpos", "qvel", "xpos", "xmat", "geom_xpos", "geom_xmat")}
        state["mass_matrix"] = to_theirs.T @ mass_matrix @ to_theirs
        state["bias"] = to_theirs.T @ (bias + mass_matrix @ drift)
        state["force"] = to_theirs.T @ (d.qfrc_smooth - mass_matrix @ drift)
        made.append(state)
    return {name: np.stack([state[name] for state in made]) for name in made[0]}


def trace(model, q, qd, actions, *, passive=True):
    """Intermediate results of our engine without limits, with or without springs, dampers and drives."""
    q, qd, actions = tensor(q), tensor(qd), tensor(actions)
    engine = simulator(model, len(q))
    absent = ("limit_stiffness", "limit_damping") if passive else ("limit_stiffness", "stiffness", "damping", "gear")
    return engine.trace(q, qd, actions, {name: torch.zeros_like(engine.parameters[name]) for name in absent})


def close(made, expected):
    return np.abs(np.asarray(made) - expected).max() <= EXACT * np.abs(expected).max()


def test_mass_matrix_bias_and_applied_forces_are_mujocos(sample):
    _, model, q, qd, actions, expected = sample
    driven, free = trace(model, q, qd, actions), trace(model, q, qd, actions, passive=False)
    assert close(driven.mass_matrix[:, 0], expected["mass_matrix"])
    assert close(-free.tau[:, 0], expected["bias"])
    assert close(driven.tau[:, 0], expected["force"])


def test_poses_of_links_and_shapes_are_mujocos(sample):
    m, model, q, qd, actions, expected = sample
    poses = trace(model, q, qd, actions).link_pose[:, 0].numpy()
    bodies = [b for b in range(1, m.nbody) if m.body_weldid[b] == b]
    links = [i for i, link in enumerate(model.links) if "/" not in link.name]
    for b, i in zip(bodies, links, strict=True):
        R = np.stack([rigid_bodies.matrix(q) for q in poses[:, i, 3:]])
        anchor = m.jnt_pos[m.body_jntadr[b] + m.body_jntnum[b] - 1]
        body_R = expected["xmat"][:, b].reshape(-1, 3, 3)
        assert close(R, body_R)
        assert close(poses[:, i, :3], expected["xpos"][:, b] + body_R @ anchor)
        geoms = np.flatnonzero((m.body_weldid[m.geom_bodyid] == b) & (m.geom_contype | m.geom_conaffinity))
        for g, shape in zip(geoms, model.links[i].shapes, strict=True):
            geom_R = expected["geom_xmat"][:, g].reshape(-1, 3, 3)
            assert close(poses[:, i, :3] + R @ shape.position, expected["geom_xpos"][:, g])
            if isinstance(shape, Box):
                assert close(R @ rigid_bodies.matrix(shape.rotation), geom_R)
            elif isinstance(shape, Capsule):
                assert close(R @ shape.axis, geom_R[:, :, 2])


def test_states_go_to_mujoco_and_back(sample):
    _, model, q, qd, _, expected = sample
    qpos, qvel = mjcf.to_mujoco(model, q, qd)
    np.testing.assert_allclose(qpos, expected["qpos"], atol=1e-15)
    np.testing.assert_allclose(qvel, expected["qvel"], atol=1e-13)
    again = mjcf.from_mujoco(model, qpos, qvel)
    np.testing.assert_allclose(again[0], q, atol=1e-15)
    np.testing.assert_allclose(again[1], qd, atol=1e-13)


def test_velocity_of_a_free_body_moves_it_as_in_mujoco():
    text = "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"
    m, model = mujoco.MjSpec.from_string(text).compile(), Model.from_mjcf(text)
    qpos, qvel, h = np.array([3.0, -1.0, 2.0, 0.5, -0.5, 0.5, 0.5]), np.array([1.0, 2.0, 3.0, -4.0, 5.0, 6.0]), 1e-6
    moved = qpos.copy()
    mujoco.mj_integratePos(m, moved, qvel, h)
    q, qd = mjcf.from_mujoco(model, qpos, qvel)
    omega, linear = qd[:3], qd[3:]
    following = mjcf.from_mujoco(model, moved, qvel)[0]
    np.testing.assert_allclose((following - q)[:3] / h, linear + np.cross(omega, q[:3]), atol=1e-8)
    R, R_following = rigid_bodies.matrix(q[3:]), rigid_bodies.matrix(following[3:])
    np.testing.assert_allclose((R_following - R) / h, rigid_bodies.cross_matrix(omega) @ R, atol=1e-4)


def test_states_of_a_wrong_size_are_refused():
    model = ROBOTS["ant"]
    with pytest.raises(ValueError, match=r"`qvel` must be \(..., 14\), with the same in front for both. Got \(2, 15\)"):
        mjcf.from_mujoco(model, np.zeros((2, 15)), np.zeros((2, 15)))
    with pytest.raises(ValueError, match=r"`q` must be \(..., 15\)"):
        mjcf.to_mujoco(model, np.zeros(14), np.zeros(14))
