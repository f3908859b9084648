"""Checks of numbers that users pass: counts and seeds."""

from typing import Any

import numpy as np

SEEDS = 2**32
"""Seeds there are, from 0: NumPy's global generator, which Stable-Baselines3 seeds, takes no others."""


def is_integer(value: Any, minimum: int) -> bool:
    """Say whether a value is an integer, Python's or NumPy's, of at least `minimum`."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= minimum)


def checked_count(name: str, value: Any) -> int:
    """Return an argument that is an integer of at least 1, as Python's.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not is_integer(value, minimum=1):
        raise ValueError(f"{name} must be an integer >= 1. Got {value!r}.")
    return int(value)


def checked_seed(name: str, value: Any) -> int:
    """Return an argument that is a seed, as Python's integer.

    Raises
    ------
    ValueError
        If it is no integer in [0, 2**32).
    """
    if not (is_integer(value, minimum=0) and value < SEEDS):
        raise ValueError(f"{name} must be an integer in [0, 2**32). Got {value!r}.")
    return int(value)
