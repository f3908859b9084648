import dataclasses
import json
import re
import sys
from importlib import metadata

import gymnasium
import pytest
import torch
from small_runs import SMALL, only_run, rows_of, train

import rpo
from rpo import RPO, evaluate, objectives, plotting
from rpo.algorithms import ALGORITHMS
from rpo.cli import COMMANDS, main
from rpo.commands import train as train_command
from rpo.commands.train import parse_env_args, parse_train
from rpo.runs import RunSettings


@pytest.fixture(autouse=True)
def _few_episodes(monkeypatch):
    monkeypatch.setattr(train_command, "EPISODES", 4)


def test_training_leaves_config_logs_checkpoints_model_evaluation_and_curve(tmp_path, capsys):
    run = train(tmp_path, "--steps", "128", "--kl-coef", "0.25")
    out = capsys.readouterr().out
    assert "first step of the environments (on first use it may compile their simulation)\n" in out
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


def test_defaults_are_ant_with_the_papers_settings():
    options = parse_train([])
    assert (options.env, options.steps, options.seed) == ("diffenvs/Ant-v0", 300_000, 0)
    assert options.config.decay_timesteps == 8_200_000
    hopper = parse_train(["--env", "diffenvs/Hopper-v0", "--gamma", "0.9"])
    assert (hopper.config.kl_coef, hopper.config.gamma) == (0.4, 0.9)


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_help_lists_the_settings_of_the_algorithm_with_what_they_are(capsys, algo):
    with pytest.raises(SystemExit):
        main(["train", "--algo", algo, "--help"])
    out = capsys.readouterr().out
    fields = [field.name for field in dataclasses.fields(ALGORITHMS[algo].config_class)]
    assert [name for name in ("algo", "num_envs", *fields) if f"--{name.replace('_', '-')} " not in out] == []
    assert "Norm to which the gradient of each optimiser is clipped" in " ".join(out.replace("│", "").split())


@pytest.mark.parametrize(("command", "option"), [("evaluate", "--seeds INT ..."), ("compare", "--output PATH")])
def test_help_names_what_a_command_takes(capsys, command, option):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    out = capsys.readouterr().out
    assert f"usage: rpo {command} [-h] RUN ..." in out
    assert option in out


def test_environment_arguments_are_read_as_json_or_text():
    args = parse_env_args(["observe_action=false", "action_cost=0", "noise=0.5", "device=cpu", "early=True"])
    assert args == {"observe_action": False, "action_cost": 0, "noise": 0.5, "device": "cpu", "early": True}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--env-args", "start"], r"--env-args takes name=value. Got 'start'"),
        (["--env-args", "num_envs=4"], r"use --num-envs 4"),
        (["--env-args", "colour=red"], "unexpected keyword argument 'colour'"),
        (["--steps", "0"], r"--steps must be >= 1. Got 0"),
        (["--checkpoint-every", "-5"], r"--checkpoint-every must be >= 1. Got -5"),
        (["--device", "gpu"], "`device` must be .* Got 'gpu'"),
        (["--num-envs", "-1"], r"num_envs must be >= 1. Got -1"),
        (["--env-args", "max_episode_steps=null"], "`max_episode_steps` of LinearQuadratic must be .* Got None"),
        (["--env", "lq/Nothing-v0"], "there is no package 'lq'"),
        (["--algo", "sarsa"], "There is no algorithm 'sarsa', only rpo"),
    ],
)
def test_mistakes_end_with_one_message(tmp_path, args, message):
    with pytest.raises(SystemExit, match=message):
        main(["train", *SMALL, "--runs", str(tmp_path), *args])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["1e5", "100_000", "100000", "1.0e+5"])
def test_steps_may_be_written_with_an_exponent(text):
    options = parse_train(["--steps", text, "--checkpoint-every", text])
    assert (options.steps, options.checkpoint_every) == (100_000, 100_000)
    assert isinstance(options.steps, int)


@pytest.mark.parametrize("text", ["1.5", "many", "nan", "inf", "1e-1", "1e1000000"])
def test_steps_that_are_no_integer_are_told(capsys, text):
    with pytest.raises(SystemExit):
        main(["train", "--steps", text])
    assert f"{text!r} is not an integer" in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_endless_episode_in_the_report_is_told_with_where_the_model_is(tmp_path, monkeypatch, endless):
    def evaluated(model, *_, **__):
        return evaluate(model.policy, endless(1), max_steps=60)

    monkeypatch.setattr(train_command, "evaluate_model", evaluated)
    with pytest.raises(SystemExit, match=r"has not ended after 60 steps.* its model is .*model\.zip"):
        train(tmp_path, "--steps", "32")
    assert RPO.load(only_run(tmp_path).model).num_timesteps == 32


def test_setting_that_is_not_valid_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", *SMALL, "--runs", str(tmp_path), "--clip-low", "1.5"])
    message = " ".join(capsys.readouterr().err.replace("│", "").split())
    assert "`clip_low` of RPOConfig must be a number in [0, 1]. Got 1.5." in message
    assert not list(tmp_path.iterdir())


def test_unknown_environment_needs_a_number_of_environments(tmp_path):
    place = re.escape(sys.path[-1])
    with pytest.raises(SystemExit, match="num_envs must be given for lq/LinearQuadratic-v0"):
        main(["train", "--env", "lq/LinearQuadratic-v0", "--runs", str(tmp_path)])
    for env, module in (("a/B-v0", "a"), ("c.d:a/B-v0", "c.d")):
        message = rf"No environment '{env}': there is no package '{module}' .*`import {module}` looked in .*{place}"
        with pytest.raises(SystemExit, match=message):
            main(["train", "--env", env, "--runs", str(tmp_path)])


MODULE = """
import gymnasium

entry_point = gymnasium.spec("lq/LinearQuadratic-v0").vector_entry_point
gymnasium.register("{namespace}/X-v0", vector_entry_point=entry_point, max_episode_steps=6)
"""


@pytest.mark.parametrize(("env", "module"), [("lq_here/X-v0", "lq_here"), ("lq_file:lq_other/X-v0", "lq_file")])
def test_module_in_the_working_folder_is_found_and_not_part_of_the_run_s_path(tmp_path, monkeypatch, env, module):
    namespace = env.rpartition(":")[2].partition("/")[0]
    (tmp_path / f"{module}.py").write_text(MODULE.format(namespace=namespace))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    monkeypatch.setattr(train_command, "learning_curve", lambda *_: None)

    def console(*args):
        monkeypatch.setattr(sys, "argv", ["rpo", *args])
        main()

    console("train", *SMALL[2:4], "--env", env, "--hidden-sizes", "8", "--horizon", "4", "--steps", "16")
    (run,) = tmp_path.glob(f"runs/{namespace}/X-v0/rpo/*/")
    assert RunSettings.read(run / "config.json").env == env
    # As a program that has just begun.
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(tmp_path)])
    del sys.modules[module], gymnasium.registry[f"{namespace}/X-v0"]
    console("evaluate", str(run), "--episodes", "2")
    assert gymnasium.registry.pop(f"{namespace}/X-v0").id == f"{namespace}/X-v0"


def test_id_with_a_module_gets_the_preset_of_its_task():
    assert parse_train(["--env", "diffenvs:diffenvs/Hopper-v0"]).config.kl_coef == 0.4


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


def test_version_is_that_of_the_distribution(capsys):
    assert rpo.__version__ == metadata.version("rpo-rl")
    main(["--version"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"rpo-rl {rpo.__version__}"
    assert f"torch {metadata.version('torch')}" in lines


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_training_whose_steps_are_all_lost_leaves_a_checkpoint_and_names_the_term(tmp_path, monkeypatch, algo):
    module, name = (torch.nn.functional, "mse_loss") if algo == "ppo" else (objectives, "value_loss")
    monkeypatch.setattr(module, name, lambda values, targets: ((values - targets) * torch.nan).sum())
    optimizer = "policy" if algo == "ppo" else "critic"
    with pytest.raises(SystemExit, match=rf"{optimizer} .*value_loss.* its state is in .*steps_000000000160.zip"):
        train(tmp_path, "--steps", "1600", algo=algo)
    run = only_run(tmp_path, algo)
    skipped = [float(row[f"train/skipped_{optimizer}_steps"] or 0.0) for row in rows_of(run)]
    assert skipped == ([0.0] + [1.0] * 9 if algo == "ppo" else [4.0] * 10)  # SB3's PPO logs a window with the next
    assert ALGORITHMS[algo].load(run.checkpoints / "steps_000000000160.zip").num_timesteps == 160


def test_interruption_before_the_training_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_command, "prepare_env", interrupt)
    with pytest.raises(SystemExit, match="130"):
        main(["train", *SMALL, "--runs", str(tmp_path / "runs")])
    assert "rpo: interrupted before the training began" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_interruption_of_any_command_ends_it_with_a_message(tmp_path, monkeypatch, capsys, command):
    monkeypatch.setitem(COMMANDS, command, dataclasses.replace(COMMANDS[command], run=interrupt))
    with pytest.raises(SystemExit, match="130"):
        main([command, str(tmp_path)])
    assert capsys.readouterr().err == "\nrpo: interrupted.\n"


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install rpo-rl\[plots\]"):
        plotting.learning_curve(tmp_path / "progress.csv", tmp_path / "curve.png")


@pytest.mark.parametrize("seed", ["-1", "4294967296", "1180591620717411303424"])
def test_seed_that_is_none_is_told(tmp_path, seed):
    for args in (
        ["train", *SMALL, "--runs", str(tmp_path), "--seed", seed],
        ["record", str(tmp_path), "--seed", seed],
        ["evaluate", str(tmp_path), "--seeds", "0", seed],
    ):
        with pytest.raises(SystemExit, match=rf"rpo: --seeds? must be an integer in \[0, 2\*\*32\)\. Got {seed}\."):
            main(args)
    assert not list(tmp_path.iterdir())


def test_run_with_the_last_seed_is_evaluated_with_one_too(tmp_path):
    run = train(tmp_path, "--steps", "16", "--seed", "4294967295")
    assert json.loads(run.evaluation.read_text())["seeds"] == [999_999]
