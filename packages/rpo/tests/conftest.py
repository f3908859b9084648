"""Common fixtures, and the helper modules that lie beside the tests."""

import signal
import sys
from pathlib import Path

import pytest
import torch

# Files are imported by their path (--import-mode=importlib), which leaves their folder out of the search path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("small_runs")

from systems import LinearQuadratic  # noqa: E402

from rpo.commands import train as train_command  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _ctrl_c_interrupts():
    """Ctrl-C is no more ignored than in a terminal, though tests may run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def _quick_report(monkeypatch):
    """Four episodes at the end of a training of the command line, and no picture."""
    monkeypatch.setattr(train_command, "EPISODES", 4)
    monkeypatch.setattr(train_command, "learning_curve", lambda *_: None)


@pytest.fixture
def lq():
    """The class of the linear-quadratic system."""
    return LinearQuadratic


@pytest.fixture
def endless(lq):
    """The class of one whose episodes never end, although it says that they do."""

    class Endless(lq):
        def step(self, actions):
            obs, reward, _, truncated, info = super().step(actions)
            return obs, reward, *[torch.zeros_like(truncated)] * 2, info

    return Endless
