"""Gradients against central differences, environment by environment.

Environments do not influence each other, so one batch checks as many directions: environment n perturbs one input (the
state, the actions or one of the parameters) along a normal direction. Errors are relative to the norm of the gradient
with respect to that input, which is the standard deviation of derivatives along such directions.

A central difference is meaningless where a kink lies between its two ends. A direction counts at a step size only if
both ends touch with the same points on the same sides, sliding or sticking, approaching or receding, and violate the
same joint limits, in every substep; directions that count at no step size are excluded.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from contacts import contacts
from torch import Tensor

from diffenvs.model import JointType, Model
from diffenvs.simulator import Simulator, Trace

STEPS = (1e-5, 1e-6, 1e-7)
"""A derivative is compared at the best: the error of the formula falls with the step, that of rounding rises."""
PARAMETER_STEPS = (1e-3, 1e-4)
"""Relative ones for parameters only: the influence of some is so small that rounding drowns it at less."""
MEDIAN = 1e-6
WORST = 1e-5
EXCLUDED = 0.05
STATE = ("q", "qd", "action")

Inputs = dict[str, Tensor]
"""q (N, nq), qd (N, nv), action (N, T, nu), and parameters by name, (N, ...) each."""


@dataclass(frozen=True)
class Errors:
    """Relative error of each direction, NaN where it is excluded."""

    values: Tensor
    groups: list[str]
    """The input that each direction perturbs."""

    def check(self) -> None:
        """Fail unless few directions are excluded and the others agree."""
        kept = self.values[~self.values.isnan()]
        excluded = 1 - len(kept) / len(self.values)
        worst = torch.nan_to_num(self.values, nan=-1.0).argmax()
        report = (
            f"median {kept.median():.1e}, worst {kept.max():.1e} ({self.groups[worst]}), excluded {excluded:.1%} "
            f"of {len(self.values)} directions"
        )
        print(report)
        assert excluded < EXCLUDED, report
        assert kept.median() < MEDIAN, report
        assert kept.max() < WORST, report


def rollout(simulator: Simulator, inputs: Inputs) -> Tensor:
    """State after the actions, (N, nq + nv)."""
    q, qd = inputs["q"], inputs["qd"]
    for action in inputs["action"].unbind(1):
        q, qd = simulator.step(q, qd, action, parameters(inputs))
    return torch.cat([q, qd], dim=-1)


def parameters(inputs: Inputs) -> Inputs:
    """Those of the inputs that are parameters."""
    return {name: value for name, value in inputs.items() if name not in STATE}


def gradient_errors(
    simulator: Simulator,
    inputs: Inputs,
    seed: int = 0,
    rollout: Callable[[Simulator, Inputs], Tensor] = rollout,
) -> Errors:
    """Compare the gradients of a random linear function of the last state, or of `rollout`, with central differences.

    `rollout` returns (N, any number) from the same motion as the simulator's.
    """
    random = torch.Generator().manual_seed(seed)
    groups = [name for name in inputs if inputs[name][0].numel()]
    group_of = [groups[n % len(groups)] for n in range(simulator.num_envs)]
    scales = {name: _scale(value) for name, value in inputs.items()}
    for name, scale in scales.items():
        scale[[group != name for group in group_of]] = 0.0
    directions = {
        name: scale * torch.randn(scale.shape, generator=random, dtype=scale.dtype) for name, scale in scales.items()
    }

    leaves = {name: value.detach().clone().requires_grad_() for name, value in inputs.items()}
    state = rollout(simulator, leaves)
    weights = torch.randn(state.shape, generator=random, dtype=state.dtype)
    gradients = dict(zip(leaves, torch.autograd.grad((weights * state).sum(), leaves.values()), strict=True))
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
    slopes = sum((gradients[name] * directions[name]).flatten(1).sum(1) for name in inputs)
    norms = sum((gradients[name] * scales[name]).flatten(1).norm(dim=1) for name in inputs)

    errors = []
    is_parameter = torch.tensor([name not in STATE for name in group_of])
    for step in (*STEPS, *PARAMETER_STEPS) if is_parameter.any() else STEPS:
        plus, minus = ({k: v + sign * step * directions[k] for k, v in inputs.items()} for sign in (1, -1))
        difference = rollout(simulator, plus) - rollout(simulator, minus)
        error = ((weights * difference).sum(1) / (2 * step) - slopes).abs()
        # Where neither has any influence both are exactly zero.
        error = torch.where(error == 0.0, 0.0, error / norms)
        same = (activity(simulator, plus) == activity(simulator, minus)).all(1)
        usable = same & is_parameter if step in PARAMETER_STEPS else same
        errors.append(torch.where(usable, error, torch.inf))
    best = torch.stack(errors).amin(0)
    return Errors(torch.where(best == torch.inf, torch.nan, best), group_of)


def _scale(value: Tensor) -> Tensor:
    """Size of the values, since parameters are of all magnitudes; zero where they are infinite."""
    usable = value.isfinite() & (value != 0.0)
    size = value[usable].abs().mean() if usable.any() else value.new_ones(())
    return torch.where(value.isfinite(), size, 0.0)


def activity(simulator: Simulator, inputs: Inputs) -> Tensor:
    """Sides of all kinks in all substeps, (N, any number)."""
    own = {name: value.expand(simulator.num_envs, *value.shape[1:]) for name, value in simulator.parameters.items()}
    values = {**own, **parameters(inputs)}
    q, qd, sides = inputs["q"], inputs["qd"], []
    for action in inputs["action"].unbind(1):
        trace = simulator.trace(q, qd, action, parameters(inputs))
        q, qd = trace.q[:, -1], trace.qd[:, -1]
        touch = contacts(simulator.model, trace, values)
        sides += [touch.touching, touch.sliding, touch.approaching, touch.deep, touch.sides]
        sides += [*_limits(simulator.model, trace, values)]
        sides.append((action.abs() < 1.0)[:, None])
    return torch.cat([side.flatten(1) for side in sides], dim=1)


def _limits(model: Model, trace: Trace, values: Inputs) -> tuple[Tensor, Tensor]:
    joints = [i for i, link in enumerate(model.links) if link.joint.type in (JointType.HINGE, JointType.SLIDE)]
    q = trace.q[:, :-1, [model.q_start[i] for i in joints]]
    dofs = [model.v_start[i] for i in joints]
    return q < values["lower"][:, None, dofs], q > values["upper"][:, None, dofs]
