"""Checks of numbers and devices that users pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from diffenvs.fields import converted

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def check_count(name: str, value: Any) -> int:
    """Return a positive integer that int64 holds, or raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"`{name}` must be a positive integer. Got {value!r}.")
    if value >= 2**63:
        raise ValueError(f"`{name}` must be below 2**63. Got {value!r}.")
    return int(value)


def check_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """Return the dtype of a name, or raise ValueError."""
    for name, known in DTYPES.items():
        if dtype in (name, known):
            return known
    raise ValueError(f"`dtype` must be 'float32' or 'float64'. Got {dtype!r}.")


def check_device(device: str | torch.device) -> torch.device:
    """Return the device, an index included, or raise.

    Raises
    ------
    ValueError
        If it is neither the CPU nor a CUDA device, or one that this machine does not have.
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"`device` must be 'cpu', 'cuda' or 'cuda:<index>'. Got {device!r}.") from error
    if found.type not in ("cpu", "cuda"):
        raise ValueError(f"`device` must be 'cpu', 'cuda' or 'cuda:<index>'. Got {device!r}.")
    if found.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if (found.index or 0) >= count:
        raise ValueError(f"`device` is {device!r}, and this machine has {count} usable CUDA devices.")
    return torch.device("cuda", torch.cuda.current_device() if found.index is None else found.index)


def check_tensor(what: str, value: Any, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """Raise TypeError for what is no tensor, ValueError for a wrong shape, dtype or device; both begin with `what`."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{what} must be a tensor. Got {type(value).__name__}.")
    if (value.shape, value.dtype, value.device) != (shape, dtype, device):
        raise ValueError(
            f"{what} must be {shape} {dtype} on {device}. Got {tuple(value.shape)} {value.dtype} on {value.device}."
        )


def check_number(where: str, value: Any) -> float:
    """Return a finite number as a float, or raise TypeError or ValueError, which begin with `where`."""
    number = converted(where, value, float)
    if not math.isfinite(number):
        raise ValueError(f"{where} must be finite. Got {value!r}.")
    return number
