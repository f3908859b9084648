"""Gradients through contact between moving bodies, for each pair of shapes, against central differences."""

import functools
from dataclasses import dataclass, replace

import pytest
import torch
from contacts import Contacts, contacts
from gradients import STATE, Inputs, gradient_errors
from simulators import simulator
from torch import Tensor

from diffenvs.model import Actuator, Box, Capsule, Joint, JointType, Link, Material, Model, Shape, Sphere
from diffenvs.parameters import default_parameters

MATERIAL = Material(
    stiffness=500.0, damping=1e5, damping_depth=1e-3, tangential_damping=100.0, friction=0.5, friction_bound="total"
)
SHAPES: dict[str, Shape] = {
    "sphere": Sphere(radius=0.012, position=(0.0, 0.002, 0.0), material=MATERIAL),
    "capsule": Capsule(radius=0.01, half_length=0.02, axis=(1.0, 0.0, 0.0), material=MATERIAL),
    "box": Box(half_extents=(0.03, 0.025, 0.02), position=(0.0, 0.001, 0.0), material=MATERIAL),
}
SMALL_BOX = Box(half_extents=(0.02, 0.015, 0.013), position=(0.0, 0.001, 0.0), material=MATERIAL)
PAIRS = [(a, b) for a in SHAPES for b in SHAPES if list(SHAPES).index(a) <= list(SHAPES).index(b)]
HORIZONS = (1, 4)
MOST = 0.7
"""Share of contacts that makes a scene what its name says."""


def pair(upper: str, lower: str) -> Model:
    """Free body on a lift that turns, both driven from below, and light enough to feel each other."""
    shape = SHAPES[upper] if (upper, lower) != ("box", "box") else SMALL_BOX
    moments = (3e-4, 4e-4, 5e-4, 0.0, 0.0, 0.0)
    links = (
        Link(
            name="lift",
            parent=None,
            joint=Joint(type=JointType.SLIDE, damping=1.0, stiffness=100.0, armature=0.1),
        ),
        Link(
            name="lower",
            parent="lift",
            joint=Joint(type=JointType.HINGE, axis=(0.6, 0.8, 0.0), damping=1e-3, armature=1e-3),
            mass=0.4,
            inertia=moments,
            shapes=(SHAPES[lower],),
        ),
        Link(name="upper", parent=None, joint=Joint(type=JointType.FREE), mass=0.5, inertia=moments, shapes=(shape,)),
    )
    return Model(
        name="pair",
        links=links,
        actuators=(Actuator(link="lift", gear=2.0), Actuator(link="lower", gear=0.1)),
        collisions=(("lower", "upper"),),
        ground=False,
        gravity=(0.0, 0.0, -9.81),
        dt=1.0 / 120.0,
        substeps=16,
        mass_matrix_interval=8,
    )


@dataclass(frozen=True)
class Scene:
    """How one body meets the other."""

    speed: float = 0.0
    """Along the surface [m/s]."""
    spin: float = 0.0
    """[rad/s]"""
    approach: float = 0.02
    """[m/s]"""
    depth: float = 0.002
    """[m]"""
    tilt: float = 0.05
    """Standard deviation of the direction to the other body, and of the turn against it [rad]."""


SCENES = {
    "resting": Scene(),
    "rolling": Scene(spin=20.0),
    "sliding": Scene(speed=1.0),
    "at any edge": Scene(tilt=10.0, speed=0.1, spin=2.0),
    "deep": Scene(depth=0.0125, tilt=1.0, speed=0.1, spin=2.0),
}
GROUPS = len(default_parameters(pair("sphere", "sphere"))) + len(STATE)
ENVS = 2 * GROUPS
"""Two directions for each input."""


def normal(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=random, dtype=torch.float64)


def touch(model: Model, inputs: Inputs) -> Contacts:
    """Contacts in the first substep."""
    first = replace(model, dt=model.dt / model.substeps, substeps=1, mass_matrix_interval=1)
    parameters = {name: value for name, value in inputs.items() if name not in STATE}
    trace = simulator(first, ENVS).trace(inputs["q"], inputs["qd"], inputs["action"][:, 0], parameters)
    return contacts(first, trace, parameters)


@functools.cache
def scene_inputs(upper: str, lower: str, scene: str) -> Inputs:
    """Inputs of ENVS environments in the scene, each with parameters of its own."""
    model, scene, random = pair(upper, lower), SCENES[scene], torch.Generator().manual_seed(0)
    own = simulator(model, ENVS).parameters
    inputs = {name: value * (1 + 0.1 * normal(random, ENVS, *value.shape[1:])) for name, value in own.items()}
    for name in ("com", "rest"):
        inputs[name] = 0.01 * normal(random, *inputs[name].shape)
    q = torch.zeros(ENVS, model.nq, dtype=torch.float64)
    q[:, 0], q[:, 1] = 0.01 * normal(random, ENVS), 0.05 * normal(random, ENVS)
    q[:, 5:8], q[:, 8] = scene.tilt * normal(random, ENVS, 3) / 2, 1.0
    q[:, 5:] /= q[:, 5:].norm(dim=1, keepdim=True)
    action = 0.3 * normal(random, ENVS, HORIZONS[-1], model.nu)
    inputs |= {"q": q, "qd": torch.zeros(ENVS, model.nv, dtype=torch.float64), "action": action}

    # Along a line through the lower body, the bisection finds where the upper one is as deep as it shall be.
    direction = scene.tilt * normal(random, ENVS, 3) + torch.tensor([0.0, 0.0, 1.0])
    direction /= direction.norm(dim=1, keepdim=True)
    middle = 0.003 * normal(random, ENVS, 3)
    middle[:, 2] += q[:, 0]
    near, far = torch.zeros(ENVS, 1, dtype=torch.float64), torch.full((ENVS, 1), 0.1, dtype=torch.float64)
    for _ in range(20):
        half = (near + far) / 2
        q[:, 2:5] = middle + direction * half
        too_deep = touch(model, inputs).depth[:, 0].amin(1, keepdim=True) < -scene.depth
        near, far = torch.where(too_deep, half, near), torch.where(too_deep, far, half)

    # There the bodies roll or slide on each other.
    first = touch(model, inputs)
    deepest = first.depth[:, 0].argmin(1)[:, None, None].expand(-1, 1, 3)
    point, away = (value[:, 0].gather(1, deepest)[:, 0] for value in (first.point, first.normal))
    away *= (away * direction).sum(1, keepdim=True).sign()
    along = torch.linalg.cross(away, normal(random, ENVS, 3))
    along /= along.norm(dim=1, keepdim=True)
    inputs["qd"][:, :2] = 2e-3 * normal(random, ENVS, 2)
    omega = scene.spin * along
    speed = scene.speed * torch.linalg.cross(away, along) - scene.approach * away
    inputs["qd"][:, 2:5], inputs["qd"][:, 5:8] = omega, speed - torch.linalg.cross(omega, point)
    return inputs


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(("upper", "lower"), PAIRS)
def test_gradients_through_contact_of_two_bodies_equal_central_differences(upper, lower, scene, horizon):
    model, inputs = pair(upper, lower), scene_inputs(upper, lower, scene)
    first = touch(model, inputs)
    assert first.touching.any(-1).all()
    slides = first.sliding.sum() / first.touching.sum()
    match scene:
        case "resting" | "rolling":
            assert slides < MOST
        case "sliding":
            assert slides > MOST
        case "deep":
            assert first.depth.amin(-1).max() < -0.9 * SCENES[scene].depth
    gradient_errors(simulator(model, ENVS), {**inputs, "action": inputs["action"][:, :horizon]}).check()
