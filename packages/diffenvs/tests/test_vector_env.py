"""DiffVectorEnv: Gymnasium's contract, episodes, gradients and what it refuses."""

import itertools
import json
import subprocess
import sys
from dataclasses import dataclass

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import ArrayConversion, RecordEpisodeStatistics
from simulators import DATA

import diffenvs
from diffenvs.envs import dynamics, rebase, vector
from diffenvs.envs.arguments import drop_nan
from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.tasks.base import Entry
from diffenvs.tasks.hopper import Hopper
from diffenvs.testing import check_vector_env

IDS = ["diffenvs/Hopper-v0", "diffenvs/Ant-v0"]
MODES = [mode.value for mode in AutoresetMode]
GRADIENT_TOLERANCE = 1e-4
"""Relative L2 difference per environment from the recorded gradients, whose constants are partly float32."""


def make(id="diffenvs/Hopper-v0", num_envs=3, **kwargs):
    env = gymnasium.make_vec(id, num_envs=num_envs, **kwargs)
    assert isinstance(env, DiffVectorEnv)
    return env


def random_actions(env, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, env.num_envs, env.single_action_space.shape[0])
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(env.dtype) * 2 - 1


def simulator_of(env):
    return env._dynamics.simulator


def spoil(monkeypatch, env, at_step, row, value):
    """Let the simulator return `value` in one environment's state at one step."""
    step, count = simulator_of(env).step, [0]

    def spoiled(*arguments):
        q, qd = step(*arguments)
        count[0] += 1
        if count[0] == at_step:
            mask = torch.zeros_like(q, dtype=torch.bool)
            mask[row, -1] = True
            q = torch.where(mask, value, q)
        return q, qd

    monkeypatch.setattr(simulator_of(env), "step", spoiled)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("id", "dtype"), [(IDS[0], "float64"), (IDS[1], "float32"), (IDS[1], "float64")])
def test_environments_keep_the_contract(id, dtype, mode):
    check_vector_env(make(id, dtype=dtype, autoreset_mode=mode, max_episode_steps=15), steps=40)


# Making


@pytest.mark.parametrize("id", IDS)
def test_environment_is_made_again_from_its_spec_after_json(id):
    env = make(id, dtype="float64", autoreset_mode="NextStep", max_episode_steps=7, action_cost=0.3, num_threads=1)
    json.dumps(env.spec.kwargs)
    again = gymnasium.make_vec(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.task == env.task
    assert again.num_envs == 3
    for name in ("dtype", "autoreset_mode", "max_episode_steps", "device"):
        assert getattr(again, name) == getattr(env, name)


def test_metadata_and_spaces_describe_the_environment():
    env = make(dtype="float64", autoreset_mode="Disabled")
    assert env.metadata == {"render_modes": [], "render_fps": 60, "autoreset_mode": AutoresetMode.DISABLED}
    assert DiffVectorEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.single_observation_space.dtype == np.float64
    assert env.action_space.shape == (3, 3)
    assert env.dt == 1 / 60
    assert env.max_episode_steps == 1000


def test_a_task_that_is_made_already_needs_no_registration():
    env = DiffVectorEnv(Hopper(action_cost=0.5), num_envs=2)
    assert env.task.action_cost == 0.5
    with pytest.raises(TypeError, match="fields of a task that is made already cannot be set: action_cost"):
        DiffVectorEnv(Hopper(), action_cost=0.1)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"num_envs": -1}, ValueError, "`num_envs` must be a positive integer. Got -1"),
        ({"num_envs": 0}, ValueError, "`num_envs` must be a positive integer. Got 0"),
        ({"num_envs": 1.5}, ValueError, "`num_envs` must be a positive integer. Got 1.5"),
        ({"dtype": "float16"}, ValueError, "`dtype` must be 'float32' or 'float64'. Got 'float16'"),
        ({"autoreset_mode": "Never"}, ValueError, "`autoreset_mode` must be one of 'NextStep', 'SameStep', 'Disabled'"),
        ({"max_episode_steps": 0}, ValueError, "`max_episode_steps` must be a positive integer"),
        ({"num_threads": 0}, ValueError, "`num_threads` must be a positive integer"),
        ({"device": "tpu"}, ValueError, "`device` must be 'cpu', 'cuda' or 'cuda:<index>'. Got 'tpu'"),
        ({"device": "meta"}, ValueError, "`device` must be 'cpu', 'cuda' or 'cuda:<index>'. Got 'meta'"),
        ({"device": "cuda:99"}, ValueError, "this machine has . usable CUDA devices"),
        ({"render_mode": "ansi"}, ValueError, "`render_mode` must be None. Got 'ansi'"),
        ({"acton_cost": 1.0}, TypeError, "Hopper has no field 'acton_cost'. Its fields are action_cost"),
    ],
)
def test_wrong_arguments_are_refused_by_name(kwargs, error, message):
    with pytest.raises(error, match=message):
        make(**kwargs)


def test_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no task has the id 'Snake'\. There are diffenvs/Hopper-v0, diffenvs/Ant-v0"):
        DiffVectorEnv("Snake")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="`device` is 'cuda', and this machine has 0 usable CUDA devices"):
        make(device="cuda")


# Seeds and episodes


def test_an_environment_does_not_depend_on_the_number_of_environments():
    few, many = make(num_envs=2, max_episode_steps=5), make(num_envs=9, max_episode_steps=5)
    assert torch.equal(few.reset(seed=3)[0], many.reset(seed=3)[0][:2])
    for action in random_actions(many, 12):
        assert torch.equal(few.step(action[:2])[0], many.step(action)[0][:2])


def test_environments_episodes_and_seeds_begin_differently():
    env = make(num_envs=50)
    states = torch.cat([env.reset(seed=1)[0], env.reset()[0], env.reset(seed=2)[0]])
    assert len(states.unique(dim=0)) == 150


def test_first_reset_without_a_seed_takes_entropy():
    assert not torch.equal(make().reset()[0], make().reset()[0])


def test_without_noise_episodes_begin_at_rest_in_the_start_pose():
    env = make("diffenvs/Ant-v0", reset_noise=False)
    env.reset(seed=0)
    state = env.get_state()
    torch.testing.assert_close(state["q"], torch.tensor([env.task.start_q()]).expand(3, -1))
    assert not state["qd"].any()


@pytest.mark.parametrize("mode", MODES)
def test_time_limit_truncates_after_its_steps_and_is_no_termination(mode):
    env = make(max_episode_steps=4, autoreset_mode=mode, early_termination=False)
    env.reset(seed=0)
    flags = [env.step(action)[2:4] for action in random_actions(env, 4)]
    assert [bool(truncated.all()) for _, truncated in flags] == [False, False, False, True]
    assert not torch.stack([terminated for terminated, _ in flags]).any()


def test_without_a_limit_episodes_go_on():
    env = DiffVectorEnv(Hopper(early_termination=False), max_episode_steps=None)
    env.reset(seed=0)
    assert not any(bool(env.step(action)[3].any()) for action in random_actions(env, 1100))


@pytest.mark.parametrize("early", [True, False])
def test_a_low_torso_terminates_only_with_early_termination(early):
    env = make(early_termination=early, termination_height=0.5)
    env.reset(seed=0)
    state = env.get_state()
    state["q"][:, 1] = torch.tensor([1.0, 0.2, 1.0])  # in the air
    env.set_state(state)
    _, _, terminated, truncated, info = env.step(torch.zeros(3, 3))
    assert terminated.tolist() == [False, early, False]
    assert not (truncated | info["non_finite"]).any()


def test_next_step_mode_ignores_the_action_of_the_step_that_resets():
    env = make(autoreset_mode="NextStep", max_episode_steps=2)
    actions = random_actions(env, 2)
    env.reset(seed=0)
    last = [env.step(action) for action in actions][-1]
    assert last[3].all()
    observation, reward, terminated, truncated, info = env.step(torch.full((3, 3), torch.nan))
    assert not torch.equal(observation, last[0])
    assert not reward.any()
    assert not (terminated | truncated).any()
    assert set(info) == {"non_finite"}
    assert env.get_state()["step_count"].tolist() == [0, 0, 0]
    assert not env.step(actions[0])[3].any()


def test_disabled_mode_refuses_to_step_what_is_done_until_it_is_reset():
    env = make(autoreset_mode="Disabled", max_episode_steps=1)
    env.reset(seed=0)
    action = random_actions(env, 1)[0]
    env.step(action)
    with pytest.raises(ResetNeeded, match="environments 0, 1, 2 are done; reset them with a `reset_mask`"):
        env.step(action)
    env.reset(options={"reset_mask": np.array([True, True, True])})
    env.step(action)


def test_final_info_holds_the_terms_of_the_reward():
    env = make()
    env.reset(seed=0)
    _, reward, _, _, info = env.step(random_actions(env, 1)[0])
    assert set(info["final_info"]) == {"progress", "height", "angle", "action"}
    torch.testing.assert_close(torch.stack(list(info["final_info"].values())).sum(0), reward)
    assert not any(term.requires_grad for term in info["final_info"].values())


def test_reward_is_of_the_observation_before_the_step_and_the_clipped_action():
    env = make("diffenvs/Ant-v0")
    observation, _ = env.reset(seed=0)
    actions = torch.full((3, 8), 3.0)
    following, reward, *_ = env.step(actions)
    terms = env.task.reward_terms(observation, actions.clamp(-1, 1), following)
    torch.testing.assert_close(reward, torch.stack(list(terms.values())).sum(0))
    torch.testing.assert_close(env.task.entry(following, "action"), torch.ones(3, 8))


# Gradients


@pytest.mark.parametrize("horizon", [1, 8])
@pytest.mark.parametrize(("name", "id"), [("hopper", IDS[0]), ("ant", IDS[1])])
def test_return_and_its_gradients_equal_the_recorded_ones(name, id, horizon):
    data = np.load(DATA / f"{name}_f64.npz")
    cost = {"hopper": 0.1, "ant": 0.0}[name]
    env = make(id, 8, dtype="float64", observe_action=False, action_cost=cost, early_termination=False)
    q, qd, actions = (
        torch.tensor(data[key], dtype=torch.float64).requires_grad_() for key in ("grad_q0", "grad_qd0", "grad_actions")
    )
    env.set_state({"q": q, "qd": qd})
    total = torch.stack([env.step_grad(actions[t])[1] for t in range(horizon)]).sum(0)
    np.testing.assert_allclose(total.detach(), data[f"grad_R{horizon}_value"], rtol=1e-5, atol=1e-5)
    grads = torch.autograd.grad(total.sum(), (actions, q, qd), materialize_grads=True)
    grads = (grads[0][:horizon].transpose(0, 1), *grads[1:])
    for grad, key in zip(grads, ("dact", "dq0", "dqd0"), strict=True):
        expected = torch.tensor(data[f"grad_R{horizon}_{key}"], dtype=torch.float64)
        expected = expected[:horizon].transpose(0, 1) if key == "dact" else expected
        difference = grad - expected
        if name == "ant" and key == "dq0":  # what a quaternion's length would do is no part of the motion
            rotation = q.detach()[:, 3:7]
            along = (difference[:, 3:7] * rotation).sum(-1, keepdim=True)
            difference = difference.index_copy(1, torch.arange(3, 7), difference[:, 3:7] - along * rotation)
        error = difference.flatten(1).norm(dim=1)
        assert (error <= GRADIENT_TOLERANCE * expected.flatten(1).norm(dim=1) + 1e-12).all(), key


def test_clipped_entries_of_an_action_have_no_gradient():
    env = make()
    env.reset(seed=0)
    action = torch.tensor([[0.5, 1.5, -0.5]] * 3, requires_grad=True)
    env.step_grad(action)
    observation, *_ = env.step_grad(torch.zeros(3, 3))
    (grad,) = torch.autograd.grad(observation.sum(), action)
    assert not grad[:, 1].any()
    assert grad[:, [0, 2]].all()


def test_state_is_attached_within_a_window_and_its_copies_are_not():
    env = make()
    env.reset(seed=0)
    action = torch.zeros(3, 3, requires_grad=True)
    env.step_grad(action)
    assert env.state["q"].requires_grad
    assert env.state["qd"].requires_grad
    (grad,) = torch.autograd.grad(env.state["qd"].sum(), action)
    assert grad.any()
    assert not any(value.requires_grad for value in env.get_state().values())
    env.state["q"].data.fill_(torch.nan)
    assert env.get_state()["q"].isfinite().all()


def test_partial_reset_keeps_the_graph_of_the_other_environments():
    env = make(autoreset_mode="Disabled")
    env.reset(seed=0)
    action = torch.zeros(3, 3, requires_grad=True)
    env.step_grad(action)
    observation, _ = env.reset(options={"reset_mask": torch.tensor([True, False, False])})
    (grad,) = torch.autograd.grad(observation.sum(), action)
    assert grad.flatten(1).any(1).tolist() == [False, True, True]


def test_second_backward_through_a_window_raises():
    env = make()
    env.reset(seed=0)
    action = torch.zeros(3, 3, requires_grad=True)
    loss = env.step_grad(action)[0].sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_step_grad_is_refused_where_it_has_no_meaning_and_leaves_the_environment_usable():
    env = make(autoreset_mode="NextStep")
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="step_grad needs autoreset_mode 'SameStep' or 'Disabled'"):
        env.step_grad(torch.zeros(3, 3))
    env.step(torch.zeros(3, 3))


def test_inference_mode_steps_without_spoiling_later_gradients():
    env = make()
    with torch.inference_mode():
        env.reset(seed=0)
        env.step(torch.zeros(3, 3))
        with pytest.raises(RuntimeError, match="inference mode"):
            env.step_grad(torch.zeros(3, 3))
    action = torch.zeros(3, 3, requires_grad=True)
    env.step_grad(action)[0].sum().backward()
    assert action.grad is not None


# States that are not finite


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 2e6])
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_a_state_that_is_not_finite_or_exploded_ends_its_environment_alone(monkeypatch, mode, value):
    runs = []
    for spoiled in (False, True):
        env = make("diffenvs/Ant-v0", autoreset_mode=mode)
        env.reset(seed=0)
        if spoiled:
            spoil(monkeypatch, env, at_step=3, row=1, value=value)
        actions = random_actions(env, 5).requires_grad_()
        results = [env.step_grad(actions[t]) for t in range(3)]
        if mode == "Disabled" and spoiled:
            env.reset(options={"reset_mask": results[-1][2]})
        results += [env.step_grad(actions[t]) for t in range(3, 5)]
        total = torch.stack([result[1] for result in results]).sum() + results[-1][0].sum()
        (grad,) = torch.autograd.grad(total, actions)
        runs.append((results, grad))
    (clean, clean_grad), (results, grad) = runs
    assert results[2][4]["non_finite"].tolist() == [False, True, False]
    assert results[2][2].tolist() == [False, True, False]
    assert not any(result[4]["non_finite"].any() for i, result in enumerate(results) if i != 2)
    for observation, reward, *_ in results:
        assert observation.isfinite().all()
        assert reward.isfinite().all()
    others = [0, 2]
    for a, b in zip(results, clean, strict=True):
        assert all(torch.equal(x[others], y[others]) for x, y in zip(a[:4], b[:4], strict=True))
    assert torch.equal(grad[:, others], clean_grad[:, others])
    assert grad.isfinite().all()
    assert not grad[2, 1, :].isnan().any()
    assert grad[3:, 1].any()


def test_next_step_mode_resets_an_environment_that_was_not_finite(monkeypatch):
    env = make(autoreset_mode="NextStep")
    env.reset(seed=0)
    spoil(monkeypatch, env, at_step=1, row=0, value=torch.nan)
    action = random_actions(env, 1)[0]
    _, reward, terminated, _, info = env.step(action)
    assert info["non_finite"].tolist() == terminated.tolist() == [True, False, False]
    assert reward.isfinite().all()
    _, _, terminated, _, info = env.step(action)
    assert not (terminated | info["non_finite"]).any()
    assert env.get_state()["episode"].tolist() == [1, 0, 0]


# State


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
        "nan": ({**state, "q": q.index_fill(0, torch.tensor([1]), torch.nan)}, "q of state must be finite .* in 1"),
        "exploded": ({**state, "qd": state["qd"] + 2e6}, r"must be finite and below 1e\+06. It is not in 0, 1, 2"),
        "origin": ({**state, "origin": state["origin"] + torch.inf}, "origin of state must be finite"),
        "quaternion": (
            {**state, "q": q * 1.01},
            "must have norm 1 to within 0.001. Those of environments 0, 1, 2 have",
        ),
        "missing": ({"q": q}, "state must have q and qd only, or all of q, qd, origin"),
        "unknown": ({**state, "colour": q}, "state must have q and qd only, or all of .* Got .*colour"),
    }


@pytest.mark.parametrize(
    "case", broken_states({"q": torch.zeros(3, 15), "qd": torch.zeros(3, 14), "origin": torch.zeros(3)})
)
def test_broken_states_are_refused_and_change_nothing(case):
    env = make("diffenvs/Ant-v0")
    env.reset(seed=0)
    before = env.get_state()
    state, message = broken_states(env.get_state())[case]
    with pytest.raises(ValueError, match=message):
        env.set_state(state)
    assert all(torch.equal(value, before[name]) for name, value in env.get_state().items())


def test_slightly_wrong_quaternions_are_taken_as_they_are():
    env = make("diffenvs/Ant-v0")
    env.reset(seed=0)
    state = env.get_state()
    state["q"][:, 3:7] *= 1.0005
    env.set_state(state)
    assert torch.equal(env.get_state()["q"], state["q"])


# What steps and resets refuse


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


def test_arrays_of_floats_are_taken_as_actions():
    results = []
    for convert in (lambda a: a, lambda a: a.numpy(), lambda a: a.double().numpy()):
        env = make()
        env.reset(seed=0)
        results.append(env.step(convert(random_actions(env, 1)[0]))[0])
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reset_mask": [True, False, True]}, TypeError, "must be an array or tensor of bool. Got list"),
        ({"reset_mask": np.array([1, 0, 1])}, TypeError, "`reset_mask` must be of bool. Got int64"),
        ({"reset_mask": torch.ones(2, dtype=torch.bool)}, ValueError, r"must have shape \(3,\). Got \(2,\)"),
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


# What the CPU leaves out and a GPU does not


def test_work_that_the_cpu_may_leave_out_changes_no_value_nor_gradient(monkeypatch):
    runs = []
    for leave_out in (True, False):
        if not leave_out:
            for module in (dynamics, rebase, vector):
                monkeypatch.setattr(module, "known_empty", lambda mask: False)
        env = make("diffenvs/Ant-v0", max_episode_steps=6)
        env.reset(seed=0)
        actions = random_actions(env, 9).requires_grad_()
        results = [env.step_grad(action) for action in actions]
        total = torch.stack([result[1] for result in results]).sum() + results[-1][0].sum()
        runs.append(([result[:4] for result in results], torch.autograd.grad(total, actions)[0]))
    for a, b in zip(runs[0][0], runs[1][0], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert torch.equal(runs[0][1], runs[1][1])


def test_actions_with_nan_are_dropped_and_named_without_touching_the_others():
    actions = torch.tensor([[0.5, 1.0], [torch.nan, 0.5], [0.0, -1.0]], requires_grad=True)
    dropped, wrong = drop_nan(actions)
    assert wrong.tolist() == [False, True, False]
    assert dropped.tolist() == [[0.5, 1.0], [0.0, 0.0], [0.0, -1.0]]
    (grad,) = torch.autograd.grad(dropped.sum(), actions)
    assert grad.tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@needs_cuda
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_cuda_environments_keep_the_contract(mode):
    for dtype in ("float32", "float64"):
        env = make("diffenvs/Ant-v0", device="cuda", dtype=dtype, autoreset_mode=mode, max_episode_steps=15)
        check_vector_env(env, steps=40)


@needs_cuda
def test_steps_on_cuda_never_wait_for_the_device():
    env = make("diffenvs/Ant-v0", 64, device="cuda", max_episode_steps=5)
    env.reset(seed=0)
    action = torch.zeros(64, 8, device="cuda", requires_grad=True)
    env.step(action)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(12):
            env.step(action)
            env.step_grad(action)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_actions_with_nan_end_their_environments_on_cuda():
    env = make(device="cuda")
    env.reset(seed=0)
    actions = torch.zeros(3, 3, device="cuda")
    actions[1, 0] = torch.nan
    observation, reward, terminated, _, info = env.step(actions)
    assert terminated.tolist() == info["non_finite"].tolist() == [False, True, False]
    assert observation.isfinite().all()
    assert reward.isfinite().all()


@needs_cuda
def test_resets_on_cuda_are_those_of_the_cpu():
    here, there = make(dtype="float64"), make(dtype="float64", device="cuda")
    torch.testing.assert_close(here.reset(seed=1)[0], there.reset(seed=1)[0].cpu(), rtol=0, atol=1e-15)


# Users' own


@dataclass(frozen=True, kw_only=True)
class Chase(Hopper):
    """A Hopper with a memory: a goal that is drawn anew in the middle of an episode, when it has been seen thrice."""

    OBSERVATION = (*Hopper.OBSERVATION, Entry("goal", 1, "m", "drawn"))
    MEMORY = (Entry("goal", 1, "m", "drawn"), Entry("seen", 1, "1", "steps"))

    def first_memory(self, random):
        return torch.cat([random.uniform(1, 1.0, 2.0), random.uniform(1, 0.0, 0.0)], dim=-1)

    def next_memory(self, random, state, next_observation):
        seen = state.memory[:, 1:] + 1.0
        goal = torch.where(seen >= 3, random.uniform(1, 1.0, 2.0), state.memory[:, :1])
        return torch.cat([goal, torch.where(seen >= 3, 0.0, seen)], dim=-1)

    def observation(self, state, action):
        return torch.cat([super().observation(state, action), state.memory[:, :1]], dim=-1)

    def reward_terms(self, observation, action, next_observation):
        return {"goal": self.entry(next_observation, "goal")}


def test_a_task_with_a_memory_keeps_the_contract():
    check_vector_env(DiffVectorEnv(Chase(), num_envs=4, dtype="float64", max_episode_steps=15), steps=40)


def test_memory_is_rewarded_as_it_was_and_observed_as_it_becomes():
    env = DiffVectorEnv(Chase(), num_envs=2)
    observation, _ = env.reset(seed=0)
    goals, rewards = [env.task.entry(observation, "goal")], []
    for action in random_actions(env, 9):
        observation, reward, *_ = env.step(action)
        goals.append(env.task.entry(observation, "goal"))
        rewards.append(reward)
    changes = [not torch.equal(a, b) for a, b in itertools.pairwise(goals)]
    assert changes == [False, False, True] * 3
    assert all(torch.equal(reward, goal) for reward, goal in zip(rewards, goals, strict=False))


def test_a_registered_task_is_made_by_gymnasium():
    diffenvs.register_task("tests/Chase-v0", Chase, max_episode_steps=3)
    try:
        env = gymnasium.make_vec("tests/Chase-v0", num_envs=2, action_cost=0.2)
        assert env.task == Chase(action_cost=0.2)
        assert env.max_episode_steps == 3
        assert gymnasium.make("tests/Chase-v0").observation_space.shape == (12,)
    finally:
        gymnasium.registry.pop("tests/Chase-v0")
        diffenvs.TASKS.pop("tests/Chase-v0")


def test_gymnasiums_array_conversion_and_statistics_work_on_top():
    env = make(max_episode_steps=5, num_envs=2)
    wrapped = RecordEpisodeStatistics(ArrayConversion(env, env_xp=torch, target_xp=np))
    wrapped.reset(seed=0)
    rewards = [wrapped.step(np.zeros((2, 3), dtype=np.float32))]
    rewards += [wrapped.step(np.zeros((2, 3), dtype=np.float32)) for _ in range(4)]
    info = rewards[-1][4]
    np.testing.assert_allclose(info["episode"]["r"], np.sum([reward[1] for reward in rewards], axis=0), rtol=1e-6)
    assert info["episode"]["l"].tolist() == [5, 5]


def test_importing_the_package_loads_neither_torch_nor_warp():
    code = "import sys, diffenvs; assert not {'torch', 'warp'} & set(sys.modules), 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_package_has_the_names_it_declares():
    assert [name for name in diffenvs.__all__ if not hasattr(diffenvs, name)] == []
    with pytest.raises(AttributeError, match="module 'diffenvs' has no attribute 'colour'"):
        diffenvs.colour  # noqa: B018
