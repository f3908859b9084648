"""HandReorient against the recorded task, and its goals inside an episode."""

import dataclasses
import math

import gymnasium
import numpy as np
import pytest
import torch
from environments import make
from simulators import golden, tensor

from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.random import EnvRandom, seed_stream
from diffenvs.robots.allegro import FINGERS
from diffenvs.state import State
from diffenvs.tasks.hand_reorient import HandReorient
from diffenvs.tasks.rigid_body import origin_velocity, quaternion_conjugate, quaternion_product
from diffenvs.testing import check_vector_env

ID = "diffenvs/HandReorient-v0"
RECORDED = 1e-5
"""Largest error of recorded float32 observations, and of rewards relative to 1 + their magnitude."""
ANGLE = 2e-7
"""Rounding of a recorded float32 angle [rad], which steep rewards multiply."""
SLOPE = 5e-3
"""Error of the recorded float32 derivatives of the reward, relative to 1 + their magnitude."""
CUBE = slice(16, 19)
ROTATION = slice(19, 23)


@pytest.fixture(scope="module")
def data():
    return golden("hand", "")


@pytest.fixture(scope="module")
def task():
    return HandReorient()


def state(q, qd, goal, dtype=torch.float64):
    """State whose goal is a quaternion."""
    q, qd, goal = (torch.as_tensor(value, dtype=dtype) for value in (q, qd, goal))
    memory = torch.cat([goal, torch.zeros(len(q), 1, dtype=dtype)], dim=-1)
    return State(q=q, qd=qd, origin=torch.zeros(len(q), 3, dtype=dtype), memory=memory)


def turned(angle, dtype=torch.float64):
    """Cubes at the goal's position, turned by the angles from the goal, and zero velocities and the goal."""
    angle = torch.as_tensor(angle, dtype=dtype)
    n = len(angle)
    axis = torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 0.5], dtype=dtype), dim=0)
    goal = torch.nn.functional.normalize(torch.tensor([0.3, 0.1, -0.4, 0.8], dtype=dtype), dim=0).expand(n, 4)
    half = 0.5 * angle.unsqueeze(-1)
    rotation = quaternion_product(torch.cat([axis * half.sin(), half.cos()], dim=-1), goal)
    position = torch.tensor([0.0, -0.1, 0.56], dtype=dtype).expand(n, 3)
    return torch.cat([torch.zeros(n, 16, dtype=dtype), position, rotation], dim=-1), torch.zeros(n, 22), goal


def rewards(task, now, action):
    observation = task.observation(now, action)
    return torch.stack(list(task.reward_terms(observation, action, observation).values())).sum(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recorded_states_give_the_recorded_observations_rewards_and_terminations(task, data, dtype):
    states = list(zip(data["roll_joint_q"], data["roll_joint_qd"], strict=True))
    actions = torch.as_tensor(data["roll_actions"]).to(dtype).clamp(-1.0, 1.0)
    goals = data["roll_goal"][..., 3:]
    observed = [torch.zeros_like(actions[0]), *actions]
    observations = [task.observation(state(*s, g, dtype), a) for s, g, a in zip(states, goals, observed, strict=True)]
    np.testing.assert_allclose(torch.stack(observations), data["roll_obs"], rtol=0, atol=RECORDED)
    # The reward takes the goal of its step, not of the next.
    reached = [task.observation(state(*s, g, dtype), a) for s, g, a in zip(states[1:], goals, actions, strict=False)]
    terms = [task.reward_terms(o, a, o) for o, a in zip(reached, actions, strict=True)]
    reward = torch.stack([torch.stack(list(step.values())).sum(0) for step in terms])
    np.testing.assert_allclose(reward, data["roll_reward"], rtol=RECORDED, atol=RECORDED)
    terminated = torch.stack([task.terminated(observation) for observation in reached])
    np.testing.assert_array_equal(terminated, data["roll_terminated"])
    assert terminated.any()
    assert not terminated.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reward_of_the_angle_and_its_derivative_are_the_recorded_ones(task, data, dtype):
    angle = torch.as_tensor(data["rewprobe_angle"], dtype=dtype).requires_grad_()
    reward = rewards(task, state(*turned(angle, dtype), dtype), torch.zeros(len(angle), 16, dtype=dtype))
    (slope,) = torch.autograd.grad(reward.sum(), angle)
    expected, steepness = data["rewprobe_smooth"], np.abs(data["rewprobe_smooth_grad"])
    error = np.abs(reward.detach().double().numpy() - expected)
    assert (error <= RECORDED * (1.0 + np.abs(expected)) + ANGLE * steepness).all()
    # The first is at the kink at zero, and the arcsine of a float32 sine has lost the angle near half a turn.
    error = np.abs(slope.double().numpy() - data["rewprobe_smooth_grad"])
    assert (error <= SLOPE * (1.0 + steepness))[(data["rewprobe_angle"] > 0.0) & (data["rewprobe_angle"] < 3.0)].all()
    assert slope[-1] == 0.0


def test_bonus_saturates_at_half_its_weight_and_sets_in_below_the_angle_that_counts(task):
    angle = torch.tensor([0.0, 0.08, 0.0935, 0.0945, 0.0999, 0.2])
    observation = task.observation(state(*turned(angle)), torch.zeros(6, 16, dtype=torch.float64))
    bonus = task.reward_terms(observation, torch.zeros(6, 16), observation)["success"]
    np.testing.assert_allclose(bonus[:2], 125.0, atol=1e-3)
    assert 20.0 < bonus[2] < 105.0
    assert (bonus[4:] < 1e-30).all()


def test_goal_counts_as_reached_at_the_recorded_angles(task, data):
    # At 0.1 rad itself rounding decides.
    clear = np.abs(data["rewprobe_angle"] - 0.1) > 1e-6
    now = state(*turned(data["rewprobe_angle"][clear]))
    following = task.next_memory(random_numbers(len(now.q)), now, task.observation(now, now.q[:, :16]))
    np.testing.assert_array_equal(following[:, 4], data["rewprobe_goal_reset"][clear])
    np.testing.assert_array_equal((following[:, :4] != now.memory[:, :4]).any(1), data["rewprobe_goal_reset"][clear])


def random_numbers(n, seed=0):
    env = torch.arange(n)
    return EnvRandom(torch.full_like(env, seed_stream(seed)), env, torch.zeros_like(env), torch.float64)


def kolmogorov_smirnov(a, b):
    """Largest distance of two empirical distribution functions, in units of its scale for equal distributions."""
    points = np.concatenate([a, b])
    shares = [np.searchsorted(np.sort(sample), points, side="right") / len(sample) for sample in (a, b)]
    return np.abs(shares[0] - shares[1]).max() / math.sqrt(1 / len(a) + 1 / len(b))


def test_first_states_and_goals_are_distributed_as_the_recorded_ones(task, data):
    random = random_numbers(4096)
    q, qd = task.reset(random, tensor(task.start_q()))
    memory = task.first_memory(random).numpy()
    assert not qd.any()
    assert not memory[:, 4].any()
    ours = np.concatenate([q.numpy(), memory[:, :4]], axis=1)
    theirs = np.concatenate([data["reset_q"], data["reset_goal"][:, 3:]], axis=1)
    for a, b in zip(ours.T, theirs.T, strict=True):
        assert kolmogorov_smirnov(a, b) < 1.95  # one in a thousand
        np.testing.assert_allclose((a.min(), a.max()), (b.min(), b.max()), atol=0.02 * np.ptp(b) + 1e-6)
    # All numbers are independent but the components of one quaternion, which is a turn about y, then x.
    correlation = np.corrcoef(ours.T) - np.eye(27)
    assert np.abs(correlation).max() < 5 / math.sqrt(len(ours))
    for x, y, z, w in (ours[:, 19:23].T, ours[:, 23:].T):
        np.testing.assert_allclose(x * y, z * w, atol=1e-15)
    np.testing.assert_allclose(data["reset_goal"][0, :3], task.goal_position, atol=1e-6)


def test_start_pose_is_the_published_one(task, data):
    np.testing.assert_allclose(task.start_q(), data["model_joint_q"], atol=1e-7)


def test_without_noise_only_the_goal_is_random():
    env = make(ID, 8, reset_noise=False)
    env.reset(seed=0)
    start = env.get_state()
    torch.testing.assert_close(start["q"], torch.tensor([env.task.start_q()]).expand(8, -1))
    assert not start["qd"].any()
    assert len(start["memory"].unique(dim=0)) == 8


def test_observation_has_the_parts_and_the_size_it_declares(task, data):
    now = state(data["roll_joint_q"][0], data["roll_joint_qd"][0], data["roll_goal"][0, :, 3:])
    observation = task.observation(now, torch.ones(8, 16))
    parts = [task.entry(observation, entry.name).reshape(8, -1) for entry in task.OBSERVATION]
    assert torch.equal(torch.cat(parts, dim=-1), observation)
    assert observation.shape == (8, task.observation_size()) == (8, 72)
    assert task.memory_size() == 5
    assert task.entry(observation, "action").all()
    hidden = HandReorient(observe_action=False).observation(now, torch.ones(8, 16))
    assert not task.entry(hidden, "action").any()
    assert torch.equal(hidden[:, :56], observation[:, :56])


def test_observation_and_reward_have_the_gradients_of_finite_differences(task, data):
    goal = tensor(data["roll_goal"][30, :, 3:])

    def outputs(q, qd, action):
        observation = task.observation(state(q, qd, goal), action)
        return observation, *task.reward_terms(observation, action, observation).values()

    inputs = [tensor(data[f"roll_{name}"][30]).requires_grad_() for name in ("joint_q", "joint_qd", "actions")]
    assert torch.autograd.gradcheck(outputs, inputs)


def test_reward_has_a_finite_gradient_at_the_goal_and_half_a_turn_away(task):
    q, qd, goal = turned(torch.tensor([0.0, math.pi], dtype=torch.float64))
    q.requires_grad_()
    (gradient,) = torch.autograd.grad(rewards(task, state(q, qd, goal), torch.zeros(2, 16)).sum(), q)
    assert gradient.isfinite().all()


def landing(angle, *, seed=0, **kwargs):
    """Environments whose next step, with zero actions, ends the angles away from their goals."""
    env = make(ID, len(angle), dtype="float64", **kwargs)
    env.reset(seed=seed)
    start, still = env.get_state(), torch.zeros(len(angle), 16, dtype=torch.float64)
    env.step(still)
    half = 0.5 * tensor(angle).unsqueeze(-1)
    turn = torch.cat([half.sin(), torch.zeros(len(angle), 2), half.cos()], dim=-1)
    start["memory"][:, :4] = quaternion_product(turn, env.get_state()["q"][:, ROTATION])
    env.set_state(start)
    return env, start, still


def test_goal_that_is_reached_is_rewarded_counted_and_replaced_in_the_same_step():
    env, start, still = landing([0.05, 0.097, 0.11, 3.0])
    observation, reward, terminated, truncated, info = env.step(still)
    memory = env.state["memory"]
    assert memory[:, 4].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert (memory[:, :4] != start["memory"][:, :4]).any(1).tolist() == [True, True, False, False]
    # Between 0.0945 and 0.1 rad the goal is used up without a bonus.
    bonus = info["reward_terms"]["success"]
    assert (bonus > 120.0).tolist() == [True, False, False, False]
    assert (bonus < 1e-6).tolist() == [False, True, True, True]
    # The observation shows the next goal, the reward is that of the last.
    assert torch.equal(env.task.entry(observation, "goal_rotation"), memory[:, :4])
    assert torch.equal(info["final_obs"], observation)
    near = 1 / (0.1 + tensor([0.05, 0.097, 0.11, 3.0]))
    torch.testing.assert_close(info["reward_terms"]["rotation"], near, rtol=0, atol=1e-3)
    torch.testing.assert_close(reward, sum(info["reward_terms"].values()))
    assert not (terminated | truncated).any()
    assert env.state["step_count"].tolist() == [1] * 4


def test_goal_is_drawn_as_a_ghost_of_the_cube(task):
    q, qd, goal = turned([0.0, 1.0])
    (name, pose), *others = task.ghosts(state(q, qd, goal)).items()
    assert name == "cube"
    assert not others
    torch.testing.assert_close(pose, torch.cat([q[:, CUBE], goal], dim=-1))


def test_goals_depend_on_seed_environment_and_step_only():
    def goals(count, seed):
        env, _, still = landing([0.05] * count, seed=seed)
        env.step(still)
        return env.get_state()["memory"][:, :4]

    few, many = goals(3, 0), goals(5, 0)
    assert torch.equal(few, many[:3])
    assert len(torch.cat([many, goals(5, 1)]).unique(dim=0)) == 10


def test_successes_begin_at_zero_with_every_episode():
    env, _, still = landing([0.05, 0.05], max_episode_steps=2)
    env.step(still)
    assert env.state["memory"][:, 4].tolist() == [1.0, 1.0]
    env.step(still)
    assert env.state["memory"][:, 4].tolist() == [0.0, 0.0]


def test_goal_is_a_constant_to_the_gradient():
    env, _, _ = landing([0.05, 3.0])
    action = torch.zeros(2, 16, dtype=torch.float64, requires_grad=True)
    observation, *_ = env.step_grad(action)
    assert not env.state["memory"].requires_grad
    (gradient,) = torch.autograd.grad(env.task.entry(observation, "joint_position").sum(), action)
    assert gradient.all()


def test_episode_ends_when_the_cube_is_too_far_from_its_goal():
    for early, ends in ((True, [True, False]), (False, [False, False])):
        env = make(ID, 2, early_termination=early, autoreset_mode="Disabled")
        env.reset(seed=0)
        now = env.get_state()
        now["q"][:, CUBE] = torch.tensor([[0.0, 0.145, 0.56], [0.0, 0.135, 0.56]])
        env.set_state(now)
        assert env.step(torch.zeros(2, 16))[2].tolist() == ends


def test_episode_lasts_600_steps():
    # Without early termination the cube falls far, which float32 does not bear.
    env = gymnasium.make_vec(ID, num_envs=2, dtype="float64", early_termination=False)
    env.reset(seed=0)
    still = torch.zeros(2, 16, dtype=torch.float64)
    flags = [env.step(still)[3] for _ in range(600)]
    assert torch.stack(flags).sum(0).tolist() == [1, 1]
    assert flags[-1].all()


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_environments_keep_the_contract_with_gradients_of_finite_differences(mode):
    check_vector_env(make(ID, dtype="float64", autoreset_mode=mode, max_episode_steps=10), steps=24)


def test_quaternions_rotate_in_turn_and_back():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.nn.functional.normalize(torch.randn(2, 5, 4, generator=generator, dtype=torch.float64), dim=-1)
    x = torch.cat([torch.randn(5, 3, generator=generator, dtype=torch.float64), torch.zeros(5, 1)], dim=-1)

    def rotate(q, x):
        return quaternion_product(quaternion_product(q, x), quaternion_conjugate(q))

    torch.testing.assert_close(rotate(quaternion_product(a, b), x), rotate(a, rotate(b, x)))
    torch.testing.assert_close(rotate(quaternion_conjugate(a), rotate(a, x)), x)


def test_origin_of_a_body_moves_with_its_twist():
    twist = tensor([[0.0, 0.0, 2.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(origin_velocity(tensor([[3.0, 0.0, 0.0]]), twist), tensor([[1.0, 6.0, 0.0]]))


class Narrow(HandReorient):
    """A hand whose joints may turn half as far."""

    def model(self):
        hand = super().model()
        joints = [
            dataclasses.replace(link.joint, lower=0.5 * link.joint.lower, upper=0.5 * link.joint.upper)
            for link in hand.links
        ]
        links = [dataclasses.replace(link, joint=joint) for link, joint in zip(hand.links, joints, strict=True)]
        return dataclasses.replace(hand, links=tuple(links))


class ThreeFingers(HandReorient):
    """A hand without its ring finger."""

    OBSERVATION = tuple(
        dataclasses.replace(entry, size=12) if entry.size == 16 else entry for entry in HandReorient.OBSERVATION
    )

    def model(self):
        hand = super().model()
        links = tuple(link for link in hand.links if link.name not in FINGERS["ring"])
        kept = {link.name for link in links}
        return dataclasses.replace(
            hand,
            links=links,
            actuators=tuple(drive for drive in hand.actuators if drive.link in kept),
            collisions=tuple(pair for pair in hand.collisions if kept.issuperset(pair)),
        )


def test_limits_are_those_of_the_tasks_own_model():
    for task in (HandReorient(), Narrow(), HandReorient()):
        limits = [link.joint.upper for link in task.model().links if link.joint.lower < link.joint.upper < math.inf]
        q = torch.tensor([[*limits, *task.start_q()[16:]]], dtype=torch.float64)
        observation = task.observation(state(q, torch.zeros(1, 22), q[:, ROTATION]), torch.zeros(1, 16))
        torch.testing.assert_close(task.entry(observation, "joint_position"), torch.ones(1, 16, dtype=torch.float64))


def test_a_hand_may_have_another_number_of_joints():
    env = DiffVectorEnv(ThreeFingers(), num_envs=2)
    observation, _ = env.reset(seed=0)
    state = env.get_state()
    assert state["q"].shape == (2, 19)
    torch.testing.assert_close(env.task.entry(observation, "position"), state["q"][:, 12:15])
    observation = env.step(torch.full((2, 12), 0.5))[0]
    torch.testing.assert_close(env.task.entry(observation, "action"), torch.full((2, 12), 0.5))
    torch.testing.assert_close(env.task.entry(observation, "joint_velocity"), 0.2 * env.get_state()["qd"][:, :12])
