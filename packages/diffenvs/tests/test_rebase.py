"""The origin that runs after a robot."""

import math

import numpy as np
import pytest
import torch
from simulators import ROBOTS

from diffenvs.envs.rebase import REBASE_DISTANCE, Rebase
from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.model import Joint, JointType, Link, Model
from diffenvs.tasks.ant import Ant

F64 = {"dtype": torch.float64, "device": torch.device("cpu")}


def rebase_of(model):
    rebase = Rebase.of(model, **F64)
    assert rebase is not None
    return rebase


def far_state(model, distance):
    """A moving robot at the given position, (1, nq), (1, nv)."""
    q, qd = torch.tensor(model.rest_q)[None], torch.linspace(-1.0, 2.0, model.nv, dtype=torch.float64)[None]
    q[0, 0] = distance[0]
    if model.nq > model.nv:
        q[0, :3] = torch.tensor(distance)
    return q, qd


def root_motion(model, q, qd, origin):
    """Position in the world and velocity of the root of a robot."""
    if model.nq == model.nv:
        return origin[:, 0] + q[:, 0], qd[:, 0]
    return origin + q[:, :3], qd[:, 3:6] + torch.linalg.cross(qd[:, :3], q[:, :3])


@pytest.mark.parametrize(
    ("robot", "distance"),
    [
        ("hopper", (8.5, 0.0, 0.0)),
        ("hopper", (-30.25, 0.0, 0.0)),
        ("ant", (8.5, 0.7, 0.1)),
        ("ant", (-30.25, 0.7, 57.0)),
        ("ant", (6.0, 0.7, -6.0)),
    ],
)
def test_far_robot_comes_back_to_its_origin_and_moves_as_before(robot, distance):
    model = ROBOTS[robot]
    q, qd = far_state(model, distance)
    origin = torch.zeros(1, 3, dtype=torch.float64)
    new = rebase_of(model)(q, qd, origin)
    for before, after in zip(root_motion(model, q, qd, origin), root_motion(model, *new), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-15, atol=1e-14)
    shift = new[2] - origin
    assert torch.equal(shift % REBASE_DISTANCE, torch.zeros_like(shift))
    assert shift.abs().max() > 0
    assert shift[0, 1] == 0
    columns = [0] if robot == "hopper" else [0, 2]
    assert new[0][0, columns].square().sum() <= REBASE_DISTANCE**2
    others = [i for i in range(model.nq) if i not in columns]
    assert torch.equal(new[0][:, others], q[:, others])


def test_near_robot_is_left_alone():
    q, qd = far_state(ROBOTS["ant"], (5.0, 100.0, 5.0))
    origin = torch.ones(1, 3, dtype=torch.float64)
    assert all(a is b for a, b in zip(rebase_of(ROBOTS["ant"])(q, qd, origin), (q, qd, origin), strict=True))


def test_only_robots_that_are_far_are_shifted():
    near, far = far_state(ROBOTS["ant"], (1.0, 0.7, 2.0)), far_state(ROBOTS["ant"], (20.0, 0.7, 2.0))
    q, qd = (torch.cat(pair) for pair in zip(near, far, strict=True))
    new_q, new_qd, origin = rebase_of(ROBOTS["ant"])(q, qd, torch.zeros(2, 3, dtype=torch.float64))
    assert torch.equal(new_q[0], q[0])
    assert torch.equal(new_qd[0], qd[0])
    assert origin.tolist() == [[0.0, 0.0, 0.0], [16.0, 0.0, 0.0]]


def test_gradients_pass_the_shift_as_through_a_constant():
    q, qd = (value.requires_grad_() for value in far_state(ROBOTS["ant"], (21.0, 0.7, -11.0)))
    rebase, origin = rebase_of(ROBOTS["ant"]), torch.zeros(1, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q, qd: rebase(q, qd, origin)[:2], (q, qd))


def slider(*joints, up=(0.0, 0.0, 1.0)):
    parents = [None, *(f"l{i}" for i in range(len(joints) - 1))]
    links = [
        Link(name=f"l{i}", parent=p, joint=j, mass=1.0) for i, (p, j) in enumerate(zip(parents, joints, strict=True))
    ]
    return Model(name="slider", links=tuple(links), up=up)


X = {"type": JointType.SLIDE, "axis": (1.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    "model",
    [
        slider(Joint(type=JointType.HINGE)),
        slider(Joint(**X, lower=-1.0, upper=1.0)),
        slider(Joint(**X, stiffness=1.0)),
        slider(Joint(type=JointType.SLIDE, axis=(0.0, 0.0, 1.0))),
        Model(
            name="two",
            links=tuple(
                Link(name=name, parent=None, joint=Joint(type=JointType.FREE), mass=1.0) for name in ("a", "b")
            ),
        ),
    ],
    ids=["pendulum", "limited cart", "cart on a spring", "lift", "two bodies"],
)
def test_robots_that_cannot_travel_as_a_whole_are_left_alone(model):
    assert Rebase.of(model, **F64) is None


def test_two_crossing_slides_travel_in_their_plane():
    half = math.sqrt(0.5)
    turned = Joint(**X, rotation=(0.0, 0.0, half, half))  # x of the joint is y of the world
    model = slider(turned, Joint(type=JointType.SLIDE, axis=(0.0, 1.0, 0.0)))
    q, qd = torch.tensor([[9.0, 17.0]], **F64), torch.ones(1, 2, **F64)
    new_q, new_qd, origin = rebase_of(model)(q, qd, torch.zeros(1, 3, **F64))
    torch.testing.assert_close(new_q, torch.tensor([[1.0, 1.0]], **F64))
    torch.testing.assert_close(origin, torch.tensor([[-16.0, 8.0, 0.0]], **F64))
    assert torch.equal(new_qd, qd)


def test_free_robot_over_tilted_ground_is_shifted_along_it():
    up = np.array([1.0, 2.0, 3.0]) / math.sqrt(14.0)
    link = Link(name="body", parent=None, joint=Joint(type=JointType.FREE), mass=1.0)
    model = Model(name="body", links=(link,), up=tuple(up))
    q, qd = far_state(model, (30.0, -4.0, 12.0))
    origin = torch.zeros(1, 3, **F64)
    new = rebase_of(model)(q, qd, origin)
    assert abs(float(new[2][0] @ torch.tensor(model.up, **F64))) < 1e-12
    for before, after in zip(root_motion(model, q, qd, origin), root_motion(model, *new), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


def run(env, state, actions):
    """Observations, rewards and gradients of a window from a state."""
    actions = actions.clone().requires_grad_()
    observations, rewards = [env.set_state(state)], []
    for action in actions:
        observation, reward, *_ = env.step_grad(action)
        observations.append(observation)
        rewards.append(reward)
    (grad,) = torch.autograd.grad(torch.stack(rewards).sum() + observations[-1].sum(), actions)
    return torch.stack(observations).detach(), torch.stack(rewards).detach(), grad


def test_an_ant_that_is_rebased_on_its_way_has_the_observations_rewards_and_gradients_of_one_that_is_not():
    env = DiffVectorEnv(Ant(early_termination=False), num_envs=4, dtype="float64", max_episode_steps=None)
    env.reset(seed=0)
    state = env.get_state()
    state["qd"][:, 0:3] = torch.tensor([0.1, 0.4, -0.3], **F64)  # turning, so that the shift changes its velocity too
    state["qd"][:, 3] += 3.0
    crossing = {**state, "q": state["q"].clone(), "origin": state["origin"].clone()}
    crossing["q"][:, 0] += 7.75  # passes 8 m within the window
    crossing["origin"][:, 0] -= 7.75
    crossing["qd"] = state["qd"].clone()
    shift = torch.tensor([[7.75, 0.0, 0.0]], **F64).expand(4, 3)
    crossing["qd"][:, 3:6] -= torch.linalg.cross(state["qd"][:, 0:3], shift)
    actions = torch.rand(8, 4, 8, generator=torch.Generator().manual_seed(0), **F64) * 2 - 1
    expected = run(env, state, actions)
    assert torch.equal(env.get_state()["origin"], torch.zeros(4, 3, **F64))
    got = run(env, crossing, actions)
    assert (env.get_state()["origin"][:, 0] == 0.25).all(), "the origin did not move, so nothing was tested"
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_moving_origin_and_target_by_kilometres_changes_no_bit_of_float32():
    far = 10000.0
    here = DiffVectorEnv(Ant(), num_envs=4)
    there = DiffVectorEnv(Ant(target=(2 * far, 0.0, 0.0)), num_envs=4)
    here.reset(seed=0)
    state = here.get_state()
    moved = {**state, "origin": state["origin"] + torch.tensor([far, 0.0, 0.0])}
    there.reset(seed=0)
    actions = torch.rand(32, 4, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for a, b in zip(run(here, state, actions), run(there, moved, actions), strict=True):
        assert torch.equal(a, b)
