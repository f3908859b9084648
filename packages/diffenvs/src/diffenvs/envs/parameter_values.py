"""Checks of the values of model parameters that users give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from diffenvs.envs.rebase import Rebase
from diffenvs.model import JointType, Model
from diffenvs.parameter_table import PARAMETERS
from diffenvs.parameters import ARRAYS
from diffenvs.quantities import INERTIA_TOLERANCE, exceeds_the_others


@dataclass(frozen=True)
class ParameterValues:
    """What the parameters of a model may be."""

    defaults: Mapping[str, Tensor]
    """The model's, (1, count[, components])."""
    pinned: Mapping[str, Tensor]
    """Entries that must be the model's, because nothing acts there or because the robot travels there, (count,)."""
    physical_inertias: bool
    """As of the model."""

    @classmethod
    def of(cls, model: Model, defaults: Mapping[str, Tensor]) -> Self:
        """Find what is pinned in a model."""
        kind = {"dtype": defaults["mass"].dtype, "device": defaults["mass"].device}
        free = [link.joint.type is JointType.FREE for link in model.links for _ in range(link.joint.type.nv)]
        pinned = {name: torch.tensor(free, device=kind["device"]) for name in ARRAYS["joint"]}
        rebase = Rebase.of(model, **kind)
        if rebase is not None and not rebase.free:  # slides from the world on: coordinates and velocities coincide
            for name in ("stiffness", "lower", "upper"):
                pinned[name][slice(*rebase.columns)] = True
        return cls(dict(defaults), pinned, model.physical_inertias)

    def check(self, given: Mapping[str, Tensor]) -> None:
        """Check values of the right shapes, (N or 1, count[, components]).

        Raises
        ------
        ValueError
            If a value is not finite (limits may be infinite), or negative where that has no meaning; if a mass is zero
            where the model's is not; if an inertia is not positive definite where the model's is, or, unless the
            model allows it, not one that a body can have; if a lower limit is not below the upper one; if an entry is
            changed that belongs to a free joint or would bind a robot to a place.
        """
        given = {name: value.detach() for name, value in given.items()}
        values = {**self.defaults, **given}
        for name, value in given.items():
            limit = name in ("lower", "upper")
            _refuse(name, value.isnan() if limit else ~value.isfinite(), value, "not be NaN" if limit else "be finite")
            if not PARAMETERS[name].signed:
                _refuse(name, value < 0.0, value, "not be negative")
            if name in self.pinned:
                changed = (value != self.defaults[name]) & self.pinned[name]
                _refuse(name, changed, value, "be the model's for a free joint, and where a robot travels")
        if "mass" in given:
            _refuse("mass", (values["mass"] == 0.0) & (self.defaults["mass"] > 0.0), values["mass"], "be positive")
        if "inertia" in given:
            self._check_inertia(values["inertia"], values["mass"])
        if "lower" in given or "upper" in given:
            lower, upper = torch.broadcast_tensors(values["lower"], values["upper"])
            _refuse("lower", lower >= upper, lower, "be below 'upper'")

    def _check_inertia(self, inertia: Tensor, mass: Tensor) -> None:
        moments, own = _moments(inertia), _moments(self.defaults["inertia"])
        tolerance = INERTIA_TOLERANCE * moments[..., 2]
        definite = own[..., 0] > INERTIA_TOLERANCE * own[..., 2]
        wrong = torch.where(definite, moments[..., 0] <= 0.0, moments[..., 0] < -tolerance)
        _refuse("inertia", wrong, inertia, "be positive definite where the model's is, and have no negative moment")
        massless = (mass == 0.0) & (inertia != 0.0).any(-1)
        _refuse("inertia", massless, inertia, "be zero for a massless link")
        if self.physical_inertias:
            wrong = exceeds_the_others(*moments.unbind(-1))
            _refuse("inertia", wrong, inertia, "have no principal moment that exceeds the sum of the two others")


def _moments(inertia: Tensor) -> Tensor:
    """Principal moments of inertias (..., 6) in ascending order, (..., 3), float64."""
    columns = [0, 3, 4, 3, 1, 5, 4, 5, 2]  # of xx, yy, zz, xy, xz, yz
    return torch.linalg.eigvalsh(inertia.double()[..., columns].unflatten(-1, (3, 3)))


def _refuse(name: str, wrong: Tensor, value: Tensor, expected: str) -> None:
    """Raise ValueError if any entry (N or 1, count[, components]) is wrong."""
    if not bool(wrong.any()):
        return
    index = tuple(wrong.nonzero()[0].tolist())
    value = value.expand(*wrong.shape, *value.shape[wrong.ndim :])  # it may be one for all, of which another is not
    raise ValueError(f"parameter '{name}' must {expected}. Got {value[index].tolist()} at {index}.")
