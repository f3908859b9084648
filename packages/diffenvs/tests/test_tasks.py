"""Tasks against the published ones and against their own statements."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
import torch
from simulators import RECORDED_COST, STANDING, golden

from diffenvs.random import EnvRandom, seed_stream
from diffenvs.state import State
from diffenvs.tasks.ant import Ant
from diffenvs.tasks.anymal import Anymal
from diffenvs.tasks.base import AbstractTask, Entry
from diffenvs.tasks.hopper import Hopper
from diffenvs.tasks.humanoid import Humanoid
from diffenvs.tasks.terms import projections, upright_height_reward

TASKS = {"hopper": Hopper, "ant": Ant, "humanoid": Humanoid, "anymal": Anymal}
F32 = 2e-5
"""Largest error of a recorded float32 observation or reward, relative to 1 + its magnitude."""
F64 = 1e-7
"""The same of a recorded float64 one, whose constants are float32."""


@pytest.fixture(params=TASKS)
def name(request):
    return request.param


def state(q, qd, dtype=torch.float64):
    q, qd = torch.as_tensor(q, dtype=dtype), torch.as_tensor(qd, dtype=dtype)
    return State(q=q, qd=qd, origin=torch.zeros(len(q), 3, dtype=dtype), memory=torch.zeros(len(q), 0, dtype=dtype))


def replay(task, data, dtype):
    """Observations, rewards and terminations of the recorded states, (T, N, ...)."""
    observation = task.observation(
        state(data["roll_q0"], data["roll_qd0"], dtype), torch.zeros(data["roll_actions"][0].shape)
    )
    made = []
    for q, qd, action in zip(data["roll_q"], data["roll_qd"], data["roll_actions"], strict=True):
        action = torch.as_tensor(action, dtype=dtype).clamp(-1, 1)
        following = task.observation(state(q, qd, dtype), action)
        reward = torch.stack(list(task.reward_terms(observation, action, following).values())).sum(0)
        made.append((following, reward, task.terminated(following)))
        observation = following
    return [torch.stack(column).numpy() for column in zip(*made, strict=True)]


@pytest.mark.parametrize(
    ("suffix", "dtype", "tolerance", "observed", "key"),
    [
        ("", torch.float32, F32, True, "roll_obs_nograd"),
        ("_f64", torch.float64, F64, False, "roll_obs"),
    ],
)
def test_recorded_states_give_the_recorded_observations_rewards_and_terminations(
    name, suffix, dtype, tolerance, observed, key
):
    data = golden(name, suffix)
    fields = {} if name == "hopper" else {"observe_action": observed}  # the Hopper never does
    task = TASKS[name](action_cost=RECORDED_COST[name], **fields)
    observation, reward, terminated = replay(task, data, dtype)
    np.testing.assert_allclose(observation, data[key], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(reward, data["roll_reward"], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(terminated, data["roll_terminated"])
    assert terminated.any()
    assert not terminated.all()


def test_action_cost_is_the_papers_and_is_taken_from_the_reward(name):
    task = TASKS[name]()
    assert task.action_cost == {"hopper": 0.1, "ant": 0.01, "humanoid": 0.02, "anymal": 0.01}[name]
    action = torch.tensor([[0.5, -1.0, *[0.0] * (task.model().nu - 2)]])
    observation = torch.zeros(1, task.observation_size())
    terms = task.reward_terms(observation, action, observation)
    torch.testing.assert_close(terms["action"], torch.tensor([-1.25 * task.action_cost]))


def test_start_pose_is_the_published_one(name):
    data = golden(name)
    np.testing.assert_allclose(TASKS[name]().start_q(), data["env_start_joint_q"], atol=1e-15)
    np.testing.assert_allclose(TASKS[name]().start_q(), STANDING[name], atol=1e-15)


def test_resets_have_the_published_statistics(name):
    data = golden(name, "")
    task, n, published = TASKS[name](), 4096, 4096
    env = torch.arange(n)
    random = EnvRandom(torch.full_like(env, seed_stream(0)), env, torch.zeros_like(env), torch.float64)
    q, qd = (value.numpy() for value in task.reset(random, torch.tensor(task.start_q(), dtype=torch.float64)))
    for key, value in (("q", q), ("qd", qd)):
        mean, std = data[f"reset_{key}_mean"], data[f"reset_{key}_std"]
        # Both are samples: five standard errors of their difference; of uniform numbers for the deviation.
        error = std * math.sqrt(1 / n + 1 / published)
        assert (np.abs(value.mean(0) - mean) <= 5 * error + 1e-7).all()
        np.testing.assert_allclose(value.std(0), std, rtol=0.06)
        low, high = data[f"reset_{key}_min"], data[f"reset_{key}_max"]
        np.testing.assert_allclose(value.min(0), low, atol=0.01 * np.max(high - low))
        np.testing.assert_allclose(value.max(0), high, atol=0.01 * np.max(high - low))
    if name != "hopper":
        np.testing.assert_allclose(np.linalg.norm(q[:, 3:7], axis=-1), 1.0, atol=1e-14)


def test_observation_has_the_parts_and_the_size_it_declares(name):
    task = TASKS[name]()
    data = golden(name, "")
    observation = task.observation(state(data["roll_q0"], data["roll_qd0"]), torch.zeros(8, task.model().nu))
    parts = [task.entry(observation, entry.name) for entry in task.OBSERVATION]
    joined = torch.cat([part.reshape(8, -1) for part in parts], dim=-1)
    assert torch.equal(joined, observation)
    assert observation.shape == (8, task.observation_size())
    with pytest.raises(ValueError, match="has no entry 'colour'"):
        task.entry(observation, "colour")


def test_observation_and_reward_have_the_gradients_of_finite_differences(name):
    data = golden(name)
    task = TASKS[name]()

    def outputs(q, qd, action):
        observation = task.observation(state(q, qd), action)
        return observation, *task.reward_terms(observation, action, observation).values()

    inputs = [torch.tensor(data[key][4]).double().requires_grad_() for key in ("roll_q", "roll_qd", "roll_actions")]
    assert torch.autograd.gradcheck(outputs, inputs)


def test_reward_of_height_falls_below_zero_height_steeply_and_is_bounded_on_both_sides():
    above = torch.tensor([-2.0, -1.0, -0.1, 0.0, 0.05, 0.1, 3.0], dtype=torch.float64)
    expected = torch.tensor([-200.0, -200.0, -2.0, 0.0, 0.5, 1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(upright_height_reward(above, limit=0.1, weight=10.0), expected)


def test_projections_are_one_for_an_upright_robot_that_faces_its_target_and_fall_with_turning():
    angle = torch.tensor([0.0, 0.3, 1.2], dtype=torch.float64)
    half, root = angle / 2, math.sqrt(0.5)
    # Turned about the vertical (y) axis, then standing: (0, sin, 0, cos) (-root, 0, 0, root).
    rotation = torch.stack([-root * half.cos(), root * half.sin(), root * half.sin(), root * half.cos()], dim=-1)
    zero = torch.zeros(3, 3, dtype=torch.float64)
    up, heading = projections(zero, rotation, zero, (5.0, 0.0, 0.0))
    torch.testing.assert_close(up, torch.ones_like(up))
    torch.testing.assert_close(heading, angle.cos())


def test_heading_has_a_finite_gradient_at_the_target():
    position = torch.zeros(1, 3, requires_grad=True)
    rotation = torch.tensor([[-math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)]])
    _, heading = projections(position, rotation, torch.zeros(1, 3), (0.0, 0.0, 0.0))
    (grad,) = torch.autograd.grad(heading.sum(), position)
    assert grad.isfinite().all()


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {"colour": 1},
            TypeError,
            "Ant has no field 'colour'. Its fields are early_termination, reset_noise, action_cost, observe_action",
        ),
        ({"action_cost": "much"}, TypeError, "`action_cost` of Ant must be a number. Got 'much'"),
        ({"action_cost": True}, TypeError, "`action_cost` of Ant must be a number. Got True"),
        ({"action_cost": math.nan}, ValueError, "`action_cost` of Ant must be finite. Got nan"),
        ({"reset_noise": 1}, TypeError, "`reset_noise` of Ant must be True or False. Got 1"),
        ({"target": (1.0, 2.0)}, ValueError, "`target` of Ant must be 3 finite numbers"),
        ({"target": (1.0, 2.0, math.inf)}, ValueError, "`target` of Ant must be 3 finite numbers"),
    ],
)
def test_fields_that_are_unknown_or_wrong_are_refused_by_name(fields, error, message):
    with pytest.raises(error, match=message):
        Ant.from_fields(**fields)


@dataclass(frozen=True, kw_only=True)
class Counting(Hopper):
    """A Hopper with fields of all types."""

    count: int = 3
    surface: str = "flat"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 2.0}, "`count` of Counting must be an integer. Got 2.0"),
        ({"count": "a"}, "`count` of Counting must be an integer. Got 'a'"),
        ({"count": True}, "`count` of Counting must be an integer. Got True"),
        ({"surface": 1}, "`surface` of Counting must be a string. Got 1"),
    ],
)
def test_integers_and_strings_among_the_fields_are_checked(fields, message):
    with pytest.raises(TypeError, match=message):
        Counting(**fields)


def test_numbers_of_numpy_become_pythons():
    task = Counting(count=np.int64(2), action_cost=np.float32(0.5), angle_scale=np.int32(2), surface="rough")
    assert task == Counting(count=2, action_cost=0.5, angle_scale=2.0, surface="rough")
    assert [type(value) for value in (task.count, task.action_cost, task.angle_scale)] == [int, float, float]


def test_fields_that_cannot_be_checked_are_refused():
    @dataclass(frozen=True, kw_only=True)
    class Listing(Hopper):
        heights: list = field(default_factory=list)

    with pytest.raises(
        TypeError,
        match=r"`heights` of Listing must be declared as a bool, int, float, str or Vector3\. It is as <class",
    ):
        Listing()


def test_fields_of_json_give_the_same_task_as_those_of_python():
    assert Ant.from_fields(target=[1, 2, 3], action_cost=1) == Ant(target=(1.0, 2.0, 3.0), action_cost=1.0)


class Undecorated(Hopper):
    weight: float = 2.0
    action_cost = 0.5


@dataclass(frozen=True, kw_only=True)
class Untyped(Hopper):
    action_cost = 0.5


class Renamed(Hopper):
    NOTE: ClassVar[str] = "no field"


def test_fields_that_a_class_would_ignore_are_refused():
    with pytest.raises(TypeError, match="fields of Undecorated would be ignored: weight, action_cost"):
        Undecorated()
    with pytest.raises(TypeError, match=r"fields of Untyped would be ignored: action_cost\. .* a type after the name"):
        Untyped()
    assert Renamed().action_cost == Hopper().action_cost


def test_unknown_entry_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"the observation of Hopper has no entry 'tail'\. Its entries are height, "):
        Hopper.entry(torch.zeros(1, Hopper.observation_size()), "tail")


def declaring(**parts):
    return type("Declaring", (Hopper,), parts)


ANGLE = Entry("angle", 1, "rad", "of the pole")


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"OBSERVATION": None}, TypeError, r"OBSERVATION of Declaring must be a tuple of Entry\. Got None"),
        ({"OBSERVATION": ANGLE}, TypeError, r"OBSERVATION of Declaring must be a tuple of Entry\. Got Entry\("),
        ({"OBSERVATION": ("angle",)}, TypeError, r"OBSERVATION of Declaring must be a tuple of Entry\. Got \('angle"),
        ({"MEMORY": [ANGLE]}, TypeError, r"MEMORY of Declaring must be a tuple of Entry\. Got \[Entry"),
        ({"OBSERVATION": (ANGLE, ANGLE)}, ValueError, "OBSERVATION of Declaring must have names .* several 'angle'"),
        ({"MEMORY": (ANGLE, ANGLE)}, ValueError, r"MEMORY of Declaring must have names that differ\. It has several "),
    ],
)
def test_parts_that_are_no_entries_of_different_names_are_refused(parts, error, message):
    with pytest.raises(error, match=message):
        declaring(**parts)()


def test_a_task_without_an_observation_is_told_what_it_lacks():
    methods = dict.fromkeys(("model", "start_q", "reset", "observation", "reward_terms"), lambda self: None)
    with pytest.raises(TypeError, match=r"OBSERVATION of Blind must be a tuple of Entry\. Got None"):
        type("Blind", (AbstractTask,), methods)()
