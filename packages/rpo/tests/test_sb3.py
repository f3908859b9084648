import copy
import re

import numpy as np
import pytest
import torch
from small_runs import small_config
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from systems import ScaledReward

from rpo import PPO, RPO, RPOConfig, TorchVecEnv, evaluate
from rpo.algorithms import ALGORITHMS
from rpo.logs import read_progress

CONFIG = RPOConfig(hidden_sizes=(8,), horizon=4, critic_epochs=1)


@pytest.fixture
def model(lq):
    return RPO(lq(4, max_episode_steps=6), CONFIG, seed=0)


def test_vec_env_keeps_stable_baselines_contract(lq):
    env = TorchVecEnv(lq(2, max_episode_steps=3, start=0.1))
    env.seed(5)
    first = env.reset()
    env.seed(5)
    assert np.array_equal(env.reset(), first)
    assert first.dtype == np.float32
    total = np.zeros(2)
    for step in range(3):
        obs, reward, done, infos = env.step(np.zeros((2, 1), np.float32))
        total += reward
        assert done.tolist() == [step == 2] * 2
    assert infos[0]["TimeLimit.truncated"] is True
    assert infos[1]["episode"]["l"] == 3
    assert infos[1]["episode"]["r"] == pytest.approx(total[1])
    a, x = env.env.A.numpy(), first[0].astype(float)
    np.testing.assert_allclose(infos[0]["terminal_observation"], a @ a @ a @ x, rtol=1e-5)
    assert not np.allclose(infos[0]["terminal_observation"], obs[0])
    assert env.get_attr("max_episode_steps", [0]) == [3]
    env.set_attr("limit", 2.0)
    assert env.env.limit == 2.0
    assert len(env.env_method("detach")) == 2


def test_environments_that_are_one_share_what_is_set_and_called(lq):
    env = TorchVecEnv(lq(2))
    for call in (lambda: env.set_attr("limit", 2.0, [0]), lambda: env.env_method("detach", indices=1)):
        with pytest.raises(ValueError, match="indices must be None: the 2 environments are one"):
            call()
    assert env.env.limit == 10.0
    env.set_attr("limit", 2.0, [0, 1])
    assert env.env.limit == 2.0


def test_vec_env_wants_an_action_before_it_waits(lq):
    env = TorchVecEnv(lq(2))
    with pytest.raises(RuntimeError, match="step_wait was called before step_async"):
        env.step_wait()


def test_functional_callback_is_called_once_per_control_step(model):
    calls = []

    def callback(*_):
        calls.append(model.num_timesteps)
        return True

    model.learn(32, callback=callback)
    assert calls == list(range(4, 33, 4))


def test_callbacks_use_rewards_and_ends_as_arrays(model):
    seen = []

    def callback(local, _):
        rewards, dones = local["rewards"], local["dones"]
        assert "infos" not in local
        assert (len(rewards), dones.dtype, np.asarray(rewards, np.float32).dtype) == (4, bool, np.float32)
        assert rewards[0] == next(iter(rewards)) == np.asarray(rewards)[0]
        assert rewards.mean() == np.mean(rewards) == pytest.approx(((2 * rewards + rewards) / 3).mean())
        assert np.sum(dones) == dones.sum() == sum(bool(done) for done in dones) == len(dones) - (~dones).sum()
        assert np.array_equal(copy.deepcopy(rewards), rewards)
        seen.append(dones.tolist())
        return True

    model.learn(32, callback=callback)
    assert seen == [[step == 5] * 4 for step in range(8)]


def test_evaluation_inside_a_window_takes_nothing_out_of_the_window_s_log(model, lq, tmp_path):
    model.set_logger(configure(str(tmp_path), ["csv"]))
    evaluation = EvalCallback(TorchVecEnv(lq(2, max_episode_steps=6)), n_eval_episodes=1, eval_freq=6, verbose=0)
    model.learn(32, callback=evaluation)
    model.logger.close()
    first, evaluated, second = read_progress(tmp_path / "progress.csv")
    assert [row["time/total_timesteps"] for row in (first, evaluated, second)] == ["16", "24", "32"]
    assert evaluated["eval/mean_reward"]
    assert [name for name in first if name.startswith("train/") and not (first[name] and second[name])] == []


def test_evaluate_policy_agrees_with_our_own_evaluation(model, lq):
    env = lq(3, max_episode_steps=6)
    adapter = TorchVecEnv(env)
    adapter.seed(11)
    mean, std = evaluate_policy(model, adapter, n_eval_episodes=3)
    own = evaluate(model.policy, env, episodes=3, seed=11)
    assert own.summary()["mean"] == pytest.approx(mean, rel=1e-4)
    assert own.summary()["std"] == pytest.approx(std, rel=1e-3)


def test_evaluation_counts_the_first_whole_episodes_of_each_environment(model, lq):
    result = evaluate(model.policy, lq(3, max_episode_steps=6), episodes=7, seed=0)
    assert result.lengths.tolist() == [6] * 7
    assert result.summary()["episodes"] == 7
    with pytest.raises(ValueError, match=r"episodes must be an integer >= 1. Got 0"):
        evaluate(model.policy, lq(3), episodes=0)
    with pytest.raises(ValueError, match=r"max_steps must be an integer >= 1. Got 0"):
        evaluate(model.policy, lq(3), max_steps=0)


@pytest.mark.parametrize("limit", [None, 100_001])
@pytest.mark.parametrize("wrapper", [lambda env: env, lambda env: ScaledReward(env, 2.0)])
def test_environment_without_a_time_limit_is_not_evaluated(model, lq, limit, wrapper):
    env = wrapper(lq(3, max_episode_steps=limit))
    message = f"`max_episode_steps` of {type(env).__name__} must be an integer <= 100,000: .* Got {limit}"
    with pytest.raises(ValueError, match=message):
        evaluate(model.policy, env)
    assert env.unwrapped.steps == 0


@pytest.mark.parametrize("episodes", [3, 7])
def test_episode_that_does_not_end_ends_the_evaluation(model, endless, episodes):
    with pytest.raises(
        ValueError, match=r"An episode of Endless has not ended after 60 steps\. Give the environment a "
    ):
        evaluate(model.policy, endless(3), episodes=episodes, max_steps=60)


def test_episodes_may_be_as_long_as_allowed(model, lq):
    env = lq(3, max_episode_steps=60)
    assert evaluate(model.policy, env, episodes=7, seed=0, max_steps=60).lengths.tolist() == [60] * 7


def test_evaluation_asks_whether_it_is_over_every_few_steps_only(model, lq, monkeypatch):
    asked = []
    to_bool = torch.Tensor.__bool__
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: asked.append(1) or to_bool(tensor))
    result = evaluate(model.policy, lq(3, max_episode_steps=40), episodes=3, seed=0)
    assert result.lengths.tolist() == [40] * 3
    assert len(asked) == 5


def test_evaluated_return_is_the_sum_of_rewards_of_a_plain_loop(model, lq):
    env = lq(3, max_episode_steps=6, start=5.0, limit=8.0)
    result = evaluate(model.policy, env, episodes=7, seed=3)
    raw, _ = env.reset(seed=3)
    left, episodes, sums = [2, 2, 3], [], [0.0] * 3
    while any(left):
        raw, reward, terminated, truncated, _ = env.step(model.policy.act(raw, True).double())
        for n in range(3):
            sums[n] += reward[n].item()
            if terminated[n] or truncated[n]:
                episodes += [sums[n]] * (left[n] > 0)
                left[n], sums[n] = max(left[n] - 1, 0), 0.0
    assert len(set(result.lengths)) > 1
    assert sorted(result.returns) == pytest.approx(sorted(episodes))


def test_stochastic_evaluation_is_reproducible_and_differs_from_the_deterministic(model, lq):
    env = lq(3, max_episode_steps=6)
    runs = [evaluate(model.policy, env, episodes=3, deterministic=d, seed=2).returns for d in (False, False, True)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_second_learn_continues_or_starts_over(model):
    model.learn(32)
    assert model.learn(32, reset_num_timesteps=False).num_timesteps == 64
    assert model.learn(32).num_timesteps == 32


def test_predicted_actions_are_in_bounds_and_sampled_reproducibly(lq):
    obs = 100 * np.ones((50, 2), np.float32)
    first, second = (RPO(lq(1), CONFIG, seed=4).predict(obs)[0] for _ in range(2))
    assert np.array_equal(first, second)
    assert np.abs(first).max() <= 1
    assert first.std() > 0


def test_seeding_again_repeats_the_predictions(lq):
    model = RPO(lq(1), CONFIG, seed=4)
    obs = np.ones((5, 2), np.float32)
    predictions = []
    for _ in range(2):
        model.set_random_seed(0)
        predictions.append(model.predict(obs)[0])
    assert np.array_equal(*predictions)
    assert not np.array_equal(model.predict(obs)[0], predictions[0])


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_tensors_are_predicted_like_arrays_and_come_back_as_tensors(lq, algo):
    model = ALGORITHMS[algo](lq(1), ALGORITHMS[algo].config_class(hidden_sizes=(8,)), seed=4)
    obs = np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2)
    expected, _ = model.predict(obs, deterministic=True)
    action, _ = model.predict(torch.from_numpy(obs).double(), deterministic=True)
    assert expected.shape == action.shape == (3, 1)
    assert action.dtype is torch.float64
    np.testing.assert_allclose(action.numpy(), expected, rtol=1e-6)
    for single in (obs[0], torch.from_numpy(obs[0])):
        alone, _ = model.predict(single, deterministic=True)
        assert type(alone) is type(single)
        assert alone.shape == (1,)
        np.testing.assert_allclose(alone, expected[0], rtol=1e-5)
    with pytest.raises(ValueError, match=r"observation must be \(2,\) or \(N, 2\). Got \(3, 4\)"):
        model.predict(torch.zeros(3, 4))


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_action_for_a_tensor_of_integers_is_not_rounded(lq, algo):
    model = ALGORITHMS[algo](lq(1), ALGORITHMS[algo].config_class(hidden_sizes=(8,)), seed=4)
    action, _ = model.predict(torch.tensor([3, 4]), deterministic=True)
    assert action.dtype is torch.float32
    assert action != 0
    assert torch.equal(action, model.predict(torch.tensor([3.0, 4.0]), deterministic=True)[0])


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_sampled_tensors_are_in_bounds_and_differ(lq, algo):
    model = ALGORITHMS[algo](lq(1), ALGORITHMS[algo].config_class(hidden_sizes=(8,)), seed=4)
    action, _ = model.predict(torch.ones(200, 2))
    assert action.abs().max() <= 1
    assert action.std() > 0.1


@pytest.mark.parametrize("interval", [0, 1.5])
def test_log_interval_that_is_not_positive_is_refused(lq, interval):
    with pytest.raises(ValueError, match=rf"log_interval must be an integer >= 1, or None\. Got {interval}"):
        RPO(lq(2)).learn(64, log_interval=interval)


def test_environments_that_ppo_cannot_divide_into_minibatches_change_nothing(lq):
    config = small_config(PPO, batch_size=8)
    models = [PPO(lq(4), config, seed=0).learn(16, log_interval=None) for _ in range(2)]
    model, env = models[0], models[0].env
    with pytest.raises(ValueError, match="`batch_size` of PPOConfig must be a divisor of the window's 12 samples"):
        model.set_env(lq(3))
    assert (model.env, model.n_envs, model.batch_size) == (env, 4, 8)
    results = []
    for each in models:
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002  # which Stable-Baselines3's buffers use
        results.append(each.learn(16, log_interval=None, reset_num_timesteps=False)._tensors())
    assert [name for name in results[0] if not results[0][name].equal(results[1][name])] == []


def test_statistics_that_the_user_stopped_stay_as_they_are_in_another_environment(lq):
    model = PPO(lq(4), small_config(PPO), seed=0).learn(16, log_interval=None)
    model.get_vec_normalize_env().training = False
    statistics = model.get_vec_normalize_env().obs_rms
    for env in (lq(4, start=9.0), model.get_env(), lq(2, start=9.0)):
        model.set_env(env)
        model.learn(16, log_interval=None, reset_num_timesteps=False)
        here = model.get_vec_normalize_env()
        assert not here.training
        assert np.array_equal(here.obs_rms.mean, statistics.mean)
        assert np.array_equal(here.obs_rms.var, statistics.var)


def test_parameters_have_the_statistics_up_to_now(lq):
    model, other = (PPO(lq(4), small_config(PPO), seed=0) for _ in range(2))
    model.learn(1000, callback=lambda *_: model.num_timesteps < 24, log_interval=None)  # up to the middle of a window
    other.set_parameters(model.get_parameters())
    here, there = (each.get_vec_normalize_env().obs_rms for each in (model, other))
    assert here.count == there.count == pytest.approx(4 * 7, abs=1e-3)  # a reset and six steps
    assert np.array_equal(here.mean, there.mean)
    assert np.array_equal(here.var, there.var)


def test_header_of_a_file_changes_nothing(lq):
    model = PPO(lq(4), small_config(PPO), seed=0)
    model.learn(1000, callback=lambda *_: model.num_timesteps < 24, log_interval=None)  # up to the middle of a window
    before = copy.deepcopy(model.policy.normalizer.state_dict())
    model._header()
    assert all(model.policy.normalizer.state_dict()[name].equal(tensor) for name, tensor in before.items())


@pytest.mark.parametrize("argument", ["episodes", "max_steps"])
@pytest.mark.parametrize("value", [0, 2.5, "3", None])
def test_evaluation_of_a_number_that_is_none_is_refused(model, lq, argument, value):
    with pytest.raises(ValueError, match=re.escape(f"{argument} must be an integer >= 1. Got {value!r}.")):
        evaluate(model.policy, lq(4), **{argument: value})


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70, 1.5])
def test_evaluation_with_a_seed_that_is_none_is_refused(model, lq, seed):
    with pytest.raises(ValueError, match=re.escape(f"seed must be an integer in [0, 2**32). Got {seed}.")):
        evaluate(model.policy, lq(4), seed=seed)
