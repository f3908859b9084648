"""Simulation and networks on different devices, with one that every machine has in the place of a GPU.

What only a GPU can show, the kernels on it above all, is in the packages' own `test_cuda.py`.
"""

import gymnasium
import numpy as np
import pytest
import torch
from second_device import CPU, DEVICE

from rpo import evaluate
from rpo.algorithms import ALGORITHMS

N = 3
STEPS = 7
TASKS = ["Hopper", "Ant", "Humanoid", "Anymal", "HandReorient"]
FIRST_ORDER = ["rpo", "sapo", "shac"]
PAIRS = [(CPU, DEVICE), (DEVICE, CPU), (DEVICE, DEVICE)]
"""Devices of the simulation and of the networks."""

pytestmark = pytest.mark.usefixtures("second_device", "one_thread")
every_task = pytest.mark.parametrize("task", TASKS)
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)
on_all_devices = pytest.mark.parametrize("devices", PAIRS, ids=["networks", "simulation", "both"])


def make_env(task="Hopper", device=CPU, **kwargs):
    kwargs = {"num_envs": N, "max_episode_steps": 3, **kwargs}
    return gymnasium.make_vec(f"diffenvs/{task}-v0", device=device, **kwargs).unwrapped


def make_model(name, devices=(CPU, CPU), **changes):
    algorithm = ALGORITHMS[name]
    epochs = "n_epochs" if name == "ppo" else "critic_epochs"
    config = algorithm.config_class(**{"hidden_sizes": (8,), "horizon": 4, epochs: 1, **changes})
    return algorithm(make_env(device=devices[0]), config, device=devices[1], seed=0)


def leaves(tree):
    """Tensors of what an environment returns, by where they are in it."""
    if isinstance(tree, dict):
        return {f"{name}/{key}": leaf for name, value in tree.items() for key, leaf in leaves(value).items()}
    if isinstance(tree, tuple):
        return leaves(dict(enumerate(tree)))
    return {"": tree}


def numbers(model):
    """All parameters and statistics."""
    return model.policy.state_dict()


def assert_equal(ours, theirs):
    """Assert that these tensors of the second device have the bits of those of the CPU."""
    ours, theirs = leaves(ours), leaves(theirs)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name].cpu(), theirs[name].cpu())] == []


# ------------------------------------------------------------------------------------------------------ environments


def episodes(env):
    """What a few steps of step_grad return, and the gradient of all rewards to the actions."""
    shape = (STEPS, env.num_envs, env.single_action_space.shape[0])
    actions = (0.9 * torch.rand(shape, generator=torch.Generator().manual_seed(1))).to(env.device).requires_grad_()
    made = [env.reset(seed=0)]
    made += [env.step_grad(action) for action in actions]
    total = sum(step[1].sum() for step in made[1:])
    return tuple(made), torch.autograd.grad(total, actions)


@every_task
def test_tasks_are_the_same(task):
    assert_equal(episodes(make_env(task, DEVICE)), episodes(make_env(task)))


@every_task
def test_host_does_not_wait_for_steps_and_resets(task, second_device):
    env = make_env(task, DEVICE, randomize={"friction": (0.5, 1.0)})
    env.reset(seed=0)
    action = torch.zeros(N, env.single_action_space.shape[0], device=DEVICE, requires_grad=True)
    rewards = env.step_grad(action)[1].sum()
    second_device.waits.clear()
    for _ in range(STEPS):
        rewards = rewards + env.step_grad(action)[1].sum()
    torch.autograd.grad(rewards, action)
    assert second_device.waits == []


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_autoreset_modes_and_randomised_parameters_are_the_same(mode):
    def run(device):
        env = make_env(device=device, autoreset_mode=mode, randomize={"friction": (0.5, 1.0)})
        made = [env.reset(seed=0)]
        for step in range(STEPS):
            made.append(env.step(torch.full((N, 3), 0.1 * step, device=device)))
            done = made[-1][2] | made[-1][3]
            if mode == "Disabled" and done.cpu().any():
                made.append(env.reset(options={"reset_mask": done}))
        return tuple(made), env.get_state()

    assert_equal(run(DEVICE), run(CPU))


def test_action_that_is_nan_ends_its_environment_alone():
    env = make_env(device=DEVICE, early_termination=False)
    env.reset(seed=0)
    actions = torch.zeros(N, 3, device=DEVICE)
    actions[1, 0] = torch.nan
    actions.requires_grad_()
    obs, reward, terminated, _, info = env.step_grad(actions)
    assert terminated.tolist() == info["non_finite"].tolist() == [False, True, False]
    assert obs.cpu().isfinite().all()
    (gradient,) = torch.autograd.grad(reward.sum(), actions)
    assert gradient.cpu().isfinite().all()


def test_states_and_parameters_are_taken_and_given_where_the_environment_is():
    results = []
    for device in (DEVICE, CPU):
        env = make_env(device=device)
        env.reset(seed=0)
        state = env.get_state()
        env.step(torch.ones(N, 3, device=device))
        mass = env.parameters["mass"].expand(N, -1).clone().requires_grad_()
        env.set_parameters({"mass": 2 * mass})
        observation = env.set_state(state)
        following = env.step_grad(torch.zeros(N, 3, device=device))[0]
        results.append((observation, following.detach(), *torch.autograd.grad(following.sum(), mass)))
        assert {leaf.device for leaf in results[-1]} == {device}
    assert_equal(*results)


def test_tensor_of_another_device_is_refused():
    env = make_env(device=DEVICE)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must be .* on meta\. Got them on cpu"):
        env.step(torch.zeros(N, 3))


# ---------------------------------------------------------------------------------------------------------- learning


@on_all_devices
@every_algorithm
def test_devices_change_nothing_in_what_is_learnt(name, devices):
    model = make_model(name, devices).learn(3 * 4 * N, log_interval=None)
    assert {parameter.device for parameter in model.policy.parameters()} == {devices[1]}
    assert {leaf.device for leaf in model.adapter.env.get_state().values()} == {devices[0]}
    assert_equal(numbers(model), numbers(make_model(name).learn(3 * 4 * N, log_interval=None)))


@on_all_devices
@every_algorithm
def test_resumed_training_goes_on_on_its_devices(name, devices, tmp_path):
    whole = make_model(name, devices).learn(4 * 4 * N, log_interval=None)
    make_model(name, devices).learn(2 * 4 * N, log_interval=None).save_training(tmp_path / "training")
    env = make_env(device=devices[0])
    part = ALGORITHMS[name].load_training(tmp_path / "training", env, device=devices[1])
    part.learn(2 * 4 * N, log_interval=None, reset_num_timesteps=False)
    assert_equal(numbers(part), numbers(whole))


@on_all_devices
@every_algorithm
def test_evaluations_are_the_same(name, devices):
    ours, theirs = (
        evaluate(make_model(name, pair).policy, make_env(device=pair[0]), episodes=8, deterministic=False, seed=1)
        for pair in (devices, (CPU, CPU))
    )
    np.testing.assert_array_equal(ours.returns, theirs.returns)


@every_algorithm
def test_actions_are_where_the_observations_are(name):
    model = make_model(name, (CPU, DEVICE))
    observation = torch.linspace(-1, 1, 2 * model.observation_space.shape[0]).view(2, -1)
    expected = make_model(name).predict(observation, deterministic=True)[0]
    for given in (observation.numpy(), observation, observation.to(DEVICE)):
        action, _ = model.predict(given, deterministic=True)
        assert type(action) is type(given)
        if isinstance(action, torch.Tensor):
            assert action.device == given.device
            action = action.cpu().numpy()
        np.testing.assert_allclose(action, expected, rtol=1e-5)  # arrays are rounded by Stable-Baselines3


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_host_does_not_wait_between_the_steps_of_a_window(name, second_device):
    model, waits = make_model(name, (DEVICE, DEVICE)).learn(4 * N, log_interval=None), []

    def callback(*_):
        waits.append(len(second_device.waits))
        return True

    model.learn(3 * 4 * N, callback=callback, log_interval=None, reset_num_timesteps=False)
    by_window = np.reshape(waits, (3, 4))
    assert (by_window == by_window[:, :1]).all()


def test_callback_waits_for_what_it_looks_at(second_device):
    waits, ends = [], []

    def callback(local, _):
        waits.append(len(second_device.waits))
        ends.append(local["dones"].tolist())
        return True

    model = make_model("rpo", (DEVICE, DEVICE)).learn(4 * N, log_interval=None)
    model.learn(4 * N, callback=callback, log_interval=None, reset_num_timesteps=False)
    assert np.diff(waits).tolist() == [1, 1, 1]
    assert ends == [[False] * N, [True] * N, [False] * N, [False] * N]


@pytest.mark.parametrize("name", FIRST_ORDER)
def test_host_waits_for_a_window_as_often_whatever_its_epochs(name, second_device):
    waits = []
    for epochs in (1, 8):
        changes = {"critic_epochs": epochs} | ({"policy_epochs": epochs} if name == "rpo" else {})
        model = make_model(name, (DEVICE, DEVICE), **changes).learn(4 * N, log_interval=None)
        before = len(second_device.waits)
        model.learn(4 * N, log_interval=None, reset_num_timesteps=False)
        waits.append(len(second_device.waits) - before)
    assert waits[0] == waits[1] < 8


# ------------------------------------------------------------------------------------------------- the device itself


def test_second_device_refuses_what_a_gpu_would():
    there, here = torch.ones(3, device=DEVICE), torch.ones(3)
    for mistake in (
        lambda: there + here,
        lambda: torch.stack([there, here]),
        lambda: torch.zeros(()).add_(there.sum()),
        lambda: torch.nn.Linear(3, 1).to(DEVICE)(here),
        lambda: here[torch.zeros(1, dtype=torch.int64, device=DEVICE)],
    ):
        with pytest.raises(RuntimeError, match="of tensors on the CPU and on the second device"):
            mistake()
    assert torch.equal((there + torch.tensor(1.0)).cpu(), here + 1)


def test_second_device_counts_what_a_host_would_wait_for(second_device):
    there, here = torch.ones(3, device=DEVICE), torch.ones(3)
    for question in (
        there.cpu,
        lambda: here.to(DEVICE),
        lambda: there.copy_(here),
        there.mean().item,
        lambda: bool((there > 0).any()),
        lambda: there[there > 0],
        there.nonzero,
    ):
        second_device.waits.clear()
        question()
        assert len(second_device.waits) == 1
    second_device.waits.clear()
    for work in (lambda: there.to(DEVICE), there.double, lambda: there.copy_(there), lambda: there[1:], there.sum):
        work()
    assert second_device.waits == []


def test_models_of_the_second_device_are_exported(tmp_path):
    model = make_model("rpo", (CPU, DEVICE)).learn(2 * 4 * N, log_interval=None)
    model.policy.export(tmp_path / "policy.pt2")
    exported = torch.export.load(tmp_path / "policy.pt2").module()
    observation = make_env().reset(seed=1)[0]
    expected, _ = model.predict(observation, deterministic=True)
    assert expected.abs().min() > 0
    torch.testing.assert_close(exported(observation), expected)
