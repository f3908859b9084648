"""Gradients of the simulator against central differences of itself, in float64."""

from dataclasses import dataclass, replace
from math import inf, nan

import pytest
import torch
from contacts import contacts
from gradients import STATE, Inputs, gradient_errors, rollout
from simulators import MATERIAL, ROBOTS, STANDING, at_rest, ball, body, repeated, simulator, steps, tensor
from torch import Tensor

from diffenvs.model import Actuator, Box, Capsule, Joint, JointType, Model, Sphere
from diffenvs.parameters import default_parameters

GROUPS = len(default_parameters(ROBOTS["ant"])) + len(STATE)
ENVS = 5 * GROUPS
"""Five directions for each input."""
SPREAD = 0.1
"""Standard deviation of coordinates [rad or m] and relative one of parameters."""

WINDOWS = [(robot, steps) for robot in ROBOTS for steps in (1, 4 if robot == "humanoid" else 8)]
"""Control steps; those of the Humanoid have three times the substeps of the others'."""
MOST, SOME = 0.9, 0.35
"""Shares that make a scene what its name says."""


@dataclass(frozen=True)
class Scene:
    """How a robot meets the ground."""

    gap: float
    """Below its lowest point [m]."""
    velocity: tuple[float, float, float]
    """Of its root [m/s]."""
    settle: int = 0
    """Control steps without action before the velocity is given to it."""
    agitation: float = 0.5
    """Standard deviation of the other velocities [rad/s]."""


SCENES = {
    "in the air": Scene(gap=1.0, velocity=(1.0, 0.5, 0.0)),
    "touching down": Scene(gap=0.004, velocity=(0.5, -2.5, 0.0)),
    "sliding": Scene(gap=-0.01, velocity=(4.0, -0.2, 0.0)),
    "resting": Scene(gap=0.0, velocity=(0.01, -0.01, 0.0), settle=150, agitation=0.005),
}


def scene_inputs(robot: str, scene: Scene, horizon: int, random: torch.Generator) -> Inputs:
    """Inputs of ENVS environments in the scene, each with parameters of its own; every parameter has an influence."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    model, sim = ROBOTS[robot], simulator(ROBOTS[robot], ENVS)
    q = tensor(STANDING[robot]) + SPREAD * normal(ENVS, model.nq)
    free = model.links[0].joint.type is JointType.FREE
    if free:
        q[:, 3:7] /= q[:, 3:7].norm(dim=-1, keepdim=True)
    qd, zero = q.new_zeros(ENVS, model.nv), q.new_zeros(ENVS, model.nu)
    q[:, 1] += scene.gap - contacts(model, sim.trace(q, qd, zero), sim.parameters).depth[:, 0].amin(1)
    if scene.settle:
        q = steps(sim, q, qd, zero.expand(scene.settle, -1, -1))[0][-1]
    qd = scene.agitation * normal(ENVS, model.nv)
    if free:
        # Its velocity is that of the point at the world's origin.
        qd[:, 3:6] = tensor(scene.velocity) - torch.linalg.cross(qd[:, :3], q[:, :3])
    else:
        qd[:, :2] = tensor(scene.velocity[:2])

    parameters = {name: value * (1 + SPREAD * normal(ENVS, *value.shape[1:])) for name, value in sim.parameters.items()}
    parameters["stiffness"] = 10.0 + normal(*parameters["stiffness"].shape)
    parameters["rest"] = SPREAD * normal(*parameters["rest"].shape)
    parameters["limit_damping"] = 1.0 + SPREAD * normal(*parameters["limit_damping"].shape)
    action = 0.3 * (0.1 if scene.settle else 1.0) * normal(ENVS, horizon, model.nu)
    return {"q": q, "qd": qd, "action": action, **parameters}


def scene_contacts(robot: str, inputs: Inputs) -> tuple[float, float, float]:
    """Shares of environments that touch in the first substep and in any, and of touching points that do not slide."""
    sim, touching, sliding = simulator(ROBOTS[robot], ENVS), [], []
    q, qd = inputs["q"], inputs["qd"]
    values = {name: value for name, value in inputs.items() if name not in STATE}
    for action in inputs["action"].unbind(1):
        trace = sim.trace(q, qd, action, values)
        touch = contacts(sim.model, trace, values)
        touching.append(touch.touching)
        sliding.append(touch.sliding)
        q, qd = trace.q[:, -1], trace.qd[:, -1]
    touches, slides = torch.cat(touching, 1), torch.cat(sliding, 1)
    sticking = (touches & ~slides).sum() / touches.sum()
    in_substep = touches.any(-1).float()
    return float(in_substep[:, 0].mean()), float(in_substep.amax(1).mean()), float(sticking)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(("robot", "horizon"), WINDOWS)
def test_gradients_of_state_actions_and_all_parameters_equal_central_differences(robot, scene, horizon):
    inputs = scene_inputs(robot, SCENES[scene], horizon, torch.Generator().manual_seed(horizon))
    first, in_window, sticking = scene_contacts(robot, inputs)
    expected = {
        "in the air": (first == 0.0, in_window == 0.0),
        "touching down": (first == 0.0, in_window > MOST),
        "sliding": (first > MOST, sticking < SOME),
        "resting": (first > MOST, sticking > 1 - SOME),
    }
    assert all(expected[scene]), (first, in_window, sticking)
    gradient_errors(simulator(ROBOTS[robot], ENVS), inputs).check()


def assembly() -> Model:
    """Two free bodies, one of them a box, with fixed, slide and hinge joints and all kinds of shapes."""
    soft = replace(MATERIAL, stiffness=2e3, damping_depth=0.05, friction_bound="total")
    links = (
        body(Joint(type=JointType.FREE), name="box", shapes=(Box(half_extents=(0.3, 0.2, 0.4), material=MATERIAL),)),
        body(
            Joint(type=JointType.FIXED, position=(0.2, 0.1, 0.0), rotation=(0.5, 0.5, 0.5, 0.5)),
            name="mast",
            parent="box",
            com=(0.0, 0.0, 0.3),
            shapes=(Capsule(radius=0.1, half_length=0.2, axis=(0.6, 0.0, 0.8), material=soft),),
        ),
        body(Joint(type=JointType.SLIDE, axis=(0.0, 0.8, 0.6), armature=0.1), name="slider", parent="mast"),
        body(
            Joint(type=JointType.HINGE, axis=(1.0, 0.0, 0.0), position=(0.0, 0.2, 0.0), damping=0.5),
            name="arm",
            parent="slider",
            com=(0.0, -0.4, 0.1),
            shapes=(Sphere(radius=0.2, position=(0.0, -0.5, 0.0), material=soft),),
        ),
        body(Joint(type=JointType.FREE), name="ball", mass=2.0, shapes=(Sphere(radius=0.4, material=soft),)),
        body(Joint(type=JointType.FIXED), name="handle", parent="ball", com=(0.5, 0.0, 0.0)),
    )
    actuators = (Actuator(link="arm", gear=5.0), Actuator(link="slider", gear=20.0))
    return Model(name="assembly", links=links, actuators=actuators, substeps=8, mass_matrix_interval=2)


@pytest.mark.parametrize("unit", [True, False], ids=["unit quaternions", "any quaternions"])
def test_gradients_of_all_joints_and_shapes_equal_central_differences(unit):
    random = torch.Generator().manual_seed(3)
    model = assembly()
    sim = simulator(model, ENVS)
    q, qd, action = (
        value + 0.2 * torch.randn(value.shape, generator=random).double() for value in at_rest(model, ENVS)
    )
    for start in (0, 9):
        q[:, start + 1] += 0.3
        if unit:
            q[:, start + 3 : start + 7] /= q[:, start + 3 : start + 7].norm(dim=-1, keepdim=True)
    touching = contacts(model, sim.trace(q, qd, action), sim.parameters).touching.any(1)
    assert touching.any(0)[[0, -1]].all(), "the box and the ball touch in some environments"
    parameters = repeated(sim.parameters, ENVS)
    parameters["stiffness"] = parameters["stiffness"] + 3.0
    inputs = {"q": q, "qd": qd, "action": torch.stack([action, -action], 1), **parameters}
    gradient_errors(sim, inputs).check()


def test_parameters_that_environments_share_get_the_sum_of_their_gradients():
    inputs = scene_inputs("hopper", SCENES["sliding"], 2, torch.Generator().manual_seed(0))
    sim, state = simulator(ROBOTS["hopper"], ENVS), {name: inputs[name] for name in STATE}
    shared = {name: value.clone().requires_grad_() for name, value in sim.parameters.items()}
    own = {
        name: value.detach().repeat(ENVS, *[1] * (value.ndim - 1)).requires_grad_() for name, value in shared.items()
    }
    for parameters in (shared, own):
        rollout(sim, {**state, **parameters}).sin().sum().backward()
    for name in shared:
        torch.testing.assert_close(shared[name].grad, own[name].grad.sum(0, keepdim=True), rtol=1e-12, atol=1e-12)
    assert shared["mass"].grad.abs().sum() > 0.0


def test_actions_beyond_the_bounds_act_as_the_bound_and_have_zero_gradient():
    model = ROBOTS["hopper"]
    q, qd, action = at_rest(model, 4)
    action[:] = tensor([[1.5], [inf], [1.0], [0.9]])
    action.requires_grad_()
    _, velocity = simulator(model, 4).step(q, qd, action)
    velocity.sum().backward()
    assert torch.equal(velocity[:2], velocity[[2, 2]])
    assert (action.grad[:2] == 0.0).all()
    assert (action.grad[2:] != 0.0).all()


def test_step_passes_the_gradient_check_of_torch():
    model = assembly()
    random = torch.Generator().manual_seed(1)
    # One environment penetrates the ground, the other does not.
    lifted = torch.tensor([[0.1], [1.0]]) * (torch.arange(model.nq) % 9 == 1)
    inputs = [value + 0.1 * torch.randn(value.shape, generator=random) for value in at_rest(model, 2)]
    inputs = [value.requires_grad_() for value in (inputs[0] + lifted, *inputs[1:])]
    assert torch.autograd.gradcheck(simulator(model, 2).step, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


def test_second_backward_and_double_backward_are_refused():
    model = ROBOTS["hopper"]
    q, qd, action = at_rest(model, 2)
    action.requires_grad_()
    q_next, _ = simulator(model, 2).step(q, qd, action)
    q_next.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        q_next.sum().backward()
    q_next, _ = simulator(model, 2).step(q, qd, action)
    (gradient,) = torch.autograd.grad(q_next.square().sum(), action, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once only"):
        gradient.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once only"):
        torch.autograd.grad(gradient.sum(), action)


def test_gradients_in_batches_are_refused_and_leave_the_graph_usable():
    hopper = ROBOTS["hopper"]
    q, qd, action = at_rest(hopper, 2)
    action.requires_grad_()
    output = simulator(hopper, 2).step(q, qd, action)[1]
    with pytest.raises(RuntimeError, match="the simulator takes one gradient at a time, none in batches"):
        torch.autograd.grad(output, action, output.new_ones(4, 2, 6), is_grads_batched=True, retain_graph=True)
    assert torch.autograd.grad(output, action, output.new_ones(2, 6))[0].any()


@pytest.mark.parametrize(
    ("poisoned", "poison"), [("q", nan), ("q", inf), ("q", 1e200), ("qd", nan), ("qd", 1e200), ("action", nan)]
)
@pytest.mark.parametrize("threads", [1, 2])
def test_environment_that_becomes_non_finite_has_zero_gradient_and_leaves_the_others_alone(threads, poisoned, poison):
    model = ROBOTS["ant"]
    sim = simulator(model, 4, num_threads=threads)
    inputs = dict(zip(STATE, at_rest(model, 4), strict=True))
    inputs["q"][:, 1] += 0.2

    def gradients(values: Inputs) -> tuple[Inputs, Inputs, Tensor]:
        leaves = {name: value.clone().requires_grad_() for name, value in {**values, **sim.parameters}.items()}
        own = {name: leaves[name] for name in sim.parameters}
        own["mass"] = own["mass"] * torch.ones(4, 1, dtype=torch.float64)
        own["mass"].retain_grad()
        state = torch.cat(sim.step(*(leaves[name] for name in STATE), own), dim=-1)
        state.sum().backward()
        return {**{name: leaves[name].grad for name in STATE}, "mass": own["mass"].grad}, state.detach()

    healthy, _ = gradients(inputs)
    inputs[poisoned][1, 0] = poison
    sick, state = gradients(inputs)
    assert not state[1].isfinite().all()
    for name, gradient in sick.items():
        assert (gradient[1] == 0.0).all(), name
        assert torch.equal(gradient[[0, 2, 3]], healthy[name][[0, 2, 3]]), name


def test_point_that_sticks_without_sliding_has_the_derivative_of_viscous_friction():
    """At rest the friction law is -kf u: smooth, though the direction of sliding does not exist."""
    model = ball(gravity=(0.0, 0.0, 0.0))
    sim = simulator(model, 1)
    q = torch.tensor([[0.0, 0.49, 0.0, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    action = torch.zeros(1, 0, dtype=torch.float64)
    qd = torch.zeros(1, 6, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(sim.step(q, qd, action)[1][0, 3], qd)
    step = 1e-7
    difference = torch.zeros(6, dtype=torch.float64)
    for k in range(6):
        ends = [sim.step(q, sign * step * torch.eye(6, dtype=torch.float64)[k : k + 1], action)[1] for sign in (1, -1)]
        difference[k] = (ends[0] - ends[1])[0, 3] / (2 * step)
    torch.testing.assert_close(gradient[0], difference, rtol=1e-5, atol=1e-7)
    assert gradient[0, 3] < 0.5
