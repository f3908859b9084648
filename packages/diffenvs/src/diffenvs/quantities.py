"""Numbers that make up a model, and their checks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""(x, y, z, w)"""

UNIT_TOLERANCE = 1e-3
"""Largest accepted deviation of the norm of a direction or quaternion from one; a model's are then normalised."""
INERTIA_TOLERANCE = 1e-6
"""Of principal moments of inertia, relative to the largest one, for rounding to float32."""
STANDARD_GRAVITY = 9.81
"""[m/s^2]"""


def set_field(instance: object, name: str, value: object) -> None:
    """Give a field of a frozen dataclass its value."""
    object.__setattr__(instance, name, value)


def require_non_negative(what: str, value: float) -> None:
    """Raise ValueError, naming `what`, for a number that is negative or not finite."""
    if not (math.isfinite(value) and value >= 0.0):
        raise ValueError(f"{what} must be finite and not negative. Got {value!r}.")


def require_positive(what: str, value: float) -> None:
    """Raise ValueError, naming `what`, for a number that is not positive or not finite."""
    if not (math.isfinite(value) and value > 0.0):
        raise ValueError(f"{what} must be finite and positive. Got {value!r}.")


def as_vector(what: str, value: Sequence[float] | np.ndarray, length: int) -> tuple:
    """Return `length` finite numbers as a tuple, or raise ValueError, naming `what`."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # ragged, or not on this machine's CPU
        array = np.empty(())
    if array.shape != (length,) or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise ValueError(f"{what} must be {length} finite numbers. Got {value!r}.")
    return tuple(array.astype(np.float64).tolist())


def as_unit(what: str, value: Sequence[float], length: int) -> tuple:
    """Return a vector normalised, or raise ValueError, naming `what`, if its norm is far from one."""
    vector = np.array(as_vector(what, value, length))
    norm = float(np.linalg.norm(vector))
    if abs(norm - 1.0) > UNIT_TOLERANCE:
        raise ValueError(f"{what} must have norm 1 to within {UNIT_TOLERANCE}. Got {value!r} with norm {norm:.6g}.")
    return tuple((vector / norm).tolist())


def exceeds_the_others(smallest: Any, middle: Any, largest: Any) -> Any:
    """Whether the largest principal moment of inertia exceeds the sum of the others, which that of no body does.

    For numbers, or tensors of one shape.
    """
    return largest > smallest + middle + INERTIA_TOLERANCE * largest
