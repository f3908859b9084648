"""What one update hands to its optimisers, against the papers' algorithms written out plainly."""

import copy
import dataclasses
import itertools
import math

import pytest
import torch

from rpo import RPO, SAPO, SHAC, RPOConfig, SAPOConfig, SHACConfig, objectives, returns
from rpo.rollout import collect

SHARED = {"hidden_sizes": (16, 16), "horizon": 6, "critic_epochs": 1, "critic_minibatches": 2, "max_grad_norm": 1e9}
PLAIN = RPOConfig(**SHARED, policy_epochs=1, kl_coef=0.0, entropy_coef=0.0)
SINGLE_STEP = [(SHAC, SHACConfig(**SHARED)), (SAPO, SAPOConfig(**SHARED, initial_temperature=0.7))]


def window_of(algorithm, config, lq, dtype=torch.float64):
    """Return a model and a window of four systems: one is truncated inside it, and one terminates."""
    model = algorithm(lq(4, max_episode_steps=20), config, seed=0)
    model.policy.to(dtype=dtype)
    model._seconds = {}
    env = model.env.env
    env.reset(seed=3)
    env.elapsed[0] = 17
    env.x[1] = torch.tensor([9.7, 1.5])
    rollout = collect(env, model.policy, config.horizon, model._generator)
    assert rollout.truncated[2, 0]
    assert rollout.terminated[:-1, 1].any()
    return model, rollout


def make(lq, **changes):
    """Return RPO and a window."""
    return window_of(RPO, dataclasses.replace(PLAIN, **changes), lq)


def entropy_coef_of(model):
    """Return the weight of the entropy in the window's objective."""
    if isinstance(model, SAPO):
        return model.temperature().item()
    return model.config.entropy_coef if isinstance(model, RPO) else 0.0


def objective_of(rollout, entropy_coef):
    rewards = rollout.rewards + entropy_coef * rollout.entropies
    return returns.window_objective(
        rewards, rollout.next_values.mean(0), rollout.terminated, rollout.truncated, PLAIN.gamma
    )


def gradients_reaching_the_actor(model, rollout, monkeypatch):
    """Run the update and return, per policy epoch, the gradients that the optimiser steps on."""
    seen = []
    step = model.actor_optimizer.step_if_finite

    def spy(norm, **terms):
        seen.append([parameter.grad.clone() for parameter in model.policy.actor.parameters()])
        return step(norm, **terms)

    monkeypatch.setattr(model.actor_optimizer, "step_if_finite", spy)
    model.update(rollout)
    return seen


def assert_all_close(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-12)


def test_first_epoch_steps_on_the_gradient_of_the_windows_objective(lq, monkeypatch):
    model, rollout = make(lq)
    parameters = list(model.policy.actor.parameters())
    expected = torch.autograd.grad(objective_of(rollout, 0.0), parameters, retain_graph=True)
    (actual,) = gradients_reaching_the_actor(model, rollout, monkeypatch)
    assert_all_close(actual, [-gradient for gradient in expected])


def test_entropy_enters_through_the_actions_and_straight_to_the_policy(lq, monkeypatch):
    coef = 0.5
    model, rollout = make(lq, entropy_coef=coef)
    parameters = list(model.policy.actor.parameters())
    # Through the actions: the total derivative G of the entropy-augmented objective, carried on by a = tanh(u).
    action_grad = torch.stack(torch.autograd.grad(objective_of(rollout, coef), rollout.actions, retain_graph=True))
    policy = model.policy.actor(rollout.observations)
    noise = (rollout.presquash - policy.mean.detach()) / policy.log_std.detach().exp()
    action = torch.tanh(policy.mean + policy.log_std.exp() * noise)
    # Straight: the mean scaled entropy of the current policy, with the noise that the update will draw.
    fresh = torch.Generator()
    fresh.set_state(model._generator.get_state())
    entropy = policy.entropy(torch.randn(action.shape, generator=fresh, dtype=torch.float64))
    target = action.shape[-1] / 2
    bonus = ((entropy + target) / 2 / target).mean()
    expected = torch.autograd.grad((action_grad * action).sum() + coef * bonus, parameters)
    (actual,) = gradients_reaching_the_actor(model, rollout, monkeypatch)
    assert_all_close(actual, [-gradient for gradient in expected])


def test_steps_on_clipped_action_gradients(lq, monkeypatch):
    model, rollout = make(lq, max_action_grad=0.5)
    action_grad = torch.stack(torch.autograd.grad(objective_of(rollout, 0.0), rollout.actions, retain_graph=True))
    norm = action_grad.norm(dim=-1, keepdim=True)
    limit = 0.5 * norm[norm > 0.0].median()
    assert (norm > limit).sum() > norm.numel() / 4
    policy = model.policy.actor(rollout.observations)
    noise = (rollout.presquash - policy.mean.detach()) / policy.log_std.detach().exp()
    action = torch.tanh(policy.mean + policy.log_std.exp() * noise)
    surrogate = (action_grad * (limit / norm).clamp(max=1.0).nan_to_num() * action).sum()
    expected = torch.autograd.grad(surrogate, list(model.policy.actor.parameters()))
    (actual,) = gradients_reaching_the_actor(model, rollout, monkeypatch)
    assert_all_close(actual, [-gradient for gradient in expected])


# The ablations of table 2 are configurations: no KL, two epochs, no clipping.
@pytest.mark.parametrize("epochs", [2, 5])
@pytest.mark.parametrize("kl_coef", [0.0, 0.7])
@pytest.mark.parametrize("clip", [(0.2, 0.2), (1.0, math.inf)])
def test_later_epochs_step_on_the_clipped_and_penalised_objective(lq, monkeypatch, epochs, kl_coef, clip):
    changes = {"clip_low": clip[0], "clip_high": clip[1], "kl_coef": kl_coef, "policy_epochs": epochs}
    model, rollout = make(lq, **changes, learning_rate=1e-2)
    action_grad = torch.stack(torch.autograd.grad(objective_of(rollout, 0.0), rollout.actions, retain_graph=True))
    first = copy.deepcopy(model.policy.actor)
    optimizer = torch.optim.AdamW(first.parameters(), lr=1e-2, betas=PLAIN.betas, weight_decay=PLAIN.weight_decay)
    old = rollout.behaviour
    steps = gradients_reaching_the_actor(model, rollout, monkeypatch)
    assert len(steps) == epochs
    for epoch, actual in enumerate(steps):
        policy = first(rollout.observations)
        noise = ((rollout.presquash - policy.mean) / policy.log_std.exp()).detach()
        action = torch.tanh(policy.mean + policy.log_std.exp() * noise)
        ratio = (policy.log_prob(rollout.presquash) - old.log_prob(rollout.presquash)).exp().detach()
        kept = (ratio >= 0.8) & (ratio <= 1.2)
        assert kept.all() == (epoch == 0), ratio
        assert kept.any() or epoch > 1
        if clip[0] == 1.0:
            kept = torch.ones_like(kept)
        normals = [torch.distributions.Normal(p.mean, p.log_std.exp()) for p in (old, policy)]
        kl = torch.distributions.kl_divergence(*normals).sum(-1).mean()
        surrogate = sum(ratio[i] * (action[i] * action_grad[i]).sum() for i in map(tuple, kept.nonzero().tolist()))
        optimizer.zero_grad()
        (kl_coef * kl - surrogate).backward()
        assert_all_close(actual, [parameter.grad for parameter in first.parameters()])
        optimizer.step()


@pytest.mark.parametrize(("algorithm", "config"), SINGLE_STEP)
def test_shac_and_sapo_take_one_step_on_the_whole_gradient_of_the_windows_objective(lq, monkeypatch, algorithm, config):
    model, rollout = window_of(algorithm, config, lq)
    parameters = list(model.policy.actor.parameters())
    expected = torch.autograd.grad(objective_of(rollout, entropy_coef_of(model)), parameters, retain_graph=True)
    (actual,) = gradients_reaching_the_actor(model, rollout, monkeypatch)
    assert_all_close(actual, [-gradient for gradient in expected])


@pytest.mark.parametrize(("algorithm", "config"), [(RPO, PLAIN), *SINGLE_STEP])
def test_gradients_are_clipped_and_their_norms_logged_as_they_were_before(lq, monkeypatch, algorithm, config):
    def norm_of(gradients):
        return torch.stack([gradient.norm() for gradient in gradients]).norm().item()

    model, rollout = window_of(algorithm, config, lq)
    (whole,) = gradients_reaching_the_actor(model, rollout, monkeypatch)
    model, rollout = window_of(algorithm, dataclasses.replace(config, max_grad_norm=1e-3), lq)
    logged = {}
    update = model.update
    monkeypatch.setattr(model, "update", lambda rollout: logged.update(update(rollout)))
    (clipped,) = gradients_reaching_the_actor(model, rollout, monkeypatch)
    assert norm_of(whole) > 1e-2
    assert norm_of(clipped) == pytest.approx(1e-3, rel=1e-3)
    assert logged["actor_grad_norm"].item() == pytest.approx(norm_of(whole))
    assert logged["critic_grad_norm"] > 1e-2


def test_sapo_s_temperature_steps_on_the_distance_of_the_entropy_from_its_target(lq, monkeypatch):
    model, rollout = window_of(SAPO, SINGLE_STEP[1][1], lq)
    entropy = (2 * rollout.entropies - 1).mean() / 2  # of an action of one dimension, whose target is -1/2
    step, seen = model.temperature_optimizer.step_if_finite, []
    monkeypatch.setattr(
        model.temperature_optimizer,
        "step_if_finite",
        lambda norm, **terms: (seen.append(model.temperature.log_value.grad.clone()), step(norm, **terms)),
    )
    model.update(rollout)
    assert seen[0].item() == pytest.approx(0.7 * (entropy.item() + 0.5))
    assert model.temperature().item() < 0.7  # a new policy's entropy is above the target


@pytest.mark.parametrize(
    ("algorithm", "config"),
    [(RPO, PLAIN), (RPO, dataclasses.replace(PLAIN, entropy_coef=0.5)), *SINGLE_STEP],
)
def test_critics_are_fitted_to_the_td_lambda_targets_of_a_plain_loop(lq, monkeypatch, algorithm, config):
    model, rollout = window_of(algorithm, config, lq)
    entropy_coef = entropy_coef_of(model)
    reduced = rollout.next_values.amin(0) if algorithm is SAPO else rollout.next_values.mean(0)
    rewards, values = rollout.rewards.tolist(), reduced.tolist()
    entropies, terminated, truncated = (x.tolist() for x in (rollout.entropies, rollout.terminated, rollout.truncated))
    expected = {}  # observation to target
    for n in range(4):
        target = 0.0
        for t in reversed(range(PLAIN.horizon)):
            if terminated[t][n]:
                future = 0.0
            elif truncated[t][n] or t == PLAIN.horizon - 1:
                future = values[t][n]
            else:
                future = (1 - PLAIN.td_lambda) * values[t][n] + PLAIN.td_lambda * target
            target = rewards[t][n] + entropy_coef * entropies[t][n] + PLAIN.gamma * future
            expected[tuple(rollout.observations[t, n].tolist())] = target
    seen, inputs = {}, []
    value_loss = objectives.value_loss
    model.policy.critics.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))

    def spy(predicted, targets):
        seen.update(zip(map(tuple, inputs[-1].tolist()), targets.tolist(), strict=True))
        return value_loss(predicted, targets)

    monkeypatch.setattr(objectives, "value_loss", spy)
    model.update(rollout)
    assert seen == pytest.approx(expected)
    assert len(seen) == 4 * PLAIN.horizon


# The ablations of figure 6 are configurations too: SAPO with RPO's decay, and with its number of critic epochs.
def test_sapo_decays_exponentially_where_it_is_told_to(lq):
    shared = {"hidden_sizes": (8,), "horizon": 4, "critic_epochs": 1, "decay_timesteps": 64}
    expected = {"linear": 2e-3 + (1e-5 - 2e-3) / 4, "exponential": 2e-3 * (1e-5 / 2e-3) ** 0.25}
    for decay, rate in expected.items():
        model = SAPO(lq(4), SAPOConfig(**shared, learning_rate_decay=decay), seed=0)
        model.learn(32, log_interval=None)  # the second window starts after 16 of the 64 steps
        assert model.actor_optimizer.param_groups[0]["lr"] == pytest.approx(rate)
        assert model.temperature_optimizer.param_groups[0]["lr"] == 5e-3


@pytest.mark.parametrize("epochs", [16, 32])
def test_critics_take_the_epochs_that_are_set_each_once_over_the_window(lq, monkeypatch, epochs):
    model, rollout = window_of(SAPO, dataclasses.replace(SINGLE_STEP[1][1], critic_epochs=epochs), lq)
    seen = []
    value_loss = objectives.value_loss
    monkeypatch.setattr(
        objectives, "value_loss", lambda values, targets: (seen.append(targets), value_loss(values, targets))[1]
    )
    model.update(rollout)
    assert len(seen) == 2 * epochs
    passes = [torch.cat(seen[i : i + 2]).sort().values for i in range(0, len(seen), 2)]
    assert all(torch.equal(one, passes[0]) for one in passes)
    assert not torch.equal(seen[0], seen[2])  # shuffled


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_losses_of_the_batched_critics_are_those_of_plain_networks_trained_one_by_one(lq, monkeypatch, dtype):
    config = dataclasses.replace(PLAIN, critic_epochs=10, max_grad_norm=0.5, critic_learning_rate=1e-2)
    model, rollout = window_of(RPO, config, lq, dtype)
    critics, widths = model.policy.critics, [2, *config.hidden_sizes, 1]
    plain = torch.nn.ModuleList()
    for critic in range(config.critic_count):
        layers = []
        for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
            linear = torch.nn.Linear(inputs, outputs, dtype=dtype)
            linear.weight.data = critics.weights[i][critic].T.clone()
            linear.bias.data = critics.biases[i][critic, 0].clone()
            layers += [linear, torch.nn.LayerNorm(outputs, dtype=dtype), torch.nn.SiLU()]
        plain.append(torch.nn.Sequential(*layers[:-2]))
    optimizer = torch.optim.AdamW(plain.parameters(), 1e-2, config.betas, weight_decay=config.weight_decay)
    generator = torch.Generator()
    generator.set_state(model._generator.get_state())
    rewards, ends = rollout.rewards.detach(), (rollout.terminated, rollout.truncated)
    values = rollout.next_values.detach().mean(0)
    targets = returns.td_lambda(rewards, values, *ends, config.gamma, config.td_lambda).flatten()
    observations = rollout.observations.flatten(0, 1)
    expected = []
    for _ in range(config.critic_epochs):
        for batch in torch.randperm(len(targets), generator=generator).chunk(config.critic_minibatches):
            errors = [(critic(observations[batch]).squeeze(-1) - targets[batch]).square().mean() for critic in plain]
            loss = sum(errors) / len(errors)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), config.max_grad_norm)
            optimizer.step()
            expected.append(loss.item())
    model.critic_optimizer.param_groups[0]["lr"] = 1e-2
    losses, value_loss = [], objectives.value_loss

    def spy(values, targets):
        losses.append(value_loss(values, targets))
        return losses[-1]

    monkeypatch.setattr(objectives, "value_loss", spy)
    model.train_critics(rollout, rewards)
    assert sum(expected[-2:]) < sum(expected[:2])
    assert [loss.item() for loss in losses] == pytest.approx(expected, rel=1e-6)
