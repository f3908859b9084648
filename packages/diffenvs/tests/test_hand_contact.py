"""The cube on the hand: where it comes to rest, and gradients through control steps in which it touches."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import rigid_bodies
import torch
from contacts import contacts
from environments import make
from gradients import STATE, Inputs, gradient_errors, rollout
from simulators import repeated, simulator, steps, tensor
from torch import Tensor

from diffenvs.contact_candidates import Candidates
from diffenvs.model import Joint, JointType, Model, Shape
from diffenvs.parameters import default_parameters
from diffenvs.robots.allegro import CUBE_MASS, CUBE_SIZE, MATERIAL, allegro
from diffenvs.tasks.rigid_body import origin_velocity, quaternion_product

HAND = allegro()
PALM = HAND.links[0].joint
NORMAL = rigid_bodies.matrix(np.array(PALM.rotation))[:, 0]
"""Of the palm's front, in the world."""
TILT = math.radians(5.4)
"""Between it and the vertical."""
MIDDLE = (0.0111, 0.0, -0.0475)
"""Of the palm's front, in the palm's frame [m]."""
GRAVITY = 9.81
CUBE = slice(16, 19)
"""Coordinates of its centre."""
PER_SECOND = 120
"""Control steps."""


def locked(gravity: np.ndarray) -> Model:
    """Make a hand whose fingers are stretched and fixed, with their bases below the palm's front."""
    links = [
        replace(link, joint=Joint(type=JointType.FIXED, position=link.joint.position, rotation=link.joint.rotation))
        if link.joint.type is JointType.HINGE
        else link
        for link in HAND.links
    ]
    return replace(HAND, links=tuple(links), actuators=(), gravity=gravity)


def in_the_palms_frame(position: tuple[float, float, float]) -> np.ndarray:
    """Position in the world [m]."""
    return np.array(PALM.position) + rigid_bodies.matrix(np.array(PALM.rotation)) @ position


def settled(model: Model, drops: list[tuple[float, float]], seconds: int) -> tuple[Tensor, Tensor]:
    """Coordinates and velocities of cubes that fall on the middle of the palm, for each height [m] and tilt [rad]."""
    x, y, z = MIDDLE
    q = tensor(np.zeros((len(drops), 7)))
    for row, (height, tilt) in zip(q, drops, strict=True):
        row[:3] = tensor(in_the_palms_frame((x + CUBE_SIZE / 2 + height, y, z)))
        turn = tensor([[0.6 * math.sin(tilt / 2), 0.8 * math.sin(tilt / 2), 0.0, math.cos(tilt / 2)]])
        row[3:] = quaternion_product(turn, tensor([PALM.rotation]))[0]
    actions = q.new_zeros(seconds * PER_SECOND, len(drops), 0)
    q, qd = steps(simulator(model, len(drops)), q, q.new_zeros(len(drops), 6), actions)
    return q[-1], qd[-1]


DROPS = [(0.0, 0.0), (0.02, 0.0), (0.02, 0.1), (0.05, 0.05)]


def test_cube_dropped_along_the_palms_normal_comes_to_rest_as_deep_as_the_law_says():
    model = locked(-GRAVITY * NORMAL)
    q, qd = settled(model, DROPS, seconds=2)
    assert (origin_velocity(q[:, :3], qd).norm(dim=1) < 1e-3).all()
    sim = simulator(model, len(DROPS))
    touch = contacts(model, sim.trace(q, qd, q.new_zeros(len(DROPS), 0)), sim.parameters)
    depth, touching = touch.depth[:, 0], touch.touching[:, 0]
    count = touching.sum(1, keepdim=True)
    assert (count == 8).all(), "four edges lie on the palm and four end on it"
    expected = CUBE_MASS * GRAVITY / (MATERIAL.stiffness * count)
    np.testing.assert_allclose(-depth[touching], expected.expand_as(depth)[touching], rtol=1e-3)
    height = (q[:, :3].numpy() - in_the_palms_frame(MIDDLE)) @ NORMAL - CUBE_SIZE / 2
    np.testing.assert_allclose(-height, expected[:, 0], rtol=1e-3)


def test_cube_creeps_down_the_tilted_palm_as_fast_as_viscous_friction_lets_it():
    model = locked(np.array(HAND.gravity))
    assert math.isclose(NORMAL[2], math.cos(TILT))
    q, qd = settled(model, DROPS, seconds=3)
    sim = simulator(model, len(DROPS))
    touch = contacts(model, sim.trace(q, qd, q.new_zeros(len(DROPS), 0)), sim.parameters)
    count = touch.touching[:, 0].sum(1)
    assert (count == 8).all()
    assert not touch.sliding.any()
    velocity = origin_velocity(q[:, :3], qd).numpy()
    down = np.array([0.0, 0.0, -1.0]) + math.cos(TILT) * NORMAL
    expected = CUBE_MASS * GRAVITY * math.sin(TILT) / (count * MATERIAL.tangential_damping)
    np.testing.assert_allclose(velocity @ (down / np.linalg.norm(down)), expected, rtol=0.05)
    np.testing.assert_allclose(np.linalg.norm(velocity, axis=1), expected, rtol=0.05)


@dataclass(frozen=True)
class Scene:
    """How the cube meets the hand."""

    position: tuple[float, float, float]
    """Of the cube's centre above stretched fingers, in the palm's frame [m]; it is turned as the palm."""
    settle: int
    """Control steps without action before the velocities are given to it."""
    carriers: frozenset[str]
    """Links on which it lies."""
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of the cube's centre, in the palm's frame [m/s]."""
    spin: float = 0.0
    """About the palm's y axis, which lies across the fingers [rad/s]."""


PALM_ONLY, TWO_FINGERS = frozenset({"palm"}), frozenset({"link_1", "link_5"})
BESIDE_THUMB, BETWEEN_FINGERS = (0.0436, -0.036, -0.045), (0.0436, 0.0225, 0.03)
SCENES = {
    "resting on the palm": Scene(BESIDE_THUMB, 60, PALM_ONLY),
    "sliding on the palm": Scene(BESIDE_THUMB, 12, PALM_ONLY, velocity=(-0.02, 0.0, 0.5)),
    "rolling on the palm": Scene(BESIDE_THUMB, 12, PALM_ONLY, velocity=(-0.05, 0.0, 0.1), spin=6.0),
    "resting on the fingers": Scene(BETWEEN_FINGERS, 60, TWO_FINGERS),
    "sliding on the fingers": Scene(BETWEEN_FINGERS, 18, TWO_FINGERS, velocity=(-0.02, 0.0, -0.5)),
    "rolling on the fingers": Scene(BETWEEN_FINGERS, 18, TWO_FINGERS, velocity=(-0.05, 0.0, 0.3), spin=6.0),
}
HORIZON = 4
ENVS = 21
"""Seven directions each for coordinates, velocities and actions."""


def scene_inputs(scene: Scene, num_envs: int) -> Inputs:
    """Start states that differ a little, and small actions, of environments in the scene."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(num_envs, *shape, generator=random, dtype=torch.float64)

    q, qd = tensor(np.tile(rigid_bodies.rest_q(HAND), (num_envs, 1))), tensor(np.zeros((num_envs, HAND.nv)))
    q[:, :16] = 0.02 * normal(16)
    q[:, 0] += HAND.links[1].joint.lower
    q[:, CUBE] = tensor(in_the_palms_frame(scene.position)) + 0.002 * normal(3)
    q[:, 19:] = torch.nn.functional.normalize(tensor(PALM.rotation) + 0.01 * normal(4), dim=1)
    actions = q.new_zeros(scene.settle, num_envs, HAND.nu)
    q, qd = (states[-1] for states in steps(simulator(HAND, num_envs), q, qd, actions))
    R = tensor(rigid_bodies.matrix(np.array(PALM.rotation)))
    spin, velocity = scene.spin * R[:, 1].expand(num_envs, 3), R @ tensor(scene.velocity)
    qd = qd + 0.01 * normal(22)
    qd[:, 16:19] += spin
    qd[:, 19:] += velocity - torch.linalg.cross(spin, q[:, CUBE])
    return {"q": q, "qd": qd, "action": 0.1 * normal(HORIZON, HAND.nu)}


def near_pairs(inputs: Inputs) -> Model:
    """Leave out the collisions of links that stay apart: they have no part in the motion, but cost the test time."""
    num_envs = len(inputs["q"])
    sim = simulator(HAND, num_envs)
    q, qd = inputs["q"], inputs["qd"]
    traces = []
    for action in inputs["action"].unbind(1):
        traces.append(sim.trace(q, qd, action))
        q, qd = traces[-1].q[:, -1], traces[-1].qd[:, -1]
    poses = torch.cat([trace.link_pose for trace in traces], dim=1)

    def near(names: tuple[str, str]) -> bool:
        one, other = (HAND.link_index(name) for name in names)
        reach = sum(max(map(reach_of, HAND.links[i].shapes)) for i in (one, other))
        return bool((poses[..., one, :3] - poses[..., other, :3]).norm(dim=-1).amin() < reach)

    model = replace(HAND, collisions=tuple(filter(near, HAND.collisions)))
    assert torch.equal(rollout(simulator(model, num_envs), inputs), torch.cat([q, qd], dim=1))
    return model


def reach_of(shape: Shape) -> float:
    """Largest distance of a point of a shape from the origin of its link [m]."""
    return max(float(np.linalg.norm(point)) + radius for point, radius in shape.contact_points())


def check_scene(scene: Scene, inputs: Inputs, model: Model) -> None:
    """Fail unless in most environments the cube lies where the scene says and moves as it says."""
    sim = simulator(model, len(inputs["q"]))
    touch = contacts(model, sim.trace(*(inputs[name] for name in ("q", "qd")), inputs["action"][:, 0]), sim.parameters)
    table = Candidates.of(model)
    pairs = [(candidate.first, candidate.second) for candidate in table.all]
    names = [{model.links[table.shape_links[shape]].name for shape in pair} for pair in pairs]
    for carrier in scene.carriers:
        its = [k for k, pair in enumerate(names) if pair == {carrier, "cube"}]
        assert touch.touching[:, :, its].any((1, 2)).double().mean() > 0.9, carrier
    velocity = origin_velocity(inputs["q"][:, CUBE], inputs["qd"][:, 16:])
    speed, spin = velocity.norm(dim=1), inputs["qd"][:, 16:19].norm(dim=1)
    sliding = touch.sliding.sum() / touch.touching.sum()
    if scene.spin:
        assert spin.median() > 5.0
    elif any(scene.velocity):
        assert speed.median() > 0.3
        assert sliding > 0.9
    else:
        assert speed.median() < 0.02
        assert spin.median() < 0.2
        assert sliding < 0.5


@pytest.mark.parametrize("name", SCENES)
def test_gradients_through_four_control_steps_equal_central_differences(name):
    inputs = scene_inputs(SCENES[name], ENVS)
    model = near_pairs(inputs)
    check_scene(SCENES[name], inputs, model)
    gradient_errors(simulator(model, ENVS), inputs).check()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
def test_gradients_of_all_parameters_through_four_control_steps_equal_central_differences(name):
    groups = len(default_parameters(HAND)) + len(STATE)
    inputs = scene_inputs(SCENES[name], 4 * groups)
    model = near_pairs(inputs)
    parameters = repeated(simulator(model, 1).parameters, 4 * groups)
    gradient_errors(simulator(model, 4 * groups), {**inputs, **parameters}).check()


WINDOW = 32


def window_gradients(env, seed: int) -> Tensor:
    """Norms of the gradients of a window's rewards and last observation with respect to random actions, (N,).

    The window begins with first states of episodes. What an agent does depends a little on what it observes, so that
    the gradients also pass through observations, as those of RPO and SHAC do.
    """
    generator = torch.Generator().manual_seed(seed)
    observation, _ = env.reset(seed=seed)
    noise = 2.0 * torch.rand(WINDOW, env.num_envs, HAND.nu, generator=generator) - 1.0
    feedback = 0.02 * torch.randn(observation.shape[1], HAND.nu, generator=generator)
    noise.requires_grad_()
    total = torch.zeros(())
    for step in noise:
        observation, reward, _, _, info = env.step_grad(step + observation @ feedback)
        assert not info["non_finite"].any()
        total = total + reward.sum()
    (total + info["final_obs"].sum()).backward()
    return noise.grad.transpose(0, 1).flatten(1).norm(dim=1)


@pytest.mark.parametrize("windows", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_gradients_through_whole_windows_of_random_actions_are_finite(windows):
    env = make("diffenvs/HandReorient-v0", 64, num_threads=2)
    norms = torch.cat([window_gradients(env, seed) for seed in range(windows)])
    finite = norms.isfinite()
    report = f"{finite.sum()} of {len(norms)} gradients are finite, largest norm {norms[finite].max():.1e}"
    print(report)
    assert finite.all(), report
