"""Terms of the locomotion tasks: resets, observations, projections and rewards of robots in a y-up world.

Robots with a free root are modelled with z up and x forward and stand in the world turned by -90 degrees about x.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffenvs.model import Vector3
from diffenvs.random import EnvRandom
from diffenvs.state import State
from diffenvs.tasks.base import Entry
from diffenvs.tasks.rigid_body import origin_velocity, quaternion_product

JOINT_VELOCITY_SCALE = 0.1
"""Of the joint velocities in observations."""
STANDING = (-math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))
"""Quaternion (x, y, z, w) that stands a z-up robot in a y-up world."""


def locomotion_entries(joints: int) -> tuple[Entry, ...]:
    """Parts of the observation made by :func:`locomotion_observation`."""
    return (
        Entry("height", 1, "m", "of the root's origin above the ground"),
        Entry("rotation", 4, "1", "quaternion (x, y, z, w) of the root in the world"),
        Entry("velocity", 3, "m/s", "of the root's origin, in the world"),
        Entry("angular_velocity", 3, "rad/s", "of the root, in the world"),
        Entry("joint_position", joints, "rad", "of the joints"),
        Entry("joint_velocity", joints, "10 rad/s", f"of the joints, times {JOINT_VELOCITY_SCALE}"),
        Entry("up", 1, "1", "projection of the robot's up on the world's"),
        Entry("heading", 1, "1", "projection of the robot's forward on the horizontal direction to the target"),
        Entry("action", joints, "1", "clipped action of the last step, zero after a reset"),
    )


def locomotion_observation(state: State, action: Tensor, target: Vector3) -> Tensor:
    """Observe robots with a free root, (N, 11 + 2 joints + 2 + nu).

    Parameters
    ----------
    state
        Of the robots, (N, ...).
    action
        As it shall be observed, (N, nu).
    target
        Position to head for [m], in the world.
    """
    q, qd = state.q, state.qd
    position, rotation, omega = q[:, 0:3], q[:, 3:7], qd[:, 0:3]
    velocity = origin_velocity(position, qd[:, 0:6])
    up, heading = projections(position, rotation, state.origin, target)
    return torch.cat(
        [
            q[:, 1:2],
            rotation,
            velocity,
            omega,
            q[:, 7:],
            qd[:, 6:] * JOINT_VELOCITY_SCALE,
            up.unsqueeze(-1),
            heading.unsqueeze(-1),
            action,
        ],
        dim=-1,
    )


def projections(position: Tensor, rotation: Tensor, origin: Tensor, target: Vector3) -> tuple[Tensor, Tensor]:
    r"""How upright a standing robot is and how well it faces its target, (N,) each, 1 at best.

    Parameters
    ----------
    position, rotation
        Of the root relative to the origin [m], (N, 3), and quaternion (x, y, z, w), (N, 4).
    origin
        In the world [m], (N, 3).
    target
        Place in the world that is to be faced [m].

    Notes
    -----
    With the root's quaternion :math:`(x, y, z, w)`, the robot's z axis has the height :math:`(w-x)^2 + (y+z)^2 - 1`
    and its x axis the horizontal components :math:`2(x^2+w^2) - 1` and :math:`2(xz - wy)`. The target's direction is
    taken from `target - origin` first, so that a far origin costs no precision.
    """
    x, y, z, w = rotation.unbind(-1)
    up = (w - x).square() + (y + z).square() - 1.0
    # An origin and a target that are both far cancel here, exactly for whole numbers.
    to_x = (target[0] - origin[:, 0]) - position[:, 0]
    to_z = (target[2] - origin[:, 2]) - position[:, 2]
    distance = (to_x.square() + to_z.square()).clamp(min=1e-18).sqrt()
    forward_x = 2.0 * (x * x + w * w) - 1.0
    forward_z = 2.0 * (x * z - w * y)
    return up, (forward_x * to_x + forward_z * to_z) / distance


def upright_height_reward(above: Tensor, *, limit: float, weight: float = 1.0) -> Tensor:
    """Reward of a height above the one where the reward changes sign, (N,).

    Parameters
    ----------
    above
        Height above that [m], (N,).
    limit
        Height from which the reward grows no more [m].
    weight
        Reward per metre where it is positive; below, it falls with 200 per square metre, for one metre.
    """
    above = above.clamp(-1.0, limit)
    return torch.where(above < 0.0, -200.0 * above.square(), weight * above)


def reset_free_root(
    random: EnvRandom, start_q: Tensor, *, position: float, angle: float, joint: float, velocity: float
) -> tuple[Tensor, Tensor]:
    """Draw states of robots with a free root and hinges, uniformly around the start pose.

    Parameters
    ----------
    random
        Source of the numbers.
    start_q
        Start pose, (nq,).
    position
        Largest deviation of each component of the root's position [m].
    angle
        Largest rotation of the root about a random axis of its own frame [rad].
    joint
        Largest deviation of each joint [rad].
    velocity
        Largest component of the velocities [rad/s, m/s].

    Returns
    -------
    tuple of Tensor
        Coordinates (N, nq) and velocities (N, nq - 1).
    """
    joints = start_q.shape[0] - 7
    drawn = random.uniform(13 + 2 * joints, -1.0, 1.0)
    shift, turn, axis, bend, speed = drawn.split([3, 1, 3, joints, 6 + joints], dim=-1)
    half = (0.5 * angle) * turn
    axis = torch.nn.functional.normalize(axis, dim=-1)
    turned = quaternion_product(start_q[3:7].expand(len(axis), 4), torch.cat([axis * half.sin(), half.cos()], dim=-1))
    q = torch.cat([start_q[0:3] + position * shift, turned, start_q[7:] + joint * bend], dim=-1)
    return q, velocity * speed
