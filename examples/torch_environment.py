"""A differentiable environment of one's own, in plain torch, that RPO learns: dock a ship that only thrusters move.

`rpo.DifferentiableVectorEnv` describes the methods. The ship shall come to rest at the origin of a plane. The system is
linear and its costs are quadratic, so control theory knows the best return: -4.9.
"""

from dataclasses import replace

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box

from rpo import RPO, RPOConfig, evaluate

DT, STEPS = 0.2, 50


class Docking(gymnasium.vector.VectorEnv):
    """Observes position and velocity, (N, 4); takes the acceleration, (N, 2)."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012
    single_observation_space: gymnasium.Space = Box(-np.inf, np.inf, (4,))
    single_action_space: gymnasium.Space = Box(-1.0, 1.0, (2,))
    device = torch.device("cpu")

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.random = num_envs, torch.Generator()

    def _first(self):
        position = 2 * torch.rand(self.num_envs, 2, generator=self.random) - 1
        return torch.cat([position, torch.zeros_like(position)], dim=-1)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.random.manual_seed(seed)
        self.state, self.time = self._first(), torch.zeros(self.num_envs, dtype=torch.int64)
        return self.state, {}

    def step_grad(self, actions):
        position, velocity = self.state.chunk(2, dim=-1)
        reward = -(position.square() + 0.1 * velocity.square() + actions.square()).sum(-1)
        velocity = velocity + DT * actions
        final = torch.cat([position + DT * velocity, velocity], dim=-1)
        self.time = self.time + 1
        truncated, never = self.time >= STEPS, torch.zeros(self.num_envs, dtype=torch.bool)
        self.state = torch.where(truncated.unsqueeze(-1), self._first(), final)
        self.time = torch.where(truncated, 0, self.time)
        return self.state, reward, never, truncated, {"final_obs": final, "_final_obs": truncated, "non_finite": never}

    def step(self, actions):
        self.detach()
        with torch.no_grad():
            return self.step_grad(actions)

    def detach(self):
        self.state = self.state.detach()
        return self.state

    def get_state(self):
        return {"state": self.state.detach(), "time": self.time, "random": self.random.get_state()}

    def set_state(self, state):
        self.state, self.time = state["state"], state["time"]
        self.random.set_state(state["random"])


def main(windows: int = 60) -> float:
    """Train; print the return of the trained policy beside that of doing nothing, and return it."""
    small = RPOConfig(horizon=8, hidden_sizes=(32, 32), critic_epochs=8, critic_minibatches=1)
    config = replace(small, learning_rate=1e-2, critic_learning_rate=1e-2, entropy_coef=0.0, kl_coef=0.05)
    model = RPO(Docking(64), config, seed=0).learn(windows * 8 * 64, log_interval=None)
    trained = evaluate(model.policy, Docking(64), episodes=256, seed=1).returns.mean()
    print(f"return of doing nothing {-2 / 3 * STEPS:6.1f}\nreturn of the policy    {trained:6.1f}")
    return float(trained)


if __name__ == "__main__":
    main()
