"""Everything that a batch of environments remembers from step to step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffenvs.checks import check_tensor
from diffenvs.envs.masks import rows
from diffenvs.quantities import UNIT_TOLERANCE
from diffenvs.state import State

EXPLODED = 1e6
"""Largest magnitude of a coordinate or velocity [their units] of a state that counts as valid."""
LIMITS = {"q": EXPLODED, "qd": EXPLODED, "action": 1.0}
"""Largest magnitude of what a user may set; of other numbers, any that is finite."""


@dataclass(frozen=True, kw_only=True)
class EnvState(State):
    """State of the simulation and of the episodes. Its tensors are never changed in place."""

    action: Tensor
    """Clipped action that led here, zero after a reset, (N, nu)."""
    step_count: Tensor
    """Steps of the episode so far, (N,) int64."""
    episode: Tensor
    """Episodes begun since the environment was seeded, less one, (N,) int64."""
    stream: Tensor
    """Hash of the seed, see :mod:`diffenvs.random`, (N,) int64."""
    factors: Tensor
    """Factors of the episode's parameters, see :mod:`diffenvs.envs.randomize`, (N, factors), (N, 0) without any."""
    needs_reset: Tensor
    """Whether the episode is over and not reset yet (NEXT_STEP and DISABLED only), (N,) bool."""

    def as_dict(self) -> dict[str, Tensor]:
        """Tensors by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def detach(self) -> EnvState:
        """Cut the graph."""
        values = self.as_dict()
        if not any(value.requires_grad for value in values.values()):
            return self
        return EnvState(**{name: value.detach() for name, value in values.items()})

    def where(self, mask: Tensor, other: EnvState) -> EnvState:
        """Take the environments of the mask (N,) from `other`."""
        column = mask.unsqueeze(-1)
        theirs = other.as_dict()
        return EnvState(
            **{
                name: torch.where(mask if value.ndim == 1 else column, theirs[name], value)
                for name, value in self.as_dict().items()
            }
        )

    def replace(self, given: Mapping[str, Tensor], quaternions: Mapping[str, Sequence[int]]) -> EnvState:
        """Take all tensors from a mapping, or ``q`` and ``qd`` only and zero for origin, action and step count.

        `quaternions` has the first columns of the quaternions in a tensor, by its name.

        Raises
        ------
        TypeError
            If it is no mapping, or has something else than tensors.
        ValueError
            If a name is missing or unknown, a shape, dtype or device differs, a number is not finite or out of range,
            or a quaternion is not normalised.
        """
        if not isinstance(given, Mapping):
            raise TypeError(f"state must be a mapping of names to tensors. Got {type(given).__name__}.")
        own = self.as_dict()
        if set(given) == {"q", "qd"}:
            kept = {name: own[name] for name in ("stream", "episode", "memory", "factors")}
            zero = {name: torch.zeros_like(own[name]) for name in own if name not in kept}
            given = zero | kept | dict(given)
        if set(given) != set(own):
            raise ValueError(f"state must have q and qd only, or all of {', '.join(own)}. Got {', '.join(given)}.")
        for name, value in own.items():
            _check_like(name, given[name], value)
        for name in ("step_count", "episode", "factors"):
            wrong = (given[name].detach() < 0).reshape(len(given[name]), -1).any(-1)
            if wrong.any():
                raise ValueError(f"{name} of state must not be negative. It is in {rows(wrong)}.")
        for name, columns in quaternions.items():
            check_quaternions(f"{name} of state", given[name], columns)
        return EnvState(**{name: given[name].clone() for name in own})


def is_valid(q: Tensor, qd: Tensor) -> Tensor:
    """Whether all numbers of an environment are finite and not exploded, (N,) bool."""
    within = [(value.detach().abs() <= EXPLODED).all(-1) for value in (q, qd)]  # false for NaN
    return within[0] & within[1]


def check_quaternions(what: str, values: Tensor, columns: Sequence[int]) -> None:
    """Raise ValueError, naming `what`, if quaternions in `values`, by their first columns, are not unit.

    The values are those of many environments, (N, ...), or of a single state, (...).
    """
    for start in columns:
        norm = torch.linalg.vector_norm(values.detach()[..., start : start + 4], dim=-1)
        wrong = ~((norm - 1.0).abs() <= UNIT_TOLERANCE)
        if wrong.any():
            of_many = f"Those of environments {rows(wrong)} have not." if wrong.ndim else f"Got {float(norm):g}."
            raise ValueError(f"quaternions in {what} must have norm 1 to within {UNIT_TOLERANCE}. {of_many}")


def _check_like(name: str, value: Tensor, like: Tensor) -> None:
    check_tensor(f"{name} of state", value, tuple(like.shape), like.dtype, like.device)
    if value.is_floating_point():
        limit = LIMITS.get(name, float("inf"))
        wrong = ~((value.detach().abs() <= limit).all(-1) & value.detach().isfinite().all(-1))
        if wrong.any():
            raise ValueError(f"{name} of state must be finite and within +-{limit:g}. It is not in {rows(wrong)}.")
