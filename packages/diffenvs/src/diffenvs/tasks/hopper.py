"""Hopper: hop along x without falling.

Observation, reward, termination and reset are those of the Hopper of the SHAC, AHAC and RPO papers; the action cost is
RPO's (appendix A). The reward of a step is taken from the observation the agent acted on and its clipped action.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffenvs.model import Model
from diffenvs.random import EnvRandom
from diffenvs.robots.hopper import hopper
from diffenvs.state import State
from diffenvs.tasks.base import AbstractTask, Entry
from diffenvs.tasks.terms import upright_height_reward


@dataclass(frozen=True, kw_only=True)
class Hopper(AbstractTask):
    """One-legged robot that hops along x in a vertical plane. The last action is no part of its observation."""

    OBSERVATION = (
        Entry("height", 1, "m", "of the torso above its start, 1.25 m"),
        Entry("pitch", 1, "rad", "of the torso"),
        Entry("joint_position", 3, "rad", "of thigh, leg and foot"),
        Entry("velocity", 1, "m/s", "of the torso along x"),
        Entry("height_velocity", 1, "m/s", "of the torso"),
        Entry("pitch_velocity", 1, "rad/s", "of the torso"),
        Entry("joint_velocity", 3, "rad/s", "of thigh, leg and foot"),
    )

    TRAVELS = True

    action_cost: float = 0.1
    """Reward lost per squared norm of the action."""
    termination_height: float = -0.45
    """Of the torso against its start, below which the episode ends [m]."""
    height_tolerance: float = 0.15
    """Height above the termination height at which the reward of height changes sign [m]."""
    angle_scale: float = 0.524
    """Pitch at which the reward of the angle changes sign [rad]."""
    position_noise: float = 0.05
    """Largest deviation of the first position [m]."""
    angle_noise: float = 0.05
    """Largest deviation of the first pitch and joint angles [rad]."""
    velocity_noise: float = 0.05
    """Largest component of the first velocities [m/s, rad/s]."""

    def model(self) -> Model:
        """Build the Hopper."""
        return hopper()

    def start_q(self) -> tuple[float, ...]:
        """Coordinates of the start pose."""
        return (0.0,) * 6

    def reset(self, random: EnvRandom, start_q: Tensor) -> tuple[Tensor, Tensor]:
        """Draw states around the start pose."""
        position, angles, velocity = random.uniform(12, -1.0, 1.0).split([2, 4, 6], dim=-1)
        q = start_q + torch.cat([self.position_noise * position, self.angle_noise * angles], dim=-1)
        return q, self.velocity_noise * velocity

    def observation(self, state: State, action: Tensor) -> Tensor:
        """Observe, (N, 11)."""
        return torch.cat([state.q[:, 1:], state.qd], dim=-1)

    def reward_terms(self, observation: Tensor, action: Tensor, next_observation: Tensor) -> dict[str, Tensor]:
        """Terms of the reward, from the observation before the step."""
        height = self.entry(observation, "height") - (self.termination_height + self.height_tolerance)
        return {
            "progress": self.entry(observation, "velocity"),
            "height": upright_height_reward(height, limit=0.3),
            "angle": 1.0 - (self.entry(observation, "pitch") / self.angle_scale).square(),
            "action": -self.action_cost * action.square().sum(-1),
        }

    def terminated(self, next_observation: Tensor) -> Tensor:
        """Whether the torso is too low."""
        return self.entry(next_observation, "height") < self.termination_height
