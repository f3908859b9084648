import pytest
import torch

from rpo import RPO, RPOConfig, objectives, returns
from rpo.distributions import SquashedGaussian
from rpo.policy import make_generator
from rpo.rollout import collect

SMALL = RPOConfig(hidden_sizes=(16, 16), horizon=6, critic_epochs=2)


@pytest.fixture
def model(lq):
    """RPO in float64 on four systems, whose first one is truncated inside the window."""
    model = RPO(lq(4, max_episode_steps=20), SMALL, seed=0)
    model.policy.double()
    env = model.env.env
    env.reset(seed=3)
    env.elapsed[0] = 17
    return model


def roll_out(model):
    return collect(model.env.env, model.policy, SMALL.horizon, make_generator(torch.device("cpu"), 5))


def objective_of(rollout, entropy_coef=0.0):
    rewards = rollout.rewards + entropy_coef * rollout.entropies
    return returns.window_objective(
        rewards, rollout.next_values.mean(0), rollout.terminated, rollout.truncated, SMALL.gamma
    )


def surrogate_of(model, rollout, action_grad, clip=(1.0, float("inf"))):
    policy = model.policy.actor(rollout.observations)
    action = objectives.regenerated_action(policy, rollout.presquash)
    ratio = objectives.importance_ratio(policy, rollout.behaviour, rollout.presquash)
    return objectives.clipped_surrogate(action, action_grad, ratio, *clip)


def test_first_epoch_gradient_is_the_reparameterised_policy_gradient(model):
    rollout = roll_out(model)
    assert rollout.truncated[2, 0]
    parameters = list(model.policy.actor.parameters())
    objective = objective_of(rollout)
    expected = torch.autograd.grad(objective, parameters, retain_graph=True)
    action_grad = objectives.action_gradients(objective, rollout.actions)
    actual = torch.autograd.grad(surrogate_of(model, rollout, action_grad, (0.8, 1.0)), parameters)
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-12)


def test_cached_action_gradient_is_autograds(model):
    rollout = roll_out(model)
    for action in rollout.actions:
        action.retain_grad()
    objective_of(rollout, 0.5).backward(retain_graph=True)
    expected = torch.stack([action.grad for action in rollout.actions])
    action_grad = objectives.action_gradients(objective_of(rollout, 0.5), rollout.actions)
    torch.testing.assert_close(action_grad, expected)


@pytest.mark.parametrize("multiple", [0.5, 1.0, 3.0])
def test_action_gradients_are_clipped_to_a_multiple_of_their_median_norm(multiple):
    generator = torch.Generator().manual_seed(0)
    scale = torch.randn(7, 5, 1, generator=generator, dtype=torch.float64).mul(3.0).exp()
    gradient = scale * torch.randn(7, 5, 3, generator=generator, dtype=torch.float64)
    gradient[2:4] = 0.0
    norms = sorted(sample.norm().item() for row in gradient for sample in row if sample.any())
    limit = multiple * norms[(len(norms) - 1) // 2]
    clipped = objectives.clip_action_gradients(gradient, multiple)
    beyond = 0
    for before, after in zip(gradient.flatten(0, 1), clipped.flatten(0, 1), strict=True):
        expected = before
        if before.norm() > limit:
            expected = before / before.norm() * limit
            beyond += 1
        torch.testing.assert_close(after, expected, rtol=1e-12, atol=0.0)
    assert 0 < beyond < len(norms)


def test_action_gradients_that_are_all_zero_stay_zero():
    nothing = torch.zeros(3, 2, 4)
    assert torch.equal(objectives.clip_action_gradients(nothing, 2.0), nothing)


@pytest.mark.parametrize("entropy_coef", [0.0, 0.5])
def test_cached_action_gradient_is_the_total_derivative(model, entropy_coef):
    # Central differences of the whole window, later actions responding through the policy.
    env = model.env.env
    start, step = env.get_state(), env.step_grad
    start = {name: tensor.clone() for name, tensor in start.items()}

    def objective(t, delta):
        env.set_state(start)
        calls = iter(range(SMALL.horizon))
        env.step_grad = lambda action: step(action + delta if next(calls) == t else action)
        rollout = roll_out(model)
        return rollout, objective_of(rollout, entropy_coef)

    rollout, value = objective(0, 0.0)
    action_grad = objectives.action_gradients(value, rollout.actions)
    for t in (0, 2, 5):
        difference = (objective(t, 1e-5)[1] - objective(t, -1e-5)[1]) / 2e-5
        torch.testing.assert_close(action_grad[t].sum(), difference.detach(), rtol=1e-6, atol=1e-9)


def test_entropy_reaches_earlier_actions_but_not_its_own(model):
    rollout = roll_out(model)
    without, with_entropy = (
        torch.stack(torch.autograd.grad(objective_of(rollout, coef), rollout.actions, retain_graph=True))
        for coef in (0.0, 1.0)
    )
    assert torch.equal(without[-1], with_entropy[-1])
    assert (without[0] != with_entropy[0]).any()


def test_objective_gives_no_gradient_to_parameters(model):
    rollout = roll_out(model)
    objectives.action_gradients(objective_of(rollout, 0.5), rollout.actions)
    assert all(parameter.grad is None for parameter in model.policy.parameters())


def test_regenerated_action_is_the_stored_action_under_any_policy():
    mean, log_std, u = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policy = SquashedGaussian(mean.requires_grad_(), log_std)
    action = objectives.regenerated_action(policy, u)
    torch.testing.assert_close(action, torch.tanh(u))
    (gradient,) = torch.autograd.grad(action.sum(), mean)
    torch.testing.assert_close(gradient, 1 - torch.tanh(u) ** 2)


def test_ratio_is_that_of_the_densities_of_the_action():
    parameters = torch.randn(4, 9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    new, old = SquashedGaussian(*parameters[:2]), SquashedGaussian(*parameters[2:])
    u = old.presquash(torch.randn(9, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    torch.testing.assert_close(
        objectives.importance_ratio(new, old, u), (new.log_prob(u) - old.log_prob(u)).exp(), rtol=1e-9, atol=1e-12
    )
    assert torch.equal(objectives.importance_ratio(old, old, u), torch.ones(9, dtype=torch.float64))


def test_clipping_removes_exactly_the_samples_outside():
    ratio = torch.tensor([0.19, 0.2, 1.0, 2.0, 2.01], dtype=torch.float64)
    action = torch.zeros(5, 2, dtype=torch.float64, requires_grad=True)
    action_grad = torch.arange(1.0, 11.0, dtype=torch.float64).reshape(5, 2)
    (gradient,) = torch.autograd.grad(objectives.clipped_surrogate(action, action_grad, ratio, 0.8, 1.0), action)
    kept = torch.tensor([False, True, True, True, False])
    assert torch.equal(objectives.inside_clip(ratio, 0.8, 1.0), kept)
    torch.testing.assert_close(gradient, torch.where(kept.unsqueeze(-1), ratio.unsqueeze(-1) * action_grad, 0.0))


def test_no_clipping_keeps_every_sample():
    assert objectives.inside_clip(torch.tensor([0.0, 1e-9, 1e9]), 1.0, float("inf")).all()


def test_infinite_ratio_takes_no_part_without_clipping_either():
    ratio = torch.tensor([1.0, float("inf"), float("nan")])
    action = torch.zeros(3, 2, requires_grad=True)
    action_grad = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    (gradient,) = torch.autograd.grad(
        objectives.clipped_surrogate(action, action_grad, ratio, 1.0, float("inf")), action
    )
    assert torch.equal(gradient, torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))


def test_scaled_entropy_is_zero_at_the_target_and_one_opposite_it():
    # The target is -dim/2 nat.
    torch.testing.assert_close(objectives.scaled_entropy(torch.tensor([-4.0, 4.0]), 8), torch.tensor([0.0, 1.0]))


def test_kl_penalty_and_entropy_bonus_are_means_over_samples():
    old = SquashedGaussian(torch.zeros(3, 2), torch.zeros(3, 2))
    new = SquashedGaussian(torch.ones(3, 2), torch.zeros(3, 2))
    assert objectives.kl_penalty(old, new).item() == pytest.approx(1.0)  # two dimensions of 1/2
    noise = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    expected = objectives.scaled_entropy(new.entropy(noise), 2).mean()
    assert objectives.entropy_bonus(new, noise) == expected


def test_kl_penalty_is_the_divergence_of_the_new_policy_from_the_old_one():
    parameters = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    old, new = SquashedGaussian(*parameters[:2]), SquashedGaussian(*parameters[2:])
    normals = [torch.distributions.Normal(policy.mean, policy.log_std.exp()) for policy in (old, new)]
    expected = torch.distributions.kl_divergence(*normals).sum(-1).mean()
    torch.testing.assert_close(objectives.kl_penalty(old, new), expected)
    assert (objectives.kl_penalty(new, old) - expected).abs() > 0.1


def test_policy_objective_weighs_its_terms():
    one = torch.tensor(1.0)
    assert objectives.policy_objective(one, 2 * one, 4 * one, kl_coef=0.5, entropy_coef=0.25) == 1.0


def test_value_loss_averages_samples_and_critics():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert objectives.value_loss(values, torch.tensor([1.0, 1.0])).item() == (0 + 1 + 4 + 9) / 4


def test_explained_variance_is_one_for_perfect_and_zero_for_constant_values():
    targets = torch.tensor([1.0, 2.0, 4.0])
    assert objectives.explained_variance(targets, targets) == 1.0
    assert objectives.explained_variance(torch.zeros(3), targets).item() == pytest.approx(0.0, abs=1e-6)
