"""The bridge between torch's autograd and the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from diffenvs.simulator import Engine


class ControlStep(torch.autograd.Function):
    """One control step of all environments: (q, qd, action, *parameters) -> (q, qd)."""

    @staticmethod
    def forward(
        ctx: Any, engine: Engine, q: Tensor, qd: Tensor, action: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Advance; only the boundaries of the step are kept for the way back."""
        q_next, qd_next = engine.forward(q, qd, action, list(parameters))
        ctx.engine = engine
        ctx.save_for_backward(q, qd, action, q_next, qd_next, *parameters)
        return q_next, qd_next

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - the decorator hides the names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Adjoint of the step; environments whose next state is not finite, or is not used, get zero.

        The adjoint is linear, so zero in is zero out, but in an exploded state it would come to zero times infinity.
        """
        q, qd, action, q_next, qd_next, *parameters = ctx.saved_tensors
        takes_part = q_next.isfinite().all(-1) & qd_next.isfinite().all(-1)
        takes_part &= (gradients[0] != 0.0).any(-1) | (gradients[1] != 0.0).any(-1)
        grad_q, grad_qd = (torch.where(takes_part[:, None], gradient, 0.0) for gradient in gradients)
        parameter_gradients = any(ctx.needs_input_grad[4:])
        grads = ctx.engine.backward(q, qd, action, parameters, grad_q, grad_qd, parameter_gradients=parameter_gradients)
        result: list[Tensor | None] = [None]
        for value, grad, needed in zip((q, qd, action, *parameters), grads, ctx.needs_input_grad[1:], strict=True):
            if grad is None or not needed:
                result.append(None)
                continue
            grad = torch.where(takes_part.view(-1, *[1] * (grad.ndim - 1)), grad, 0.0)
            # A parameter that all environments share gets the sum of theirs.
            grad = grad.view(grad.shape[0], *value.shape[1:])
            result.append(grad.sum(0, keepdim=True) if value.shape[0] < grad.shape[0] else grad)
        return tuple(result)
