"""Humanoid: run towards a far target on two legs.

Observation, reward, termination and reset are those of the Humanoid of the SHAC, AHAC and RPO papers; the action cost
is RPO's (appendix A).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffenvs.model import Model, Vector3
from diffenvs.robots.humanoid import humanoid
from diffenvs.tasks.locomotion import AbstractLocomotion
from diffenvs.tasks.terms import STANDING, locomotion_entries, upright_height_reward


@dataclass(frozen=True, kw_only=True)
class Humanoid(AbstractLocomotion):
    """Two-legged robot with arms that runs along x."""

    OBSERVATION = locomotion_entries(joints=21)

    action_cost: float = 0.02
    termination_height: float = 0.74
    """Of the torso, below which the episode ends [m]."""
    height_tolerance: float = 0.1
    """Height above the termination height at which the reward of height changes sign; it grows as far again [m]."""
    height_weight: float = 10.0
    """Reward of height per metre where it is positive."""
    target: Vector3 = (200.0, 0.0, 0.0)

    def model(self) -> Model:
        """Build the Humanoid."""
        return humanoid()

    def start_q(self) -> tuple[float, ...]:
        """Coordinates of the start pose."""
        return (0.0, 1.35, 0.0, *STANDING, *(0.0,) * 21)

    def height_reward(self, height: Tensor) -> Tensor:
        """Reward a torso that is up, within the tolerance, and punish one that sinks."""
        above = height - (self.termination_height + self.height_tolerance)
        return upright_height_reward(above, limit=self.height_tolerance, weight=self.height_weight)
