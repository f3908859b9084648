"""The origin that runs after a robot."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from environments import random_actions
from rigid_bodies import rest_q
from simulators import ROBOTS, body

from diffenvs import TASKS
from diffenvs.envs.rebase import REBASE_DISTANCE, Rebase
from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.model import Joint, JointType, Model
from diffenvs.registration import make_task
from diffenvs.tasks.ant import Ant

F64 = {"dtype": torch.float64, "device": torch.device("cpu")}


def rebase_of(model):
    rebase = Rebase.of(model, **F64)
    assert rebase is not None
    return rebase


def far_state(model, distance):
    """A moving robot at the given position, (1, nq), (1, nv)."""
    q, qd = torch.tensor(rest_q(model))[None], torch.linspace(-1.0, 2.0, model.nv, dtype=torch.float64)[None]
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
    links = [body(j, name=f"l{i}", parent=p) for i, (p, j) in enumerate(zip(parents, joints, strict=True))]
    return Model(name="slider", links=tuple(links), up=up)


X = {"type": JointType.SLIDE, "axis": (1.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    "model",
    [
        slider(Joint(type=JointType.HINGE)),
        slider(Joint(**X, lower=-1.0, upper=1.0, limit_stiffness=1.0)),
        slider(Joint(**X, stiffness=1.0)),
        slider(Joint(type=JointType.SLIDE, axis=(0.0, 0.0, 1.0))),
        Model(
            name="two",
            links=tuple(body(Joint(type=JointType.FREE), name=name) for name in ("a", "b")),
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
    link = body(Joint(type=JointType.FREE))
    model = Model(name="body", links=(link,), up=tuple(up))
    q, qd = far_state(model, (30.0, -4.0, 12.0))
    origin = torch.zeros(1, 3, **F64)
    new = rebase_of(model)(q, qd, origin)
    assert abs(float(new[2][0] @ torch.tensor(model.up, **F64))) < 1e-12
    for before, after in zip(root_motion(model, q, qd, origin), root_motion(model, *new), strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12)


def run(env, state, actions):
    """What a window from a state comes to, and the gradients of its last observation and its rewards."""
    actions = actions.clone().requires_grad_()
    leaves = {name: state[name].clone().requires_grad_() for name in ("q", "qd")}
    found = {name: [] for name in ("q", "qd", "origin", "observation", "reward")}
    found["observation"].append(env.set_state({**state, **leaves}))
    for action in actions:
        observation, reward, *_ = env.step_grad(action)
        for name, value in {**env.state, "observation": observation, "reward": reward}.items():
            if name in found:
                found[name].append(value)
    total = torch.stack(found["reward"]).sum() + found["observation"][-1].sum()
    grads = torch.autograd.grad(total, [actions, *leaves.values()])
    found = {name: torch.stack(values).detach() for name, values in found.items()}
    return found | dict(zip(("grad", "grad_q", "grad_qd"), grads, strict=True))


def travelling():
    """Ids of the tasks whose robots travel."""
    tasks = {id: make_task(id, {}) for id in TASKS}
    return [id for id, task in tasks.items() if task.TRAVELS]


def make(id, origin=(0.0, 0.0, 0.0), **kwargs):
    """Environments whose target, if there is one, is moved together with their origins."""
    target = getattr(make_task(id, {}), "target", None)
    fields = {} if target is None else {"target": tuple(a + b for a, b in zip(target, origin, strict=True))}
    return DiffVectorEnv(id, num_envs=4, max_episode_steps=None, early_termination=False, **fields, **kwargs)


def running(env, distance=0.0):
    """State of robots that run at 3 m/s, described about origins so many metres behind them."""
    env.reset(seed=0)
    state = env.get_state()
    state["q"][:, 0] += distance
    state["origin"][:, 0] -= distance
    if env.model.nq > env.model.nv:
        shift = torch.tensor([[distance, 0.0, 0.0]], dtype=env.dtype).expand(4, 3)
        state["qd"][:, 3:6] -= torch.linalg.cross(state["qd"][:, 0:3], shift)
        state["qd"][:, 3] += 3.0
    else:
        state["qd"][:, 0] += 3.0
    return state


@pytest.mark.parametrize("id", travelling())
def test_robots_that_are_rebased_on_their_way_do_as_those_that_are_not(id):
    env = make(id, dtype="float64")
    actions = random_actions(env, 8)
    expected, got = run(env, running(env), actions), run(env, running(env, 7.75), actions)
    assert not expected["origin"].any()
    assert (got["origin"][0, :, 0] == -7.75).any(), "all origins moved at once"
    assert (got["origin"][-1, :, 0] == 0.25).all(), "the origin did not move, so nothing was tested"
    for name in ("observation", "reward", "grad"):
        torch.testing.assert_close(got[name], expected[name], rtol=1e-9, atol=1e-9)
    for step in range(8):
        motions = [[found[name][step] for name in ("q", "qd", "origin")] for found in (got, expected)]
        for a, b in zip(*(root_motion(env.model, *motion) for motion in motions), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("id", travelling())
def test_moving_origin_and_target_by_ten_kilometres_changes_no_bit_of_float32(id):
    far = (10000.0, 0.0, -10000.0)
    here, there = make(id), make(id, far)
    actions, state = random_actions(here, 64), running(here, 7.75)
    moved = {**state, "origin": state["origin"] + torch.tensor(far)}
    expected, got = run(here, state, actions), run(there, moved, actions)
    assert (expected["origin"][0] != expected["origin"][-1]).any(), "no origin moved on the way"
    assert torch.equal(got.pop("origin"), expected.pop("origin") + torch.tensor(far))
    for name, value in expected.items():
        assert value.any(), name
        assert torch.equal(got[name], value), name


@pytest.mark.parametrize("id", travelling())
def test_robots_ten_kilometres_from_their_origins_do_in_float32_as_those_that_are_near(id):
    env = make(id)
    actions, far = random_actions(env, 16), running(env)
    far["q"][:, 0] += 10000.0
    shift = torch.tensor([[10000.0, 0.0, 0.0]], dtype=torch.float64).expand(4, 3)
    near = {**far, "q": far["q"].clone(), "qd": far["qd"].clone(), "origin": far["origin"] + shift.float()}
    near["q"][:, 0] -= 10000.0
    free = env.model.nq > env.model.nv
    if free:
        # Turning, so that the point that passes the origin flies by: float32 has half a millimetre per second left.
        far["qd"][:, 0:3] = near["qd"][:, 0:3] = torch.tensor([0.1, 0.5, -0.4])
        far["qd"][:, 3:6] -= torch.linalg.cross(far["qd"][:, 0:3].double(), shift).float()
        near["qd"][:, 3:6] = (far["qd"][:, 3:6] + torch.linalg.cross(far["qd"][:, 0:3].double(), shift)).float()
    expected, got = run(env, near, actions), run(env, far, actions)
    for name in ("q", "qd", "origin", "observation", "reward", "grad", "grad_q"):
        assert torch.equal(got[name], expected[name]), name
    if free:
        # The velocity at the near origin is that at the far one and the rotation times the distance.
        lever = torch.linalg.cross(shift.float(), expected["grad_qd"][:, 3:6])
        expected["grad_qd"][:, 0:3] += lever
    torch.testing.assert_close(got["grad_qd"], expected["grad_qd"])


def test_a_state_of_coordinates_only_may_be_far_from_home():
    env = make("diffenvs/Ant-v0")
    state = running(env)
    q = state["q"].clone()
    q[:, 0] += 80.0
    env.set_state({"q": q, "qd": state["qd"]})
    assert (env.get_state()["origin"][:, 0] == 80.0).all()
    torch.testing.assert_close(env.get_state()["q"], state["q"], rtol=0, atol=1e-5)


def test_every_own_task_whose_robot_can_travel_says_so():
    assert travelling() == [f"diffenvs/{name}-v0" for name in ("Hopper", "Ant", "Humanoid", "Anymal")]


def test_coordinates_of_a_task_that_does_not_say_so_are_those_of_the_world():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class StayingAnt(Ant):
        TRAVELS = False

    env = DiffVectorEnv(StayingAnt(early_termination=False), num_envs=2)
    env.reset(seed=0)
    far = env.get_state()["q"] + torch.tensor([50.0] + 14 * [0.0])
    env.set_state({"q": far, "qd": env.get_state()["qd"]})
    env.step(torch.zeros(2, 8))
    assert (env.state["q"][:, 0] > 40.0).all()
    assert not env.state["origin"].any()
