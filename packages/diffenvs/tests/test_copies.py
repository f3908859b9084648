"""Copies of environments, tasks, models and simulators: in this process, in another one, and made again from specs."""

import copy
import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from environments import MODES, make, random_actions
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode
from simulators import ROBOTS, at_rest

import diffenvs
from diffenvs.registration import make_task
from diffenvs.simulator import Simulator

COPIERS = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy}
HALF = 5
"""Steps before and after a copy is made; episodes last 3."""
copied = pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)


def run(env, actions):
    """Observations, rewards and flags of a vector environment."""
    return [[value.clone() for value in env.step(action)[:4]] for action in actions]


def check_same(a, b):
    for x, y in zip(a, b, strict=True):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(x, y, strict=True))


@copied
@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_a_copy_of_an_environment_goes_on_exactly_and_on_its_own(id, copier):
    env = make(id, max_episode_steps=3)
    env.reset(seed=0)
    actions = random_actions(env, 2 * HALF)
    run(env, actions[:HALF])
    again = copier(env)
    results = run(again, actions[HALF:])
    check_same(run(env, actions[HALF:]), results)
    assert again.spec == env.spec
    assert again.metadata == env.metadata
    np.testing.assert_array_equal(again.action_space.sample(), env.action_space.sample())
    again.close()
    env.step(actions[0])


@copied
@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_a_copy_of_what_gymnasium_made_goes_on_with_its_time_limit(id, copier):
    env = gymnasium.make(id, max_episode_steps=4)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    again, results = copier(env), []
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(3)]
    for each in (env, again):
        results.append([each.step(action)[:4] for action in actions])
        results[-1].append((each.reset()[0], 0, 0, 0))
    assert results[0][-2][3] is True, "the time limit must be reached"
    for mine, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        assert mine[1:] == theirs[1:]


@copied
@pytest.mark.parametrize("mode", MODES)
def test_a_copy_knows_which_episodes_are_over(copier, mode):
    env = make(autoreset_mode=mode, max_episode_steps=2)
    env.reset(seed=0)
    actions = random_actions(env, 3)
    run(env, actions[:2])
    again = copier(env)
    assert again.autoreset_mode is AutoresetMode(mode)
    if mode == "Disabled":
        with pytest.raises(ResetNeeded, match="environments 0, 1, 2 are done"):
            again.step(actions[2])
    else:
        check_same(run(env, actions[2:]), run(again, actions[2:]))


@copied
def test_a_copy_leaves_the_graph_behind(copier):
    env = make()
    env.reset(seed=0)
    action = torch.zeros(3, 3, requires_grad=True)
    observation = env.step_grad(action)[0]
    again = copier(env)
    assert not any(value.requires_grad for value in again.state.values())
    other = torch.zeros(3, 3, requires_grad=True)
    again.step_grad(other)[0].sum().backward()
    observation.sum().backward()
    assert action.grad.any()
    assert other.grad.any()


@copied
def test_a_copy_draws_pictures_of_its_own(copier):
    env = make(render_mode="rgb_array", width=32, height=24)
    env.reset(seed=0)
    try:
        frames = env.render()
    except RuntimeError as error:
        pytest.skip(str(error))  # the system has no OpenGL
    again = copier(env)
    np.testing.assert_array_equal(again.render(), frames)
    env.close()
    np.testing.assert_array_equal(again.render(), frames)
    again.close()


@copied
def test_a_copy_keeps_the_parameters_that_were_given_and_drawn(copier):
    env = make("diffenvs/Ant-v0", max_episode_steps=3, randomize={"mass": (0.5, 2.0)})
    env.reset(seed=0)
    scale = torch.tensor(0.5, requires_grad=True)
    actions = random_actions(env, 8)
    env.set_parameters({"gear": scale * env.parameters["gear"]})
    env.step_grad(actions[0])
    again = copier(env)
    for name, value in env.parameters.items():
        assert torch.equal(again.parameters[name], value)
        assert not again.parameters[name].requires_grad
    check_same(run(env, actions[1:]), run(again, actions[1:]))


@copied
def test_environments_that_are_not_reset_or_closed_are_copied_as_they_are(copier):
    env = make()
    again = copier(env)
    with pytest.raises(ResetNeeded, match="call reset before anything else"):
        again.step(torch.zeros(3, 3))
    assert torch.equal(again.reset(seed=0)[0], env.reset(seed=0)[0])
    env.close()
    with pytest.raises(ClosedEnvironmentError, match="this environment is closed"):
        copier(env).reset()


@copied
@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_tasks_and_their_models_are_copied_to_equal_ones(id, copier):
    task = make_task(id, {"action_cost": 0.25})
    assert copier(task) == task
    assert copier(task.model()) == task.model()


@copied
def test_a_copy_of_a_simulator_has_its_parameters_and_settings(copier):
    simulator = Simulator(ROBOTS["ant"], 2, dtype=torch.float64, num_threads=1)
    state = at_rest(ROBOTS["ant"], 2)
    first = simulator.step(*state)
    simulator.parameters["mass"] = 2.0 * simulator.parameters["mass"]
    again = copier(simulator)
    assert (again.num_envs, again.dtype, again.device) == (2, torch.float64, torch.device("cpu"))
    simulator.parameters["mass"] = 0.5 * simulator.parameters["mass"]
    lighter, heavier = simulator.step(*state), again.step(*state)
    assert all(torch.equal(a, b) for a, b in zip(lighter, first, strict=True))
    assert not torch.equal(heavier[1], first[1])


CHILD = """
import pickle, sys, torch
torch.set_num_threads(1)
with open(sys.argv[1], "rb") as file:
    jobs = pickle.load(file)
results = {}
for id, (env, state, actions) in jobs.items():
    results[id] = [[env.step(action)[:4] for action in actions]]
    env.set_state(state)
    results[id].append([env.step(action)[:4] for action in actions])
with open(sys.argv[2], "wb") as file:
    pickle.dump(results, file)
"""


def test_another_process_goes_on_exactly(tmp_path):
    jobs, expected = {}, {}
    for id in diffenvs.TASKS:
        env = make(id, max_episode_steps=3)
        env.reset(seed=0)
        actions = random_actions(env, 2 * HALF)
        run(env, actions[:HALF])
        jobs[id] = (copy.deepcopy(env), env.get_state(), actions[HALF:])
        expected[id] = run(env, actions[HALF:])
    (tmp_path / "jobs").write_bytes(pickle.dumps(jobs))
    subprocess.run([sys.executable, "-c", CHILD, tmp_path / "jobs", tmp_path / "results"], check=True)
    for id, results in pickle.loads((tmp_path / "results").read_bytes()).items():
        for result in results:
            check_same(expected[id], result)


FIELDS = {
    "dtype": "float64",
    "device": "cpu",
    "max_episode_steps": 7,
    "randomize": {"mass": [0.5, 1.0]},
    "action_cost": 0.3,
    "early_termination": False,
}


def through_json(spec):
    return EnvSpec.from_json(spec.to_json())


@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_a_vector_environment_is_made_again_from_its_spec(id):
    env = make(id, autoreset_mode="NextStep", num_threads=1, **FIELDS)
    env.reset(seed=0)
    actions = random_actions(env, 9)
    results = run(env, actions)
    for spec in (env.spec, through_json(env.spec), pickle.loads(pickle.dumps(env.spec))):
        again = gymnasium.make_vec(spec)
        assert again.spec == env.spec
        assert again.task == env.task
        again.reset(seed=0)
        check_same(run(again, actions), results)


@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_a_single_environment_is_made_again_from_its_spec(id):
    env = gymnasium.make(id, **FIELDS)
    for spec in (env.spec, through_json(env.spec)):
        again = gymnasium.make(spec)
        assert again.spec == env.spec
        assert again.unwrapped.task == env.unwrapped.task
        np.testing.assert_array_equal(again.reset(seed=1)[0], env.reset(seed=1)[0])


@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_the_registered_spec_makes_both_kinds(id):
    spec = gymnasium.spec(id)
    assert gymnasium.make(spec).spec.id == id
    assert gymnasium.make_vec(spec, num_envs=2).num_envs == 2
    assert gymnasium.make_vec(through_json(spec), num_envs=2, action_cost=0.5).task.action_cost == 0.5
    assert gymnasium.make(f"diffenvs:{id}").spec.id == id
