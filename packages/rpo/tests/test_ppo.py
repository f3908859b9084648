"""The PPO baseline: what it hands to Stable-Baselines3's algorithm, and what is this package's around it."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from small_runs import small_config
from stable_baselines3 import PPO as SB3_PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecNormalize

from rpo import PPO, NonFiniteError, PPOConfig, checkpoint, evaluate
from rpo.optimizers import LIMIT, FiniteAdamW
from rpo.ppo_policy import SharedTrunkPolicy
from rpo.schedules import kl_adaptive

CONFIG = PPOConfig(hidden_sizes=(16, 8), horizon=8, n_epochs=2, batch_size=16)
WINDOW = 8 * 4


@pytest.fixture
def model(lq):
    return PPO(lq(4, max_episode_steps=6), CONFIG, seed=0)


def test_defaults_are_the_baseline_s():
    config = PPOConfig.for_env("diffenvs/Ant-v0")
    assert config == PPOConfig()
    assert (config.horizon, config.n_epochs, config.gamma, config.gae_lambda) == (32, 5, 0.99, 0.95)
    assert (config.learning_rate, config.betas, config.max_grad_norm) == (5e-4, (0.9, 0.999), 0.5)
    assert (config.hidden_sizes, config.target_kl) == ((400, 200, 100), 0.008)
    assert (config.batch_size, config.clip_range, config.ent_coef) == (2048, 0.2, 0.0)
    assert [config.minibatch(num_envs) for num_envs in (1024, 128, 64, 16)] == [2048, 2048, 2048, 512]


def test_settings_reach_stable_baselines3(model):
    assert isinstance(model, SB3_PPO)
    assert (model.n_steps, model.batch_size, model.gamma, model.gae_lambda) == (8, 16, 0.99, 0.95)
    assert (model.ent_coef, model.max_grad_norm, model.clip_range(1.0)) == (0.0, 0.5, 0.2)
    assert isinstance(model.env, VecNormalize)
    assert (model.env.norm_obs, model.env.norm_reward) == (True, False)
    optimizer = model.policy.optimizer
    assert isinstance(optimizer, FiniteAdamW)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (5e-4, (0.9, 0.999), 0.01)


def test_epochs_pass_over_the_window_and_the_value_counts_in_units_of_its_returns(model, monkeypatch):
    weights, passes = [], []
    train, get = SB3_PPO.train, model.rollout_buffer.get
    monkeypatch.setattr(SB3_PPO, "train", lambda self: (weights.append(self.vf_coef), train(self)))
    monkeypatch.setattr(model.rollout_buffer, "get", lambda size: (passes.append(size), get(size))[1])
    model.learn(WINDOW, log_interval=None)
    assert passes == [16, 16]
    assert weights == [pytest.approx(2.0 / model.rollout_buffer.returns.var())] * 2
    assert model._n_updates == 2


def test_actor_and_critic_share_the_trunk_and_nothing_else(model):
    policy = model.policy
    observation = torch.randn(5, 2)
    trunk = list(policy.mlp_extractor.parameters())
    widths = [tuple(p.shape) for p in trunk if p.ndim == 2]
    assert widths == [(16, 2), (8, 16)]
    value = policy.predict_values(observation).sum()
    mean = policy.gaussian(observation).mean.sum()
    heads = policy.value_net, policy.action_net
    for output, (head, other) in ((value, heads), (mean, heads[::-1])):
        parameters = [*trunk, *head.parameters(), *other.parameters()]
        gradients = torch.autograd.grad(output, parameters, allow_unused=True)
        assert [gradient is None for gradient in gradients] == [False] * (len(parameters) - 2) + [True] * 2
    modules = [type(layer).__name__ for layer in policy.mlp_extractor.layers]
    assert modules == ["Linear", "LayerNorm", "SiLU"] * 2


def test_standard_deviation_depends_on_the_state_and_stays_between_a_tenth_and_one(model):
    policy, observation = model.policy, torch.randn(200, 2)
    policy.std_net.weight.data *= 100.0
    assert policy.gaussian(observation).stddev.std(0).min() > 0.01
    policy.std_net.weight.data *= 1e4
    std = policy.gaussian(observation).stddev
    assert std.min().item() == pytest.approx(0.1)
    assert std.max().item() == pytest.approx(1.0)


def test_new_policy_acts_nearly_the_same_everywhere_and_explores_widely(model):
    gaussian = model.policy.gaussian(torch.randn(200, 2))
    assert gaussian.mean.abs().max() < 0.05
    assert (gaussian.stddev - (0.1 + 0.9 / (1 + math.exp(-2)))).abs().max() < 0.01


def test_mean_stays_in_the_box_of_actions(model):
    policy, observation = model.policy, torch.randn(200, 2)
    policy.action_net.weight.data *= 1e4
    mean = policy.gaussian(observation).mean
    assert mean.abs().max() == 1.0
    assert torch.equal(policy.act(observation, deterministic=True), policy.deterministic_layers()(observation))


def test_log_probability_of_a_window_s_actions_is_that_of_the_gaussian(model):
    observation = torch.randn(5, 2)
    actions, values, log_prob = model.policy(observation)
    gaussian = model.policy.gaussian(observation)
    torch.testing.assert_close(log_prob, gaussian.log_prob(actions).sum(-1))
    again, log_prob_again, _ = model.policy.evaluate_actions(observation, actions)
    torch.testing.assert_close((again, log_prob_again), (values, log_prob))


def divergence(old, new):
    """Mean of KL(old || new) of two Gaussians, written out."""
    kl = (new.stddev / old.stddev).log() + (old.variance + (old.mean - new.mean) ** 2) / (2 * new.variance) - 0.5
    return kl.sum(-1).mean().item()


def test_learning_rate_follows_the_divergence():
    target = 0.008
    assert kl_adaptive(6e-4, 2.01 * target, target) == pytest.approx(4e-4)
    assert kl_adaptive(4e-4, 0.49 * target, target) == pytest.approx(6e-4)
    assert kl_adaptive(4e-4, 1.9 * target, target) == kl_adaptive(4e-4, 0.51 * target, target) == 4e-4
    assert kl_adaptive(1e-6, 1.0, target) == 1e-6
    assert kl_adaptive(9e-3, 0.0, target) == 1e-2


@pytest.mark.parametrize(("target_kl", "expected"), [(1e9, 5e-4 * 1.5**2), (1e-9, 5e-4 / 1.5**2)])
def test_learning_rate_adapts_after_every_epoch(lq, target_kl, expected):
    config = PPOConfig(hidden_sizes=(8,), horizon=8, n_epochs=2, target_kl=target_kl)
    model = PPO(lq(4), config, seed=0).learn(WINDOW, log_interval=None)
    assert model._rate == pytest.approx(expected)
    model.learn(WINDOW, log_interval=None, reset_num_timesteps=False)
    before_the_last_epoch = expected * (expected / 5e-4) ** 0.5
    assert model.logger.name_to_value["train/learning_rate"] == pytest.approx(before_the_last_epoch)
    assert model.policy.optimizer.param_groups[0]["lr"] == pytest.approx(before_the_last_epoch)


def test_learning_rate_adapts_to_the_divergence_of_each_epoch(lq, monkeypatch):
    target = 0.02
    model = PPO(lq(4), small_config(PPO, n_epochs=4, learning_rate=0.1, target_kl=target), seed=0)
    observations, policies, rates, train = [], [], [], SB3_PPO.train

    def note_policy():
        with torch.no_grad():
            policies.append(model.policy.gaussian(observations[0]))

    def epoch(self):
        if not observations:  # the buffer has another order later
            observations.append(torch.as_tensor(model.rollout_buffer.observations).flatten(0, 1))
            note_policy()
        train(self)
        note_policy()
        rates.append(model.policy.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(SB3_PPO, "train", epoch)
    model.learn(4 * 4, log_interval=None)
    expected = [0.1]
    for old, new in itertools.pairwise(policies):
        expected.append(kl_adaptive(expected[-1], divergence(old, new), target))
    assert all(divergence(policies[0], new) > 2 * target for new in policies[1:])  # since the window: all too far
    assert expected[1] == expected[2]  # since the epoch before: only the first
    assert [*rates, model._rate] == pytest.approx(expected)


def test_logged_divergence_is_that_of_the_new_policy_from_the_one_that_acted(lq):
    model = PPO(lq(4), dataclasses.replace(CONFIG, learning_rate=1e-2), seed=0)
    acted = {}
    train = model.train

    def spy():
        observations = torch.as_tensor(model.rollout_buffer.observations).flatten(0, 1)
        with torch.no_grad():
            acted.update(observations=observations, policy=model.policy.gaussian(observations))
        train()

    model.train = spy
    model.learn(WINDOW, log_interval=None)
    old, new = acted["policy"], model.policy.gaussian(acted["observations"])
    expected = divergence(old, new)
    assert expected > 1e-3
    assert model.logger.name_to_value["train/kl"] == pytest.approx(expected, rel=1e-3)


def test_policy_acts_on_what_the_environment_shows_and_predicts_from_what_is_normalised(model):
    model.learn(2 * WINDOW, log_interval=None)
    raw = 3.0 + torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    normalised = model.env.normalize_obs(raw.numpy())
    torch.testing.assert_close(model.policy.normalize(raw), torch.from_numpy(normalised), rtol=1e-4, atol=1e-5)
    predicted, _ = model.predict(normalised, deterministic=True)
    np.testing.assert_allclose(model.policy.act(raw, deterministic=True), predicted, rtol=1e-4, atol=1e-5)
    sampled = model.policy.act(raw.repeat(1000, 1), generator=torch.Generator().manual_seed(1))
    assert (sampled.min(), sampled.max()) == (-1.0, 1.0)
    assert sampled.std() > 0.3


def test_observation_that_hardly_varies_is_normalised_alike_in_training_and_when_acting(lq):
    class Still(lq):
        def observe(self, x):
            return 1e-3 * x

    model = PPO(Still(4), CONFIG, seed=0).learn(2 * WINDOW, log_interval=None)
    raw = 1e-3 * torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    normalised = torch.from_numpy(model.env.normalize_obs(raw.numpy()))
    torch.testing.assert_close(model.policy.normalize(raw), normalised, rtol=1e-4, atol=1e-5)


def test_saved_model_has_weights_statistics_and_learning_rate(model, tmp_path, lq):
    model.learn(2 * WINDOW, log_interval=None)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model")
    raw = torch.randn(5, 2)
    assert torch.equal(loaded.policy.act(raw, deterministic=True), model.policy.act(raw, deterministic=True))
    assert (loaded._rate, loaded.config, loaded.num_timesteps) == (model._rate, CONFIG, 2 * WINDOW)
    loaded.set_env(lq(8))
    np.testing.assert_array_equal(loaded.env.obs_rms.mean, model.env.obs_rms.mean)
    assert loaded.env.obs_rms.count == model.env.obs_rms.count
    loaded.learn(8 * 8, log_interval=None, reset_num_timesteps=False)
    assert loaded.num_timesteps == 2 * WINDOW + 64
    assert loaded.rollout_buffer.observations.shape == (64, 2)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_training_is_not_saved_inside_a_window(model, tmp_path, steps):
    model.learn(1000, callback=lambda local, _: model.num_timesteps < WINDOW + 4 * steps, log_interval=None)
    with pytest.raises(ValueError, match="A training is saved between two windows"):
        model.save_training(tmp_path / "training")


class SaveAt(BaseCallback):
    """Save the training at one event."""

    def __init__(self, event, path):
        super().__init__()
        self.event, self.path = event, path

    def _on_step(self):
        self.save("step")
        return True

    def _on_rollout_start(self):
        self.save("rollout_start")

    def _on_rollout_end(self):
        self.save("rollout_end")

    def save(self, event):
        if event == self.event:
            self.model.save_training(self.path)


@pytest.mark.parametrize("event", ["step", "rollout_end"])
def test_callback_cannot_save_the_training_inside_a_window(model, tmp_path, event):
    with pytest.raises(ValueError, match="A training is saved between two windows"):
        model.learn(WINDOW, callback=SaveAt(event, tmp_path / "training"), log_interval=None)


def test_callback_can_save_the_training_before_a_window(model, tmp_path, lq):
    model.learn(2 * WINDOW, callback=SaveAt("rollout_start", tmp_path / "training"), log_interval=None)
    assert PPO.load_training(tmp_path / "training", lq(4)).num_timesteps == WINDOW


def test_loaded_training_is_saved_again_as_it_was(model, tmp_path, lq):
    model.learn(WINDOW, log_interval=None)
    model.save_training(tmp_path / "first")
    PPO.load_training(tmp_path / "first", lq(4)).save_training(tmp_path / "second")
    first, second = (checkpoint.read(tmp_path / f"{name}.zip")[0]["training"] for name in ("first", "second"))
    assert second["learn"]["nanoseconds"] >= 0
    assert second == {**first, "learn": second["learn"]}
    assert second["learn"]["not_logged_yet"] == first["learn"]["not_logged_yet"]


def test_another_environment_is_learned_in_and_evaluation_finds_its_statistics(model, tmp_path, lq):
    model.learn(WINDOW, log_interval=None)
    model.set_env(lq(4))
    model.learn(WINDOW, log_interval=None)
    model.save(tmp_path / "model")
    loaded = PPO.load(tmp_path / "model")
    loaded.set_env(lq(4))
    for each in (model, loaded):
        assert each.get_vec_normalize_env() is each.env


def test_parameters_put_in_bring_their_statistics_which_a_save_keeps(model, tmp_path, lq):
    model.learn(2 * WINDOW, log_interval=None)
    other = PPO(lq(4), CONFIG, seed=1)
    other.set_parameters(model.get_parameters())
    other.save(tmp_path / "other")
    raw = torch.randn(5, 2)
    expected = model.policy.act(raw, deterministic=True)
    assert torch.equal(PPO.load(tmp_path / "other").policy.act(raw, deterministic=True), expected)


def test_policy_alone_is_neither_saved_nor_loaded(model, tmp_path):
    with pytest.raises(NotImplementedError, match="saved with its algorithm"):
        model.policy.save(str(tmp_path / "policy"))
    with pytest.raises(NotImplementedError, match="loaded with its algorithm"):
        SharedTrunkPolicy.load(str(tmp_path / "policy"))


def test_logged_text_is_left_to_the_logger(model):
    model.learn(2 * WINDOW, callback=lambda *_: model.logger.record("note", "text") or True, log_interval=None)
    assert model.logger.name_to_value["note"] == "text"


def test_reward_that_is_not_finite_counts_as_none(lq, monkeypatch):
    env = lq(4, max_episode_steps=6)
    reward = env.reward
    monkeypatch.setattr(env, "reward", lambda x, a: reward(x, a).masked_fill(torch.arange(4) == env.steps - 1, np.nan))
    model = PPO(env, CONFIG, seed=0).learn(WINDOW, log_interval=None)
    assert np.isfinite(model.rollout_buffer.returns).all()
    assert np.diag(model.rollout_buffer.rewards).tolist() == [0.0] * 4
    assert model.logger.name_to_value["train/skipped_policy_steps"] == 0


def test_training_whose_gradients_are_all_lost_ends_with_parameters_that_are_finite(model):
    model.learn(WINDOW, log_interval=None)
    with torch.no_grad():
        model.policy.value_net.bias.fill_(torch.nan)
    before = [parameter.clone() for parameter in model.policy.action_net.parameters()]
    message = f"Steps of the policy were left out in {LIMIT} windows .*: gradient, policy_gradient_loss, value_loss\\."
    with pytest.raises(NonFiniteError, match=message):
        model.learn(20 * WINDOW, log_interval=None, reset_num_timesteps=False)
    assert model.num_timesteps == (1 + LIMIT) * WINDOW
    assert model.logger.name_to_value["train/skipped_policy_steps"] == 2 * 2
    assert all(torch.equal(a, b) for a, b in zip(before, model.policy.action_net.parameters(), strict=True))


def test_windows_in_which_all_gradients_are_lost_are_counted_on_after_a_pause(model, tmp_path, lq):
    with torch.no_grad():
        model.policy.value_net.bias.fill_(torch.nan)
    model.learn((LIMIT - 1) * WINDOW, log_interval=None).save_training(tmp_path / "training")
    again = PPO.load_training(tmp_path / "training", lq(4))
    with pytest.raises(NonFiniteError, match=f"left out in {LIMIT} windows"):
        again.learn(20 * WINDOW, log_interval=None, reset_num_timesteps=False)
    assert again.num_timesteps == LIMIT * WINDOW


def test_window_that_minibatches_do_not_divide_is_refused(lq):
    with pytest.raises(
        ValueError,
        match=r"`batch_size` of PPOConfig must be a divisor of the window's 32 samples.*the largest up to 12 is 8",
    ):
        PPO(lq(4), PPOConfig(horizon=8, batch_size=12))
    with pytest.raises(ValueError, match="window's 1 samples, which are more than one"):
        PPO(lq(1), PPOConfig(horizon=1))


@pytest.mark.parametrize(
    ("name", "value", "expectation"),
    [
        ("n_epochs", 0, "an integer >= 1"),
        ("batch_size", 1, "an integer >= 2"),
        ("gae_lambda", 1.1, r"a number in \[0, 1\]"),
        ("ent_coef", -0.1, r"a number in \[0, inf\)"),
        ("vf_coef", -1, r"a number in \[0, inf\)"),
        ("clip_range", 0, r"a number in \(0, inf\)"),
        ("target_kl", -0.008, r"a number in \(0, inf\)"),
    ],
)
def test_invalid_value_names_field_expectation_and_value(name, value, expectation):
    with pytest.raises(ValueError, match=f"`{name}` of PPOConfig must be {expectation}. Got {value}"):
        PPOConfig(**{name: value})


def test_policy_learns_to_regulate(lq):
    config = PPOConfig(hidden_sizes=(32, 32), horizon=16, batch_size=64, learning_rate=1e-3)
    model = PPO(lq(16, start=0.2), config, seed=0)
    env = lq(64, start=0.2)
    untrained = evaluate(model.policy, env, episodes=64, seed=1).returns.mean()
    model.learn(20_000, log_interval=None)
    assert evaluate(model.policy, env, episodes=64, seed=1).returns.mean() > 0.15 * untrained


def test_config_of_another_kind_is_refused(lq):
    with pytest.raises(TypeError, match=r"config must be a PPOConfig. Got dict"):
        PPO(lq(4), {"horizon": 8})
