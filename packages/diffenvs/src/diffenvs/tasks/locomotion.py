"""What the locomotion tasks share: a robot with a free root runs towards a far target in a y-up world.

The reward of a step is taken from the observation the agent acted on and its clipped action.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffenvs.model import Vector3
from diffenvs.random import EnvRandom
from diffenvs.state import State
from diffenvs.tasks.base import AbstractTask
from diffenvs.tasks.terms import locomotion_observation, reset_free_root


@dataclass(frozen=True, kw_only=True)
class AbstractLocomotion(AbstractTask):
    """Run towards a target, upright. A task adds its robot and start pose, and may reward height in its own way.

    Its ``OBSERVATION`` is that of :func:`diffenvs.tasks.terms.locomotion_entries`.
    """

    TRAVELS = True

    action_cost: float
    """Reward lost per squared norm of the action."""
    observe_action: bool = True
    """Whether the observation's entries for the last action hold it (they are zero otherwise)."""
    up_weight: float = 0.1
    """Reward of standing upright."""
    heading_weight: float = 1.0
    """Reward of facing the target."""
    termination_height: float
    """Of the root, below which the episode ends and above which height is rewarded [m]."""
    target: Vector3 = (10000.0, 0.0, 0.0)
    """Position to head for [m]; its height does not matter."""
    position_noise: float = 0.1
    """Largest deviation of each component of the root's first position [m]."""
    angle_noise: float = math.pi / 24
    """Largest first rotation about a random axis [rad]."""
    joint_noise: float = 0.2
    """Largest deviation of each joint's first angle [rad]."""
    velocity_noise: float = 0.25
    """Largest component of the first velocities [rad/s, m/s]."""

    def reset(self, random: EnvRandom, start_q: Tensor) -> tuple[Tensor, Tensor]:
        """Draw states around the start pose."""
        return reset_free_root(
            random,
            start_q,
            position=self.position_noise,
            angle=self.angle_noise,
            joint=self.joint_noise,
            velocity=self.velocity_noise,
        )

    def observation(self, state: State, action: Tensor) -> Tensor:
        """Observe, (N, 13 + 2 joints + nu)."""
        return locomotion_observation(state, action if self.observe_action else torch.zeros_like(action), self.target)

    def reward_terms(self, observation: Tensor, action: Tensor, next_observation: Tensor) -> dict[str, Tensor]:
        """Terms of the reward, from the observation before the step."""
        return {
            "progress": self.entry(observation, "velocity")[:, 0],
            "up": self.up_weight * self.entry(observation, "up"),
            "heading": self.heading_weight * self.entry(observation, "heading"),
            "height": self.height_reward(self.entry(observation, "height")),
            "action": -self.action_cost * action.square().sum(-1),
        }

    def height_reward(self, height: Tensor) -> Tensor:
        """Reward of the root's height [m], (N,): what it has above that of termination."""
        return height - self.termination_height

    def terminated(self, next_observation: Tensor) -> Tensor:
        """Whether the root is too low."""
        return self.entry(next_observation, "height") < self.termination_height
