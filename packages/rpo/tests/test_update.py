"""What one update of RPO hands to its optimisers, against the paper's algorithm written out plainly."""

import copy
import dataclasses

import pytest
import torch

from rpo import RPO, RPOConfig, objectives, returns
from rpo.rollout import collect

PLAIN = RPOConfig(
    hidden_sizes=(16, 16),
    horizon=6,
    policy_epochs=1,
    critic_epochs=1,
    critic_minibatches=2,
    kl_coef=0.0,
    entropy_coef=0.0,
    max_grad_norm=1e9,
)


def make(lq, **changes):
    """Return RPO in float64 and a window of four systems: one is truncated inside it, and one terminates."""
    model = RPO(lq(4, max_episode_steps=20), dataclasses.replace(PLAIN, **changes), seed=0)
    model.policy.double()
    model._seconds = {}
    env = model.env.env
    env.reset(seed=3)
    env.elapsed[0] = 17
    env.x[1] = torch.tensor([9.7, 1.5])
    rollout = collect(env, model.policy, PLAIN.horizon, model._generator)
    assert rollout.truncated[2, 0]
    assert rollout.terminated[:-1, 1].any()
    return model, rollout


def objective_of(rollout, entropy_coef):
    rewards = rollout.rewards + entropy_coef * rollout.entropies
    return returns.window_objective(
        rewards, rollout.next_values.mean(0), rollout.terminated, rollout.truncated, PLAIN.gamma
    )


def gradients_reaching_the_actor(model, rollout, monkeypatch):
    """Run the update and return, per policy epoch, the gradients that the optimiser steps on."""
    seen = []
    step = model.actor_optimizer.step

    def spy(*args, **kwargs):
        seen.append([parameter.grad.clone() for parameter in model.policy.actor.parameters()])
        return step(*args, **kwargs)

    monkeypatch.setattr(model.actor_optimizer, "step", spy)
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


def test_later_epochs_step_on_the_clipped_and_penalised_objective(lq, monkeypatch):
    changes = {"policy_epochs": 2, "kl_coef": 0.7, "clip_low": 0.2, "clip_high": 0.2, "learning_rate": 1e-2}
    model, rollout = make(lq, **changes)
    action_grad = torch.stack(torch.autograd.grad(objective_of(rollout, 0.0), rollout.actions, retain_graph=True))
    first = copy.deepcopy(model.policy.actor)
    optimizer = torch.optim.AdamW(first.parameters(), lr=1e-2, betas=PLAIN.betas, weight_decay=PLAIN.weight_decay)
    old = rollout.behaviour
    for epoch, actual in enumerate(gradients_reaching_the_actor(model, rollout, monkeypatch)):
        policy = first(rollout.observations)
        noise = ((rollout.presquash - policy.mean) / policy.log_std.exp()).detach()
        action = torch.tanh(policy.mean + policy.log_std.exp() * noise)
        ratio = (policy.log_prob(rollout.presquash) - old.log_prob(rollout.presquash)).exp().detach()
        kept = (ratio >= 0.8) & (ratio <= 1.2)
        assert kept.all() if epoch == 0 else 0 < kept.sum() < kept.numel(), ratio
        normals = [torch.distributions.Normal(p.mean, p.log_std.exp()) for p in (old, policy)]
        kl = torch.distributions.kl_divergence(*normals).sum(-1).mean()
        surrogate = sum(ratio[i] * (action[i] * action_grad[i]).sum() for i in map(tuple, kept.nonzero().tolist()))
        optimizer.zero_grad()
        (0.7 * kl - surrogate).backward()
        assert_all_close(actual, [parameter.grad for parameter in first.parameters()])
        optimizer.step()


@pytest.mark.parametrize("entropy_coef", [0.0, 0.5])
def test_critics_are_fitted_to_the_td_lambda_targets_of_a_plain_loop(lq, monkeypatch, entropy_coef):
    model, rollout = make(lq, entropy_coef=entropy_coef)
    rewards, values = (x.tolist() for x in (rollout.rewards, rollout.next_values.mean(0)))
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
