"""Ant: run towards a far target.

Observation, reward, termination and reset are those of the Ant of the SHAC, AHAC and RPO papers; the action cost is
RPO's (appendix A).
"""

from __future__ import annotations

from dataclasses import dataclass

from diffenvs.model import Model
from diffenvs.robots.ant import ant
from diffenvs.tasks.locomotion import AbstractLocomotion
from diffenvs.tasks.terms import STANDING, locomotion_entries


@dataclass(frozen=True, kw_only=True)
class Ant(AbstractLocomotion):
    """Four-legged robot that runs along x."""

    OBSERVATION = locomotion_entries(joints=8)

    action_cost: float = 0.01
    termination_height: float = 0.27

    def model(self) -> Model:
        """Build the Ant."""
        return ant()

    def start_q(self) -> tuple[float, ...]:
        """Coordinates of the start pose."""
        return (0.0, 0.75, 0.0, *STANDING, 0.0, 1.0, 0.0, -1.0, 0.0, -1.0, 0.0, 1.0)
