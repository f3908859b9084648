"""Laws of mechanics that a motion must obey, with tolerances that follow from the step length."""

from dataclasses import replace
from math import cos, pi, sin, sqrt

import numpy as np
import pytest
import torch
from rigid_bodies import rest_q
from simulators import (
    MATERIAL,
    ROBOTS,
    STANDING,
    ball,
    body,
    centres_of_mass,
    momentum,
    simulator,
    steps,
    tensor,
)

from diffenvs.model import Actuator, Joint, JointType, Link, Material, Model, Sphere

G = 9.81
DT, SUBSTEPS = 1.0 / 60.0, 16
H = DT / SUBSTEPS
ROUNDING = 1e-10
"""Relative; float64 after some hundred substeps."""


def run(model: Model, q, qd, count: int, action=None) -> tuple[np.ndarray, np.ndarray]:
    """States of one environment from the first on, (count + 1, nq) and (count + 1, nv)."""
    q, qd = tensor([q]), tensor([qd])
    actions = tensor(np.zeros(model.nu) if action is None else action).expand(count, 1, -1)
    states = steps(simulator(model, 1), q, qd, actions)
    return tuple(torch.cat([x[None], y])[:, 0].numpy() for x, y in zip((q, qd), states, strict=True))


def sledge(mass: float, material: Material, **options) -> Model:
    """Sphere that cannot turn: slides along y and x."""
    links = (
        Link(name="y", parent=None, joint=Joint(type=JointType.SLIDE, axis=(0.0, 1.0, 0.0))),
        Link(
            name="x",
            parent="y",
            joint=Joint(type=JointType.SLIDE, axis=(1.0, 0.0, 0.0)),
            mass=mass,
            shapes=(Sphere(radius=0.5, material=material),),
        ),
    )
    return Model(name="sledge", links=links, **options)


def pendulum(**options) -> Model:
    """Uniform rod of 1 kg and 1 m on a hinge; angle zero hangs down."""
    rod = Link(
        name="rod",
        parent=None,
        joint=Joint(type=JointType.HINGE),
        mass=1.0,
        com=(0.0, -0.5, 0.0),
        inertia=(1 / 12, 0.0, 1 / 12, 0.0, 0.0, 0.0),
    )
    return Model(name="pendulum", links=(rod,), **options)


def test_free_fall_follows_the_parabola_of_the_integrator():
    # v_n = v_0 - n g h, y_n = y_0 + n h v_0 - g h^2 n (n + 1) / 2: the parabola, and half a step's speed too much.
    q, qd = run(ball(), [0, 100, 0, 0, 0, 0, 1], [0, 0, 0, 1, 2, 3], 60)
    n = SUBSTEPS * np.arange(61)
    np.testing.assert_allclose(qd[:, 3:], np.stack([0 * n + 1, 2 - G * n * H, 0 * n + 3], 1), rtol=ROUNDING)
    np.testing.assert_allclose(q[:, 1], 100 + 2 * n * H - G * H * H * n * (n + 1) / 2, rtol=ROUNDING)
    np.testing.assert_allclose(q[:, [0, 2]], np.stack([n * H, 3 * n * H], 1), atol=ROUNDING)


def test_centre_of_mass_of_a_spinning_body_falls_freely():
    # Its velocity is that of the material point at the origin, so this fails if a term of the rotation is wrong.
    com, p, omega, v = np.array([[0.3, -0.2, 0.5], [0.5, 1.0, -0.5], [1.0, 2.0, 3.0], [0.0, 1.0, 0.0]])
    link = body(Joint(type=JointType.FREE), com=com, mass=3.0, inertia=(0.1, 0.2, 0.25, 0.0, 0.0, 0.0))
    q, qd = tensor([[*p, 0, 0, 0, 1]]), tensor([[*omega, *(v - np.cross(omega, p + com))]])

    def centre_after_a_second(substeps: int) -> np.ndarray:
        model = Model(name="top", links=(link,), substeps=substeps)
        sim, none = simulator(model, 1), q.new_zeros(60, 1, 0)
        end_q, end_qd = steps(sim, q, qd, none)
        return centres_of_mass(sim.trace(end_q[-1], end_qd[-1], none[0]), model)[0, 0].numpy()

    # The method is of first order, so that this combination is of second.
    extrapolated = 2 * centre_after_a_second(128) - centre_after_a_second(64)
    np.testing.assert_allclose(extrapolated, p + com + v + [0.0, -G / 2, 0.0], atol=2e-4)


def test_energy_of_an_undamped_pendulum_oscillates_and_does_not_drift():
    # The symplectic Euler method keeps a nearby energy, so the error stays O(h) for ever.
    q, qd = run(pendulum(), [2.0], [0.0], 60 * 60)
    energy = (qd**2 / 6 - G / 2 * np.cos(q))[:, 0]
    swing = G / 2 * (1 - cos(2.0))
    error = np.abs(energy - energy[0]) / swing
    first, last = error[:600].max(), error[-600:].max()
    assert last < 5e-3
    assert last < 1.05 * first


@pytest.mark.parametrize("amplitude", [0.1, 1.0, 2.5])
def test_pendulum_swings_with_the_period_of_its_amplitude(amplitude):
    # T = 2 pi / (omega_0 agm(1, cos(amplitude / 2))), omega_0^2 = m g l / I = 3 g / 2 for the rod.
    a, b = 1.0, cos(amplitude / 2)
    for _ in range(6):
        a, b = (a + b) / 2, sqrt(a * b)
    period = 2 * pi / sqrt(1.5 * G) / a
    angles = run(pendulum(), [amplitude], [0.0], 600)[0][:, 0]
    down = np.flatnonzero((angles[:-1] > 0) & (angles[1:] <= 0))
    crossings = (down + angles[down] / (angles[down] - angles[down + 1])) * DT
    np.testing.assert_allclose(np.diff(crossings), period, rtol=2e-3)


def acrobat(**options) -> Model:
    """Free tree, driven from within."""
    links = (
        body(
            Joint(type=JointType.FREE),
            name="trunk",
            mass=3.0,
            com=(0.1, 0.0, 0.0),
            inertia=(0.3, 0.5, 0.65, 0.05, 0.0, -0.1),
        ),
        body(
            Joint(type=JointType.HINGE, axis=(0.0, 0.6, 0.8), position=(0.5, 0.0, 0.0), damping=0.2),
            name="arm",
            parent="trunk",
            com=(0.4, 0.1, 0.0),
        ),
        body(Joint(type=JointType.SLIDE, axis=(1.0, 0.0, 0.0), stiffness=20.0), name="hand", parent="arm", mass=0.5),
        body(Joint(type=JointType.HINGE, position=(-0.5, 0.0, 0.0)), name="leg", parent="trunk", com=(-0.4, 0.0, 0.2)),
    )
    actuators = (Actuator(link="arm", gear=5.0), Actuator(link="leg", gear=8.0))
    return Model(name="acrobat", links=links, actuators=actuators, gravity=(0.0, 0.0, 0.0), **options)


ACROBAT_QD = [0.5, -1.0, 0.8, 0.3, 0.2, -0.4, 1.0, 0.3, -2.0]
"""Of the trunk, turning and moving, and of the joints."""


def momentum_drift(substeps: int) -> np.ndarray:
    """Change of the momentum about the origin, the sum of I V over the links, in a second, relative to its parts."""
    model = acrobat(substeps=substeps)
    q = rest_q(model)
    q[:3] = (1.0, 2.0, 3.0)
    q_end, qd_end = run(model, q, ACROBAT_QD, 60, action=[1.0, -0.7])
    sim, zero = simulator(model, 1), tensor(np.zeros((1, 2)))
    before, after = (
        momentum(sim.trace(*(tensor([x]) for x in state), zero), model)
        for state in ((q, ACROBAT_QD), (q_end[-1], qd_end[-1]))
    )
    before, after = before.reshape(2, 3), after.reshape(2, 3)
    return np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)


def test_momentum_of_a_free_tree_driven_from_within_is_kept():
    # Exactly in continuous time. The integrator keeps it to first order: half the step leaves half the drift.
    coarse, fine = momentum_drift(32), momentum_drift(64)
    assert (fine < 1e-2).all()
    np.testing.assert_allclose(fine / coarse, 0.5, atol=0.05)


def test_integrator_is_of_first_order():
    q = rest_q(acrobat())
    counts = np.array([16, 32, 64, 128])
    ends = []
    for substeps in (*counts, 4096):
        end_q, end_qd = run(acrobat(substeps=int(substeps)), q, ACROBAT_QD, 12, action=[1.0, -0.7])
        ends.append(np.r_[end_q[-1], end_qd[-1]])
    errors = [np.linalg.norm(end - ends[-1]) for end in ends[:-1]]
    slope = np.polyfit(np.log(1 / counts), np.log(errors), 1)[0]
    assert abs(slope - 1.0) < 0.05


@pytest.mark.parametrize("damping", [0.0, 2.0])
@pytest.mark.parametrize("limit", ["lower", "upper"])
def test_force_of_a_limit_jumps_by_its_damping_only(limit, damping):
    hinge = Joint(type=JointType.HINGE, **{limit: 0.5}, limit_stiffness=100.0, limit_damping=damping)
    model = Model(name="door", links=(body(hinge),), gravity=(0.0, 0.0, 0.0))
    q, qd = tensor([[0.5 - 1e-9], [0.5 + 1e-9]]), tensor([[3.0], [3.0]])
    tau = simulator(model, 2).trace(q, qd, tensor(np.zeros((2, 0)))).tau[:, 0, 0]
    within, beyond = tau if limit == "upper" else tau.flip(0)
    assert float(within) == 0.0
    assert float(beyond) == pytest.approx(-3.0 * damping, abs=1e-6)


@pytest.mark.parametrize("mass", [1.0, 20.0])
def test_sphere_rests_at_the_depth_where_the_spring_carries_its_weight(mass):
    material = replace(MATERIAL, damping=2e5)
    depth = mass * G / material.stiffness
    q, qd = run(ball(material, mass=mass), [0, 0.5 - 0.5 * depth, 0, 0, 0, 0, 1], np.zeros(6), 600)
    np.testing.assert_allclose(0.5 - q[-1, 1], depth, rtol=1e-3)
    assert np.abs(qd[-1]).max() < 1e-3 * depth / DT


def test_sliding_sphere_is_slowed_by_the_coulomb_force():
    mass = 5.0
    depth = mass * G / MATERIAL.stiffness
    _, qd = run(sledge(mass, MATERIAL), [0.5 - depth, 0.0], [0.0, 3.0], 30)
    np.testing.assert_allclose(qd[:, 1], 3.0 - MATERIAL.friction * G * DT * np.arange(31), rtol=1e-9)


def test_sliding_ball_ends_rolling_with_five_sevenths_of_its_speed():
    # The angular momentum about the point of contact is kept: m v r + 2/5 m r^2 omega, and v = omega r in the end.
    model = ball(substeps=256)
    q, qd = run(model, [0, 0.5 - 2.0 * G / MATERIAL.stiffness, 0, 0, 0, 0, 1], [0, 0, 0, 3, 0, 0], 20)
    omega = qd[-1, 2]
    speed = qd[-1, 3] - omega * q[-1, 1]
    np.testing.assert_allclose(speed, 3.0 * 5 / 7, rtol=1e-3)
    np.testing.assert_allclose(-omega * 0.5, speed, rtol=1e-3)


@pytest.mark.parametrize("slope", [0.2, 0.6])
def test_sphere_on_a_slope_creeps_below_the_coulomb_bound_and_slides_beyond(slope):
    mass = 5.0
    model = sledge(mass, MATERIAL, gravity=(G * sin(slope), -G * cos(slope), 0.0))
    depth = mass * G * cos(slope) / MATERIAL.stiffness
    _, qd = run(model, [0.5 - depth, 0.0], [0.0, 0.0], 120)
    if sin(slope) < MATERIAL.friction * cos(slope):
        # Friction is viscous: it carries the weight along the slope at the speed m g sin / k_f.
        np.testing.assert_allclose(qd[-1, 1], mass * G * sin(slope) / MATERIAL.tangential_damping, rtol=1e-6)
    else:
        acceleration = G * (sin(slope) - MATERIAL.friction * cos(slope))
        np.testing.assert_allclose((qd[-1, 1] - qd[60, 1]) / (60 * DT), acceleration, rtol=1e-6)


@pytest.mark.parametrize("height", [-0.05, -1e-4, 0.0, 0.1])
@pytest.mark.parametrize("normal_speed", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("slip", [0.0, 0.01, 5.0])
@pytest.mark.parametrize("law", [{}, {"damping_depth": 1e-3}, {"friction_bound": "total"}], ids=str)
def test_ground_pushes_and_brakes_as_the_law_says_and_never_pulls(height, normal_speed, slip, law):
    mass, k = 2.0, replace(MATERIAL, **law)
    model = sledge(mass, k, gravity=(0.0, 0.0, 0.0))
    trace = simulator(model, 1).trace(tensor([[0.5 + height, 0.0]]), tensor([[normal_speed, slip]]), tensor([[]]))
    normal, friction = trace.tau[0, 0].tolist()
    depth = max(-height, 0.0)
    expected = k.stiffness * depth + k.damping * min(depth, k.damping_depth) * max(-normal_speed, 0.0)
    assert normal == pytest.approx(expected, abs=1e-9)
    assert normal >= 0.0
    bound = k.friction * (expected if k.friction_bound == "total" else k.stiffness * depth)
    assert friction == pytest.approx(-min(k.tangential_damping * slip, bound), abs=1e-9)


def test_without_a_ground_nothing_is_touched():
    q, _ = run(ball(ground=False), [0, 0.4, 0, 0, 0, 0, 1], np.zeros(6), 60)
    np.testing.assert_allclose(0.4 - q[-1, 1], 60 * SUBSTEPS * (60 * SUBSTEPS + 1) * G * H * H / 2, rtol=ROUNDING)


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.36, 0.48, -0.8)])
def test_rotated_world_moves_as_the_world_does(up):
    # Rotate gravity, the ground and the first state; the motion must be the rotated motion, contact included.
    model = ROBOTS["ant"]
    y, z = np.array([0.0, 1.0, 0.0]), np.array(up)
    half = np.r_[np.cross(y, z), 1 + y @ z]
    r = half / np.linalg.norm(half)  # takes y to up

    def turn(x: np.ndarray) -> np.ndarray:
        u, w = r[:3], r[3]
        return (2 * w * w - 1) * x + 2 * w * np.cross(u, x) + 2 * np.outer(x @ u, u)

    def turn_state(q: np.ndarray, qd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        q, qd = q.copy(), qd.copy()
        v, s = q[:, 3:6].copy(), q[:, 6].copy()
        q[:, :3] = turn(q[:, :3])
        q[:, 3:6] = r[3] * v + np.outer(s, r[:3]) + np.cross(r[:3], v)
        q[:, 6] = r[3] * s - v @ r[:3]
        qd[:, :3], qd[:, 3:6] = turn(qd[:, :3]), turn(qd[:, 3:6])
        return q, qd

    q0, qd0 = STANDING["ant"] - 0.4 * np.eye(15)[1], np.linspace(-0.5, 0.5, 14)
    turned = replace(model, up=up, gravity=tuple(G * -z))
    action = np.linspace(-1, 1, 8)
    expected = turn_state(*run(model, q0, qd0, 20, action))
    states = turn_state(q0[None], qd0[None])
    result = run(turned, states[0][0], states[1][0], 20, action)
    assert expected[0][-1, :3] @ z > q0[1], "the ground throws it up"
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
