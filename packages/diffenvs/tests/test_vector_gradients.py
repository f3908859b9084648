"""DiffVectorEnv: gradients, states that are not finite, and what a GPU does differently."""

import gc
import sys
import weakref

import numpy as np
import pytest
import torch
from environments import IDS, make, random_actions
from recorded import check_gradients, recorded_gradients
from simulators import RECORDED_COST, ROBOTS, golden, tensor

from diffenvs.envs.arguments import drop_nan
from diffenvs.testing import check_vector_env


def simulator_of(env):
    return env._dynamics.simulator


def spoil(monkeypatch, env, at_step, row, value, part="q"):
    """Let the simulator return `value` in the last coordinate or velocity of one environment at one step."""
    step, count = simulator_of(env).step, [0]

    def spoiled(*arguments):
        made = dict(zip(("q", "qd"), step(*arguments), strict=True))
        count[0] += 1
        if count[0] == at_step:
            mask = torch.zeros_like(made[part], dtype=torch.bool)
            mask[row, -1] = True
            made[part] = torch.where(mask, value, made[part])
        return tuple(made.values())

    monkeypatch.setattr(simulator_of(env), "step", spoiled)


@pytest.mark.parametrize(("dtype", "values", "gradients"), [("float64", 1e-5, 1e-4), ("float32", 1e-4, 1e-3)])
@pytest.mark.parametrize("horizon", [1, 8])
@pytest.mark.parametrize("robot", ROBOTS)
def test_return_and_its_gradients_equal_the_recorded_ones(robot, horizon, dtype, values, gradients):
    """Relative errors; the recorded ones have constants in float32."""
    data = golden(robot)
    fields = {"action_cost": RECORDED_COST[robot], "early_termination": False}
    if robot != "hopper":  # which never observes its action
        fields["observe_action"] = False
    env = make(f"diffenvs/{robot.capitalize()}-v0", 8, dtype=dtype, **fields)
    leaves = [data["grad_q0"], data["grad_qd0"], data["grad_actions"][:horizon]]
    q, qd, actions = (tensor(leaf, env.dtype).requires_grad_() for leaf in leaves)
    env.set_state({"q": q, "qd": qd})
    total = torch.stack([env.step_grad(action)[1] for action in actions]).sum(0)
    np.testing.assert_allclose(total.detach(), data[f"grad_R{horizon}_value"], rtol=values, atol=values)
    grads = torch.autograd.grad(total.sum(), (actions, q, qd), materialize_grads=True)
    ours = dict(zip(("act", "q0", "qd0"), grads, strict=True))
    check_gradients(robot, env.model, ours, recorded_gradients(robot, f"grad_R{horizon}"), actions.detach(), gradients)


def test_clipped_entries_of_an_action_have_no_gradient():
    env = make()
    env.reset(seed=0)
    action = torch.tensor([[0.5, 1.5, -0.5]] * 3, requires_grad=True)
    env.step_grad(action)
    observation, *_ = env.step_grad(torch.zeros(3, 3))
    (grad,) = torch.autograd.grad(observation.sum(), action)
    assert not grad[:, 1].any()
    assert grad[:, [0, 2]].all()


def test_state_is_part_of_the_graph_within_a_window_and_its_copies_are_not():
    env = make()
    env.reset(seed=0)
    action = torch.zeros(3, 3, requires_grad=True)
    env.step_grad(action)
    middle = env.state["qd"]
    observation, *_ = env.step_grad(action.detach())
    to_action, to_middle = torch.autograd.grad(observation.sum(), [action, middle], retain_graph=True)
    assert to_middle.any()
    assert to_action.any()
    copies = env.get_state()
    assert not any(value.requires_grad for value in copies.values())
    copies["q"].fill_(torch.nan)
    assert env.state["q"].isfinite().all()


def test_partial_reset_keeps_the_graph_of_the_other_environments():
    env = make(autoreset_mode="Disabled")
    env.reset(seed=0)
    action = torch.zeros(3, 3, requires_grad=True)
    env.step_grad(action)
    observation, _ = env.reset(options={"reset_mask": torch.tensor([True, False, False])})
    (grad,) = torch.autograd.grad(observation.sum(), action)
    assert grad.flatten(1).any(1).tolist() == [False, True, True]


def test_cutting_the_graph_releases_the_window():
    env = make()
    env.reset(seed=0)
    for cut in (env.detach, lambda: env.step(torch.zeros(3, 3)), lambda: env.reset(seed=0)):
        action = torch.zeros(3, 3, requires_grad=True)
        alive = weakref.ref(action)
        env.step_grad(action)
        del action
        gc.collect()
        assert alive() is not None
        cut()
        gc.collect()
        assert alive() is None


def test_second_backward_through_a_window_raises():
    env = make()
    env.reset(seed=0)
    action = torch.zeros(3, 3, requires_grad=True)
    loss = env.step_grad(action)[0].sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()
    env.detach()
    action.grad = None
    env.step_grad(action)[0].sum().backward()
    assert action.grad.any()


def test_step_grad_is_refused_where_it_has_no_meaning_and_leaves_the_environment_usable():
    env = make(autoreset_mode="NextStep")
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="step_grad needs autoreset_mode 'SameStep' or 'Disabled'"):
        env.step_grad(torch.zeros(3, 3))
    env.step(torch.zeros(3, 3))


@pytest.mark.parametrize("made_there", [False, True])
@pytest.mark.parametrize("id", IDS)
def test_inference_mode_steps_without_spoiling_later_gradients(id, made_there):
    def environment():
        return make(id, randomize={"friction": (0.5, 1.0)})

    env = None if made_there else environment()
    with torch.inference_mode():
        env = env or environment()
        action = random_actions(env, 1)[0]
        env.reset(seed=0)
        env.step(action)
        with pytest.raises(RuntimeError, match="inference mode"):
            env.step_grad(action)
    action = action.clone().requires_grad_()
    env.step_grad(action)[0].sum().backward()
    assert action.grad is not None
    env.reset()
    env.step(action)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 2e6, -2e6])
@pytest.mark.parametrize("part", ["q", "qd"])
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_a_state_that_is_not_finite_or_exploded_ends_its_environment_alone(monkeypatch, mode, part, value):
    runs = []
    for spoiled in (False, True):
        env = make("diffenvs/Ant-v0", autoreset_mode=mode)
        env.reset(seed=0)
        if spoiled:
            spoil(monkeypatch, env, at_step=3, row=1, value=value, part=part)
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


def test_a_step_that_is_ignored_is_never_told_to_be_not_finite(monkeypatch):
    env = make(autoreset_mode="NextStep", max_episode_steps=1)
    env.reset(seed=0)
    spoil(monkeypatch, env, at_step=2, row=0, value=torch.nan)
    action = random_actions(env, 1)[0]
    assert env.step(action)[3].all()
    _, _, terminated, truncated, info = env.step(action)
    assert not (terminated | truncated | info["non_finite"]).any()


def test_work_that_the_cpu_may_leave_out_changes_no_value_nor_gradient(monkeypatch):
    runs = []
    for leave_out in (True, False):
        if not leave_out:
            users = [module for name, module in sys.modules.items() if name.startswith("diffenvs.envs.")]
            for module in users:  # each has a name of its own for it
                if hasattr(module, "known_empty"):
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
