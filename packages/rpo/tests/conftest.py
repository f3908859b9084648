"""Common fixtures, and the helper modules that lie beside the tests."""

import sys
from pathlib import Path

import pytest
import torch

# Files are imported by their path (--import-mode=importlib), which leaves their folder out of the search path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("small_runs")

from systems import LinearQuadratic  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def lq():
    """The class of the linear-quadratic system."""
    return LinearQuadratic
