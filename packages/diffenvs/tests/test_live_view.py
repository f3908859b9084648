"""The live view: a server that a browser finds, with controls that act."""

import copy
import threading
import time
import urllib.request

import gymnasium
import numpy as np
import pytest
import torch

from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.rendering.view import TaskView
from diffenvs.simulator import Simulator


@pytest.fixture
def env():
    env = DiffVectorEnv("diffenvs/Ant-v0", num_envs=5, render_mode="human")
    env.reset(seed=0)
    yield env
    env.close()


def test_a_browser_finds_it_and_steps_update_it(env):
    with urllib.request.urlopen(env._pictures._live.url, timeout=10) as page:
        assert page.status == 200
        assert b"viser" in page.read().lower()
    foot = env._pictures._live._robots[4]._nodes[2]
    before = np.array(foot.position)
    env.step(torch.ones(5, 8))
    assert not np.allclose(foot.position, before)
    assert env.render() is None


def test_a_copy_opens_a_view_of_its_own(env):
    again = copy.deepcopy(env)
    assert again._pictures._live is None
    again.step(torch.zeros(5, 8))
    assert again._pictures._live.url != env._pictures._live.url
    again.close()
    with urllib.request.urlopen(env._pictures._live.url, timeout=10) as page:
        assert page.status == 200


def test_pause_holds_the_simulation(env):
    env._pictures._live.paused.value = True
    threading.Timer(0.5, lambda: setattr(env._pictures._live.paused, "value", False)).start()
    start = time.perf_counter()
    env.step(torch.zeros(5, 8))
    assert time.perf_counter() - start > 0.4


def test_speed_sets_the_pace(env):
    env._pictures._live.speed.value = 0.5
    start = time.perf_counter()
    for _ in range(10):
        env.step(torch.zeros(5, 8))
    assert time.perf_counter() - start > 9 * env.dt / 0.5


def test_fewer_environments_can_be_shown(env):
    env._pictures._live.count.value = 2
    env.step(torch.zeros(5, 8))
    assert [robot.visible for robot in env._pictures._live._robots] == [True, True, False, False, False]


def test_contact_forces_can_be_shown(env):
    assert not env._pictures._live._forces.visible
    env._pictures._live.forces.value = True
    for _ in range(60):  # the Ant comes to rest on its feet
        env.step(torch.zeros(5, 8))
    assert env._pictures._live._forces.visible
    assert len(env._pictures._live._forces.points) >= 5


def test_contact_forces_carry_the_weight_of_what_rests():
    env = DiffVectorEnv("diffenvs/Ant-v0", num_envs=2, dtype="float64", early_termination=False)
    env.reset(seed=0)
    for _ in range(400):
        env.step(torch.zeros(2, 8, dtype=torch.float64))
    view = TaskView(env.task, env._dynamics.simulator, env._now)
    points, forces = view.contact_forces(env._now)
    np.testing.assert_allclose(forces.sum(1), [[0.0, view.weight, 0.0]] * 2, rtol=0.02, atol=0.02 * view.weight)
    touched = forces[..., 1] > 0.0
    assert touched.any()
    assert np.abs(points[touched][:, 1]).max() < 0.3  # near the ground, in the span of the feet
    env.close()


def test_contact_forces_are_those_of_the_episode_that_is_drawn():
    env = DiffVectorEnv(
        "diffenvs/Ant-v0", num_envs=3, dtype="float64", render_mode="human", randomize={"contact_stiffness": (0.1, 10)}
    )
    env.reset(seed=0)
    state = env.get_state()
    state["q"][:, 1] = 0.4  # the feet are in the ground
    for _ in range(2):
        env.step(torch.zeros(3, 8, dtype=torch.float64))
        env.reset()
        env.set_state({"q": state["q"], "qd": state["qd"]})
        _, forces = env._pictures._live._view.contact_forces(env._now)
        simulator = Simulator(env.model, 3, dtype="float64")
        simulator.parameters.update(env.parameters)
        _, expected = TaskView(env.task, simulator, env._now).contact_forces(env._now)
        assert (expected.sum(1)[:, 1] > 0.0).all()
        np.testing.assert_array_equal(forces, expected)
    env.close()


def test_closed_view_is_gone():
    env = gymnasium.make("diffenvs/Hopper-v0", render_mode="human")
    env.reset(seed=0)
    url = env.unwrapped._envs._pictures._live.url
    env.close()
    with pytest.raises(OSError, match=r"refused|reset|closed"):
        urllib.request.urlopen(url, timeout=2)
