"""Trainings that take a moment, those of the command line above all, and what two of them can be compared by."""

import json
import re
import signal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rpo import PPO, checkpoint
from rpo.cli import main
from rpo.logs import read_progress
from rpo.progress import ProgressDisplay
from rpo.resume import checkpoint_files
from rpo.runs import RunFolder

ENV = "lq/LinearQuadratic-v0"
SMALL = [
    *("--env", ENV, "--num-envs", "4", "--env-args", "max_episode_steps=6", "start=0.1"),
    *("--hidden-sizes", "8", "--horizon", "4", "--checkpoint-every", "32"),
]
"""Arguments of `rpo train` for a run of windows of 16 environment steps, with a checkpoint every other window."""
EPOCHS = {"ppo": "--n-epochs"}
"""Option of an algorithm that makes its windows short; of the others it is --critic-epochs."""
CLOCKS = {"time/fps", "time/time_elapsed"}


def small_config(algorithm, **changes):
    """Return settings of an algorithm with which a window of few environments takes a moment."""
    epochs = "n_epochs" if algorithm is PPO else "critic_epochs"
    return algorithm.config_class(**{"hidden_sizes": (8,), "horizon": 4, epochs: 1, **changes})


def train(runs, *args, algo="rpo"):
    """Train in a folder of runs that has no other of that algorithm, and return the run's."""
    main(["train", "--algo", algo, *SMALL, EPOCHS.get(algo, "--critic-epochs"), "1", "--runs", str(runs), *args])
    return only_run(runs, algo)


def only_run(runs, algo="rpo"):
    (path,) = runs.glob(f"{ENV}/{algo}/[!.]*")  # not what has no settings yet
    return RunFolder(path)


def is_clock(name):
    return name.startswith("time/") and (name.endswith("_seconds") or name in CLOCKS)


def rows_of(run):
    """Rows of the log, without what the machine's speed decides."""
    return [{name: value for name, value in row.items() if not is_clock(name)} for row in read_progress(run.progress)]


def events_of(run):
    """All points that TensorBoard shows, likewise."""
    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    names = [name for name in events.Tags()["scalars"] if not is_clock(name)]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def training_of(run):
    """Header and tensors of the last checkpoint, without times."""
    header, tensors = checkpoint.read(checkpoint_files(run.checkpoints)[0])
    del header["training"]["learn"]["nanoseconds"]
    for episode in header["training"]["episodes"]:
        del episode["t"]
    return header, tensors


def assert_same_result(run, other):
    """Assert that two runs ended with the same numbers everywhere, bit for bit."""
    assert rows_of(run) == rows_of(other)
    assert events_of(run) == events_of(other)
    (header, tensors), (other_header, other_tensors) = training_of(run), training_of(other)
    assert header == other_header
    assert tensors.keys() == other_tensors.keys()
    assert [name for name in tensors if not tensors[name].equal(other_tensors[name])] == []
    models = [checkpoint.read(folder.model)[1] for folder in (run, other)]
    assert all(models[0][name].equal(models[1][name]) for name in models[0])
    assert json.loads(run.evaluation.read_text()) == json.loads(other.evaluation.read_text())


def resume(run, *args):
    main(["train", "--resume", str(run.path), *args])


def command_of(message):
    (command,) = re.findall("Continue with: rpo (.*)", message)
    return command.split()


def interruption(capsys, function, *args, status=128 + signal.SIGINT):
    """Return what is said when a command is interrupted."""
    with pytest.raises(SystemExit) as error:
        function(*args)
    assert error.value.code == status
    message = capsys.readouterr().err
    assert "rpo: interrupted; " in message
    return message


def signals_at(monkeypatch, numbers, steps):
    """Send signals in the middle of the window in which the training has taken so many steps."""

    def on_step(display):
        if display.num_timesteps == steps:
            for number in numbers:
                signal.raise_signal(number)
        return True

    monkeypatch.setattr(ProgressDisplay, "_on_step", on_step)
