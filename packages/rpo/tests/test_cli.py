import csv
import json
import sys

import pytest

from rpo import RPO, cli, plotting
from rpo.cli import main, parse_env_args, parse_train
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
    monkeypatch.setattr(cli, "EVALUATION_EPISODES", 4)


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
    with pytest.raises(SystemExit, match=r"is finished: 32 steps. Ask for more with --steps"):
        main(resume)
    with pytest.raises(SystemExit, match="A resumed run keeps its settings"):
        main([*resume, "--steps", "64", "--gamma", "0.5"])
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
    ],
)
def test_mistakes_end_with_one_message(tmp_path, args, message):
    with pytest.raises(SystemExit, match=message):
        main(["train", *SMALL, "--runs", str(tmp_path), *args])


def test_unknown_environment_needs_a_number_of_environments(tmp_path):
    with pytest.raises(SystemExit, match="--num-envs must be given for a/B-v0"):
        main(["train", "--env", "a/B-v0", "--runs", str(tmp_path)])


def test_unwritable_run_folder_is_told_before_training(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(SystemExit, match=r"The run folder .* cannot be written"):
        main(["train", *SMALL, "--runs", str(tmp_path / "runs")])


def test_unknown_command_lists_the_known(capsys):
    with pytest.raises(SystemExit, match="there is no command 'fly'"):
        main(["fly"])
    main([])
    assert "train" in capsys.readouterr().out


def test_interrupted_training_says_how_to_continue(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "train", interrupt)
    with pytest.raises(SystemExit, match="Continue with: rpo train --resume"):
        main(["train", *SMALL, "--runs", str(tmp_path)])


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install rpo-rl\[plots\]"):
        plotting.learning_curve(tmp_path / "progress.csv", tmp_path / "curve.png")
