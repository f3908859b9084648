"""Small differentiable systems in plain torch that keep the protocol of rpo, and whose best policies are known."""

import math

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space


class TorchSystem(VectorEnv):
    """A system of state x, (N, state), that a subclass gives its dynamics, reward, observation and first states."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012
    obs_dim = 2
    act_dim = 1

    def __init__(
        self,
        num_envs=1,
        max_episode_steps=50,
        dtype="float64",
        autoreset_mode=AutoresetMode.SAME_STEP,
        poison_step=None,
    ):
        if num_envs < 1:
            raise ValueError(f"num_envs must be >= 1. Got {num_envs}.")
        self.num_envs, self.max_episode_steps, self.poison_step = num_envs, max_episode_steps, poison_step
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}
        self.device, self.dtype = torch.device("cpu"), getattr(torch, dtype)
        self.single_observation_space = Box(-np.inf, np.inf, (self.obs_dim,), np.float32)
        self.single_action_space = Box(-1.0, 1.0, (self.act_dim,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.generator = torch.Generator()
        self.x = torch.zeros_like(self.initial())
        self.elapsed = torch.zeros(num_envs, dtype=torch.int64)
        self.steps = 0

    def randn(self, *shape):
        return torch.randn(self.num_envs, *shape, generator=self.generator, dtype=self.dtype)

    def observe(self, x):
        return x

    def terminal(self, x):
        return torch.zeros(self.num_envs, dtype=torch.bool)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        self.x, self.elapsed = self.initial(), torch.zeros_like(self.elapsed)
        return self.observe(self.x).clone(), {}

    def step_grad(self, actions):
        assert actions.shape == (self.num_envs, self.act_dim)
        assert actions.dtype == self.dtype
        self.steps += 1
        reward, final = self.reward(self.x, actions), self.dynamics(self.x, actions)
        non_finite = torch.zeros(self.num_envs, dtype=torch.bool)
        if self.steps == self.poison_step:
            non_finite[0] = True
            final = torch.where(non_finite.unsqueeze(-1), torch.nan, final)
        self.elapsed = self.elapsed + 1
        terminated = self.terminal(final.detach()) | non_finite
        truncated = (self.elapsed >= self.max_episode_steps) & ~terminated
        done = terminated | truncated
        self.x = torch.where(done.unsqueeze(-1), self.initial(), final)
        self.elapsed = torch.where(done, 0, self.elapsed)
        info = {"final_obs": self.observe(final), "_final_obs": done, "non_finite": non_finite}
        return self.observe(self.x), reward, terminated, truncated, info

    def step(self, actions):
        with torch.no_grad():
            self.x = self.x.detach()
            return self.step_grad(actions)

    def detach(self):
        self.x = self.x.detach()
        return self.observe(self.x).clone()

    def get_state(self):
        return {"x": self.x.detach(), "elapsed": self.elapsed, "generator": self.generator.get_state()}

    def set_state(self, state):
        self.x, self.elapsed = state["x"].to(self.dtype), state["elapsed"]
        self.generator.set_state(state["generator"])
        return self.observe(self.x)


class LinearQuadratic(TorchSystem):
    """x' = A x + B a with reward -(x'Qx + a'Ra) + bonus; a double integrator."""

    DT = 0.1
    A = torch.tensor([[1.0, DT], [0.0, 1.0]], dtype=torch.float64)
    B = torch.tensor([[0.0], [DT]], dtype=torch.float64)
    Q = torch.diag(torch.tensor([1.0, 0.1], dtype=torch.float64))
    R = torch.tensor([[0.5]], dtype=torch.float64)

    def __init__(self, num_envs=1, max_episode_steps=50, limit=10.0, start=0.3, bonus=0.0, dtype="float64", **kwargs):
        self.limit, self.start, self.bonus = limit, start, bonus
        self.A, self.B, self.Q, self.R = (m.to(getattr(torch, dtype)) for m in (self.A, self.B, self.Q, self.R))
        super().__init__(num_envs, max_episode_steps, dtype, **kwargs)

    def initial(self):
        return self.start * self.randn(2)

    def dynamics(self, x, actions):
        return x @ self.A.T + actions @ self.B.T

    def reward(self, x, actions):
        return self.bonus - ((x @ self.Q) * x).sum(-1) - ((actions @ self.R) * actions).sum(-1)

    def terminal(self, x):
        return x.norm(dim=-1) > self.limit

    def riccati_gain(self, gamma):
        """Gain of the optimal action -K x, by iteration of the discounted Riccati equation."""
        a, b, q, r = self.A * math.sqrt(gamma), self.B * math.sqrt(gamma), self.Q, self.R
        p, k = q, None
        for _ in range(2000):
            k = torch.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
            p = q + a.T @ p @ (a - b @ k)
        return k


class LostReward(LinearQuadratic):
    """One that gives the same reward, not a number perhaps, in the third step of every episode."""

    def __init__(self, *args, lost_reward, **kwargs):
        self.lost_reward = lost_reward
        super().__init__(*args, **kwargs)

    def reward(self, x, actions):
        return super().reward(x, actions).masked_fill(self.elapsed == 2, self.lost_reward)


class Pendulum(TorchSystem):
    """A hanging pendulum of unit mass and length, x = (angle from upright, velocity), too heavy to lift at once."""

    obs_dim = 3
    DT = 0.05
    GRAVITY = 10.0
    TORQUE = 6.0
    """Largest torque: a bit more than half of what holds it level."""

    def __init__(self, num_envs=1, max_episode_steps=100, **kwargs):
        super().__init__(num_envs, max_episode_steps, **kwargs)

    def initial(self):
        return torch.tensor([math.pi, 0.0], dtype=self.dtype) + 0.1 * self.randn(2)

    def dynamics(self, x, actions):
        angle, velocity = x.unbind(-1)
        velocity = velocity + self.DT * (self.GRAVITY * angle.sin() + self.TORQUE * actions[..., 0])
        return torch.stack([angle + self.DT * velocity, velocity], -1)

    def reward(self, x, actions):
        angle, velocity = x.unbind(-1)
        return angle.cos() - 0.01 * velocity.square() - 0.01 * actions[..., 0].square()

    def observe(self, x):
        angle, velocity = x.unbind(-1)
        return torch.stack([angle.cos(), angle.sin(), velocity], -1)

    def best_return(self, angles=61, speeds=61, actions=5, fastest=9.0):
        """Undiscounted return of the best policy from hanging still, by dynamic programming on a grid."""
        grid = torch.cartesian_prod(
            torch.linspace(-math.pi, math.pi, angles + 1, dtype=torch.float64)[:-1],
            torch.linspace(-fastest, fastest, speeds, dtype=torch.float64),
        )
        x = grid.repeat_interleave(actions, 0)
        a = torch.linspace(-1, 1, actions, dtype=torch.float64).repeat(len(grid)).unsqueeze(-1)
        reward, (angle, velocity) = self.reward(x, a), self.dynamics(x, a).unbind(-1)
        row = (angle / (2 * math.pi) + 0.5) * angles
        column = ((velocity / fastest + 1) / 2 * (speeds - 1)).clamp(0, speeds - 1)
        i, j = row.floor().long(), column.floor().long().clamp(max=speeds - 2)
        value = torch.zeros(angles, speeds, dtype=torch.float64)
        for _ in range(self.max_episode_steps):
            below, above = (torch.lerp(value[k % angles, j], value[k % angles, j + 1], column - j) for k in (i, i + 1))
            value = (reward + torch.lerp(below, above, row - i)).view(-1, actions).amax(1).view(angles, speeds)
        return value[0, speeds // 2].item()


class Bandit(TorchSystem):
    """Episodes of one step, whose reward is -(a - 0.3)^2 summed over the actions, whatever the state."""

    obs_dim = 1
    act_dim = 2
    BEST = 0.3

    def initial(self):
        return self.randn(1)

    def dynamics(self, x, actions):
        return x

    def reward(self, x, actions):
        return -(actions - self.BEST).square().sum(-1)

    def terminal(self, x):
        return torch.ones(self.num_envs, dtype=torch.bool)


class ScaledReward(VectorWrapper):
    """A wrapper that has the methods of a differentiable environment."""

    def __init__(self, env, factor):
        super().__init__(env)
        self.factor, self.device = factor, env.unwrapped.device

    def step(self, actions):
        obs, reward, *rest = self.env.step(actions)
        return obs, self.factor * reward, *rest

    def step_grad(self, actions):
        obs, reward, *rest = self.env.step_grad(actions)
        return obs, self.factor * reward, *rest

    def detach(self):
        return self.env.detach()

    def get_state(self):
        return self.env.get_state()

    def set_state(self, state):
        return self.env.set_state(state)


gymnasium.register("lq/LinearQuadratic-v0", vector_entry_point=LinearQuadratic, max_episode_steps=50)
