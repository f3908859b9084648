"""Parameters that differ from environment to environment and from episode to episode.

At every reset each environment draws one factor for each parameter, uniformly from the parameter's range, which
multiplies all its entries: ``randomize={"friction": (0.5, 1.0)}`` means between half and all of the friction that the
environment would have without it. What a factor of which parameter multiplies is in
:data:`diffenvs.parameter_table.PARAMETERS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any, Final, Self

import torch
from torch import Tensor

from diffenvs.checks import check_number
from diffenvs.parameter_table import PARAMETERS
from diffenvs.random import EnvRandom, splitmix64

FACTORS: Final = tuple(name for name, meaning in PARAMETERS.items() if not meaning.not_scaled_because)
"""Names of the columns of factors."""
Range = tuple[float, float]


class Randomization:
    """Ranges of factors, and their use.

    Parameters
    ----------
    ranges
        Lowest and highest factor by name of the parameter; without any nothing is drawn.
    device, dtype
        Of the factors.
    """

    def __init__(self, ranges: Mapping[str, Range], *, device: torch.device, dtype: torch.dtype) -> None:
        self.ranges = dict(ranges)
        bounds = [ranges.get(name, (1.0, 1.0)) for name in FACTORS]
        self._low, self._high = torch.tensor(bounds, dtype=torch.float64, device=device).unbind(-1)
        self._dtype = dtype

    @classmethod
    def of(cls, randomize: Any, parameters: Mapping[str, Tensor]) -> Self:
        """Check what a user wants randomised of a model with these parameters (1, count[, components]).

        Raises
        ------
        TypeError, ValueError
            If `randomize` is no mapping of names to two numbers; if a parameter is unknown, is not one that a factor
            can scale, or is zero throughout the model; if a range is reversed, negative or not finite, or reaches
            zero for masses or inertias.
        """
        ranges = _ranges({} if randomize is None else randomize)
        for name in ranges:
            if not parameters[name].any():
                raise ValueError(f"`randomize` of '{name}' has nothing to scale: it is zero throughout this model.")
        gravity = parameters["gravity"]
        return cls(ranges, device=gravity.device, dtype=gravity.dtype)

    def draw(self, stream: Tensor, env: Tensor, episode: Tensor) -> Tensor:
        """Draw the factors of episodes, (N, factors), or (N, 0) if nothing is randomised.

        They come from a stream of their own, in which each parameter has its place, so that randomising one changes
        neither the factors of the others nor the states in which episodes begin.
        """
        if not self.ranges:
            return torch.zeros(len(env), 0, dtype=self._dtype, device=env.device)
        random = EnvRandom(splitmix64(stream), env, episode, self._dtype)
        return random.uniform(len(FACTORS), self._low, self._high)

    def extremes(self, names: Collection[str]) -> Tensor:
        """All combinations of the lowest and highest factors of these parameters, (K, factors); (1, 0) of nothing."""
        if not self.ranges:
            return torch.zeros(1, 0, dtype=self._dtype, device=self._low.device)
        ends = zip(FACTORS, self._low.tolist(), self._high.tolist(), strict=True)
        each = [sorted({low, high}) if name in names else [high] for name, low, high in ends]
        return torch.tensor(list(itertools.product(*each)), dtype=self._dtype, device=self._low.device)

    def scaled(self, parameters: Mapping[str, Tensor], factors: Tensor) -> dict[str, Tensor]:
        """Multiply parameters (N or 1, count[, components]) by the factors of their environments."""
        scaled = dict(parameters)
        if not self.ranges:
            return scaled
        for name, factor in zip(FACTORS, factors.unbind(-1), strict=True):
            for target in (name, *PARAMETERS[name].scales):
                scaled[target] = scaled[target] * factor.view(-1, *[1] * (scaled[target].ndim - 1))
        return scaled


def _ranges(randomize: Any) -> dict[str, Range]:
    """Ranges in the order of the table."""
    if not isinstance(randomize, Mapping):
        raise TypeError(f"`randomize` must be a dictionary of parameters and their ranges. Got {randomize!r}.")
    for name in randomize:
        if name not in PARAMETERS:
            raise ValueError(f"`randomize` has no parameter {name!r}. There are {', '.join(FACTORS)}.")
        if name not in FACTORS:
            raise ValueError(f"`randomize` cannot scale '{name}': {PARAMETERS[name].not_scaled_because}.")
    return {name: _range(name, randomize[name]) for name in FACTORS if name in randomize}


def _range(name: str, given: Any) -> Range:
    where = f"`randomize` of '{name}'"
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise TypeError(f"{where} must be the lowest and the highest factor. Got {given!r}.")
    low, high = (check_number(where, factor) for factor in given)
    if low > high:
        raise ValueError(f"{where} must be the lowest and the highest factor in this order. Got {given!r}.")
    if low < 0.0 or (low == 0.0 and PARAMETERS[name].positive):
        limit = "positive" if PARAMETERS[name].positive else "not negative"
        raise ValueError(f"{where} must be {limit}. Got {given!r}.")
    return low, high
