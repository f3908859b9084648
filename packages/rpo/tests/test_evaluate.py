"""`rpo evaluate`."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from gymnasium.spaces import Box
from small_runs import ENV, small_config, train
from systems import LostReward, Pendulum

from rpo import RPO, CheckpointError, evaluate, resume
from rpo.checkpoint import trained_steps
from rpo.cli import main
from rpo.commands import train as train_command
from rpo.making import make_vector_env
from rpo.recording import record_episode
from rpo.resume import checkpoint_files


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(train_command, "EPISODES", 2)
    monkeypatch.setattr(train_command, "learning_curve", lambda *_: None)
    return train(tmp_path, "--steps", "64", "--seed", "5")


def test_numbers_are_those_of_the_saved_model_on_the_run_s_task(run, capsys):
    main(["evaluate", str(run.path), "--episodes", "3", "--seeds", "7", "8"])
    results = json.loads(run.evaluation.read_text())
    assert (results["steps"], results["seeds"]) == (64, [7, 8])
    policy, env = RPO.load(run.model).policy, make_vector_env(ENV, 3, max_episode_steps=6, start=0.1)
    for name in ("deterministic", "stochastic"):
        parts = [evaluate(policy, env, episodes=3, deterministic=name == "deterministic", seed=seed) for seed in (7, 8)]
        assert results[name]["by_seed"] == [part.summary() for part in parts]
        returns = np.concatenate([part.returns for part in parts])
        assert results[name]["episodes"] == 6
        assert results[name]["mean"] == pytest.approx(returns.mean())
        assert results[name]["std"] == pytest.approx(returns.std())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["policy", "seed", "episodes", "return", "length"] in lines
    assert [line[:3] for line in lines if line[0] == "stochastic"] == [
        ["stochastic", "7", "3"],
        ["stochastic", "8", "3"],
        ["stochastic", "all", "6"],
    ]
    assert any(f"{results['deterministic']['mean']:.1f}" in line for line in lines if line[0] == "deterministic")


def test_model_in_the_place_of_its_policy_is_refused(lq):
    model = RPO(lq(4), small_config(RPO))
    with pytest.raises(TypeError, match=r"policy must have `act`, as the `policy` of a model has\. Got RPO\."):
        evaluate(model, lq(4))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_reward_that_is_not_finite_counts_as_none(value):
    lost, unrewarded = (LostReward(3, max_episode_steps=6, lost_reward=reward) for reward in (value, 0.0))
    policy = RPO(unrewarded, small_config(RPO), seed=0).policy
    returns = [evaluate(policy, env, episodes=6, seed=1).returns for env in (lost, unrewarded)]
    assert len(set(returns[1])) == 6
    np.testing.assert_array_equal(*returns)


def test_episodes_are_by_default_those_that_the_training_reports(run):
    reported = run.evaluation.read_text()
    run.evaluation.unlink()
    main(["evaluate", str(run.path), "--episodes", "2"])
    assert run.evaluation.read_text() == reported
    assert json.loads(reported)["seeds"] == [1_000_005]


def test_run_that_is_not_finished_is_evaluated_at_its_newest_readable_checkpoint(run, capsys):
    run.model.unlink()
    newest, *_ = checkpoint_files(run.checkpoints)
    newest.write_bytes(b"damaged")
    main(["evaluate", str(run.path), "--episodes", "2"])
    captured = capsys.readouterr()
    assert json.loads(run.evaluation.read_text())["steps"] == 32
    assert "RPO on lq/LinearQuadratic-v0, seed 5, after 32 of 64 steps" in captured.out
    assert f"skipping a file: {newest}" in captured.err


@pytest.mark.parametrize("stale", [False, True])
@pytest.mark.parametrize("checkpoints", [[], [0, 32], [0, 32, 64]])
def test_what_was_trained_longest_is_evaluated(run, stale, checkpoints):
    if stale:  # the training has gone on since
        shutil.copy(run.checkpoints / "steps_000000000032.zip", run.model)
    for path in checkpoint_files(run.checkpoints):
        if trained_steps(path) not in checkpoints:
            path.unlink()
    run.evaluation.unlink()
    main(["evaluate", str(run.path), "--episodes", "2"])
    assert run.read_evaluation()["steps"] == max([32 if stale else 64, *checkpoints])


def test_checkpoint_that_the_training_deletes_meanwhile_is_left_out(run, monkeypatch):
    found = checkpoint_files(run.checkpoints)
    found[-1].unlink()
    monkeypatch.setattr(resume, "checkpoint_files", lambda _: found)
    assert resume.load_trained(run).num_timesteps == 64
    for path in (run.model, *found[:-1]):
        path.unlink()
    with pytest.raises(CheckpointError, match="There is no checkpoint that can be read"):
        resume.load_trained(run)


def test_policy_is_not_evaluated_or_recorded_where_it_cannot_act(lq, tmp_path):
    policy = RPO(lq(2), small_config(RPO), seed=0).policy
    other = lq(1)
    other.single_action_space = Box(-1, 1, (2,))
    for function in (evaluate, partial(record_episode, replay=tmp_path / "replay.html")):
        with pytest.raises(ValueError, match=r"The policy has observations of shape \(2,\), and env of shape \(3,\)"):
            function(policy, Pendulum(1))
        with pytest.raises(TypeError, match=r"env must be a VectorEnv, such as gymnasium\.make_vec returns\. Got str"):
            function(policy, ENV)
        with pytest.raises(ValueError, match=r"The policy has actions of shape \(1,\), and env of shape \(2,\)"):
            function(policy, other)


def test_mistakes_end_with_one_message(run, tmp_path):
    with pytest.raises(SystemExit, match=r"rpo evaluate needs the folder of a run"):
        main(["evaluate"])
    with pytest.raises(SystemExit, match=r"--episodes must be >= 1. Got 0"):
        main(["evaluate", str(run.path), "--episodes", "0"])
    with pytest.raises(SystemExit, match=r"--seeds must differ. Got 1 2 1"):
        main(["evaluate", str(run.path), "--seeds", "1", "2", "1"])
    with pytest.raises(SystemExit, match=r"There is no run in .*nowhere: config.json is missing"):
        main(["evaluate", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"`device` must be .* Got 'gpu'"):
        main(["evaluate", str(run.path), "--device", "gpu"])
    for path in (run.model, *checkpoint_files(run.checkpoints)):
        path.unlink()
    with pytest.raises(SystemExit, match="There is no checkpoint that can be read"):
        main(["evaluate", str(run.path)])
