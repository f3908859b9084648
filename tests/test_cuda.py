"""What only a GPU can show of both packages together; skipped without one."""

import gymnasium
import pytest
import torch

import diffenvs  # noqa: F401  # registers the tasks
from rpo.algorithms import ALGORITHMS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

N = 8
HORIZON = 4


@pytest.fixture
def _sync_debug_mode():
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("_sync_debug_mode")
@pytest.mark.parametrize("name", ["rpo", "sapo", "shac"])
def test_host_does_not_wait_between_the_steps_of_a_window(name):
    algorithm = ALGORITHMS[name]
    env = gymnasium.make_vec("diffenvs/Ant-v0", num_envs=N, device="cuda", max_episode_steps=3).unwrapped
    model = algorithm(env, algorithm.config_class(horizon=HORIZON, critic_epochs=1), device="cuda", seed=0)
    model.learn(HORIZON * N, log_interval=None)

    def callback(*_):
        is_last = model.num_timesteps % (HORIZON * N) == 0
        torch.cuda.set_sync_debug_mode("default" if is_last else "error")
        return True

    model.learn(2 * HORIZON * N, callback=callback, log_interval=None, reset_num_timesteps=False)
    assert all(parameter.isfinite().all() for parameter in model.policy.parameters())
