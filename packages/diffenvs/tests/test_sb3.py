"""SB3VecEnv: the environments under Stable-Baselines3."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from environments import make
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecNormalize

import diffenvs
from diffenvs.sb3 import SB3VecEnv

SETTINGS = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, "seed": 0, "device": "cpu"}


def vec_env(id="diffenvs/Hopper-v0", num_envs=3, **kwargs):
    return SB3VecEnv(make(id, num_envs=num_envs, **kwargs))


@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_ppo_trains_on_every_task(id):
    env = VecNormalize(vec_env(id, 4, max_episode_steps=6))
    model = PPO("MlpPolicy", env, **SETTINGS)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(256)
    after = list(model.policy.parameters())
    assert all(bool(parameter.isfinite().all()) for parameter in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert len(model.ep_info_buffer) >= 4 * (256 // 4 // 6), "every ended episode must be reported"


def test_ppo_learns_to_hop():
    env = VecNormalize(vec_env(num_envs=64, num_threads=1))
    settings = {**SETTINGS, "n_steps": 32, "batch_size": 512, "n_epochs": 5, "learning_rate": 1e-3}
    model = PPO("MlpPolicy", env, **settings).learn(10_000)
    before = np.mean([episode["r"] for episode in model.ep_info_buffer])
    model.learn(30_000, reset_num_timesteps=False)
    after = np.mean([episode["r"] for episode in model.ep_info_buffer])
    assert before < 0.0 < 50.0 < after


def test_an_algorithm_makes_an_environment_of_an_id():
    model = PPO("MlpPolicy", "diffenvs/Hopper-v0", **SETTINGS).learn(16)
    assert model.num_timesteps == 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_is_what_stable_baselines_makes_of_single_environments(dtype):
    fields = {"reset_noise": False, "termination_height": -0.05, "dtype": dtype}  # some episodes end early
    ours = vec_env(num_envs=3, max_episode_steps=12, **fields)
    theirs = make_vec_env("diffenvs/Hopper-v0", 3, env_kwargs={**fields, "max_episode_steps": 12})
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    rng, ends = np.random.default_rng(0), []
    for _ in range(60):
        actions = rng.uniform(-1, 1, (3, 3)) * [[0], [0.1], [1]]  # float64 also for float32
        (obs, rewards, dones, infos), (obs_, rewards_, dones_, infos_) = ours.step(actions), theirs.step(actions)
        np.testing.assert_array_equal(obs, obs_)
        np.testing.assert_array_equal(rewards, rewards_)
        np.testing.assert_array_equal(dones, dones_)
        assert (obs.dtype, rewards.dtype, dones.dtype) == (obs_.dtype, rewards_.dtype, dones_.dtype)
        for i in np.flatnonzero(dones):
            mine, expected = infos[i].pop("episode"), infos_[i].pop("episode")
            assert mine["l"] == expected["l"]
            assert mine["r"] == pytest.approx(expected["r"], abs=1e-5)
            np.testing.assert_array_equal(infos[i].pop("terminal_observation"), infos_[i].pop("terminal_observation"))
            ends.append(infos[i]["TimeLimit.truncated"])
        assert infos == infos_
        assert set(infos[0]) == {"non_finite", "reward_terms", "TimeLimit.truncated"}
    assert {True, False} == set(ends), "the test must see both kinds of ends"


def test_returned_arrays_stay_as_they_are():
    env = vec_env(max_episode_steps=2)
    kept = [env.reset()]
    for _ in range(2):
        obs, rewards, dones, infos = env.step(np.zeros((3, 3)))
        kept += [obs, rewards, dones, *(info["terminal_observation"] for info in infos if "episode" in info)]
    copies = [array.copy() for array in kept]
    env.step(np.ones((3, 3)))
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_seed_counts_once_and_makes_environments_that_differ():
    env = vec_env()
    env.seed(5)
    first, second = env.reset(), env.reset()
    assert len(np.unique(np.concatenate([first, second]), axis=0)) == 6
    env.seed(5)
    np.testing.assert_array_equal(env.reset(), first)
    np.testing.assert_array_equal(env.env.reset(seed=5)[0], first)


def test_options_count_once_and_are_one_dictionary():
    env = vec_env()
    env.reset()
    before, _, _, _ = env.step(np.ones((3, 3)))
    env.set_options({"reset_mask": np.array([True, False, False])})
    after = env.reset()
    assert (after == before).all(-1).tolist() == [False, True, True]
    assert (env.reset() == after).all(-1).tolist() == [False] * 3
    with pytest.raises(TypeError, match=r"options must be one dictionary for all environments. Got list"):
        env.set_options([{}] * 3)


def test_statistics_are_of_whole_episodes_whatever_is_reset():
    env = vec_env(num_envs=2, max_episode_steps=4, early_termination=False)
    env.reset()
    env.step(np.ones((2, 3)))
    env.set_options({"reset_mask": np.array([True, False])})
    env.reset()
    seen = {0: [], 1: []}
    for _ in range(8):
        _, _, _, infos = env.step(np.ones((2, 3)))
        for i, info in enumerate(infos):
            seen[i] += [info["episode"]["l"]] if "episode" in info else []
    assert seen == {0: [4, 4], 1: [4, 4]}


def test_evaluate_policy_takes_the_statistics():
    env = vec_env(max_episode_steps=5)
    model = PPO("MlpPolicy", env, **SETTINGS)
    env.seed(1)
    returns, lengths = evaluate_policy(model, env, n_eval_episodes=6, return_episode_rewards=True)
    env.seed(1)
    observations, sums, expected = env.reset(), np.zeros(3), []
    for _ in range(10):
        actions, _ = model.predict(observations, deterministic=True)
        observations, rewards, dones, _ = env.step(actions)
        sums += rewards
        expected += list(sums[dones])
        sums[dones] = 0
    assert lengths == [5] * 6
    assert returns == pytest.approx(expected, rel=1e-6)


def test_a_model_is_saved_with_its_normaliser_and_goes_on(tmp_path):
    env = VecNormalize(vec_env(max_episode_steps=5), norm_reward=False)
    model = PPO("MlpPolicy", env, **SETTINGS).learn(48)
    model.save(tmp_path / "model")
    env.save(str(tmp_path / "normaliser.pkl"))
    again = VecNormalize.load(str(tmp_path / "normaliser.pkl"), vec_env(max_episode_steps=5))
    np.testing.assert_array_equal(again.obs_rms.mean, env.obs_rms.mean)
    model = PPO.load(tmp_path / "model", env=again).learn(48, reset_num_timesteps=False)
    assert model.num_timesteps == 96


def test_one_seed_trains_one_model():
    models = [PPO("MlpPolicy", vec_env(max_episode_steps=5), **SETTINGS).learn(48) for _ in range(2)]
    parameters = [model.policy.state_dict() for model in models]
    assert all(torch.equal(value, parameters[1][name]) for name, value in parameters[0].items())


def test_attributes_and_methods_are_those_of_the_vector_environment():
    env = vec_env(max_episode_steps=9)
    env.reset()
    assert env.get_attr("max_episode_steps") == [9, 9, 9]
    assert env.get_attr("max_episode_steps", indices=[0, -1]) == [9, 9]
    assert env.has_attr("task")
    assert not env.has_attr("colour")
    env.set_attr("max_episode_steps", 7)
    assert env.env.max_episode_steps == 7
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(gymnasium.wrappers.TimeLimit, indices=1) == [False]
    with pytest.raises(IndexError):
        env.get_attr("task", indices=3)


def test_what_has_a_row_for_each_environment_is_divided_among_them():
    env = vec_env(randomize={"mass": (0.5, 2.0)})
    env.seed(0)
    env.reset()
    state, parameters = env.env.get_state(), env.env.parameters
    for given in (env.env_method("get_state"), env.get_attr("state")):
        for i, own in enumerate(given):
            assert set(own) == set(state)
            assert own["step_count"] == 0
            np.testing.assert_array_equal(own["q"], state["q"][i].numpy())
    for i, own in enumerate(env.get_attr("parameters")):
        np.testing.assert_array_equal(own["mass"], parameters["mass"][i].numpy())
        np.testing.assert_array_equal(own["gear"], parameters["gear"][0].numpy())  # all have one
    assert env.get_attr("metadata") == [env.env.metadata] * 3
    assert env.env_method("set_parameters", {}) == [None] * 3
    for own in env.get_attr("state", indices=[2]):
        own["q"][:] = np.nan
    assert torch.equal(env.env.get_state()["q"], state["q"]), "what is handed out must be copies"


def test_uses_that_would_do_something_else_are_refused():
    env = vec_env(max_episode_steps=9)
    env.reset()
    for use, error, message in (
        (lambda: env.set_attr("max_episode_steps", 5, indices=0), ValueError, "indices must be None: the environments"),
        (lambda: env.env_method("get_state", indices=[0, 2]), ValueError, "indices must be None: the environments"),
        (lambda: env.env_method("reset"), ValueError, "`reset` must be called of the SB3VecEnv itself, not by env_met"),
        (lambda: env.env_method("hop"), AttributeError, "hop"),
        (lambda: env.get_attr("colour"), AttributeError, "colour"),
        (lambda: env.set_attr("colour", "red"), AttributeError, "the environment has no attribute 'colour' to set"),
        (lambda: env.set_attr("state", {}), AttributeError, "state"),
        (lambda: env.set_attr("task", 3), AttributeError, "`task` is fixed when an environment is made"),
        (lambda: env.set_attr("num_envs", 3), AttributeError, "`num_envs` is fixed when an environment is made"),
    ):
        with pytest.raises(error, match=message):
            use()
    assert env.env.max_episode_steps == 9
    assert not env.has_attr("colour")


def test_pictures_are_those_of_the_vector_environment():
    env = vec_env(num_envs=2)
    with pytest.warns(UserWarning, match="pictures need render_mode 'rgb_array'. It is None"):
        assert env.get_images() == [None, None]
    inner = make(num_envs=2, render_mode="rgb_array")
    inner.render = lambda: tuple(np.full((4, 6, 3), i, dtype=np.uint8) for i in range(2))
    env = SB3VecEnv(inner)
    assert [int(image.max()) for image in env.get_images()] == [0, 1]
    assert env.render().shape == (8, 6, 3)


@pytest.mark.parametrize(
    ("env", "error", "message"),
    [
        (lambda: make(autoreset_mode="NextStep"), ValueError, "autoreset_mode of env must be 'SameStep'. Got 'NextSt"),
        (lambda: gymnasium.make("diffenvs/Hopper-v0"), TypeError, "env must be a DiffVectorEnv, without wrappers. Got"),
        (lambda: "diffenvs/Hopper-v0", TypeError, "env must be a DiffVectorEnv, without wrappers. Got str"),
    ],
)
def test_what_it_cannot_adapt_is_refused(env, error, message):
    with pytest.raises(error, match=message):
        SB3VecEnv(env())


def test_wrong_steps_are_refused_and_leave_the_environment_usable():
    env = vec_env()
    env.reset()
    with pytest.raises(RuntimeError, match="step_wait was called before step_async"):
        env.step_wait()
    for actions in (np.zeros((3, 4)), np.full((3, 3), np.nan)):
        with pytest.raises(ValueError, match="actions must"):
            env.step(actions)
    env.step(np.zeros((3, 3)))
    env.close()
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        env.reset()


def test_without_stable_baselines_the_extra_is_named():
    code = (
        "import sys; sys.modules['stable_baselines3'] = None\n"
        "import diffenvs\n"
        "try: import diffenvs.sb3\n"
        "except ImportError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "diffenvs.sb3 needs Stable-Baselines3: pip install 'diffenvs[sb3]'." in result.stdout
