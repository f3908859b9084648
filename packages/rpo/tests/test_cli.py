import csv
import dataclasses
import json
import os
import re
import sys
from pathlib import Path

import pytest
import torch

from rpo import RPO, RPOConfig, objectives, plotting
from rpo.cli import COMMANDS, main
from rpo.commands import train as train_command
from rpo.commands.train import parse_env_args, parse_train
from rpo.progress import ProgressDisplay
from rpo.runs import RunFolder, RunSettings

SMALL = [
    "--env",
    "lq/LinearQuadratic-v0",
    "--num-envs",
    "4",
    "--env-args",
    "max_episode_steps=6",
    "start=0.1",
    "--hidden-sizes",
    "8",
    "--horizon",
    "4",
    "--critic-epochs",
    "1",
    "--checkpoint-every",
    "32",
]


@pytest.fixture(autouse=True)
def _few_episodes(monkeypatch):
    monkeypatch.setattr(train_command, "EVALUATION_EPISODES", 4)


def train(runs, *args):
    main(["train", *SMALL, "--runs", str(runs), *args])
    (run,) = runs.glob("lq/LinearQuadratic-v0/rpo/*")
    return RunFolder(run)


def rows_of(run):
    with run.progress.open() as file:
        return [
            {k: v for k, v in row.items() if not k.startswith("time/") or "total" in k} for row in csv.DictReader(file)
        ]


def test_training_leaves_config_logs_checkpoints_model_evaluation_and_curve(tmp_path, capsys):
    run = train(tmp_path, "--steps", "128", "--kl-coef", "0.25")
    out = capsys.readouterr().out
    assert "compiling simulation kernels (first run only)..." in out
    assert "128 / 128 steps" in out
    assert str(run.learning_curve) in out
    assert RunSettings.read(run.settings).config.kl_coef == 0.25
    assert len(rows_of(run)) == 8
    assert list((run.path / "tensorboard").iterdir())
    assert sorted(path.name for path in run.checkpoints.iterdir())[-1] == "steps_000000000128.zip"
    assert len(list(run.checkpoints.iterdir())) == 3
    evaluation = json.loads(run.evaluation.read_text())
    assert evaluation["deterministic"].keys() == evaluation["stochastic"].keys() >= {"mean", "std", "episodes"}
    assert run.learning_curve.read_bytes().startswith(b"\x89PNG")
    assert RPO.load(run.model).num_timesteps == 128


def test_resumed_run_equals_one_never_interrupted(tmp_path):
    whole = train(tmp_path / "whole", "--steps", "160")
    part = train(tmp_path / "part", "--steps", "96")
    # As if killed after the checkpoint at 64 steps: later rows are in the log, later checkpoints are not, or damaged.
    newest = part.checkpoints / "steps_000000000096.zip"
    newest.write_bytes(newest.read_bytes()[:100])
    main(["train", "--resume", str(part.path), "--steps", "160"])
    assert rows_of(part) == rows_of(whole)
    models = [RPO.load(run.model)._tensors() for run in (whole, part)]
    assert all(models[0][name].equal(models[1][name]) for name in models[0])
    assert json.loads(part.evaluation.read_text()) == json.loads(whole.evaluation.read_text())


def test_resume_is_refused_where_it_cannot_be_exact(tmp_path):
    run = train(tmp_path, "--steps", "32")
    resume = ["train", "--resume", str(run.path)]
    with pytest.raises(SystemExit, match="A resumed run keeps its settings"):
        main([*resume, "--steps", "64", "--gamma", "0.5"])
    with pytest.raises(SystemExit, match="A resumed run keeps its settings"):
        main([*resume, "--steps", "64", "--device", "cpu"])
    for checkpoint in run.checkpoints.iterdir():
        checkpoint.write_bytes(b"")
    with pytest.raises(SystemExit, match="has no checkpoint to resume from"):
        main([*resume, "--steps", "64"])
    with pytest.raises(SystemExit, match="There is no run to resume"):
        main(["train", "--resume", str(tmp_path / "elsewhere")])


def test_defaults_are_ant_with_the_papers_settings():
    options = parse_train([])
    assert (options.env, options.steps, options.seed) == ("diffenvs/Ant-v0", 300_000, 0)
    assert options.config.decay_timesteps == 8_200_000
    hopper = parse_train(["--env", "diffenvs/Hopper-v0", "--gamma", "0.9"])
    assert (hopper.config.kl_coef, hopper.config.gamma) == (0.4, 0.9)


def test_help_lists_the_settings_of_the_algorithm(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    out = capsys.readouterr().out
    assert all(option in out for option in ("--algo", "--num-envs", "--policy-epochs", "--kl-coef"))


def test_environment_arguments_are_read_as_json_or_text():
    args = parse_env_args(["observe_action=false", "action_cost=0", "noise=0.5", "device=cpu", "early=True"])
    assert args == {"observe_action": False, "action_cost": 0, "noise": 0.5, "device": "cpu", "early": True}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--env-args", "start"], r"--env-args takes name=value. Got 'start'"),
        (["--env-args", "colour=red"], "unexpected keyword argument 'colour'"),
        (["--steps", "0"], r"--steps must be >= 1. Got 0"),
        (["--checkpoint-every", "-5"], r"--checkpoint-every must be >= 1. Got -5"),
        (["--device", "gpu"], "`device` must be .* Got 'gpu'"),
        (["--clip-low", "1.5"], "`clip_low` of RPOConfig must be a number"),
        (["--num-envs", "-1"], r"num_envs must be >= 1. Got -1"),
        (["--env", "lq/Nothing-v0"], "there is no package 'lq'"),
        (["--algo", "sarsa"], "There is no algorithm 'sarsa', only rpo"),
    ],
)
def test_mistakes_end_with_one_message(tmp_path, args, message):
    with pytest.raises(SystemExit, match=message):
        main(["train", *SMALL, "--runs", str(tmp_path), *args])


def test_unknown_environment_needs_a_number_of_environments(tmp_path):
    with pytest.raises(SystemExit, match="num_envs must be given for lq/LinearQuadratic-v0"):
        main(["train", "--env", "lq/LinearQuadratic-v0", "--runs", str(tmp_path)])
    with pytest.raises(SystemExit, match="No environment 'a/B-v0': there is no package 'a'"):
        main(["train", "--env", "a/B-v0", "--runs", str(tmp_path)])


def test_unwritable_run_folder_is_told_before_training(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(SystemExit, match=r"The run folder .* cannot be written"):
        main(["train", *SMALL, "--runs", str(tmp_path / "runs")])


def test_unknown_command_lists_the_known(capsys):
    with pytest.raises(SystemExit, match="there is no command 'fly'"):
        main(["fly"])
    main([])
    out = capsys.readouterr().out
    assert all(f"  {name} " in out and command.summary in out for name, command in COMMANDS.items())


def interrupt(*_, **__):
    raise KeyboardInterrupt


def command_of(error):
    (command,) = re.findall("Continue with: rpo (.*)", str(error.value))
    return command.split()


@pytest.mark.parametrize("moment", ["_on_rollout_start", "_on_step"])
def test_interrupted_training_says_how_to_continue_even_before_its_first_window(tmp_path, monkeypatch, moment):
    whole = train(tmp_path / "whole", "--steps", "64")
    with monkeypatch.context() as patch:
        patch.setattr(ProgressDisplay, moment, interrupt)
        with pytest.raises(SystemExit, match="interrupted") as error:
            train(tmp_path / "part", "--steps", "64")
    main(command_of(error))
    (part,) = (tmp_path / "part").glob("lq/LinearQuadratic-v0/rpo/*")
    assert rows_of(RunFolder(part)) == rows_of(whole)
    models = [RPO.load(folder / "model.zip")._tensors() for folder in (whole.path, part)]
    assert all(models[0][name].equal(models[1][name]) for name in models[0])


def test_run_that_ended_before_its_report_is_completed_without_learning(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train_command, "evaluate", interrupt)
        with pytest.raises(SystemExit, match="interrupted") as error:
            train(tmp_path, "--steps", "64")
    (path,) = tmp_path.glob("lq/LinearQuadratic-v0/rpo/*")
    run = RunFolder(path)
    before = rows_of(run)
    run.model.unlink()
    assert not run.evaluation.exists()
    monkeypatch.setattr(RPO, "update", interrupt)
    main(command_of(error))
    assert RPO.load(run.model).num_timesteps == 64
    assert run.evaluation.exists()
    assert run.learning_curve.exists()
    assert rows_of(run) == before


def test_training_whose_steps_are_all_lost_leaves_a_checkpoint_and_names_the_term(tmp_path, monkeypatch):
    monkeypatch.setattr(objectives, "value_loss", lambda values, targets: (values * torch.nan).sum())
    with pytest.raises(SystemExit, match=r"critic .* value_loss, .* its state is in .*steps_000000000160.zip"):
        train(tmp_path, "--steps", "1600")
    (path,) = tmp_path.glob("lq/LinearQuadratic-v0/rpo/*")
    assert [row["train/skipped_critic_steps"] for row in rows_of(RunFolder(path))] == ["4.0"] * 10
    assert RPO.load(path / "checkpoints" / "steps_000000000160.zip").num_timesteps == 160


def test_interruption_before_the_training_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(train_command, "prepare_env", interrupt)
    with pytest.raises(SystemExit, match="interrupted before the training began"):
        main(["train", *SMALL, "--runs", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()


def test_device_of_the_networks_belongs_to_the_run(tmp_path):
    run = train(tmp_path, "--steps", "32", "--device", "cpu")
    assert RunSettings.read(run.settings).device == "cpu"
    assert parse_train(["--resume", str(run.path)]).device == "cpu"


def test_settings_written_before_they_had_a_device_are_read(tmp_path):
    run = train(tmp_path, "--steps", "32")
    values = json.loads(run.settings.read_text())
    del values["device"]
    run.settings.write_text(json.dumps(values))
    assert RunSettings.read(run.settings).device == "auto"


@pytest.fixture
def settings():
    return RunSettings(algorithm="RPO", env="a/B-v0", num_envs=1, env_args={}, steps=1, seed=0, config=RPOConfig())


@pytest.mark.parametrize("env", ["../B-v0", "a/../../B-v0", "/a/B-v0", ".."])
def test_run_stays_in_the_folder_of_runs(tmp_path, settings, env):
    with pytest.raises(ValueError, match=r"The run folder of .* would be outside of"):
        RunFolder.create(tmp_path / "runs", dataclasses.replace(settings, env=env))
    assert not list(tmp_path.iterdir())


def test_run_that_cannot_be_prepared_leaves_no_folder(tmp_path, settings, monkeypatch):
    with pytest.raises(SystemExit, match="unexpected keyword argument 'colour'"):
        main(["train", *SMALL, "--runs", str(tmp_path / "runs"), "--env-args", "colour=red"])
    assert not (tmp_path / "runs").exists()
    monkeypatch.setattr(RunSettings, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        RunFolder.create(tmp_path, settings)
    assert not list((tmp_path / "a/B-v0/rpo").iterdir())


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path, settings, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "now")
    monkeypatch.setattr(Path, "exists", lambda _: False)  # as two processes see it that look at the same time
    folders = [RunFolder.create(tmp_path, settings) for _ in range(3)]
    assert [folder.path.name for folder in folders] == ["now", "now_1", "now_2"]
    assert all(RunSettings.read(folder.settings) == settings for folder in folders)


def test_rewriting_that_fails_leaves_the_old_files(tmp_path, settings, monkeypatch):
    run = RunFolder.create(tmp_path, settings)
    run.progress.write_text("time/total_timesteps\n1\n2\n")
    before = {path: path.read_text() for path in (run.settings, run.progress)}

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.make_logger(2)
    with pytest.raises(KeyboardInterrupt):
        settings.write(run.settings)
    assert {path: path.read_text() for path in run.path.iterdir() if path.is_file()} == before


def test_resumed_log_keeps_the_rows_before_the_checkpoint_and_goes_on(tmp_path, settings):
    run = RunFolder.create(tmp_path, settings)
    run.progress.write_text("time/total_timesteps\n1\n2\n3\n")
    logger = run.make_logger(2)
    logger.record("time/total_timesteps", 4)
    logger.record("train/new", 5)
    logger.dump(4)
    logger.close()
    assert [row["time/total_timesteps"] for row in plotting.read_progress(run.progress)] == ["1", "2", "4"]


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install rpo-rl\[plots\]"):
        plotting.learning_curve(tmp_path / "progress.csv", tmp_path / "curve.png")
