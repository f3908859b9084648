import contextlib

import pytest
import torch
from stable_baselines3.common.logger import Logger
from systems import LostReward

from rpo import RPO, SAPO, SHAC, NonFiniteError, RPOConfig, SAPOConfig, SHACConfig, objectives
from rpo.optimizers import LIMIT
from rpo.policy import make_generator
from rpo.returns import window_objective
from rpo.rollout import collect

SMALL = {"hidden_sizes": (16, 16), "horizon": 8, "critic_epochs": 2}
CONFIG = RPOConfig(**SMALL)
ALGORITHMS = [(RPO, RPOConfig), (SAPO, SAPOConfig), (SHAC, SHACConfig)]


def roll_out(model, horizon=8):
    return collect(model.env.env, model.policy, horizon, make_generator(torch.device("cpu"), 5))


def make(env):
    model = RPO(env, CONFIG, seed=0)
    model.policy.critics.biases[-1].data += 1.0  # new critics give a lost state, observed as 0, the value 0
    env.reset(seed=0)
    return model


def test_two_windows_continue_the_episodes_of_one_long_one(lq):
    model = make(lq(4))
    generator = make_generator(torch.device("cpu"), 5)
    start = {name: tensor.clone() for name, tensor in model.env.env.get_state().items()}
    first = collect(model.env.env, model.policy, 4, generator)
    second = collect(model.env.env, model.policy, 4, generator)
    model.env.env.set_state(start)
    env, policy = model.env.env, model.policy
    raw = env.detach()
    for window in (first, second):
        for t in range(4):
            torch.testing.assert_close(window.raw_observations[t], raw)
            raw = env.step(torch.tanh(window.presquash[t]).to(raw.dtype))[0]
    assert not second.raw_observations.requires_grad
    assert policy.normalizer.count < 1  # collecting does not touch the statistics


def test_policy_evaluated_on_the_stored_observations_is_the_one_that_acted(lq):
    model = make(lq(4, max_episode_steps=5))
    rollout = roll_out(model)
    policy = model.policy.actor(rollout.observations)
    torch.testing.assert_close(policy.mean, rollout.behaviour.mean)
    torch.testing.assert_close(policy.log_std, rollout.behaviour.log_std)


def test_critics_are_evaluated_once_a_window(lq):
    model = make(lq(4, max_episode_steps=5))
    shapes = []
    model.policy.critics.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    roll_out(model)
    assert shapes == [(8 * 4, 2)]


def test_no_gradient_crosses_a_reset(lq):
    model = make(lq(2, max_episode_steps=4))
    rollout = roll_out(model)
    after = rollout.rewards[4:].sum() + rollout.entropies[4:].sum() + rollout.next_values[:, 4:].sum()
    gradients = torch.autograd.grad(after, rollout.actions, allow_unused=True)
    assert all(gradient is None or (gradient == 0).all() for gradient in gradients[:4])
    assert all((gradient != 0).any() for gradient in gradients[4:])


def test_next_value_of_a_truncated_step_is_that_of_the_observation_before_the_reset(lq):
    model = make(lq(2, max_episode_steps=4))
    rollout = roll_out(model)
    assert rollout.truncated[3].all()
    env = model.env.env
    last, action = rollout.raw_observations[3], torch.tanh(rollout.presquash[3]).double()
    final = last @ env.A.T + action @ env.B.T
    torch.testing.assert_close(rollout.next_values[:, 3], model.policy.critics(model.policy.normalize(final)))


@pytest.mark.parametrize("step", [1, 4, 8])
def test_nan_final_observation_terminates_without_value_and_leaves_gradients_finite(lq, step):
    model = make(lq(3, poison_step=step))
    rollout = roll_out(model)
    assert rollout.non_finite.nonzero().tolist() == [[step - 1, 0]]
    assert rollout.terminated[step - 1, 0]
    assert (rollout.next_values[:, step - 1, 0] == 0).all()
    rewards = rollout.rewards + rollout.entropies
    objective = window_objective(rewards, rollout.next_values.mean(0), rollout.terminated, rollout.truncated, 0.99)
    assert objectives.action_gradients(objective, rollout.actions).isfinite().all()


def test_exploded_observation_counts_as_a_termination(lq):
    model = make(lq(3, start=1e5, limit=1.5e6))
    model.env.env.x[1, 0] = 2e6
    rollout = roll_out(model, horizon=1)
    assert rollout.terminated[0].tolist() == [False, True, False]
    assert rollout.non_finite[0].tolist() == [False, True, False]


@pytest.mark.parametrize(("terminates", "truncates"), [(False, True), (True, False), (True, True)])
def test_lost_state_terminates_whatever_the_environment_calls_its_end(lq, terminates, truncates):
    class Lost(lq):
        """One that calls the ends of its first two environments so, and that of the last both at once."""

        def step_grad(self, actions):
            obs, reward, terminated, truncated, info = super().step_grad(actions)
            terminated[:2], truncated[:2] = terminates, truncates
            truncated[3] = True
            return obs, reward, terminated, truncated, info

    model = make(Lost(4, poison_step=1))
    env = model.env.env
    env.x[1, 0], env.elapsed[2], env.x[3, 0] = 2e6, env.max_episode_steps - 1, 20.0
    rollout = roll_out(model, horizon=1)
    assert rollout.terminated[0].tolist() == [True, True, False, True]
    assert rollout.truncated[0].tolist() == [False, False, True, False]
    assert rollout.non_finite[0].tolist() == [True, True, False, False]
    assert (rollout.next_values[:, 0, :3] == 0).tolist() == [[True, True, False]] * 2


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_reward_that_is_not_finite_counts_as_none(value):
    lost, unrewarded = (make(LostReward(3, lost_reward=reward)) for reward in (value, 0.0))
    assert torch.equal(roll_out(lost).rewards, roll_out(unrewarded).rewards)
    lost.learn(24, log_interval=None)
    assert lost.logger.name_to_value["train/skipped_actor_steps"] == 0
    assert lost.logger.name_to_value["train/skipped_critic_steps"] == 0


def test_episode_that_goes_on_after_it_exploded_is_an_error(lq):
    model = make(lq(3, start=0.1, limit=1e9))
    model.env.env.x[1, 0] = 2e6
    with pytest.raises(ValueError, match=r"LinearQuadratic goes on after a state .* must end the episode"):
        roll_out(model, horizon=2)


@pytest.mark.parametrize("key", ["final_obs", "non_finite"])
def test_info_without_what_a_window_needs_is_an_error(lq, key):
    class Silent(lq):
        def step_grad(self, actions):
            *rest, info = super().step_grad(actions)
            return *rest, {name: value for name, value in info.items() if name != key}

    with pytest.raises(ValueError, match=rf"info of Silent.step_grad must have '{key}'. Got \['"):
        roll_out(make(Silent(2)))


def test_counts_are_summed_over_the_windows_between_two_outputs(lq):
    class Poisoned(lq):
        def step_grad(self, actions):
            self.poison_step = self.steps + 1 if self.steps in (1, 9, 10, 17) else None  # windows 1, 2, 2, 3
            return super().step_grad(actions)

    written = []
    model = RPO(Poisoned(3), CONFIG, seed=0)
    model._logger = Logger(None, [])
    model._custom_logger = True
    model.logger.dump = lambda step: (
        written.append(model.logger.name_to_value["train/non_finite_states"]),
        Logger.dump(model.logger, step),
    )
    model.learn(24 * 4, log_interval=2)
    assert written == [3, 1]


def test_training_goes_on_after_a_non_finite_state_and_counts_it(lq):
    model = RPO(lq(3, poison_step=3), CONFIG, seed=0)
    model.learn(24, log_interval=None)
    assert model.logger.name_to_value["train/non_finite_states"] == 1
    model.learn(48, log_interval=None, reset_num_timesteps=False)
    assert model.logger.name_to_value["train/non_finite_states"] == 0
    assert model.num_timesteps == 72
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


class Tear(torch.autograd.Function):
    """The identity, whose derivative is not a number for the environments named."""

    @staticmethod
    def forward(ctx, action, worlds):
        ctx.worlds = worlds
        return action.clone()

    @staticmethod
    def backward(ctx, gradient):
        torn = gradient.clone()
        torn[ctx.worlds] = torch.nan
        return torn, None


def torn(lq, worlds):
    """Return three systems, some of which lose their derivative at step 5 of every window."""

    class Torn(lq):
        def step_grad(self, actions):
            return super().step_grad(Tear.apply(actions, worlds) if self.steps % CONFIG.horizon == 4 else actions)

    return Torn(3)


def test_environment_with_a_lost_gradient_takes_no_part(lq):
    generator = make_generator(torch.device("cpu"), 5)
    whole, cut = (make(env) for env in (lq(3), torn(lq, [1])))
    rollouts = [collect(model.env.env, model.policy, 8, generator.clone_state()) for model in (whole, cut)]
    gradients = []
    for model, rollout in zip((whole, cut), rollouts, strict=True):
        objective = model.window_objective(rollout, rollout.rewards)
        gradients.append(objectives.action_gradients(objective, rollout.actions))
    expected, actual = gradients
    torch.testing.assert_close(actual[:, [0, 2]], expected[:, [0, 2]])
    torch.testing.assert_close(actual[5:, 1], expected[5:, 1])
    assert (actual[4, 1] == 0.0).all()
    assert actual[:4, 1].isfinite().all()
    assert torch.equal(actual, rollouts[1].action_gradients.values)
    assert rollouts[1].action_gradients.lost.nonzero().tolist() == [[4, 1]]


@pytest.mark.parametrize(("algorithm", "config_class"), ALGORITHMS)
def test_training_goes_on_with_the_environments_that_keep_their_gradient(lq, algorithm, config_class):
    model = algorithm(torn(lq, [1]), config_class(**SMALL), seed=0)
    before = [parameter.clone() for parameter in model.policy.actor.parameters()]
    model.learn(24 * (LIMIT + 2), log_interval=None)
    assert model.logger.name_to_value["train/lost_gradients"] == LIMIT + 2
    assert model.logger.name_to_value["train/skipped_actor_steps"] == 0
    after = list(model.policy.actor.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(("algorithm", "config_class"), ALGORITHMS)
def test_training_in_which_all_environments_lose_their_gradient_ends(lq, algorithm, config_class):
    model = algorithm(torn(lq, [0, 1, 2]), config_class(**SMALL), seed=0)
    with pytest.raises(NonFiniteError, match=f"actor were left out in {LIMIT} windows .*gradient"):
        model.learn(24 * 2 * LIMIT, log_interval=None)
    assert model.num_timesteps == 24 * LIMIT
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_learning_after_a_window_cut_short_starts_new_episodes(lq, error):
    model = RPO(lq(3, max_episode_steps=12), CONFIG, seed=0)
    model.learn(24, log_interval=None)

    def cut(*_):
        if model.num_timesteps < 36:
            return True
        if error is None:
            return False
        raise error

    with contextlib.suppress(KeyboardInterrupt):
        model.learn(1000, callback=cut, log_interval=None, reset_num_timesteps=False)
    assert model.num_timesteps == 36
    model.learn(48, log_interval=None, reset_num_timesteps=False)
    # Sixteen steps from a reset: one episode of twelve in each of three environments.
    assert [episode["l"] for episode in model.ep_info_buffer] == [12] * 3
    assert model.adapter.episodes.lengths.tolist() == model.env.env.elapsed.tolist() == [4] * 3


def test_predictions_of_a_callback_do_not_change_what_is_learned(lq):
    plain, watched = (RPO(lq(3), CONFIG, seed=0) for _ in range(2))
    seen = []
    plain.learn(48, log_interval=None)
    watched.learn(48, callback=lambda *_: seen.append(watched.predict(torch.zeros(2))[0]) or True, log_interval=None)
    assert not torch.equal(seen[0], seen[1])  # sampled
    assert all(torch.equal(a, b) for a, b in zip(plain.policy.parameters(), watched.policy.parameters(), strict=True))


def test_policy_that_is_saved_normalises_as_it_did_when_it_was_trained(lq, tmp_path):
    model = RPO(lq(3, start=3.0), CONFIG, seed=0)
    windows, update = [], model.update
    model.update = lambda rollout: (windows.append(rollout.raw_observations), update(rollout))[1]
    model.learn(3 * 24, log_interval=None).save(tmp_path / "model")
    known, latest = torch.cat(windows[:2]).flatten(0, 1), windows[2].flatten(0, 1)
    var, mean = torch.var_mean(known, dim=0, correction=0)
    torch.testing.assert_close(model.policy.normalizer.shift, mean.float(), rtol=1e-3, atol=1e-4)
    assert (latest.mean(0) - mean).abs().min() > 0.1  # which would have moved it
    with torch.no_grad():
        expected = model.policy.actor(((latest - mean) / var.sqrt()).float()).mode()
    predicted, _ = RPO.load(tmp_path / "model").predict(latest.float(), deterministic=True)
    torch.testing.assert_close(predicted, expected, rtol=1e-3, atol=1e-4)


def test_giving_a_window_up_stops_learning_without_an_update(lq):
    model = RPO(lq(3), CONFIG, seed=0)
    before = [parameter.clone() for parameter in model.policy.parameters()]
    model.learn(1000, callback=lambda local, _: model.num_timesteps < 9)
    assert model.num_timesteps == 9
    assert all(torch.equal(a, b) for a, b in zip(before, model.policy.parameters(), strict=True))
