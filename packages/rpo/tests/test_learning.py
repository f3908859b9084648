import dataclasses
import math

import pytest
import torch
from small_runs import small_config
from systems import Bandit, Pendulum, ScaledReward

from rpo import RPO, SAPO, SHAC, RPOConfig, SAPOConfig, SHACConfig, evaluate
from rpo.schedules import exponential, linear

LQ = {
    "hidden_sizes": (32, 32),
    "horizon": 16,
    "critic_epochs": 4,
    "learning_rate": 1e-2,
    "critic_learning_rate": 4e-3,
    "decay_timesteps": 24_000,
}
REGULATORS = [
    (RPO, RPOConfig(**LQ, entropy_coef=1e-4, kl_coef=0.02)),
    (SAPO, SAPOConfig(**LQ, initial_temperature=1e-3)),
    (SHAC, SHACConfig(**LQ)),
]
SWING = {
    "hidden_sizes": (32, 32),
    "gamma": 0.97,
    "critic_epochs": 8,
    "learning_rate": 1e-2,
    "critic_learning_rate": 5e-3,
    "decay_timesteps": 204_800,
}
SWINGERS = [
    (RPO, RPOConfig(**SWING, entropy_coef=0.1, kl_coef=0.05)),
    (SAPO, SAPOConfig(**SWING, initial_temperature=0.2, temperature_learning_rate=0.02)),
    (SHAC, SHACConfig(**SWING)),
]


def mean_return(model, env):
    return evaluate(model.policy, env, episodes=env.num_envs, seed=1).returns.mean()


@pytest.mark.parametrize(("algorithm", "config"), REGULATORS, ids=["rpo", "sapo", "shac"])
def test_learned_policy_approaches_the_riccati_cost(lq, algorithm, config):
    env = lq(64, start=0.2)
    model = algorithm(lq(16, start=0.2), config, seed=0)
    untrained = mean_return(model, env)
    model.learn(24_000, log_interval=None)
    learned = mean_return(model, env)
    gain = env.riccati_gain(config.gamma)
    x, _ = env.reset(seed=1)
    optimal = torch.zeros(64, dtype=torch.float64)
    for _ in range(env.max_episode_steps):
        x, reward, *_ = env.step((-x @ gain.T).clamp(-1, 1))
        optimal += reward
    optimal_cost = -optimal.mean().item()
    assert -untrained > 3 * optimal_cost
    # Above the optimum stays what 94 windows leave, and that LayerNorm networks are no linear functions.
    assert optimal_cost < -learned < 1.15 * optimal_cost


@pytest.mark.parametrize(("algorithm", "config"), SWINGERS, ids=["rpo", "sapo", "shac"])
def test_learned_policy_swings_a_pendulum_up_that_it_cannot_lift(algorithm, config):
    env = Pendulum(32)
    best, hanging = env.best_return(), -env.max_episode_steps
    model = algorithm(Pendulum(64), config, seed=1)
    assert mean_return(model, env) < 0.5 * hanging
    model.learn(100 * 32 * 64, log_interval=None)
    # The best return is that of a grid, a few per cent from the truth either way.
    assert hanging + 0.9 * (best - hanging) < mean_return(model, env) < hanging + 1.05 * (best - hanging)


@pytest.mark.parametrize("initial_temperature", [1.0, 0.005])
def test_sapo_s_temperature_converges_to_the_one_that_gives_the_target_entropy(initial_temperature):
    # The best policy at a temperature T is the Gaussian exp(-(a - 0.3)^2 / (T / d)), of d dimensions: T / d weighs the
    # entropy itself, of which h is 1/d and a constant. Its variance T / (2 d) gives the entropy -1/2 in each dimension,
    # where 1/2 log(2 pi e variance) = -1/2.
    expected = 2 * Bandit.act_dim * math.exp(-2) / (2 * math.pi)
    config = SAPOConfig(
        hidden_sizes=(16,),
        horizon=2,
        critic_epochs=1,
        critic_minibatches=1,
        learning_rate=1e-2,
        initial_temperature=initial_temperature,
        temperature_learning_rate=0.05,
        decay_timesteps=1000 * 512,
    )
    model = SAPO(Bandit(256), config, seed=0).learn(200 * 512, log_interval=None)
    temperatures, entropies = [], []
    for _ in range(100):
        model.learn(512, log_interval=None, reset_num_timesteps=False)
        temperatures.append(model.temperature().item())
        entropies.append(model.logger.name_to_value["train/entropy"])
    assert sum(temperatures) / 100 == pytest.approx(expected, rel=0.1)
    assert sum(entropies) / 100 == pytest.approx(0.0, abs=0.05)  # scaled: 0 at the target
    mode = model.policy.act(torch.linspace(-2, 2, 100).unsqueeze(-1), deterministic=True)
    assert (mode - Bandit.BEST).abs().mean() < 0.05


def test_training_leaves_torchs_global_generator_alone(lq):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    RPO(lq(4), RPOConfig(hidden_sizes=(8,), horizon=4, critic_epochs=2), seed=7).learn(32, log_interval=None)
    assert torch.equal(torch.rand(3), expected)


def test_schedules_go_from_start_to_end_and_stay():
    for schedule, middle in ((exponential, 1e-2), (linear, 0.05005)):
        assert schedule(1e-1, 1e-3, 0.0) == pytest.approx(1e-1)
        assert schedule(1e-1, 1e-3, 0.5) == pytest.approx(middle, rel=0.01)
        assert schedule(1e-1, 1e-3, 1.0) == schedule(1e-1, 1e-3, 7.0) == pytest.approx(1e-3)


def test_learning_rates_decay_over_the_tasks_budget_not_over_one_call(lq):
    starts = {"actor": 5e-4, "critic": 2e-3}
    config = small_config(RPO, learning_rate=starts["actor"], critic_learning_rate=starts["critic"], decay_timesteps=64)
    model = RPO(lq(4), config, seed=0)
    # The last window of each call starts after so many of the 64 steps.
    for steps, before in ((32, 16), (16, 32), (80, 112)):
        model.learn(steps, log_interval=None, reset_num_timesteps=False)
        for name, start in starts.items():
            rate = start * (1e-5 / start) ** min(before / 64, 1)
            assert getattr(model, f"{name}_optimizer").param_groups[0]["lr"] == pytest.approx(rate)
            assert model.logger.name_to_value[f"train/{name}_learning_rate"] == pytest.approx(rate)


def test_every_window_logs_what_a_user_needs_to_judge_it(lq):
    model = RPO(lq(4, max_episode_steps=6), RPOConfig(hidden_sizes=(8,), horizon=4, critic_epochs=1), seed=0)
    model.learn(48, log_interval=None)
    logged = model.logger.name_to_value
    names = [
        "ratio_mean",
        "ratio_min",
        "ratio_max",
        "clip_fraction",
        "kl",
        "entropy",
        "entropy_coef",
        "actor_grad_norm",
        "critic_grad_norm",
        "action_grad_mean",
        "action_grad_max",
        "value_loss",
        "explained_variance",
        "non_finite_states",
        "lost_gradients",
        "actor_learning_rate",
        "critic_learning_rate",
        "objective",
    ]
    assert {f"train/{name}" for name in names} <= set(logged)
    assert {f"action_grad_mean_by_step/{t:02d}" for t in range(4)} <= set(logged)
    assert {f"clip_fraction_by_epoch/{epoch:02d}" for epoch in range(5)} <= set(logged)
    assert {f"time/{n}_seconds" for n in ("simulation", "rollout", "backward", "actor", "critic")} <= set(logged)
    assert model.ep_info_buffer is not None
    assert [episode["l"] for episode in model.ep_info_buffer] == [6] * 8


def test_logged_returns_are_the_undiscounted_sums_of_rewards(lq):
    class Counting(lq):
        def step_grad(self, actions):
            obs, reward, *rest = super().step_grad(actions)
            return obs, reward * 0 + 1.0, *rest

    model = RPO(
        Counting(4, max_episode_steps=6), RPOConfig(hidden_sizes=(8,), horizon=4, critic_epochs=1), seed=0
    ).learn(48, log_interval=None)
    assert [episode["r"] for episode in model.ep_info_buffer or ()] == [6.0] * 8


def test_settings_of_the_other_algorithms_take_effect(lq):
    # SAPO's: linear decay, and targets from the lower of the two values.
    config = RPOConfig(hidden_sizes=(8,), horizon=4, critic_epochs=1, decay_timesteps=64)
    changed = dataclasses.replace(config, learning_rate_decay="linear", target_reduce="min")
    plain, other = (RPO(lq(4), c, seed=0).learn(32, log_interval=None) for c in (config, changed))
    assert other.actor_optimizer.param_groups[0]["lr"] == pytest.approx(5e-4 + (1e-5 - 5e-4) / 4)
    assert not torch.equal(plain.policy.critics.weights[0], other.policy.critics.weights[0])


def test_reward_that_a_wrapper_scales_is_learned_from():
    config = RPOConfig(
        hidden_sizes=(16,), horizon=4, critic_epochs=1, learning_rate=1e-2, entropy_coef=0.0, kl_coef=0.0
    )
    scores = []
    for factor in (1.0, -1.0):
        env = ScaledReward(Bandit(64), factor)
        model = RPO(env, config, seed=0).learn(20 * 256, log_interval=None)
        scores.append(evaluate(model.policy, env, episodes=64, seed=1).returns.mean())
    farthest = Bandit.act_dim * (1 + Bandit.BEST) ** 2  # from the best actions to the corner of the box
    assert -0.05 * farthest < scores[0] <= 0
    assert 0.95 * farthest < scores[1] <= farthest
