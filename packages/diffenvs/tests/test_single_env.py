"""DiffEnv: one environment on NumPy arrays."""

import warnings

import gymnasium
import numpy as np
import pytest
import stable_baselines3.common.env_checker
from environments import IDS
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env

import diffenvs  # noqa: F401 - registers the environments
from diffenvs.envs.vector import DiffVectorEnv


def make(id=IDS[0], **kwargs):
    return gymnasium.make(id, **kwargs)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("check", [check_env, stable_baselines3.common.env_checker.check_env])
def test_environment_passes_the_checkers_with_no_warning_but_on_infinite_bounds(id, check):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(make(id).unwrapped)
    others = [str(w.message) for w in caught if "A Box observation space m" not in str(w.message)]
    assert not others


def test_values_are_those_of_the_vector_environment():
    env, envs = make(), DiffVectorEnv(IDS[0], max_episode_steps=None)
    observation, _ = env.reset(seed=3)
    assert np.array_equal(observation, envs.reset(seed=3)[0][0].numpy())
    rng = np.random.default_rng(0)
    for _ in range(10):
        action = rng.uniform(-1.5, 1.5, 3).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            observation, reward, terminated, truncated, info = env.unwrapped.step(action)
        observations, rewards, *_ = envs.step(action[None])
        assert np.array_equal(observation, observations[0].numpy())
        assert reward == float(rewards)
        assert (terminated, truncated, info) == (False, False, {"non_finite": False})


def test_gymnasiums_time_limit_truncates():
    env = make(max_episode_steps=3)
    env.reset(seed=0)
    flags = [env.step(np.zeros(3, dtype=np.float32))[2:4] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]


def test_environment_is_made_again_from_its_spec():
    env = make(IDS[1], dtype="float64", action_cost=0.25)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.task == env.unwrapped.task
    assert again.observation_space == env.observation_space
    assert again.observation_space.dtype == np.float64


def test_episodes_of_one_seed_differ_and_repeat():
    env = make()
    first = [env.reset(seed=5)[0], env.reset()[0]]
    second = [env.reset(seed=5)[0], env.reset()[0]]
    assert not np.array_equal(*first)
    assert np.array_equal(first, second)


def test_wrong_use_is_refused_and_leaves_the_environment_usable():
    env = make().unwrapped
    with pytest.raises(ResetNeeded, match="call reset before anything else"):
        env.step(np.zeros(3))
    env.reset(seed=0)
    with pytest.raises(
        ValueError, match=r"actions must be \(environments=1, actions=3\) float32. Got \(1, 4\) float32"
    ):
        env.step(np.zeros(4))
    with pytest.raises(ValueError, match=r"actions must not be NaN\. Those of environments 0 are"):
        env.step(np.full(3, np.nan))
    with pytest.raises(TypeError, match="Hopper has no field 'colour'"):
        make(colour=1)
    env.step(np.zeros(3))
    env.close()
    with pytest.raises(ClosedEnvironmentError, match="this environment is closed"):
        env.step(np.zeros(3))


def test_keywords_of_the_vector_environment_are_refused_by_name():
    for name in ("num_envs", "num_threads", "autoreset_mode"):
        with pytest.raises(TypeError, match=f"Hopper has no field '{name}'"):
            gymnasium.make("diffenvs/Hopper-v0", **{name: 3})
