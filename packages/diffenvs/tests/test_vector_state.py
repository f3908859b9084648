"""DiffVectorEnv: states that are saved and set, and use that is refused."""

import numpy as np
import pytest
import torch
from environments import make, random_actions
from gymnasium.error import ClosedEnvironmentError, Error, ResetNeeded


def test_state_of_coordinates_only_begins_at_the_origin_and_at_step_zero():
    env = make("diffenvs/Ant-v0", max_episode_steps=3)
    env.reset(seed=0)
    for action in random_actions(env, 2):
        env.step(action)
    state = env.get_state()
    observation = env.set_state({"q": state["q"], "qd": state["qd"]})
    now = env.get_state()
    assert torch.equal(now["q"], state["q"])
    assert not any(now[name].any() for name in ("origin", "action", "step_count", "needs_reset"))
    assert torch.equal(now["episode"], state["episode"])
    assert not env.task.entry(observation, "action").any()


def test_another_environment_continues_from_a_saved_state(tmp_path):
    env = make(max_episode_steps=6)
    env.reset(seed=4)
    actions = random_actions(env, 20)
    for action in actions[:10]:
        env.step(action)
    torch.save(env.get_state(), tmp_path / "state.pt")
    other = make(max_episode_steps=6)
    other.set_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for action in actions[10:]:
        assert torch.equal(env.step(action)[0], other.step(action)[0])


def broken_states(state):
    q = state["q"]
    return {
        "shape": ({**state, "q": q[:, :-1]}, r"q of state must be \(3, 15\) torch.float32 on cpu. Got \(3, 14\)"),
        "dtype": ({**state, "qd": state["qd"].double()}, r"qd of state must be \(3, 14\) torch.float32"),
        "kind": ({**state, "q": q.numpy()}, "q of state must be a tensor. Got ndarray"),
        "number": (
            {name: value[:2] for name, value in state.items()},
            r"q of state must be \(3, 15\) .* Got \(2, 15\)",
        ),
        "nan": ({**state, "q": q.index_fill(0, torch.tensor([1]), torch.nan)}, "q of state must be finite .* in 1"),
        "exploded": ({**state, "qd": state["qd"] + 2e6}, r"must be finite and within .-1e\+06. It is not in 0, 1, 2"),
        "action": ({**state, "action": state["action"] + 1.5}, r"action of state must be finite and within .-1\."),
        "negative": ({**state, "step_count": state["step_count"] - 1}, "step_count of state must not be negative. It "),
        "over": ({**state, "needs_reset": ~state["needs_reset"]}, "no episode is over under 'SameStep'. 0, 1, 2 of"),
        "origin": ({**state, "origin": state["origin"] + torch.inf}, "origin of state must be finite"),
        "quaternion": (
            {**state, "q": q * 1.01},
            "must have norm 1 to within 0.001. Those of environments 0, 1, 2 have",
        ),
        "missing": ({"q": q}, "state must have q and qd only, or all of q, qd, origin"),
        "unknown": ({**state, "colour": q}, "state must have q and qd only, or all of .* Got .*colour"),
    }


@pytest.mark.parametrize(
    "case",
    broken_states(
        {name: torch.zeros(3, 15) for name in ("q", "qd", "origin", "action", "step_count")}
        | {"needs_reset": torch.zeros(3, dtype=torch.bool)}
    ),
)
def test_broken_states_are_refused_and_change_nothing(case):
    env = make("diffenvs/Ant-v0")
    env.reset(seed=0)
    before = env.get_state()
    state, message = broken_states(env.get_state())[case]
    with pytest.raises(TypeError if case == "kind" else ValueError, match=message):
        env.set_state(state)
    assert all(torch.equal(value, before[name]) for name, value in env.get_state().items())
    env.step(torch.zeros(3, 8))


def test_a_state_that_is_no_mapping_is_refused():
    with pytest.raises(TypeError, match=r"state must be a mapping of names to tensors. Got list"):
        make().set_state([torch.zeros(3, 6), torch.zeros(3, 6)])


def test_slightly_wrong_quaternions_are_taken_as_they_are():
    env = make("diffenvs/Ant-v0")
    env.reset(seed=0)
    state = env.get_state()
    state["q"][:, 3:7] *= 1.0005
    env.set_state(state)
    assert torch.equal(env.get_state()["q"], state["q"])


BAD_ACTIONS = {
    "shape": (torch.zeros(3, 4), ValueError, r"actions must be \(environments=3, actions=3\) float32. Got \(3, 4\)"),
    "dtype": (torch.zeros(3, 3).double(), ValueError, "float32. Got \\(3, 3\\) float64"),
    "integers": (np.zeros((3, 3), dtype=np.int64), ValueError, "float32. Got \\(3, 3\\) int64"),
    "array": (np.zeros((2, 3)), ValueError, r"Got \(2, 3\) float64"),
    "device": (torch.zeros(3, 3, device="meta"), ValueError, "on cpu. Got them on meta"),
    "list": ([[0.0] * 3] * 3, TypeError, "a tensor or an array. Got list"),
    "nan": (
        torch.tensor([[0.0] * 3, [torch.nan] * 3, [0.0, torch.nan, 0.0]]),
        ValueError,
        "actions must not be NaN. Those of environments 1, 2 are",
    ),
}


@pytest.mark.parametrize("case", BAD_ACTIONS)
def test_bad_actions_are_refused_and_change_nothing(case):
    actions, error, message = BAD_ACTIONS[case]
    env, good = make(), torch.zeros(3, 3, requires_grad=True)
    env.reset(seed=0)
    env.step_grad(good)
    before = env.get_state()
    for step in (env.step, env.step_grad):
        with pytest.raises(error, match=message):
            step(actions)
    assert all(torch.equal(value, before[name]) for name, value in env.get_state().items())
    assert env.state["q"].requires_grad, "a refused step must not cut the graph"
    env.step(good)


KINDS = {
    "double": lambda a: a.double().numpy(),
    "longdouble": lambda a: a.numpy().astype(np.longdouble),
    "big-endian": lambda a: a.numpy().astype(">f4"),
    "Fortran": lambda a: np.asfortranarray(a.numpy()),
    "reversed": lambda a: a.numpy()[::-1].copy()[::-1],
    "strided": lambda a: np.repeat(a.numpy(), 2, axis=1)[:, ::2],
    "read-only": lambda a: np.frombuffer(a.numpy().tobytes(), dtype=np.float32).reshape(a.shape),
    "strided tensor": lambda a: a.T.clone().T,
    "tensor that requires grad": lambda a: a.clone().requires_grad_(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_actions_are_taken_as_any_floats_however_they_lie_in_memory(kind):
    results = []
    for convert in (lambda a: a, KINDS[kind]):
        env = make()
        env.reset(seed=0)
        results.append(env.step(convert(random_actions(env, 1)[0]))[0])
    assert torch.equal(*results)


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (-1, "Seed must be greater or equal to zero"),
        (1.5, "Seed must be a python integer"),
        (np.int64(3), "Seed must be a python integer"),
        ([1, 2, 3], "Seed must be a python integer"),
    ],
)
def test_bad_seeds_are_refused_by_gymnasium_and_change_nothing(seed, message):
    env = make()
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(Error, match=message):
        env.reset(seed=seed)
    assert all(torch.equal(value, before[name]) for name, value in env.get_state().items())
    assert env.np_random_seed == 0


def test_a_seeded_generator_decides_where_the_seed_is_left_out():
    observations = []
    for _ in range(2):
        env = make()
        env.np_random = np.random.default_rng(3)
        observations.append(env.reset()[0])
    assert torch.equal(*observations)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reset_mask": [True, False, True]}, TypeError, "must be an array or tensor of bool. Got list"),
        ({"reset_mask": np.array([1, 0, 1])}, TypeError, "`reset_mask` must be of bool. Got int64"),
        ({"reset_mask": torch.ones(2, dtype=torch.bool)}, ValueError, r"must have shape \(3,\). Got \(2,\)"),
        ({"reset_mask": None}, TypeError, "must be an array or tensor of bool. Got NoneType"),
        ({"reset_mask": torch.ones(3)}, TypeError, "`reset_mask` must be of bool. Got float32"),
        ({"reset_mask": np.ones((3, 1), dtype=bool)}, ValueError, r"must have shape \(3,\). Got \(3, 1\)"),
        ({"reset_mask": np.zeros(3, dtype=bool)}, ValueError, "must select at least one environment"),
        ({"colour": 1}, ValueError, "`options` of reset knows 'reset_mask' only. Got 'colour'"),
    ],
)
def test_bad_reset_options_are_refused_and_change_nothing(options, error, message):
    env = make()
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(error, match=message):
        env.reset(seed=5, options=options)
    assert all(torch.equal(value, before[name]) for name, value in env.get_state().items())
    env.step(torch.zeros(3, 3))


def test_use_before_reset_and_after_close_is_refused():
    env = make()
    for use in (lambda: env.step(torch.zeros(3, 3)), env.detach, env.get_state, lambda: env.state):
        with pytest.raises(ResetNeeded, match="call reset before anything else"):
            use()
    with pytest.raises(ResetNeeded, match="the first reset must be of all environments"):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    env.reset(seed=0)
    state = env.get_state()
    env.close()
    env.close()
    for use in (env.reset, lambda: env.step(torch.zeros(3, 3)), env.get_state, lambda: env.set_state(state)):
        with pytest.raises(ClosedEnvironmentError, match="this environment is closed"):
            use()


def test_goal_that_is_no_rotation_is_refused():
    env = make("diffenvs/HandReorient-v0", num_envs=2)
    env.reset(seed=0)
    state = env.get_state()
    wrong = state["memory"].clone()
    wrong[1, :4] *= 1.01
    with pytest.raises(ValueError, match=r"quaternions in memory of state must have norm 1 .* environments 1 have not"):
        env.set_state({**state, "memory": wrong})
    env.step(torch.zeros(2, 16))
