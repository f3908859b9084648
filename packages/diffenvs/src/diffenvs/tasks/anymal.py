"""Anymal: run towards a far target on four legs with springs.

Observation, reward, termination and reset are those of the Anymal of the SHAC, AHAC and RPO papers; the action cost is
RPO's (appendix A).
"""

from __future__ import annotations

from dataclasses import dataclass

from diffenvs.model import Model
from diffenvs.robots.anymal import anymal
from diffenvs.tasks.locomotion import AbstractLocomotion
from diffenvs.tasks.terms import STANDING, locomotion_entries


@dataclass(frozen=True, kw_only=True)
class Anymal(AbstractLocomotion):
    """Four-legged robot with three joints a leg that runs along x."""

    OBSERVATION = locomotion_entries(joints=12)

    action_cost: float = 0.01
    termination_height: float = 0.25

    def model(self) -> Model:
        """Build the Anymal."""
        return anymal()

    def start_q(self) -> tuple[float, ...]:
        """Coordinates of the start pose."""
        legs = (0.03, 0.4, -0.8, -0.03, 0.4, -0.8, 0.03, -0.4, 0.8, -0.03, -0.4, 0.8)
        return (0.0, 0.55, 0.0, *STANDING, *legs)
