"""The bridge between torch's autograd and the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

if TYPE_CHECKING:
    from diffenvs.engine import Engine


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
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch's own signature has no names
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Adjoint of the step; environments whose next state is not finite, or is not used, get zero."""
        for gradient in gradients:
            try:
                gradient.untyped_storage()
            except NotImplementedError as error:  # many gradients in one tensor, whose memory PyTorch hides
                raise RuntimeError(
                    "the simulator takes one gradient at a time, none in batches (`is_grads_batched`, `vectorize`)."
                ) from error
        return None, *ControlStepAdjoint.apply(ctx.engine, ctx.needs_input_grad[1:], *gradients, *ctx.saved_tensors)


class ControlStepAdjoint(torch.autograd.Function):
    """Derivative of a control step, which has none itself.

    A function of its own, so that a graph of it (``create_graph=True``) leads to :meth:`backward` from all inputs.
    """

    @staticmethod
    def forward(
        ctx: Any,
        engine: Engine,
        needed: tuple[bool, ...],
        grad_q: Tensor,
        grad_qd: Tensor,
        q: Tensor,
        qd: Tensor,
        action: Tensor,
        q_next: Tensor,
        qd_next: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor | None, ...]:
        """Gradients of state, action and parameters, None where not needed.

        The adjoint is linear, so zero in is zero out, but in an exploded state it would come to zero times infinity:
        such environments do not take part.
        """
        is_finite = q_next.isfinite().all(-1) & qd_next.isfinite().all(-1)
        takes_part = is_finite & ((grad_q != 0.0).any(-1) | (grad_qd != 0.0).any(-1))
        grads = engine.backward(
            q,
            qd,
            action,
            list(parameters),
            *(torch.where(takes_part[:, None], gradient, 0.0) for gradient in (grad_q, grad_qd)),
            parameter_gradients=any(needed[3:]),
        )
        result: list[Tensor | None] = []
        for value, grad, is_needed in zip((q, qd, action, *parameters), grads, needed, strict=True):
            if grad is None or not is_needed:
                result.append(None)
                continue
            grad = torch.where(takes_part.view(-1, *[1] * (grad.ndim - 1)), grad, 0.0)
            # A parameter that all environments share gets the sum of theirs.
            grad = grad.view(grad.shape[0], *value.shape[1:])
            result.append(grad.sum(0, keepdim=True) if value.shape[0] < grad.shape[0] else grad)
        return tuple(result)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> NoReturn:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse: the simulator has first derivatives only."""
        raise RuntimeError("the simulator can be differentiated once only; it has no second derivatives.")
