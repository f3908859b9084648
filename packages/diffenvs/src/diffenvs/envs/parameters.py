"""The parameters with which environments simulate: the model's or a user's, times the factors of each episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffenvs.envs.masks import rows
from diffenvs.envs.parameter_values import ParameterValues
from diffenvs.envs.randomize import Randomization
from diffenvs.parameters import check_parameters
from diffenvs.resistance import RESISTING, complaint, unresisted
from diffenvs.simulator import Simulator


class Parameters:
    """Keeps the parameters of a simulator those of the environments' episodes.

    Parameters
    ----------
    simulator
        Whose parameters are set, and packed for the kernel only when they have changed.
    randomization
        Factors by which they differ between environments and episodes.

    Raises
    ------
    ValueError
        If with some of the factors nothing resists a joint.
    """

    def __init__(self, simulator: Simulator, randomization: Randomization) -> None:
        self.randomization = randomization
        self._simulator = simulator
        self._values = ParameterValues.of(simulator.model, simulator.parameters)
        self._defaults = dict(simulator.parameters)
        self._given = self._defaults
        self._learnt = False
        self._applied: Tensor | None = None
        self._require_resistance(self._given, "`randomize`")

    def __getstate__(self) -> dict[str, Any]:
        """Keep the values; what is learnt, and its graph, stay with their owner."""
        given = {name: value.detach() for name, value in self._given.items()}
        return {**self.__dict__, "_given": given, "_learnt": False, "_applied": None}

    def give(self, parameters: Mapping[str, Tensor]) -> None:
        """Take parameters by name, (N or 1, count[, components]); the model has the others.

        Those that require grad are used themselves, so that an optimiser's steps are seen; others are copied.

        Raises
        ------
        TypeError, ValueError
            If a name, shape, dtype, device or value is wrong, or nothing resists a joint; nothing has changed then.
        """
        if not isinstance(parameters, Mapping):
            raise TypeError(f"parameters must be a mapping of names to tensors. Got {type(parameters).__name__}.")
        check_parameters(parameters, self._defaults, self._simulator.num_envs)
        self._values.check(parameters)
        own = {name: value if value.requires_grad else value.clone() for name, value in parameters.items()}
        given = {**self._defaults, **own}
        if not parameters.keys().isdisjoint(RESISTING):
            self._require_resistance(given, "these parameters")
        self._given = given
        self._learnt = any(value.requires_grad for value in own.values())
        self._applied = None

    def _require_resistance(self, given: Mapping[str, Tensor], what: str) -> None:
        """Raise ValueError if nothing resists a joint of some environment, whatever the factors of its episodes."""
        precision = str(self._simulator.dtype).removeprefix("torch.")
        for factors in self.randomization.extremes(RESISTING).split(1):
            scaled = self.randomization.scaled(given, factors)
            values = {name: scaled[name].detach().double().cpu().numpy() for name in RESISTING}
            links = unresisted(self._simulator.model, precision, values)
            if links:
                wrong = torch.from_numpy(np.logical_or.reduce(np.broadcast_arrays(*links.values())))
                where = f" in environments {rows(wrong)}" if len(wrong) > 1 else ""
                raise ValueError(f"with {what}{where}, {complaint(precision, links)}")

    def of(self, factors: Tensor) -> dict[str, Tensor]:
        """Parameters of the environments by name, (N or 1, count[, components]), attached to what they depend on."""
        return self.randomization.scaled(self._given, factors)

    def apply(self, factors: Tensor) -> None:
        """Simulate with the parameters of episodes with these factors from now on."""
        # Tensors of the state are never changed in place, so the same tensor means the same factors.
        learnt = self._learnt or factors.requires_grad
        if learnt or factors is not self._applied:
            self._simulator.parameters.update(self.of(factors))
            self._applied = None if learnt else factors
