"""The folder of a run."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
from small_runs import SMALL, train

import rpo
from rpo import RPOConfig
from rpo.cli import main
from rpo.commands.train import parse_train
from rpo.logs import read_progress
from rpo.runs import RunFolder, RunSettings
from rpo.versions import versions


def interrupt(*_, **__):
    raise KeyboardInterrupt


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


def test_run_says_where_it_comes_from_and_older_ones_that_do_not_are_resumed(tmp_path):
    run = train(tmp_path, "--steps", "16", "--preset", "small")
    settings = run.read_settings()
    assert settings.preset == "small"
    assert settings.versions == versions()
    assert settings.versions["rpo-rl"] == rpo.__version__
    values = json.loads(run.settings.read_text())
    values["versions"] = {"rpo-rl": "0.0.1"}
    run.settings.write_text(json.dumps(values))
    main(["train", "--resume", str(run.path), "--steps", "32"])
    assert (run.read_settings().preset, run.read_settings().versions) == ("small", {"rpo-rl": "0.0.1"})
    del values["preset"], values["versions"]
    run.settings.write_text(json.dumps(values))
    main(["train", "--resume", str(run.path), "--steps", "48"])
    assert (run.read_settings().preset, run.read_settings().versions) == (None, None)
    assert run.read_evaluation()["steps"] == 48


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
    assert [row["time/total_timesteps"] for row in read_progress(run.progress)] == ["1", "2", "4"]


def test_device_of_the_networks_belongs_to_the_run(tmp_path):
    run = train(tmp_path, "--steps", "32", "--device", "cpu")
    assert run.read_settings().device == "cpu"
    assert parse_train(["--resume", str(run.path)]).device == "cpu"


def test_settings_written_before_they_had_a_device_are_read(tmp_path, settings):
    run = RunFolder.create(tmp_path, settings)
    values = json.loads(run.settings.read_text())
    del values["device"]
    run.settings.write_text(json.dumps(values))
    assert run.read_settings().device == "auto"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "Expecting property name"),
        ("{}", "'algorithm' is missing"),
        ('{"algorithm": "DQN", "config": {}}', "There is no algorithm 'DQN'"),
        ('{"algorithm": "RPO", "config": {"horizont": 3}}', "RPOConfig has no field horizont"),
    ],
)
def test_settings_that_cannot_be_read_are_told_with_their_file(tmp_path, settings, content, message):
    run = RunFolder.create(tmp_path, settings)
    run.settings.write_text(content)
    with pytest.raises(SystemExit, match=rf"rpo: {run.settings} does not hold what was asked for: {message}"):
        main(["train", "--resume", str(run.path)])
