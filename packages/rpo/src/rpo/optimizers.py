"""An optimiser that survives gradients that are not finite, and the end of a training that has nothing else."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

LIMIT = 10
"""Windows in a row in which a step of the same optimiser may be left out before the training ends."""


class NonFiniteError(FloatingPointError):
    """A loss or a gradient was not finite in too many windows in a row."""


class FiniteAdamW(torch.optim.AdamW):
    """AdamW that leaves a step out, its moments' too, where a loss or the gradient is not finite.

    The host does not wait to learn which steps those are: `lost` counts them on the device.

    Parameters
    ----------
    params, lr, betas, eps, weight_decay
        As of torch's AdamW.
    name
        Whose parameters they are, for logs and messages.

    Attributes
    ----------
    lost
        Steps left out since the last `reset_counts`, by the term that was not finite.
    skipped
        Steps left out since then.
    """

    def __init__(
        self,
        params: Iterable[torch.nn.Parameter],
        lr: float,
        *,
        name: str,
        betas: tuple[float, float],
        weight_decay: float,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=True)
        self.name = name
        self.reset_counts()

    def reset_counts(self) -> None:
        """Begin to count anew."""
        self.lost: dict[str, Tensor] = {}
        self.skipped = torch.tensor(0)  # the parameters may move to another device after the optimiser was made

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]  # no loss to return
        """Take a step along the gradients, if they are finite."""
        assert closure is None
        gradients = [parameter.grad for group in self.param_groups for parameter in group["params"]]
        self.step_if_finite(get_total_norm([gradient for gradient in gradients if gradient is not None]))

    def step_if_finite(self, norm: Tensor, **terms: Tensor) -> None:
        """Take a step along the gradients, if their norm and the terms, scalars of the loss, are finite."""
        lost = ~torch.stack([*(term.detach() for term in terms.values()), norm]).isfinite()
        for name, value in zip((*terms, "gradient"), lost, strict=True):
            self.lost[name] = self.lost.get(name, 0) + value
        any_lost = lost.any()
        self.skipped = self.skipped + any_lost
        # What torch's gradient scaler tells the fused kernel too: if it is 1, nothing changes.
        self.found_inf = any_lost.float()
        super().step()


class StepGuard:
    """Ends a training in which an optimiser has left out steps in `LIMIT` windows in a row.

    Attributes
    ----------
    in_a_row
        Windows in a row up to now, by the optimiser's name.
    """

    def __init__(self) -> None:
        self.in_a_row: dict[str, int] = {}

    def end_window(self, optimizers: Iterable[FiniteAdamW]) -> None:
        """Look at the steps that were left out in a window, and begin to count those of the next.

        Raises
        ------
        NonFiniteError
            If it is one window too many. It names the terms that were not finite.
        """
        failures = []
        for optimizer in optimizers:
            windows = self.in_a_row.get(optimizer.name, 0) + 1 if optimizer.skipped.item() else 0
            self.in_a_row[optimizer.name] = windows
            if windows >= LIMIT:
                terms = ", ".join(name for name, count in optimizer.lost.items() if count.item())
                failures.append(
                    f"Steps of the {optimizer.name} were left out in {windows} windows in a row, since these were not "
                    f"finite: {terms}."
                )
            optimizer.reset_counts()
        if failures:
            raise NonFiniteError(" ".join(failures))
