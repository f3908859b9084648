"""What the methods of a user's task return is checked once, and a reward that is not finite ends its episode alone."""

from dataclasses import dataclass

import pytest
import torch
from environments import MODES
from gymnasium.error import ResetNeeded

from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.model import Actuator, Joint, JointType, Link, Model
from diffenvs.tasks.base import AbstractTask, Entry
from diffenvs.testing import check_vector_env

BODY = {"mass": 1.0, "inertia": (0.1, 0.1, 0.1, 0.0, 0.0, 0.0)}
MODEL = Model(
    name="satellite",
    links=(
        Link(name="body", parent=None, joint=Joint(type=JointType.FREE), **BODY),
        Link(name="wheel", parent="body", joint=Joint(type=JointType.HINGE), **BODY),
    ),
    actuators=(Actuator(link="wheel", gear=2.0),),
)
N = 3


@dataclass(frozen=True, kw_only=True)
class Turn(AbstractTask):
    """A satellite turns by its wheel and remembers a rotation."""

    OBSERVATION = (Entry("angle", 1, "rad", "of the wheel"), Entry("velocity", 1, "rad/s", "of the wheel"))
    MEMORY = (Entry("goal", 4, "1", "rotation", quaternion=True),)

    def model(self):
        return MODEL

    def start_q(self):
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.5

    def reset(self, random, start_q):
        qd = random.uniform(7, -0.1, 0.1)
        return start_q.expand(len(qd), -1), qd

    def first_memory(self, random):
        return torch.nn.functional.normalize(random.uniform(4, 1.0, 2.0), dim=-1)

    def observation(self, state, action):
        return torch.stack([state.q[:, 7], state.qd[:, 6]], dim=-1)

    def reward_terms(self, observation, action, next_observation):
        return {"inverse": 0.1 / self.entry(next_observation, "angle"), "action": -action.square().sum(-1)}

    def terminated(self, next_observation):
        return self.entry(next_observation, "angle") > 100.0


def test_a_task_that_returns_what_it_declares_keeps_the_contract():
    check_vector_env(DiffVectorEnv(Turn(), num_envs=N, dtype="float64", max_episode_steps=7), steps=20)


def changed(method, change):
    """Make a task of which one method's result is changed."""
    original = getattr(Turn, method)
    return type("Wrong", (Turn,), {method: lambda self, *arguments: change(original(self, *arguments))})


def first(change):
    return lambda made: (change(made[0]), made[1])


SHAPE = "must be {} torch.float32 on cpu. Got {}"
NORM = "must have norm 1 to within 0.001. Those of environments {} have"
WRONG = [
    ("model", lambda model: "<mujoco/>", TypeError, "must be of type Model. Got str"),
    ("start_q", lambda q: q[:3], ValueError, r"must be 8 finite numbers. Got \(0.0, 0.0, 0.0\)"),
    ("start_q", lambda q: (*q[:7], torch.nan), ValueError, "must be 8 finite numbers"),
    ("start_q", lambda q: (*q[:6], 0.5, 0.0), ValueError, "must have norm 1 to within 0.001. Got 0.5"),
    ("reset", lambda made: made[0], TypeError, "must be a tuple of coordinates and velocities. Got Tensor"),
    ("reset", first(lambda q: q[:, 1:]), ValueError, SHAPE.format(r"\(3, 8\)", r"\(3, 7\)")),
    ("reset", first(lambda q: q[0]), ValueError, r"a row for each environment, \(3, 8\), as `start_q.expand\(3, -1\)`"),
    ("reset", first(lambda q: q.numpy()), TypeError, "must be a tensor. Got ndarray"),
    ("reset", first(lambda q: 0.5 * q), ValueError, NORM.format("0, 1, 2")),
    ("reset", first(lambda q: q / 0.0), ValueError, r"must be finite and within .-1e\+06. It is not in 0, 1, 2"),
    ("reset", lambda made: (made[0], made[1][:, :6]), ValueError, SHAPE.format(r"\(3, 7\)", r"\(3, 6\)")),
    ("first_memory", lambda memory: memory[:, :3], ValueError, SHAPE.format(r"\(3, 4\)", r"\(3, 3\)")),
    ("first_memory", lambda memory: 2.0 * memory, ValueError, NORM.format("0, 1, 2")),
    ("observation", lambda seen: seen[:, [0, 1, 1]], ValueError, SHAPE.format(r"\(3, 2\)", r"\(3, 3\)")),
    ("observation", lambda seen: seen.double(), ValueError, SHAPE.format(r"\(3, 2\)", r"\(3, 2\) torch.float64")),
    ("observation", lambda seen: seen.to("meta"), ValueError, "must be .* on cpu. Got .* on meta"),
    ("observation", lambda seen: seen.log(), ValueError, "must be finite. It is not in"),
    ("reward_terms", lambda terms: terms["action"], TypeError, "must be a dictionary of named terms. Got tensor"),
    ("reward_terms", lambda terms: {}, TypeError, r"must be a dictionary of named terms. Got \{\}"),
    ("reward_terms", lambda terms: {0: terms["action"]}, TypeError, "must have names that are strings. Got 0"),
    (
        "reward_terms",
        lambda terms: terms | {"action": terms["action"].unsqueeze(-1)},
        ValueError,
        SHAPE.format(r"\(3,\)", r"\(3, 1\)"),
    ),
    ("terminated", lambda over: over.float(), ValueError, r"\(3,\) torch.bool on cpu. Got \(3,\) torch.float32"),
    ("terminated", lambda over: over.any(), ValueError, r"\(3,\) torch.bool on cpu. Got \(\) torch.bool"),
    ("next_memory", lambda memory: memory[:, :3], ValueError, SHAPE.format(r"\(3, 4\)", r"\(3, 3\)")),
]


@pytest.mark.parametrize(("method", "change", "error", "message"), WRONG)
def test_what_a_task_must_not_return_is_named_with_its_method(method, change, error, message):
    def run():
        env = DiffVectorEnv(changed(method, change)(), num_envs=N)
        env.reset(seed=0)
        env.step(torch.zeros(N, 1))

    with pytest.raises(error, match=f"what `{method}` of Wrong returns .*{message}"):
        run()


def test_a_robot_that_cannot_move_has_states_too():
    post = Model(name="post", links=(Link(name="post", parent=None, joint=Joint(type=JointType.FIXED)),))
    still = {
        "OBSERVATION": (Entry("zero", 1, "1", "nothing to see"),),
        "MEMORY": (),
        "model": lambda self: post,
        "start_q": lambda self: (),
        "reset": lambda self, random, start_q: 2 * [random.uniform(1, 0.0, 1.0)[:, :0]],
        "observation": lambda self, state, action: state.q.new_zeros(len(state.q), 1),
        "reward_terms": lambda self, observation, action, next_observation: {"one": observation[:, 0] + 1.0},
        "terminated": AbstractTask.terminated,
    }
    env = DiffVectorEnv(type("Still", (Turn,), still)(), num_envs=N, max_episode_steps=2)
    env.reset(seed=0)
    for truncated in (False, True, False):
        _, reward, _, ended, info = env.step(torch.zeros(N, 0))
        assert reward.tolist() == N * [1.0]
        assert ended.tolist() == N * [truncated]
        assert not info["non_finite"].any()


def test_a_first_reset_that_is_refused_leaves_nothing_and_is_refused_again():
    env = DiffVectorEnv(changed("reset", first(lambda q: 0.5 * q))(), num_envs=N)
    for _ in range(2):
        with pytest.raises(ValueError, match="quaternions in q of what `reset` of Wrong returns"):
            env.reset(seed=0)
        with pytest.raises(ResetNeeded):
            env.step(torch.zeros(N, 1))


def with_a_wheel_at_zero(mode="SameStep"):
    """Make environments of which the second has a reward that is infinite, in the first step."""
    env = DiffVectorEnv(Turn(early_termination=False), num_envs=N, dtype="float64", autoreset_mode=mode)
    env.reset(seed=0)
    state = env.get_state()
    state["qd"][1], state["q"][1, 7] = 0.0, 0.0
    env.set_state(state)
    return env


@pytest.mark.parametrize("mode", MODES)
def test_a_reward_that_is_not_finite_is_zero_and_ends_its_episode_alone(mode):
    env = with_a_wheel_at_zero(mode)
    _, reward, terminated, truncated, info = env.step(torch.zeros(N, 1, dtype=torch.float64))
    assert (reward == 0.0).tolist() == [False, True, False]
    assert reward.isfinite().all()
    assert terminated.tolist() == info["non_finite"].tolist() == [False, True, False]
    assert not truncated.any()
    assert info["reward_terms"]["inverse"].isinf().tolist() == [False, True, False]


def test_a_reward_that_is_not_finite_leaves_the_gradients_of_the_others():
    gradients = []
    for kept in ([0, 1, 2], [0, 2]):
        env = with_a_wheel_at_zero()
        gain = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
        push = torch.tensor([[1.0], [0.0], [-1.0]], dtype=torch.float64)
        rewards = [env.step_grad(gain * push)[1] for _ in range(2)]
        gradients += torch.autograd.grad(torch.stack(rewards)[:, kept].sum(), gain)
    # In the second step the second environment is in its next episode, with an action that does not depend on the gain.
    assert gradients[0].isfinite()
    assert gradients[0] != 0.0
    assert torch.equal(*gradients)
