"""Gymnasium's HalfCheetah, read from the file that Gymnasium ships, as a differentiable task that RPO learns.

Observation, action, reset and reward are those of HalfCheetah-v5, but that the reward takes the forward velocity at the
end of a step where Gymnasium takes the mean over it. The contact is this engine's.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import torch

from diffenvs import AbstractTask, DiffVectorEnv, Model, register_task
from diffenvs.tasks.base import Entry
from rpo import RPO, RPOConfig, evaluate
from rpo.progress import ProgressDisplay

FILE = Path(gymnasium.__file__).parent / "envs/mujoco/assets/half_cheetah.xml"
warnings.filterwarnings("ignore", message="compiler attribute 'settotalmass'")  # in the file


@dataclass(frozen=True, kw_only=True)
class HalfCheetah(AbstractTask):
    """Robot of two legs in a vertical plane that runs along x."""

    OBSERVATION = (
        Entry("height", 1, "m", "of the torso above its start, 0.7 m"),
        Entry("pitch", 1, "rad", "of the torso"),
        Entry("joint_position", 6, "rad", "of thigh, shin and foot, behind and in front"),
        Entry("velocity", 1, "m/s", "of the torso along x"),
        Entry("height_velocity", 1, "m/s", "of the torso"),
        Entry("pitch_velocity", 1, "rad/s", "of the torso"),
        Entry("joint_velocity", 6, "rad/s", "of thigh, shin and foot, behind and in front"),
    )
    TRAVELS = True  # its place along x does not matter, and float32 is coarse far from zero

    action_cost: float = 0.1
    """Reward lost per squared norm of the action."""
    noise: float = 0.1
    """Largest deviation of a first coordinate, and standard deviation of a first velocity."""

    def model(self):
        """Read the robot; a control step is five of Gymnasium's steps of 0.01 s."""
        return Model.from_mjcf(FILE, dt=0.05, substeps=50, mass_matrix_interval=10)

    def start_q(self):
        return (0.0,) * 9  # the file's pose

    def reset(self, random, start_q):
        return start_q + random.uniform(9, -self.noise, self.noise), self.noise * random.normal(9)

    def observation(self, state, action):
        return torch.cat([state.q[:, 1:], state.qd], dim=-1)  # all but the position along x

    def reward_terms(self, observation, action, next_observation):
        cost = self.action_cost * action.square().sum(-1)
        return {"forward": self.entry(next_observation, "velocity"), "action": -cost}


register_task("diffenvs/HalfCheetah-v0", HalfCheetah)

# A task without a preset says all that should differ from the defaults, which are the paper's.
RATES = {"learning_rate": 1e-3, "critic_learning_rate": 1e-3, "decay_timesteps": 1_000_000}
SIZES = {"hidden_sizes": (128, 64), "critic_epochs": 8, "horizon": 16}  # 0.8 s; beyond, gradients are mostly noise
CONFIG = RPOConfig(**RATES, **SIZES, entropy_coef=0.02)  # of a reward that is far smaller than the paper's tasks'


def main(steps: int = 300_000, num_envs: int = 64) -> float:
    """Train, then print and return the mean return of the trained policy over an episode in each environment."""
    agent = RPO("diffenvs/HalfCheetah-v0", CONFIG, num_envs=num_envs, seed=0).learn(steps, ProgressDisplay(steps))
    env = DiffVectorEnv("diffenvs/HalfCheetah-v0", num_envs)  # those of the training are in the middle of episodes
    returns = evaluate(agent.policy, env, episodes=num_envs, seed=1).returns
    print(f"return of the trained policy: {returns.mean():,.0f} +- {returns.std():,.0f}")
    return float(returns.mean())


if __name__ == "__main__":
    main()
