"""A differentiable environment of one's own, in plain torch, that RPO learns: dock a ship that only thrusters move.

`rpo.DifferentiableVectorEnv` describes the methods. The best return, as known of linear systems, is -4.9.
"""

from dataclasses import replace

import gymnasium
import torch
from gymnasium.spaces import Box

from rpo import RPO, RPOConfig, evaluate

DT, STEPS = 0.2, 50
SPREAD = torch.tensor([0.7548776662, 0.5698402910], dtype=torch.float64)  # its multiples mod 1 fill a square


class Docking(gymnasium.vector.VectorEnv):
    """To rest at the origin of a plane. Observes position and velocity, (N, 4); takes the acceleration, (N, 2)."""

    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012
    single_observation_space: gymnasium.Space = Box(-torch.inf, torch.inf, (4,))
    single_action_space: gymnasium.Space = Box(-1.0, 1.0, (2,))
    device = torch.device("cpu")

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.index = num_envs, torch.arange(num_envs)
        self.observation_space, self.action_space = Box(-torch.inf, torch.inf, (num_envs, 4)), Box(-1, 1, (num_envs, 2))
        self.state, self.time, self.episode = torch.zeros(num_envs, 4), 0 * self.index, self.index

    def reset(self, *, seed=None, options=None):
        last = self.episode if seed is None else 2**20 * seed + self.index
        return self._begin(torch.as_tensor((options or {}).get("reset_mask", self.index >= 0)), last), {}

    def _begin(self, which, last):
        self.episode = torch.where(which, last + self.num_envs, self.episode)
        position = 2 * (self.episode.unsqueeze(-1) * SPREAD % 1).float() - 1
        self.state = torch.where(which.unsqueeze(-1), torch.nn.functional.pad(position, (0, 2)), self.state)
        self.time = torch.where(which, 0, self.time)
        return self.state.clone()

    def step_grad(self, actions):
        position, velocity = self.state.chunk(2, dim=-1)
        reward = -(position.square() + 0.1 * velocity.square() + actions.square()).sum(-1)
        velocity = velocity + DT * actions
        final = self.state = torch.cat([position + DT * velocity, velocity], dim=-1)
        self.time = self.time + 1
        truncated, never = self.time >= STEPS, self.index < 0
        told = {"non_finite": never}
        info = told | {"final_obs": final, "_final_obs": truncated, "final_info": told, "_final_info": truncated}
        return self._begin(truncated, self.episode), reward, never, truncated, info

    @torch.no_grad()
    def step(self, actions):
        return self.step_grad(actions)

    def detach(self):
        return self.set_state(self.get_state())

    def get_state(self):
        return {name: getattr(self, name).detach().clone() for name in ("state", "time", "episode")}

    def set_state(self, state):
        self.state, self.time, self.episode = (state[name].clone() for name in ("state", "time", "episode"))
        return self.state.clone()


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
