"""A task of one's own on a robot of one's own, learnt by RPO: a pole on a cart is swung up and balanced."""

from dataclasses import dataclass

import torch

from diffenvs import AbstractTask, DiffVectorEnv, Model, register_task
from diffenvs.model import Actuator, Joint, JointType, Link
from diffenvs.tasks.base import Entry
from rpo import RPO, RPOConfig, evaluate
from rpo.progress import ProgressDisplay


@dataclass(frozen=True, kw_only=True)
class CartPoleSwingUp(AbstractTask):
    """Swing the pole up and keep it there, with the cart near the middle."""

    OBSERVATION = (
        Entry("position", 1, "m", "of the cart"),
        Entry("direction", 2, "1", "cosine and sine of the pole's angle, which is zero when it stands"),
        Entry("velocity", 1, "m/s", "of the cart"),
        Entry("spin", 1, "rad/s", "of the pole"),
    )
    position_cost: float = 0.1
    """Reward lost per squared distance of the cart from the middle [1/m^2]."""
    spin_cost: float = 0.02
    """Reward lost per squared angular velocity of the pole [s^2/rad^2]."""
    action_cost: float = 0.01
    """Reward lost per squared action."""

    def model(self):
        """Build a cart of 1 kg on a rail along x that carries a pole of 0.3 kg and 1 m, which stands at angle zero."""
        rail = Joint(type=JointType.SLIDE, axis=(1, 0, 0), damping=0.1)
        pivot = Joint(type=JointType.HINGE, axis=(0, 0, 1), damping=0.01)
        cart = Link(name="cart", parent=None, joint=rail, mass=1.0)
        rod = (0.025, 0, 0.025, 0, 0, 0)  # inertia about the middle [kg m^2]
        pole = Link(name="pole", parent="cart", joint=pivot, mass=0.3, com=(0, 0.5, 0), inertia=rod)
        motor = Actuator(link="cart", gear=20.0)
        return Model(name="cartpole", links=(cart, pole), actuators=(motor,), ground=False, dt=0.04, substeps=8)

    def start_q(self):
        return (0.0, torch.pi)  # it hangs

    def reset(self, random, start_q):
        q, qd = random.uniform(4, -0.1, 0.1).split(2, dim=-1)
        return start_q + q, qd

    def observation(self, state, action):
        position, angle = state.q[:, 0:1], state.q[:, 1:2]
        return torch.cat([position, angle.cos(), angle.sin(), state.qd], dim=-1)

    def reward_terms(self, observation, action, next_observation):
        return {
            "height": self.entry(observation, "direction")[:, 0],
            "position": -self.position_cost * self.entry(observation, "position").square(),
            "spin": -self.spin_cost * self.entry(observation, "spin").square(),
            "action": -self.action_cost * action.square().sum(-1),
        }


register_task("examples/CartPoleSwingUp-v0", CartPoleSwingUp, max_episode_steps=250)

# A task without a preset says all that should differ from the defaults, which are the paper's.
RATES = {"learning_rate": 2e-3, "critic_learning_rate": 2e-3, "decay_timesteps": 300_000}
SIZES = {"hidden_sizes": (64, 64), "critic_epochs": 8}
CONFIG = RPOConfig(**RATES, **SIZES, entropy_coef=0.02)  # of a reward that is at most one


def main(steps: int = 300_000, num_envs: int = 64) -> float:
    """Train, then print and return the mean return of the trained policy over an episode in each environment."""
    agent = RPO("examples/CartPoleSwingUp-v0", CONFIG, num_envs=num_envs, seed=0).learn(steps, ProgressDisplay(steps))
    env = DiffVectorEnv("examples/CartPoleSwingUp-v0", num_envs)  # those of the training are in the middle of episodes
    returns = evaluate(agent.policy, env, episodes=num_envs, seed=1).returns
    print(f"return of the trained policy: {returns.mean():.0f} +- {returns.std():.0f} of at most 250")
    return float(returns.mean())


if __name__ == "__main__":
    main()
