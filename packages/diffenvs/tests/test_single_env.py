"""DiffEnv: one environment on NumPy arrays."""

import warnings

import gymnasium
import numpy as np
import pytest
import stable_baselines3.common.env_checker
import torch
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
        assert (terminated, truncated, info["non_finite"]) == (False, False, False)
        assert sum(info["reward_terms"].values()) == pytest.approx(reward, abs=1e-6)


def test_gymnasiums_time_limit_truncates():
    env = make(max_episode_steps=3)
    env.reset(seed=0)
    flags = [env.step(np.zeros(3, dtype=np.float32))[2:4] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]


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
    known = "early_termination, .*. Environments also take device, dtype, randomize, render_mode, width, height"
    with pytest.raises(TypeError, match=f"Hopper has no field 'colour'. Its fields are {known}"):
        make(colour=1)
    env.step(np.zeros(3))
    env.close()
    with pytest.raises(ClosedEnvironmentError, match="this environment is closed"):
        env.step(np.zeros(3))


def test_keywords_of_the_vector_environment_are_refused_by_name():
    for name in ("num_envs", "num_threads", "autoreset_mode"):
        with pytest.raises(TypeError, match=f"`{name}` is known to `gymnasium.make_vec` only"):
            gymnasium.make("diffenvs/Hopper-v0", **{name: 3})


KINDS = {
    "list": lambda a: a.tolist(),
    "double": lambda a: a.astype(np.float64),
    "strided": lambda a: np.repeat(a, 2)[::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("kind", KINDS)
def test_actions_are_taken_as_any_numbers(kind):
    results = []
    for convert in (lambda a: a, KINDS[kind]):
        env = make().unwrapped
        env.reset(seed=0)
        results.append(env.step(convert(np.array([0.1, -0.2, 0.3], dtype=np.float32)))[0])
    assert np.array_equal(*results)


def test_options_of_reset_are_refused():
    env = make()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"`options` of reset must be empty. Got 'reset_mask'"):
        env.reset(options={"reset_mask": np.array([True])})
    env.reset(seed=0, options={})
    env.step(env.action_space.sample())


def test_a_context_closes_the_environment():
    with make() as env:
        env.reset(seed=0)
    env.close()
    with pytest.raises(ClosedEnvironmentError, match="this environment is closed"):
        env.reset()


def test_a_step_after_the_end_is_refused_until_the_reset():
    env = make(termination_height=1.0)
    env.reset(seed=0)
    assert env.step(np.zeros(3))[2]
    with pytest.raises(ResetNeeded, match="environments 0 are done"):
        env.step(np.zeros(3))
    env.reset()
    env.step(np.zeros(3))


def preprocessed():
    """The stack of wrappers of CleanRL's PPO for continuous actions."""
    env = gymnasium.wrappers.FlattenObservation(make(max_episode_steps=6))
    env = gymnasium.wrappers.RecordEpisodeStatistics(env)
    env = gymnasium.wrappers.NormalizeObservation(gymnasium.wrappers.ClipAction(env))
    bounds = gymnasium.spaces.Box(-10.0, 10.0, env.observation_space.shape)
    env = gymnasium.wrappers.TransformObservation(env, lambda obs: np.clip(obs, -10, 10), bounds)
    return gymnasium.wrappers.TransformReward(gymnasium.wrappers.NormalizeReward(env), lambda r: np.clip(r, -10, 10))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("kind", [gymnasium.vector.SyncVectorEnv, gymnasium.vector.AsyncVectorEnv])
def test_gymnasium_makes_vectors_of_wrapped_environments(kind):
    envs = kind([preprocessed] * 2)
    observations, _ = envs.reset(seed=0)
    ends = []
    for _ in range(14):
        observations, rewards, _, _, info = envs.step(envs.action_space.sample())
        ends += [length for length in info.get("episode", {}).get("l", []) if length]
    assert ends == [6] * 4
    assert observations.shape == (2, 11)
    assert np.abs(observations).max() <= 10
    assert np.isfinite(rewards).all()
    envs.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_gymnasium_vectorises_single_environments_by_name(mode):
    kwargs = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    envs = gymnasium.make_vec(IDS[0], num_envs=2, vectorization_mode=mode, vector_kwargs=kwargs, action_cost=0.5)
    observations, _ = envs.reset(seed=0)
    assert np.array_equal(observations[1], make().reset(seed=1)[0])
    assert [task.action_cost for task in envs.get_attr("task")] == [0.5, 0.5]
    envs.close()
