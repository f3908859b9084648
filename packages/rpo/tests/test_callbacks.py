"""Stable-Baselines3's callbacks and loggers on all algorithms."""

import copy
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_runs import small_config
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    ProgressBarCallback,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.vec_env import VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rpo import TorchVecEnv
from rpo.algorithms import ALGORITHMS
from rpo.optimizers import FiniteAdamW

NUM_ENVS, HORIZON = 4, 4


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return ALGORITHMS[request.param]


@pytest.fixture
def new_model(algorithm, lq):
    """A function that makes a small model, of the environments given or of episodes of six steps, and of settings."""

    def make(env=None, **changes):
        env = env or lq(NUM_ENVS, max_episode_steps=6)
        return algorithm(env, small_config(algorithm, horizon=HORIZON, **changes), seed=0)

    return make


@pytest.fixture
def model(new_model):
    return new_model()


def optimizers(model):
    return [part for name in model.get_parameters() if isinstance(part := recursive_getattr(model, name), FiniteAdamW)]


def eval_env(model, env):
    """What `EvalCallback` takes: environments in the wrapper that those of the training have."""
    adapter = TorchVecEnv(env)
    return VecNormalize(adapter, training=False, norm_reward=False) if isinstance(model.env, VecNormalize) else adapter


class Steps(BaseCallback):
    """Notes the environment steps at which it is called."""

    def _on_training_start(self):
        self.seen = []

    def _on_step(self):
        self.seen.append(self.num_timesteps)
        return True


def test_eval_callback_evaluates_and_saves_the_best_model(model, algorithm, lq, tmp_path):
    callback = EvalCallback(
        eval_env(model, lq(2, max_episode_steps=6)),
        n_eval_episodes=3,
        eval_freq=6,
        best_model_save_path=str(tmp_path),
        log_path=str(tmp_path),
        verbose=0,
    )
    model.learn(48, callback=callback, log_interval=None)
    results = np.load(tmp_path / "evaluations.npz")
    assert results["timesteps"].tolist() == [24, 48]
    assert results["results"].shape == (2, 3)
    best = algorithm.load(tmp_path / "best_model")
    assert best.num_timesteps == results["timesteps"][results["results"].mean(1).argmax()]


@pytest.mark.parametrize(("threshold", "steps"), [(-1e9, 16), (1e9, 64)])
def test_training_stops_at_a_reward(model, lq, threshold, steps):
    stop = StopTrainingOnRewardThreshold(threshold)
    model.learn(64, EvalCallback(eval_env(model, lq(2)), callback_on_new_best=stop, eval_freq=4, verbose=0))
    assert model.num_timesteps == steps


def test_training_stops_when_the_model_no_longer_improves(new_model, lq):
    class Still(lq):
        """A system in which nothing can be won or lost."""

        def step_grad(self, actions):
            obs, reward, *rest = super().step_grad(actions)
            return obs, 0.0 * reward, *rest

    model = new_model(Still(NUM_ENVS))
    stop = StopTrainingOnNoModelImprovement(max_no_improvement_evals=2)
    evaluation = EvalCallback(eval_env(model, Still(2)), callback_after_eval=stop, eval_freq=4, verbose=0)
    model.learn(1000, callback=evaluation)
    assert model.num_timesteps == 4 * 16  # the first evaluation is the best, and the third after it one too many


def test_training_stops_after_so_many_episodes(model):
    model.learn(1000, callback=StopTrainingOnMaxEpisodes(max_episodes=2))
    assert model.num_timesteps == 2 * 6 * NUM_ENVS  # counted for each environment


def test_callback_is_called_every_so_many_steps(model):
    steps = Steps()
    model.learn(64, callback=EveryNTimesteps(n_steps=10, callback=steps))
    assert steps.seen == [12, 24, 36, 48, 60]


def test_checkpoint_callback_writes_models_that_can_be_loaded(model, algorithm, tmp_path):
    model.learn(32, callback=CheckpointCallback(save_freq=5, save_path=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["rl_model_20_steps.zip"]
    assert algorithm.load(tmp_path / "rl_model_20_steps").num_timesteps == 20


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_progress_bar_counts_the_steps(model, monkeypatch):
    bars = []
    end = ProgressBarCallback._on_training_end
    monkeypatch.setattr(ProgressBarCallback, "_on_training_end", lambda self: (bars.append(self.pbar.n), end(self)))
    model.learn(32, progress_bar=True)
    assert bars == [32]


def test_outputs_of_all_kinds_show_the_same_numbers(model, tmp_path, capsys):
    model.set_logger(configure(str(tmp_path), ["stdout", "csv", "json", "tensorboard"]))
    model.learn(48, log_interval=1)
    model.logger.close()
    with (tmp_path / "progress.csv").open() as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [line["time/total_timesteps"] for line in lines] == [16, 32, 48]
    times = [float(row["time/time_elapsed"]) for row in table]  # [s]; each window has some milliseconds
    assert 0 < times[0] < times[1] < times[2] < 60
    for name in ("rollout/ep_rew_mean", "rollout/ep_len_mean", "train/kl"):
        expected = [line[name] for line in lines if name in line]
        assert [float(row[name]) for row in table if row[name]] == pytest.approx(expected)
        assert [event.value for event in events.Scalars(name)] == pytest.approx(expected)
    out = capsys.readouterr().out
    assert "| rollout/" in out
    assert "|    total_timesteps" in out


def test_evaluate_policy_takes_the_model(model, lq):
    mean, std = evaluate_policy(model, eval_env(model, lq(2, max_episode_steps=6)), n_eval_episodes=4)
    assert np.isfinite([mean, std]).all()


def test_parameters_move_to_another_model_by_name_or_from_a_file(new_model, lq, tmp_path):
    model, by_name, from_file = (new_model() for _ in range(3))
    model.learn(16)
    model.save(tmp_path / "model")
    by_name.set_parameters(model.get_parameters())
    from_file.set_parameters(tmp_path / "model")
    obs = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    expected, _ = model.predict(obs, deterministic=True)
    for other in (by_name, from_file):
        assert np.array_equal(other.predict(obs, deterministic=True)[0], expected)
        assert other.get_parameters().keys() == model.get_parameters().keys()
    with pytest.raises(ValueError, match="Names of parameters do not match"):
        by_name.set_parameters({"policy": model.policy.state_dict()})


@pytest.mark.parametrize("source", ["model", "file"])
def test_settings_of_the_optimisers_stay_the_model_s_own(new_model, algorithm, lq, tmp_path, source):
    model, other = new_model().learn(32, log_interval=None), new_model(weight_decay=0.5, betas=(0.5, 0.6))
    settings = [[(o.defaults["betas"], o.defaults["weight_decay"]) for o in optimizers(m)] for m in (model, other)]
    assert settings[0][0] != settings[1][0] == ((0.5, 0.6), 0.5)
    model.save(tmp_path / "model")
    other.set_parameters(model.get_parameters() if source == "model" else tmp_path / "model")
    groups = [optimizer.param_groups[0] for optimizer in optimizers(other)]
    assert [(group["betas"], group["weight_decay"]) for group in groups] == settings[1]
    moments = [[o.state_dict()["state"] for o in optimizers(each)] for each in (model, other)]
    assert moments[0][0]
    assert all(
        tensor.equal(its[index][name])
        for own, its in zip(*moments, strict=True)
        for index, state in own.items()
        for name, tensor in state.items()
    )
    other.learn(16, log_interval=None).save_training(tmp_path / "training")
    other.learn(16, log_interval=None, reset_num_timesteps=False)
    resumed = algorithm.load_training(tmp_path / "training", lq(NUM_ENVS, max_episode_steps=6))
    resumed.learn(16, log_interval=None, reset_num_timesteps=False)
    expected, actual = other._tensors(), resumed._tensors()
    assert [name for name in expected if not expected[name].equal(actual[name])] == []


def test_models_share_nothing_after_one_took_the_parameters_of_the_other(new_model):
    model, alone, other = (new_model().learn(32, log_interval=None) for _ in range(3))
    other.set_parameters(model.get_parameters())
    expected = {name: tensor.clone() for name, tensor in alone._tensors().items()}
    other.learn(32, log_interval=None)
    actual = model._tensors()
    assert [name for name in expected if not expected[name].equal(actual[name])] == []


def test_parameters_that_do_not_fit_leave_the_model_as_it_was(new_model, algorithm, lq):
    model, wide = new_model(), new_model(hidden_sizes=(16,)).learn(16, log_interval=None)
    before = copy.deepcopy(model.get_parameters())
    trained = new_model().learn(16, log_interval=None).get_parameters()
    others = wide.get_parameters()
    policy, *names = (name for name in trained if name != "temperature")
    for parameters, message in (
        ({policy: trained[policy]}, "Names of parameters do not match"),
        ({**trained, "env": {}}, "Names of parameters do not match"),
        (others, "size mismatch"),
        ({**trained, names[0]: others[names[0]]}, "moments do not fit"),
    ):
        with pytest.raises((ValueError, RuntimeError), match=message):
            model.set_parameters(parameters)
        after = model.get_parameters()
        assert all(tensor.equal(after[policy][name]) for name, tensor in before[policy].items())
        assert [after[name]["state"] for name in names] == [{} for _ in names]
    with pytest.raises(ValueError, match="Names of parameters do not match"):
        model.set_parameters({"env": {}}, exact_match=False)
    model.set_parameters({policy: trained[policy]}, exact_match=False)
    assert all(tensor.equal(model.get_parameters()[policy][name]) for name, tensor in trained[policy].items())


def test_model_goes_on_in_another_number_of_environments(model, lq):
    model.learn(16)
    model.set_env(lq(2, max_episode_steps=6))
    model.learn(16, reset_num_timesteps=False)
    assert (model.num_timesteps, model.n_envs) == (32, 2)


def test_episodes_go_on_where_the_environment_is_set_that_the_model_has(new_model, lq):
    results = []
    for given in (None, lambda model: model.adapter.env, lambda model: model.get_env()):
        model = new_model(lq(NUM_ENVS, max_episode_steps=9)).learn(16, log_interval=None)
        if given is not None:
            model.set_env(given(model), force_reset=False)
        model.learn(96, log_interval=None, reset_num_timesteps=False)
        assert {episode["l"] for episode in model.ep_info_buffer} == {9}
        results.append(model._tensors())
    expected, *others = results
    assert [name for other in others for name in expected if not expected[name].equal(other[name])] == []


@pytest.mark.parametrize("force_reset", [False, True])
def test_another_environment_is_reset_before_it_is_learned_in(new_model, lq, force_reset):
    class Counting(lq):
        resets = 0

        def reset(self, **kwargs):
            self.resets += 1
            return super().reset(**kwargs)

    model, env = new_model().learn(16, log_interval=None), Counting(NUM_ENVS, max_episode_steps=6)
    model.set_env(env, force_reset=force_reset)
    assert model.learn(16, log_interval=None, reset_num_timesteps=False).num_timesteps == 32
    assert env.resets == 1
    model.set_env(env, force_reset=force_reset)
    model.learn(16, log_interval=None, reset_num_timesteps=False)
    assert env.resets == 1 + force_reset


@pytest.mark.slow
def test_weights_and_biases_get_the_logs_the_gradients_and_the_model(tmp_path):
    script = Path(__file__).with_name("wandb_run.py")
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, env={**os.environ, "WANDB_SILENT": "true"})
    (record,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = record.read_bytes()
    assert all(name in content for name in (b"train/kl", b"rollout/ep_rew_mean", b"gradients/actor.mean.weight"))
    assert ALGORITHMS["rpo"].load(tmp_path / "model").num_timesteps == 64
