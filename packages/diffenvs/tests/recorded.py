"""Gradients against those that the reference recorded from states on the ground."""

import torch
from gradients import Inputs, activity
from simulators import golden, simulator, tensor
from torch import Tensor

from diffenvs.model import Model

MERGED = ("anymal",)
"""Robots of which the reference has the parts without joints as links of their own. Rotating through longer chains is
the same for unit quaternions only, and those of the recorded states are so to float32."""


def recorded_gradients(robot: str, function: str) -> Inputs:
    """Gradients of a recorded function, such as "grad_L8", with respect to act (T, N, ...), q0 and qd0 (N, ...)."""
    return {name: tensor(golden(robot)[f"{function}_d{name}"]) for name in ("act", "q0", "qd0")}


def check_gradients(robot: str, model: Model, ours: Inputs, theirs: Inputs, actions: Tensor, bound: float) -> None:
    """Compare gradients with recorded ones, environment by environment.

    Parameters
    ----------
    robot, model
        The model may divide time in another way than the robot's.
    ours, theirs
        As :func:`recorded_gradients` returns them.
    actions
        (T, N, nu), of the dtype in which the gradients were made.
    bound
        Largest accepted L2 norm of the difference, relative to that of the gradient.
    """
    kept = slice(None)
    if actions.dtype == torch.float32:
        kept = on_the_same_sides(robot, model, actions)
        assert kept.sum() >= len(kept) - 1
    for name, expected in theirs.items():
        value = ours[name].double()
        if name == "act":
            value, expected = value.swapaxes(0, 1), expected.swapaxes(0, 1)
        elif name == "q0" and robot in MERGED:
            value, expected = tangential(robot, value), tangential(robot, expected)
        error = (value - expected).flatten(1).norm(dim=1)
        assert (error <= bound * expected.flatten(1).norm(dim=1) + 1e-12)[kept].all(), f"d{name}: {error}"


def on_the_same_sides(robot: str, model: Model, actions: Tensor) -> Tensor:
    """Environments in which float32 and float64 go along the same sides of all kinks, (N,) bool."""
    data, sides = golden(robot), []
    for dtype in (torch.float64, torch.float32):
        start = {"q": tensor(data["grad_q0"], dtype), "qd": tensor(data["grad_qd0"], dtype)}
        sim = simulator(model, actions.shape[1], dtype)
        sides.append(activity(sim, {**start, "action": actions.to(dtype).swapaxes(0, 1)}))
    return (sides[0] == sides[1]).all(1)


def tangential(robot: str, gradient: Tensor) -> Tensor:
    """Take off what changes the length of the root's quaternion, which depends on the number of links in a chain."""
    unit = torch.nn.functional.normalize(tensor(golden(robot)["grad_q0"])[:, 3:7], dim=-1)
    length = (unit * gradient[:, 3:7]).sum(-1, keepdim=True)
    return torch.cat([gradient[:, :3], gradient[:, 3:7] - unit * length, gradient[:, 7:]], dim=-1)
