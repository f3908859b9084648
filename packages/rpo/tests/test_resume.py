"""Runs that were interrupted, killed, or out of disk go on as if nothing had happened."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from full_disk import disk_with_room_for
from small_runs import (
    EPOCHS,
    assert_same_result,
    command_of,
    interruption,
    only_run,
    resume,
    rows_of,
    signals_at,
    train,
)

from rpo.algorithms import ALGORITHMS, algorithm_of
from rpo.checkpoint import trained_steps
from rpo.cli import main
from rpo.commands import train as train_command
from rpo.persistence import PersistentModel
from rpo.progress import ProgressDisplay
from rpo.resume import checkpoint_files
from rpo.runs import RunFolder

HERE = Path(__file__).parent
quick = pytest.mark.usefixtures("_quick_report")


def interrupt(*_, **__):
    raise KeyboardInterrupt


@quick
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_resumed_run_equals_one_never_interrupted(tmp_path, algo):
    whole = train(tmp_path / "whole", "--steps", "160", algo=algo)
    part = train(tmp_path / "part", "--steps", "96", algo=algo)
    # As if killed after the checkpoint at 64 steps: later rows are in the log, later checkpoints are not.
    checkpoint_files(part.checkpoints)[0].unlink()
    resume(part, "--steps", "160")
    assert_same_result(part, whole)


@quick
def test_damaged_checkpoint_is_told_of_and_set_aside_and_the_one_before_it_used(tmp_path, capsys):
    whole = train(tmp_path / "whole", "--steps", "160", "--keep-checkpoints", "1")
    part = train(tmp_path / "part", "--steps", "96", "--keep-checkpoints", "2")
    newest, good = checkpoint_files(part.checkpoints)
    newest.write_bytes(newest.read_bytes()[:100])
    resume(part, "--steps", "160", "--keep-checkpoints", "1")
    assert f"skipping a file: {newest} is truncated or damaged" in capsys.readouterr().err
    assert_same_result(part, whole)
    left = sorted(path.name for path in part.checkpoints.iterdir())
    assert left == [f"{newest.name}.refused", "steps_000000000160.zip"]
    assert not good.exists()


@quick
@pytest.mark.parametrize("keep", [1, 2, 4])
def test_last_checkpoints_are_kept(tmp_path, keep):
    run = train(tmp_path, "--steps", "128", "--keep-checkpoints", str(keep))
    steps = [f"steps_{steps:012d}.zip" for steps in (128, 96, 64, 32, 0)[:keep]]
    assert [path.name for path in checkpoint_files(run.checkpoints)] == steps


@quick
def test_copy_of_a_checkpoint_under_another_name_is_none(tmp_path):
    for name in ("steps_000000000032.zip", "steps_000000000064.zip", "steps_000000000064_backup.zip"):
        (tmp_path / name).touch()
    names = [path.name for path in checkpoint_files(tmp_path)]
    assert names == ["steps_000000000064.zip", "steps_000000000032.zip"]


def test_resume_is_refused_where_it_cannot_be_exact(tmp_path):
    run = train(tmp_path, "--steps", "32")
    for changed in (("--gamma", "0.5"), ("--device", "cpu"), ("--seed", "3"), ("--num-envs", "2")):
        with pytest.raises(SystemExit, match="A resumed run keeps its settings"):
            resume(run, "--steps", "64", *changed)
    for option, value in (("--preset", "paper"), ("--runs", str(tmp_path))):
        with pytest.raises(SystemExit, match=f"{option} is for new runs: a resumed one keeps its settings"):
            resume(run, "--steps", "64", option, value)
    with pytest.raises(SystemExit, match=r"There is no run in .*elsewhere: config.json is missing"):
        main(["train", "--resume", str(tmp_path / "elsewhere")])
    for checkpoint in run.checkpoints.iterdir():
        checkpoint.write_bytes(b"")
    with pytest.raises(SystemExit, match=r"There is no checkpoint that can be read in .*steps_000000000032\.zip is tr"):
        resume(run, "--steps", "64")
    assert len(checkpoint_files(run.checkpoints)) == 2
    for checkpoint in run.checkpoints.iterdir():
        checkpoint.unlink()
    with pytest.raises(SystemExit, match=rf"There is no checkpoint that can be read in {run.path}\."):
        resume(run, "--steps", "64")
    assert len(rows_of(run)) == 2


@quick
@pytest.mark.parametrize("moment", ["_on_training_start", "_on_rollout_start", "_on_step"])
def test_interrupted_training_says_how_to_continue_even_before_its_first_window(tmp_path, monkeypatch, capsys, moment):
    whole = train(tmp_path / "whole", "--steps", "64")
    with monkeypatch.context() as patch:
        patch.setattr(ProgressDisplay, moment, interrupt)
        message = interruption(capsys, train, tmp_path / "part", "--steps", "64")
    assert "the newest checkpoint is of 0 steps" in message
    main(command_of(message))
    assert_same_result(only_run(tmp_path / "part"), whole)


@quick
def test_run_that_was_killed_before_its_first_checkpoint_begins_anew(tmp_path, monkeypatch, capsys):
    whole = train(tmp_path / "whole", "--steps", "64")
    with monkeypatch.context() as patch:
        patch.setattr(train_command, "train", interrupt)
        message = interruption(capsys, train, tmp_path / "part", "--steps", "64")
    assert "there is no checkpoint yet" in message
    part = only_run(tmp_path / "part")
    assert not checkpoint_files(part.checkpoints)
    main(command_of(message))
    assert_same_result(part, whole)


def test_run_that_ended_before_its_report_is_completed_without_learning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_command, "EPISODES", 4)
    with monkeypatch.context() as patch:
        patch.setattr(train_command, "evaluate_model", interrupt)
        message = interruption(capsys, train, tmp_path, "--steps", "64")
    run = only_run(tmp_path)
    before = rows_of(run)
    run.model.unlink()
    assert not run.evaluation.exists()
    monkeypatch.setattr(algorithm_of("rpo"), "update", interrupt)
    main(command_of(message))
    assert algorithm_of("rpo").load(run.model).num_timesteps == 64
    assert run.evaluation.exists()
    assert run.learning_curve.exists()
    assert rows_of(run) == before


@quick
def test_finished_run_says_so_and_trains_on_with_more_steps_only(tmp_path, capsys):
    whole = train(tmp_path / "whole", "--steps", "128")
    run = train(tmp_path / "part", "--steps", "64")
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    capsys.readouterr()
    resume(run)
    out = capsys.readouterr().out
    assert out.startswith(f"{run.path} is finished: its 64 steps are done and evaluated.\nTrain on with more --steps")
    assert "first step" not in out
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before
    resume(run, "--steps", "128")
    assert_same_result(run, whole)


@quick
def test_run_whose_model_is_of_a_shorter_training_is_not_finished(tmp_path, monkeypatch, capsys):
    whole = train(tmp_path / "whole", "--steps", "128")
    run = train(tmp_path / "part", "--steps", "64")
    with monkeypatch.context() as patch:
        patch.setattr(PersistentModel, "save", interrupt)
        message = interruption(capsys, resume, run, "--steps", "128")
    main(["evaluate", str(run.path), "--episodes", "4"])
    assert run.read_evaluation()["steps"] == 128
    assert trained_steps(run.model) == 64
    main(command_of(message))
    assert_same_result(run, whole)


@quick
def test_run_whose_model_is_damaged_is_not_finished(tmp_path):
    run = train(tmp_path, "--steps", "64")
    run.model.write_bytes(b"damaged")
    resume(run)
    assert trained_steps(run.model) == 64


@quick
def test_run_that_is_being_trained_is_not_resumed_by_another_process(tmp_path):
    run = train(tmp_path, "--steps", "32")
    with run.claimed(), pytest.raises(SystemExit, match=f"{run.path} is being trained by another process"):
        resume(run, "--steps", "64")
    resume(run, "--steps", "64")
    assert len(rows_of(run)) == 4


@quick
def test_resumed_training_removes_what_a_killed_one_left_and_nothing_that_other_commands_write(tmp_path):
    run = train(tmp_path, "--steps", "32")
    own = [run.settings, run.progress, run.model, run.learning_curve, run.checkpoints / "steps_000000000064.zip"]
    others = [run.evaluation, run.replay, run.video]
    left, written = ([path.with_name(f".{path.name}.1.unfinished") for path in paths] for paths in (own, others))
    for path in (*left, *written):
        path.write_text("half of")
    resume(run, "--steps", "64")
    assert [path for path in left if path.exists()] == []
    assert [path for path in written if not path.exists()] == []


@quick
def test_run_is_claimed_from_its_first_moment(tmp_path, monkeypatch):
    claimed = []

    def look(model, settings, folder, options):
        with pytest.raises(ValueError, match="is being trained by another process"), folder.claimed():
            pass
        claimed.append(folder)

    monkeypatch.setattr(train_command, "train", look)
    train(tmp_path, "--steps", "32")
    assert claimed == [only_run(tmp_path)]


@quick
@pytest.mark.parametrize("log", [True, False])
def test_run_is_not_resumed_to_fewer_steps_than_it_has_taken(tmp_path, monkeypatch, capsys, log):
    with monkeypatch.context() as patch:
        signals_at(patch, [signal.SIGINT], steps=52)
        interruption(capsys, train, tmp_path / "part", "--steps", "160")
    part, whole = only_run(tmp_path / "part"), train(tmp_path / "whole", "--steps", "96")
    rows = rows_of(part)
    assert len(rows) == 4
    if not log:
        part.progress.unlink()
    with pytest.raises(SystemExit, match=rf"--steps must be >= 64, which {part.path} has taken\. Got 32\."):
        resume(part, "--steps", "32")
    assert part.read_settings().steps == 160
    if log:
        assert rows_of(part) == rows
        resume(part, "--steps", "96")  # fewer than it was to take, and more than it has
        assert_same_result(part, whole)


@quick
def test_run_that_took_the_rest_of_a_window_too_is_finished(tmp_path, capsys):
    run = train(tmp_path, "--steps", "60")
    assert trained_steps(run.model) == 64
    resume(run, "--steps", "60")
    assert "is finished: its 60 steps are done" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------- full disk


@quick
@pytest.mark.parametrize("room", [1, 2, 4, 9])
def test_disk_that_fills_ends_the_training_with_a_message_and_nothing_is_lost(tmp_path, monkeypatch, room):
    fsync, calls = os.fsync, []

    def fill(descriptor):
        calls.append(descriptor)
        if len(calls) > room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    whole = train(tmp_path / "whole", "--steps", "128")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill)
        message = "No space left on device. The files of the run are as they were before"
        with pytest.raises(SystemExit, match=message) as error:
            train(tmp_path / "part", "--steps", "128")
    part = only_run(tmp_path / "part")
    assert not [path for path in part.path.rglob("*") if "unfinished" in path.name]
    main(command_of(str(error.value)))
    assert_same_result(part, whole)


@quick
def test_disk_without_room_for_a_checkpoint_ends_the_training_too(tmp_path):
    whole = train(tmp_path / "whole", "--steps", "64")
    with disk_with_room_for(5000), pytest.raises(SystemExit, match="File too large") as error:
        train(tmp_path / "part", "--steps", "64")
    part = only_run(tmp_path / "part")
    assert not list(part.checkpoints.iterdir())
    main(command_of(str(error.value)))
    assert_same_result(part, whole)


def test_disk_that_is_full_before_the_training_leaves_no_folder(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SystemExit, match=r"The run folder .* cannot be written: No space left on device"):
        train(tmp_path, "--steps", "32")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ----------------------------------------------------------------------------------------------------------- kills


def killed_runs(folder, mode, number):
    """Return the run that `kill_runs.py` left alone, and those that it killed."""
    command = [sys.executable, str(HERE / "kill_runs.py"), str(folder), mode, str(number)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    return only_run(folder / "whole"), [only_run(runs) for runs in folder.iterdir() if runs.name != "whole"]


def test_run_that_was_killed_at_random_moments_equals_one_that_never_was(tmp_path):
    whole, (killed,) = killed_runs(tmp_path, "moments", 3)
    assert_same_result(killed, whole)


@pytest.mark.slow
@pytest.mark.parametrize("step", [1])
def test_run_that_was_killed_before_a_file_operation_equals_one_that_never_was(tmp_path, step):
    whole, killed = killed_runs(tmp_path, "operations", step)
    assert len(killed) > 50
    for run in killed:
        assert_same_result(run, whole)


ANT = [
    *("--env", "diffenvs/Ant-v0", "--num-envs", "4", "--steps", "1600"),
    *("--hidden-sizes", "16", "--horizon", "8", "--checkpoint-every", "64"),
]


def start(*args):
    """Start `rpo train` as a user would, and return the process and its run once the training begins."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "rpo", "train", *args],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("run folder: "):
            return process, RunFolder(Path(line.removeprefix("run folder: ").strip()))
    raise AssertionError(f"{args} ended with {process.wait()} before any training")


def end(process):
    """Let a process end well, and return the seconds that its training took."""
    began = time.perf_counter()
    seconds = [time.perf_counter() - began for line in process.stdout if line.startswith("evaluating")]
    process.communicate()
    assert process.returncode == 0
    return seconds[0]


@pytest.mark.slow
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_simulated_run_that_was_killed_at_random_moments_equals_one_that_never_was(tmp_path, algo):
    kills = 20 // len(ALGORITHMS) + 1
    args = [*ANT, "--algo", algo, EPOCHS.get(algo, "--critic-epochs"), "2"]
    process, whole = start(*args, "--runs", str(tmp_path / "whole"))
    seconds = end(process)
    process, part = start(*args, "--runs", str(tmp_path / "part"))
    for _ in range(kills):
        # Together at most half of the training, so that none of them comes too late.
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=random.uniform(0, seconds / (2 * kills)))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        process, _ = start("--resume", str(part.path))
    end(process)
    assert_same_result(part, whole)
