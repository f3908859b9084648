"""A linear-quadratic system in plain torch that keeps the protocol of rpo, and common fixtures."""

import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

# Files are imported by their path (--import-mode=importlib), which leaves their folder out of the search path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("small_runs")

DT = 0.1


class LinearQuadratic(VectorEnv):
    """x' = A x + B a with reward -(x'Qx + a'Ra) + bonus; a double integrator when act_dim is 1 and obs_dim is 2."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    A = torch.tensor([[1.0, DT], [0.0, 1.0]], dtype=torch.float64)
    B = torch.tensor([[0.0], [DT]], dtype=torch.float64)
    Q = torch.diag(torch.tensor([1.0, 0.1], dtype=torch.float64))
    R = torch.tensor([[0.5]], dtype=torch.float64)

    def __init__(
        self,
        num_envs=1,
        max_episode_steps=50,
        limit=10.0,
        start=0.3,
        bonus=0.0,
        dtype="float64",
        autoreset_mode=AutoresetMode.SAME_STEP,
        poison_step=None,
    ):
        if num_envs < 1:
            raise ValueError(f"num_envs must be >= 1. Got {num_envs}.")
        self.num_envs, self.max_episode_steps = num_envs, max_episode_steps
        self.limit, self.start, self.bonus, self.poison_step = limit, start, bonus, poison_step
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}
        self.device, self.dtype = torch.device("cpu"), getattr(torch, dtype)
        self.single_observation_space = Box(-np.inf, np.inf, (2,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.A, self.B, self.Q, self.R = (m.to(self.dtype) for m in (self.A, self.B, self.Q, self.R))
        self.generator = torch.Generator()
        self.x = torch.zeros(num_envs, 2, dtype=self.dtype)
        self.elapsed = torch.zeros(num_envs, dtype=torch.int64)
        self.steps = 0

    def _initial(self):
        return self.start * torch.randn(self.num_envs, 2, generator=self.generator, dtype=self.dtype)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        self.x, self.elapsed = self._initial(), torch.zeros_like(self.elapsed)
        return self.x.clone(), {}

    def step_grad(self, actions):
        assert actions.shape == (self.num_envs, 1)
        assert actions.dtype == self.dtype
        self.steps += 1
        reward = self.bonus - ((self.x @ self.Q) * self.x).sum(-1) - ((actions @ self.R) * actions).sum(-1)
        final = self.x @ self.A.T + actions @ self.B.T
        non_finite = torch.zeros(self.num_envs, dtype=torch.bool)
        if self.steps == self.poison_step:
            non_finite[0] = True
            final = torch.where(non_finite.unsqueeze(-1), torch.nan, final)
        self.elapsed = self.elapsed + 1
        terminated = (final.detach().norm(dim=-1) > self.limit) | non_finite
        truncated = (self.elapsed >= self.max_episode_steps) & ~terminated
        done = terminated | truncated
        self.x = torch.where(done.unsqueeze(-1), self._initial(), final)
        self.elapsed = torch.where(done, 0, self.elapsed)
        info = {"final_obs": final, "_final_obs": done, "non_finite": non_finite}
        return self.x, reward, terminated, truncated, info

    def step(self, actions):
        with torch.no_grad():
            self.x = self.x.detach()
            return self.step_grad(actions)

    def detach(self):
        self.x = self.x.detach()
        return self.x.clone()

    def get_state(self):
        return {"x": self.x.detach(), "elapsed": self.elapsed, "generator": self.generator.get_state()}

    def set_state(self, state):
        self.x, self.elapsed = state["x"].to(self.dtype), state["elapsed"]
        self.generator.set_state(state["generator"])
        return self.x


gymnasium.register("lq/LinearQuadratic-v0", vector_entry_point=LinearQuadratic, max_episode_steps=50)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def lq():
    """The class of the linear-quadratic system."""
    return LinearQuadratic
