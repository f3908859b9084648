"""The shipped robots against reference data made by another engine with the same physics.

The data hold every stage of a first substep, every substep of a first control step (``sub`` in the air, ``csub`` on the
ground), 64 control steps and gradients, all of the reference's build in float64 with inputs in float32.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from recorded import MERGED, check_gradients, recorded_gradients
from simulators import ROBOTS, golden, simulator, steps, tensor
from torch import Tensor

from diffenvs.simulator import Trace

ENVS = 8
DTYPES = [torch.float64, torch.float32]
STARTS = {"sub": ("roll_q0", "roll_qd0", "roll_actions"), "csub": ("grad_q0", "grad_qd0", "grad_actions")}

F64, F32 = DTYPES


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Largest accepted errors."""

    stage: float
    """Relative to the largest magnitude in an array."""
    q: float
    """After 64 control steps; contact amplifies."""
    qd: float
    gradient: float
    """Relative L2 norm of the difference in each environment."""


EXACT = Tolerance(stage=1e-12, q=1e-10, qd=1e-10, gradient=1e-10)
SINGLE = Tolerance(stage=2e-5, q=1e-3, qd=2e-2, gradient=1e-3)
"""In float32, where forces are differences of larger ones."""
ROUNDED = Tolerance(stage=1e-6, q=1e-7, qd=5e-6, gradient=1e-6)
"""In float64, where the reference's quaternions matter that are of unit length to float32 only."""


def tolerance(robot: str, dtype: torch.dtype) -> Tolerance:
    if dtype == F32:
        return SINGLE
    return ROUNDED if robot in MERGED else EXACT


def first_step(robot, start, dtype) -> tuple[Trace, dict[str, np.ndarray]]:
    data = golden(robot)
    q, qd, actions = (tensor(data[name], dtype) for name in STARTS[start])
    return simulator(ROBOTS[robot], ENVS, dtype).trace(q, qd, actions[0]), data


def stage(trace: Trace, model, name: str) -> Tensor:
    """First substep's value under its name in the reference."""
    force = trace.subtree_force[:, 0]
    of_children = torch.zeros_like(force)
    for i, parent in enumerate(model.parents):
        if parent >= 0:
            of_children[:, parent] += force[:, i]
    armature = [link.joint.armature for link in model.links for _ in range(link.joint.type.nv)]
    return {
        "X_sc": trace.link_pose[:, 0],
        "S_s": trace.motion_subspace[:, 0],
        "v_s": trace.link_velocity[:, 0],
        "a_s": trace.link_bias[:, 0],
        "f_s": force - of_children,
        "ft_s": of_children,
        "tau": trace.tau[:, 0],
        "H": trace.mass_matrix[:, 0] - torch.diag(trace.mass_matrix.new_tensor(armature)),
        "qdd": trace.qdd[:, 0],
    }[name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["X_sc", "S_s", "v_s", "a_s", "f_s", "ft_s", "tau", "H", "qdd"])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("robot", ROBOTS)
def test_stage_of_the_first_substep_equals_the_reference(robot, start, name, dtype):
    trace, data = first_step(robot, start, dtype)
    expected = data[f"{start}0_{name}"]
    error = np.abs(stage(trace, ROBOTS[robot], name).numpy() - expected).max() / np.abs(expected).max()
    assert error < tolerance(robot, dtype).stage


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("robot", ROBOTS)
def test_every_substep_of_the_first_control_step_equals_the_reference(robot, start, dtype):
    trace, data = first_step(robot, start, dtype)
    for name, values in (("q", trace.q), ("qd", trace.qd)):
        expected = data[f"{start}_{name}"].swapaxes(0, 1)
        error = np.abs(values[:, 1:].numpy() - expected).max() / np.abs(expected).max()
        assert error < tolerance(robot, dtype).stage


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("robot", ROBOTS)
def test_64_control_steps_with_contact_equal_the_reference(robot, dtype):
    data = golden(robot)
    assert data["roll_contacts_last_substep"].any(0).all(), "every environment touches the ground"
    q, qd = steps(
        simulator(ROBOTS[robot], ENVS, dtype), *(tensor(data[f"roll_{k}"], dtype) for k in ("q0", "qd0", "actions"))
    )
    errors = np.abs(q.numpy() - data["roll_q"]).max(), np.abs(qd.numpy() - data["roll_qd"]).max()
    assert errors[0] < tolerance(robot, dtype).q
    assert errors[1] < tolerance(robot, dtype).qd


def loss_gradients(robot: str, sim, actions: Tensor) -> dict[str, Tensor]:
    """Gradients of the reference's linear function of the state after the actions (T, N, nu)."""
    data = golden(robot)
    leaves = [tensor(data["grad_q0"], sim.dtype), tensor(data["grad_qd0"], sim.dtype), actions.clone()]
    q, qd, actions = (leaf.requires_grad_() for leaf in leaves)
    end = [states[-1] for states in steps(sim, q, qd, actions)]
    weights = [tensor(data[f"grad_w{name}"], sim.dtype) for name in ("q", "qd")]
    loss = sum((weight * value).sum() for weight, value in zip(weights, end, strict=True))
    loss.backward()
    return {"act": actions.grad, "q0": q.grad, "qd0": qd.grad}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("horizon", [1, 8])
@pytest.mark.parametrize("robot", ROBOTS)
def test_gradients_through_control_steps_equal_the_reference(robot, horizon, dtype):
    model, actions = ROBOTS[robot], tensor(golden(robot)["grad_actions"][:horizon], dtype)
    gradients = loss_gradients(robot, simulator(model, ENVS, dtype), actions)
    expected = recorded_gradients(robot, f"grad_L{horizon}")
    check_gradients(robot, model, gradients, expected, actions, tolerance(robot, dtype).gradient)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("robot", ROBOTS)
def test_gradients_through_one_substep_equal_the_reference(robot, dtype):
    model, data = ROBOTS[robot], golden(robot)
    substep = replace(model, dt=model.dt / model.substeps, substeps=1, mass_matrix_interval=1)
    # The reference's torques on the root have no counterpart here.
    driven = [model.v_start[model.link_index(actuator.link)] for actuator in model.actuators]
    gear = tensor([actuator.gear for actuator in model.actuators])
    actions = (tensor(data["gradsub_act"])[None, :, driven] / gear).to(dtype)
    gradients = loss_gradients(robot, simulator(substep, ENVS, dtype), actions)
    expected = recorded_gradients(robot, "gradsub")
    expected["act"] = expected["act"][None, :, driven] * gear
    check_gradients(robot, substep, gradients, expected, actions, tolerance(robot, dtype).gradient)
