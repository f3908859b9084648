"""HandReorient: turn a cube that lies in a hand to one goal orientation after the other.

Observation, reward, termination, goals and resets are those of Rewarped's HandReorient (E. Xing, V. Luk, J. Oh,
Stabilizing Reinforcement Learning in Differentiable Multiphysics Simulation, 2025), on which SAPO and RPO were
published, but for the contact: it is smooth here, with shapes and law of :mod:`diffenvs.robots.allegro`. The reward is
taken from the state after the step and the goal of that step. An episode lasts 600 steps of 1/120 s.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffenvs.model import JointType, Model, Vector3
from diffenvs.random import EnvRandom
from diffenvs.robots.allegro import allegro
from diffenvs.state import State
from diffenvs.tasks.base import AbstractTask, Entry
from diffenvs.tasks.rigid_body import origin_velocity, quaternion_conjugate, quaternion_product

VELOCITY_SCALE = 0.2
"""Of the joint velocities and the angular velocity in observations."""
MAX_SINE = 0.999
"""Largest sine of half the angle to the goal: the derivative of the arcsine is infinite at one."""
# Of the coordinates and velocities: the cube comes last.
_JOINTS, _CUBE, _ROTATION = slice(None, -7), slice(-7, -4), slice(-4, None)
_JOINT_VELOCITIES, _TWIST = slice(None, -6), slice(-6, None)


@dataclass(frozen=True, kw_only=True)
class HandReorient(AbstractTask):
    r"""Allegro hand, palm up, that turns a cube.

    Its motion, and so the reward, jumps where a finger joint crosses its limit, beyond which alone the limit's damping
    acts; contact is smooth.

    Notes
    -----
    With the distance :math:`d` of the cube from the goal's position, the angle :math:`\theta` between their
    orientations and :math:`g = \sigma((\theta - \theta_0) / w)`, the reward is

    .. math:: -10 d + \frac{1}{\theta + 0.1} + 250\, \sigma(-g / w) - 0.0002\, |a|^2, \qquad
              \theta_0 = 0.1, \quad w = 0.001

    The bonus is smooth, so that it has a gradient: it is 125 at the goal, half its weight, and sets in near 0.0935 rad.
    The goal counts as reached, and gives way to a new one, as soon as :math:`\theta \le \theta_0`.
    """

    OBSERVATION = (
        Entry("joint_position", 16, "1", "of the joints, -1 at the lower and 1 at the upper limit"),
        Entry("joint_velocity", 16, "5 rad/s", f"of the joints, times {VELOCITY_SCALE}"),
        Entry("position", 3, "m", "of the cube"),
        Entry("rotation", 4, "1", "quaternion (x, y, z, w) of the cube"),
        Entry("velocity", 3, "m/s", "of the cube's centre"),
        Entry("angular_velocity", 3, "5 rad/s", f"of the cube, times {VELOCITY_SCALE}"),
        Entry("goal_position", 3, "m", "where the cube shall be"),
        Entry("goal_rotation", 4, "1", "quaternion (x, y, z, w) that the cube shall have"),
        Entry("relative_rotation", 4, "1", "quaternion (x, y, z, w) that turns the goal's rotation into the cube's"),
        Entry("action", 16, "1", "clipped action of the last step, zero after a reset"),
    )
    MEMORY = (
        Entry(
            "goal_rotation",
            4,
            "1",
            "quaternion (x, y, z, w) that the cube shall have, new once it is reached",
            quaternion=True,
        ),
        Entry("successes", 1, "1", "goals reached in this episode"),
    )

    action_cost: float = 2e-4
    """Reward lost per squared norm of the action."""
    observe_action: bool = True
    """Whether the observation's entries for the last action hold it (they are zero otherwise)."""
    distance_cost: float = 10.0
    """Reward lost per metre of the cube from the goal's position."""
    rotation_weight: float = 1.0
    """Of the reward of being near the goal's orientation [rad]."""
    rotation_offset: float = 0.1
    """Added to the angle of which that reward is the inverse [rad]."""
    success_bonus: float = 250.0
    """Weight of the bonus, of which the goal gives half."""
    success_angle: float = 0.1
    """Largest angle to the goal at which it counts as reached [rad]."""
    success_width: float = 1e-3
    """Width of the bonus's edge [rad], and of the gate on it."""
    fall_distance: float = 0.24
    """Of the cube from the goal's position, at which the episode ends [m]."""
    goal_position: Vector3 = (0.0, -0.1, 0.56)
    """Where the cube shall be [m]."""
    joint_spread: float = 0.2
    """First joint angles are a random position within the limits, times this."""
    position_noise: float = 0.01
    """Largest deviation of each component of the cube's first position [m]."""

    def model(self) -> Model:
        """Build the hand and the cube."""
        return allegro()

    def start_q(self) -> tuple[float, ...]:
        """Coordinates of the start pose."""
        return (*[0.0] * (self.model().nq - 7), 0.0, -0.1, 0.6, math.sqrt(0.5), 0.0, 0.0, -math.sqrt(0.5))

    def reset(self, random: EnvRandom, start_q: Tensor) -> tuple[Tensor, Tensor]:
        """Draw states at rest: the hand nearly flat, the cube above it and in any orientation."""
        lower, upper = _limits(self, start_q.dtype, start_q.device)
        joints = self.joint_spread * (lower + (upper - lower) * random.uniform(len(lower), 0.0, 1.0))
        position = start_q[_CUBE] + self.position_noise * random.uniform(3, -1.0, 1.0)
        q = torch.cat([joints, position, _any_rotation(random)], dim=-1)
        return q, q.new_zeros(len(q), len(lower) + 6)

    def first_memory(self, random: EnvRandom) -> Tensor:
        """Draw a goal, with or without `reset_noise`; no goal is reached yet, (N, 5)."""
        goal = _any_rotation(random)
        return torch.cat([goal, torch.zeros_like(goal[:, 0:1])], dim=-1)

    def next_memory(self, random: EnvRandom, state: State, next_observation: Tensor) -> Tensor:
        """Count the goals that are reached and draw new ones in their place, (N, 5)."""
        goal, successes = state.memory[:, 0:4], state.memory[:, 4:5]
        reached = (self._angle(next_observation.detach()) <= self.success_angle).unsqueeze(-1)
        return torch.cat([torch.where(reached, _any_rotation(random), goal), successes + reached], dim=-1)

    def ghosts(self, state: State) -> dict[str, Tensor]:
        """Draw the cube a second time where it shall be, (N, 7)."""
        return {"cube": self._goal(state)}

    def observation(self, state: State, action: Tensor) -> Tensor:
        """Observe, (N, 72)."""
        q, twist, goal = state.q, state.qd[:, _TWIST], self._goal(state)
        lower, upper = _limits(self, q.dtype, q.device)
        return torch.cat(
            [
                2.0 * (q[:, _JOINTS] - lower) / (upper - lower) - 1.0,
                VELOCITY_SCALE * state.qd[:, _JOINT_VELOCITIES],
                q[:, _CUBE],
                q[:, _ROTATION],
                origin_velocity(q[:, _CUBE], twist),
                VELOCITY_SCALE * twist[:, 0:3],
                goal,
                quaternion_product(q[:, _ROTATION], quaternion_conjugate(goal[:, 3:7])),
                action if self.observe_action else torch.zeros_like(action),
            ],
            dim=-1,
        )

    def reward_terms(self, observation: Tensor, action: Tensor, next_observation: Tensor) -> dict[str, Tensor]:
        """Terms of the reward, from the state after the step and the goal of that step."""
        angle = self._angle(next_observation)
        beyond = torch.sigmoid((angle - self.success_angle) / self.success_width)
        return {
            "distance": -self.distance_cost * self._distance(next_observation),
            "rotation": self.rotation_weight / (angle + self.rotation_offset),
            "success": self.success_bonus * torch.sigmoid(-beyond / self.success_width),
            "action": -self.action_cost * action.square().sum(-1),
        }

    def terminated(self, next_observation: Tensor) -> Tensor:
        """Whether the cube is too far from the goal's position."""
        return self._distance(next_observation) >= self.fall_distance

    def _goal(self, state: State) -> Tensor:
        """Pose that the cube shall have, (N, 7)."""
        position = [torch.full_like(state.q[:, 0:1], coordinate) for coordinate in self.goal_position]
        return torch.cat([*position, state.memory[:, 0:4]], dim=-1)

    def _distance(self, observation: Tensor) -> Tensor:
        """Of the cube from the goal's position [m], (N,)."""
        away = self.entry(observation, "position") - self.entry(observation, "goal_position")
        return torch.linalg.vector_norm(away, dim=-1)

    def _angle(self, observation: Tensor) -> Tensor:
        """Between the cube's orientation and the goal's [rad], (N,)."""
        sine = torch.linalg.vector_norm(self.entry(observation, "relative_rotation")[:, 0:3], dim=-1)
        return 2.0 * torch.asin(sine.clamp(max=MAX_SINE))


def _any_rotation(random: EnvRandom) -> Tensor:
    """Turn by any angle about y, then by any about x: quaternions (N, 4). Not uniform over the rotations."""
    half = random.uniform(2, -0.5 * math.pi, 0.5 * math.pi)
    (sin_x, sin_y), (cos_x, cos_y) = half.sin().unbind(-1), half.cos().unbind(-1)
    return torch.stack([sin_x * cos_y, cos_x * sin_y, sin_x * sin_y, cos_x * cos_y], dim=-1)


@functools.cache
def _limits(task: HandReorient, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lower and upper limits of the hand's joints [rad], (joints,); made once, because copies to a GPU wait for it."""
    joints = [link.joint for link in task.model().links if link.joint.type is JointType.HINGE]
    with torch.inference_mode(False):
        lower, upper = ([getattr(joint, name) for joint in joints] for name in ("lower", "upper"))
        return torch.tensor(lower, dtype=dtype, device=device), torch.tensor(upper, dtype=dtype, device=device)
