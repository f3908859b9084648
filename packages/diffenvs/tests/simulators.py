"""Simulators and models that the tests share, and the golden data."""

import functools
from pathlib import Path

import numpy as np
import rigid_bodies
import torch
from torch import Tensor

from diffenvs.model import Joint, JointType, Link, Material, Model, Sphere
from diffenvs.robots.ant import ant
from diffenvs.robots.anymal import anymal
from diffenvs.robots.hopper import hopper
from diffenvs.robots.humanoid import humanoid
from diffenvs.simulator import Simulator, Trace

ROBOTS = {"hopper": hopper(), "ant": ant(), "humanoid": humanoid(), "anymal": anymal()}
UPRIGHT = (-(0.5**0.5), 0, 0, 0.5**0.5)
"""Rotation that turns a robot's own z to the world's y."""
STANDING = {
    "hopper": rigid_bodies.rest_q(ROBOTS["hopper"]),
    "ant": np.array([0, 0.75, 0, *UPRIGHT, 0, 1, 0, -1, 0, -1, 0, 1]),
    "humanoid": np.array([0, 1.35, 0, *UPRIGHT, *[0] * 21]),
    "anymal": np.array([0, 0.55, 0, *UPRIGHT, 0.03, 0.4, -0.8, -0.03, 0.4, -0.8, 0.03, -0.4, 0.8, -0.03, -0.4, 0.8]),
}
"""Start pose of the task."""
RECORDED_COST = {"hopper": 0.1, "ant": 0.0, "humanoid": 0.002, "anymal": 0.005}
"""Of the action in the recorded rewards."""
DATA = Path(__file__).parent / "data"
UNIT_INERTIA = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
MATERIAL = Material(stiffness=1e4, damping=2e3, tangential_damping=5e2, friction=0.5)


@functools.cache
def simulator(
    model: Model, num_envs: int, dtype: torch.dtype = torch.float64, num_threads: int | None = 1, device: str = "cpu"
) -> Simulator:
    """Simulator of the model, one for all tests; its parameters must not be changed."""
    return Simulator(model, num_envs, dtype=dtype, num_threads=num_threads, device=device)


@functools.cache
def golden(robot: str, precision: str = "_f64") -> dict[str, np.ndarray]:
    """Reference data of the robot, of the build in float64 or ("") float32."""
    with np.load(DATA / f"{robot}{precision}.npz") as data:
        return dict(data)


def tensor(values: object, dtype: torch.dtype = torch.float64) -> Tensor:
    """Tensor of anything NumPy reads."""
    return torch.tensor(np.asarray(values, dtype=np.float64), dtype=dtype)


def repeated(values: dict[str, Tensor], num_envs: int) -> dict[str, Tensor]:
    """Values (1, ...) for each environment."""
    return {name: value.repeat(num_envs, *[1] * (value.ndim - 1)) for name, value in values.items()}


def at_rest(model: Model, num_envs: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates with all joints at zero, zero velocities and zero actions."""
    q = tensor(rigid_bodies.rest_q(model), dtype).repeat(num_envs, 1)
    return q, q.new_zeros(num_envs, model.nv), q.new_zeros(num_envs, model.nu)


def steps(simulator: Simulator, q: Tensor, qd: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """States after each of the actions (T, N, nu): (T, N, nq) and (T, N, nv)."""
    states = []
    for action in actions:
        q, qd = simulator.step(q, qd, action)
        states.append((q, qd))
    return torch.stack([state[0] for state in states]), torch.stack([state[1] for state in states])


def centres_of_mass(trace: Trace, model: Model) -> torch.Tensor:
    """Centres of mass at the start of a trace, (N, links, 3)."""
    pose, com = trace.link_pose[:, 0], tensor([link.com for link in model.links])
    u, w = pose[..., 3:6], pose[..., 6:]
    com = com.expand_as(u)
    rotated = (2 * w * w - 1) * com + 2 * w * torch.linalg.cross(u, com) + 2 * u * (u * com).sum(-1, keepdim=True)
    return pose[..., :3] + rotated


def momentum(trace: Trace, model: Model) -> np.ndarray:
    """Momentum about the origin at the start of a trace of one environment: the sum of I V over the links, (6,)."""
    centres, total = centres_of_mass(trace, model)[0].numpy(), np.zeros(6)
    motion = trace.link_pose[0, 0].numpy(), trace.link_velocity[0, 0].numpy()
    for link, c, X, V in zip(model.links, centres, *motion, strict=True):
        R, p = rigid_bodies.matrix(X[3:]), link.mass * (V[3:] + np.cross(V[:3], c))
        spin = R @ rigid_bodies.inertia_matrix(link.inertia) @ R.T @ V[:3]
        total += np.r_[spin + np.cross(c, p), p]
    return total


def body(joint: Joint, *, mass: float = 1.0, name: str = "body", parent: str | None = None, **fields: object) -> Link:
    """Link with a plain inertia."""
    return Link(name=name, parent=parent, joint=joint, mass=mass, **{"inertia": UNIT_INERTIA, **fields})


def ball(material: Material = MATERIAL, radius: float = 0.5, mass: float = 2.0, **options: object) -> Model:
    """Free solid sphere."""
    inertia = (*[0.4 * mass * radius**2] * 3, 0.0, 0.0, 0.0)
    shapes = (Sphere(radius=radius, material=material),)
    link = Link(name="ball", parent=None, joint=Joint(type=JointType.FREE), mass=mass, inertia=inertia, shapes=shapes)
    return Model(name="ball", links=(link,), **options)
