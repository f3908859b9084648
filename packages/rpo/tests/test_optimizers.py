"""Steps along what is not finite are left out, counted, and in the end the end of the training."""

import math

import pytest
import torch

from rpo import RPO, SAPO, SHAC, NonFiniteError, RPOConfig, SAPOConfig, SHACConfig, objectives
from rpo.optimizers import LIMIT, FiniteAdamW

TINY = {"hidden_sizes": (8,), "horizon": 4, "critic_epochs": 1}
WINDOW = 4 * 3


def make(algorithm, config_class, env):
    return algorithm(env, config_class(**TINY), seed=0)


def pair():
    """Return a parameter of two values under `FiniteAdamW`, and the same under torch's AdamW."""
    ours, plain = (torch.nn.Parameter(torch.tensor([1.0, -2.0])) for _ in range(2))
    settings = {"lr": 0.1, "betas": (0.7, 0.95), "weight_decay": 0.01}
    optimizer = FiniteAdamW([ours], name="actor", **settings)
    return ours, optimizer, plain, torch.optim.AdamW([plain], fused=True, **settings)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_step_with_a_gradient_that_is_not_finite_changes_nothing(bad):
    ours, optimizer, plain, reference = pair()
    for gradient in ([0.5, 1.0], [bad, 1.0], [1.0, 2.0], [1.0, bad], [0.1, 0.2]):
        ours.grad = torch.tensor(gradient)
        optimizer.step()
        if math.isfinite(sum(gradient)):
            plain.grad = torch.tensor(gradient)
            reference.step()
        assert torch.equal(ours, plain)
    assert optimizer.state[ours]["step"] == reference.state[plain]["step"] == 3
    assert torch.equal(optimizer.state[ours]["exp_avg"], reference.state[plain]["exp_avg"])
    assert optimizer.skipped == 2
    assert {name: count.item() for name, count in optimizer.lost.items()} == {"gradient": 2}


def test_step_with_a_term_that_is_not_finite_is_left_out_though_its_gradient_is():
    ours, optimizer, *_ = pair()
    ours.grad = torch.ones(2)
    optimizer.step_if_finite(ours.grad.norm(), value=torch.tensor(torch.nan), other=torch.tensor(1.0))
    assert ours.tolist() == [1.0, -2.0]
    assert {name: count.item() for name, count in optimizer.lost.items()} == {"value": 1, "other": 0, "gradient": 0}


def test_step_whose_gradient_is_too_long_to_clip_is_left_out(lq):
    model = make(SHAC, SHACConfig, lq(3))
    bias = model.policy.critics.biases[-1]
    before = bias.clone()
    model.minimise(model.critic_optimizer, 1e30 * model.policy.critics(torch.ones(1, 2)).sum())
    assert bias.grad.isfinite().all()
    assert torch.equal(bias, before)
    assert {name: count.item() for name, count in model.critic_optimizer.lost.items()} == {"gradient": 1}


@pytest.mark.parametrize(("algorithm", "config_class"), [(RPO, RPOConfig), (SAPO, SAPOConfig), (SHAC, SHACConfig)])
def test_training_goes_on_after_a_minibatch_that_is_not_finite(lq, monkeypatch, algorithm, config_class):
    value_loss, calls = objectives.value_loss, []

    def poisoned(values, targets):
        calls.append(None)
        return value_loss(values, targets) * (torch.nan if len(calls) in (2, 3) else 1.0)

    monkeypatch.setattr(objectives, "value_loss", poisoned)
    model = make(algorithm, config_class, lq(3))
    model.learn(WINDOW, log_interval=None)
    assert model.logger.name_to_value["train/skipped_critic_steps"] == 2
    assert model.logger.name_to_value["train/skipped_actor_steps"] == 0
    model.learn(2 * WINDOW, log_interval=None, reset_num_timesteps=False)
    assert model.num_timesteps == 3 * WINDOW
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


TERMS = {RPO: "critic .*: value_loss, gradient", SAPO: "actor .*: objective", SHAC: "actor .*: objective"}


@pytest.mark.parametrize(("algorithm", "config_class"), [(RPO, RPOConfig), (SAPO, SAPOConfig), (SHAC, SHACConfig)])
def test_training_whose_steps_are_all_lost_ends_with_what_was_not_finite(lq, algorithm, config_class):
    model = make(algorithm, config_class, lq(3))
    model.learn(WINDOW, log_interval=None)
    with torch.no_grad():
        model.policy.critics.biases[-1][0] = torch.nan
    actor = [parameter.clone() for parameter in model.policy.actor.parameters()]
    with pytest.raises(NonFiniteError, match=rf"Steps of the {TERMS[algorithm]}\.") as error:
        model.learn(20 * WINDOW, log_interval=None, reset_num_timesteps=False)
    assert f"left out in {LIMIT} windows in a row" in str(error.value)
    assert model.num_timesteps == (1 + LIMIT) * WINDOW
    unchanged = all(torch.equal(a, b) for a, b in zip(actor, model.policy.actor.parameters(), strict=True))
    assert unchanged or algorithm is RPO  # whose own terms, KL and entropy, are finite
    assert all(parameter.isfinite().all() for parameter in model.policy.actor.parameters())


def test_training_saved_at_its_end_ends_again_when_it_goes_on(lq, tmp_path):
    model = make(SHAC, SHACConfig, lq(3))
    with torch.no_grad():
        model.policy.critics.biases[-1][0] = torch.nan
    with pytest.raises(NonFiniteError):
        model.learn(20 * WINDOW, log_interval=None)
    model.save_training(tmp_path / "end")
    again = SHAC.load_training(tmp_path / "end", lq(3))
    assert again.guard.in_a_row == {"actor": LIMIT, "critic": LIMIT}
    with pytest.raises(NonFiniteError, match=f"in {LIMIT + 1} windows"):
        again.learn(20 * WINDOW, log_interval=None, reset_num_timesteps=False)
    assert again.num_timesteps == model.num_timesteps + WINDOW


def test_one_good_window_begins_the_count_anew(lq):
    model = make(SHAC, SHACConfig, lq(3))
    model.guard.in_a_row = {"actor": LIMIT - 1, "critic": LIMIT - 1}
    model.learn(WINDOW, log_interval=None)
    assert model.guard.in_a_row == {"actor": 0, "critic": 0}
