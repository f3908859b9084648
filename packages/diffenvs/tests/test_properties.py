"""Properties of random trees in random states."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import rigid_bodies
import torch
from gradients import gradient_errors
from hypothesis import given, settings
from hypothesis import strategies as st
from simulators import repeated, tensor
from torch import Tensor

from diffenvs.model import Actuator, Box, Capsule, Joint, JointType, Link, Material, Model, Sphere
from diffenvs.simulator import Simulator

EXACT = 1e-11
"""Relative; rounding of float64, times the condition number of the mass matrix."""
SINGLE = 5e-5
"""Relative, after one control step; rounding of float32, times the condition number."""
ENVS = 6

JOINTS = st.sampled_from([JointType.FIXED, JointType.SLIDE, JointType.HINGE, JointType.HINGE])


@st.composite
def trees(draw: st.DrawFn, max_links: int = 12) -> Model:
    """Trees of all joint types with at least one degree of freedom; hypothesis shrinks the tree, not the numbers."""
    count = draw(st.integers(1, max_links))
    parents = [draw(st.integers(-1, i - 1)) for i in range(count)]
    types = [draw(JOINTS if parent >= 0 else st.sampled_from(JointType)) for parent in parents]
    if not any(kind.nv for kind in types):
        types[0] = JointType.HINGE
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    links = [
        link(f"link {i}", f"link {parent}" if parent >= 0 else None, kind, random)
        for i, (parent, kind) in enumerate(zip(parents, types, strict=True))
    ]
    driven = [link.name for link in links if link.joint.type in (JointType.HINGE, JointType.SLIDE)]
    actuators = [Actuator(link=name, gear=random.uniform(1, 10)) for name in driven if random.random() < 0.7]
    solid = [link.name for link in links if link.shapes]
    collisions = [pair for pair in combinations(solid, 2) if random.random() < 0.7]
    interval = draw(st.sampled_from([1, 2, 4]))
    gravity = 9.81 * unit(random, 3)
    return Model(
        name="tree",
        links=links,
        actuators=actuators,
        collisions=collisions,
        substeps=4,
        mass_matrix_interval=interval,
        gravity=gravity,
    )


def unit(random: np.random.Generator, size: int) -> tuple[float, ...]:
    vector = random.normal(size=size)
    return vector / np.linalg.norm(vector)


def link(name: str, parent: str | None, kind: JointType, random: np.random.Generator) -> Link:
    """Link with an inertia of a real body, axes and frames in any direction, and sometimes a shape."""
    root = random.normal(size=(3, 3))
    second_moment = root @ root.T / 6 + 0.05 * np.eye(3)
    inertia = np.trace(second_moment) * np.eye(3) - second_moment
    passive = {}
    if kind in (JointType.HINGE, JointType.SLIDE):
        passive = {"damping": 0.5, "stiffness": 2.0, "rest": 0.1, "armature": random.choice([0.0, 0.1])}
        if random.random() < 0.5:
            passive.update(lower=-0.2, upper=0.3, limit_stiffness=50.0, limit_damping=1.0)
    place = {"axis": unit(random, 3), "position": random.normal(size=3) / 3, "rotation": unit(random, 4)}
    used = {JointType.FREE: (), JointType.FIXED: ("position", "rotation")}.get(kind, place)
    joint = Joint(type=kind, **{name: place[name] for name in used}, **passive)
    material = Material(stiffness=500.0, damping=50.0, tangential_damping=20.0, friction=0.6)
    shapes = (
        Sphere(radius=0.3, position=random.normal(size=3) / 3, material=material),
        Capsule(radius=0.2, half_length=0.4, axis=unit(random, 3), material=material),
        Box(half_extents=(0.2, 0.3, 0.1), rotation=unit(random, 4), material=material),
    )
    return Link(
        name=name,
        parent=parent,
        joint=joint,
        mass=random.uniform(0.5, 2.0),
        com=random.normal(size=3) / 3,
        inertia=inertia[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]],
        shapes=shapes[: random.integers(3) + 1] if random.random() < 0.4 else (),
    )


def float64(model: Model, num_envs: int = ENVS, threads: int = 1) -> Simulator:
    return Simulator(model, num_envs, dtype=torch.float64, num_threads=threads)


def random_state(model: Model, num_envs: int = ENVS, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(seed)
    q = random.normal(size=(num_envs, model.nq)) / 2
    for i, body in enumerate(model.links):
        if body.joint.type is JointType.FREE:
            r = slice(model.q_start[i] + 3, model.q_start[i] + 7)
            q[:, r] /= np.linalg.norm(q[:, r], axis=1, keepdims=True)
    qd = random.normal(size=(num_envs, model.nv)) / 2
    return tensor(q), tensor(qd), tensor(random.uniform(-1.2, 1.2, size=(num_envs, model.nu)))


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1.0, np.abs(theirs).max()))


def gradients(sim: Simulator, state: tuple[Tensor, ...]) -> list[Tensor]:
    leaves = [value.clone().requires_grad_() for value in state]
    parameters = {name: value.clone().requires_grad_() for name, value in sim.parameters.items()}
    loss = sum(value.sin().sum() for value in sim.step(*leaves, parameters))
    return list(torch.autograd.grad(loss, leaves))


@given(trees())
def test_poses_are_those_of_the_step_and_of_rotation_matrices(model):
    q, qd, action = random_state(model)
    sim = float64(model)
    poses = sim.link_poses(q)
    close(poses.numpy(), sim.trace(q, qd, action).link_pose[:, 0].numpy(), EXACT)
    still = np.zeros(model.nv)
    for n in range(ENVS):
        for pose, frame in zip(poses[n].numpy(), rigid_bodies.frames(model, q[n].numpy(), still, still), strict=True):
            close(pose[:3], frame.p, EXACT)
            close(rigid_bodies.matrix(pose[3:]), frame.R, EXACT)


@given(trees())
def test_mass_matrix_is_symmetric_positive_definite_and_the_sum_over_the_links(model):
    q, qd, action = random_state(model)
    for ours, q_n in zip(float64(model).trace(q, qd, action).mass_matrix[:, 0].numpy(), q.numpy(), strict=True):
        close(ours, rigid_bodies.mass_matrix(model, q_n), 1e-12)
        assert np.array_equal(ours, ours.T)
        assert np.linalg.eigvalsh(ours)[0] > 0.0


@given(trees())
def test_inverse_dynamics_of_the_acceleration_is_the_force_that_caused_it(model):
    bare = replace(model, links=tuple(replace(body, shapes=()) for body in model.links), collisions=())
    q, qd, action = random_state(bare)
    accelerations = float64(bare).trace(q, qd, action).qdd[:, 0].numpy()
    for n, qdd in enumerate(accelerations):
        needed = rigid_bodies.inverse_dynamics(bare, q[n].numpy(), qd[n].numpy(), qdd)
        close(needed, applied_force(bare, q[n].numpy(), qd[n].numpy(), action[n].numpy()), EXACT)


def applied_force(model: Model, q: np.ndarray, qd: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Drives, springs, dampers and limits."""
    force = np.zeros(model.nv)
    for i, body in enumerate(model.links):
        joint, d = body.joint, model.v_start[i]
        if joint.type not in (JointType.HINGE, JointType.SLIDE):
            continue
        x, v = q[model.q_start[i]], qd[d]
        force[d] -= joint.stiffness * (x - joint.rest) + joint.damping * v
        if not joint.lower <= x <= joint.upper:
            force[d] += joint.limit_stiffness * (np.clip(x, joint.lower, joint.upper) - x) - joint.limit_damping * v
    for actuator, u in zip(model.actuators, action, strict=True):
        force[model.v_start[model.link_index(actuator.link)]] += actuator.gear * np.clip(u, -1, 1)
    return force


@given(trees())
def test_an_environment_depends_neither_on_the_batch_nor_on_the_threads(model):
    state = random_state(model)
    batch, threaded, single = float64(model), float64(model, threads=3), float64(model, 1)
    expected = [*batch.step(*state), *gradients(batch, state)]
    for ours, theirs in zip([*threaded.step(*state), *gradients(threaded, state)], expected, strict=True):
        assert torch.equal(ours, theirs)
    for n in range(ENVS):
        alone = tuple(value[n : n + 1] for value in state)
        for ours, theirs in zip([*single.step(*alone), *gradients(single, alone)], expected, strict=True):
            assert torch.equal(ours[0], theirs[n])


@given(trees())
def test_float32_is_close_to_float64(model):
    state = random_state(model)
    expected = float64(model).step(*state)
    result = Simulator(model, ENVS, dtype=torch.float32).step(*(value.float() for value in state))
    for ours, theirs in zip(result, expected, strict=True):
        close(ours.numpy(), theirs.numpy(), SINGLE)


@settings(max_examples=20)
@given(trees())
def test_gradients_equal_central_differences(model):
    sim = float64(model, 60)
    q, qd, action = random_state(model, 60)
    actions = torch.stack([action, -action], 1)
    gradient_errors(sim, {"q": q, "qd": qd, "action": actions, **repeated(sim.parameters, 60)}).check()
