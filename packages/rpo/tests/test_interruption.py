"""Signals end a training between two windows, with a checkpoint from which it goes on as if nothing had happened."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from small_runs import assert_same_result, command_of, interruption, only_run, signals_at, small_config, train

from rpo import RPO
from rpo.algorithms import ALGORITHMS
from rpo.checkpoint import trained_steps
from rpo.cli import main
from rpo.interruption import StopSignals, TrainingStopped
from rpo.resume import TrainingCheckpoints, checkpoint_files

quick = pytest.mark.usefixtures("_quick_report")


@quick
@pytest.mark.parametrize("algo", ALGORITHMS)
def test_ctrl_c_ends_the_training_after_its_window_and_nothing_is_lost(tmp_path, monkeypatch, capsys, algo):
    whole = train(tmp_path / "whole", "--steps", "96", algo=algo)
    handlers = [signal.getsignal(known) for known in StopSignals.SIGNALS]
    with monkeypatch.context() as patch:
        signals_at(patch, [signal.SIGINT], steps=36)  # the first step of the third window, after the checkpoint at 32
        args = ["--steps", "96", "--checkpoint-every", "10000"]
        message = interruption(capsys, lambda: train(tmp_path / "part", *args, algo=algo))
    assert "the newest checkpoint is of 48 steps. Continue with" in message
    assert [signal.getsignal(known) for known in StopSignals.SIGNALS] == handlers
    main(command_of(message))
    assert_same_result(only_run(tmp_path / "part", algo), whole)


@quick
def test_sigterm_in_the_last_window_leaves_the_report_to_the_next_call(tmp_path, monkeypatch, capsys):
    whole = train(tmp_path / "whole", "--steps", "64")
    with monkeypatch.context() as patch:
        signals_at(patch, [signal.SIGTERM], steps=52)
        message = interruption(capsys, train, tmp_path / "part", "--steps", "64", status=128 + signal.SIGTERM)
    part = only_run(tmp_path / "part")
    assert not part.evaluation.exists()
    main(command_of(message))
    assert_same_result(part, whole)


@quick
def test_second_ctrl_c_ends_the_training_at_once(tmp_path, monkeypatch, capsys):
    whole = train(tmp_path / "whole", "--steps", "96")
    with monkeypatch.context() as patch:
        signals_at(patch, [signal.SIGINT, signal.SIGINT], steps=52)
        message = interruption(capsys, train, tmp_path / "part", "--steps", "96")
    assert "the newest checkpoint is of 32 steps. Continue with" in message
    main(command_of(message))
    assert_same_result(only_run(tmp_path / "part"), whole)


def test_repeated_sigterm_lets_the_window_end_and_ignored_signals_stay_ignored():
    with StopSignals() as signals:
        for _ in range(2):
            signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGTERM
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGINT)
        assert signals.received is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@quick
def test_training_in_another_thread_leaves_signals_alone(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(train, tmp_path, "--steps", "32").result()
    assert trained_steps(run.model) == 32


def test_signal_that_comes_while_it_is_looked_for_ends_the_next_window_with_a_checkpoint(tmp_path, lq):
    class Late(StopSignals):
        looks = 0

        @property
        def received(self):
            self.looks += 1
            return signal.SIGTERM if self.looks > 1 else None

        @received.setter
        def received(self, number):
            pass

    checkpoints = TrainingCheckpoints(tmp_path, 10**6, 2, Late())
    model = RPO(lq(4), small_config(RPO), seed=0)
    with pytest.raises(TrainingStopped):
        model.learn(160, callback=checkpoints)
    assert model.num_timesteps == 16
    assert checkpoint_files(tmp_path)[0].name == "steps_000000000016.zip"
