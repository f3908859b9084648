"""What the tests of both packages together share."""

import sys
from pathlib import Path

import pytest
import torch

# Files are imported by their path (--import-mode=importlib), which leaves their folder out of the search path.
sys.path.insert(0, str(Path(__file__).parent))

from second_device import second_device  # noqa: F401  # a fixture

from diffenvs.envs.vector import DiffVectorEnv


@pytest.fixture
def one_thread():
    """Let torch use one thread during a test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def needs_opengl():
    """Skip, and say why, where the system cannot draw."""
    env = DiffVectorEnv("diffenvs/Hopper-v0", render_mode="rgb_array", width=16, height=16)
    env.reset(seed=0)
    try:
        env.render()
    except RuntimeError as error:
        pytest.skip(str(error))
    finally:
        env.close()
