"""What the tests of both packages together share."""

import pytest

from diffenvs.envs.vector import DiffVectorEnv


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
