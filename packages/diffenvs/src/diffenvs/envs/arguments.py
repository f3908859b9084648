"""What users pass to environments, checked and converted."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from diffenvs.envs.masks import rows


def keywords_of(environment: type) -> list[str]:
    """Return the names of the arguments of an environment beside the task and its fields."""
    parameters = inspect.signature(environment).parameters.values()
    return [p.name for p in parameters if p.name != "task" and p.kind is not p.VAR_KEYWORD]


def check_autoreset(mode: str | AutoresetMode) -> AutoresetMode:
    """Return the mode of a name, or raise ValueError."""
    try:
        return AutoresetMode(mode)
    except ValueError as error:
        known = ", ".join(f"'{mode.value}'" for mode in AutoresetMode)
        raise ValueError(f"`autoreset_mode` must be one of {known}. Got {mode!r}.") from error


def check_render_mode(mode: str | None, known: list[str]) -> str | None:
    """Return a mode among the known ones, or None; or raise ValueError."""
    if mode is not None and mode not in known:
        raise ValueError(f"`render_mode` must be None or one of {', '.join(map(repr, known))}. Got {mode!r}.")
    return mode


def check_actions(actions: Any, like: Tensor, ignored: Tensor) -> Tensor:
    """Return actions as a tensor like `like`, (N, nu), without NaN.

    Parameters
    ----------
    actions
        Tensor of the same dtype and device, or an array of floating numbers.
    like
        Tensor of the wanted shape, dtype and device.
    ignored
        Environments whose action does not matter, (N,) bool.

    Raises
    ------
    TypeError
        If it is neither a tensor nor an array.
    ValueError
        If shape, dtype or device differ, or (on the CPU) an environment's action is NaN.
    """
    expected = f"actions must be (environments={like.shape[0]}, actions={like.shape[1]}) {_name(like.dtype)}"
    if isinstance(actions, np.ndarray):
        if not np.issubdtype(actions.dtype, np.floating) or actions.shape != like.shape:
            raise ValueError(f"{expected}. Got {actions.shape} {actions.dtype}.")
        actions = torch.from_numpy(np.array(actions, dtype=_name(like.dtype), order="C")).to(like.device)
    if not isinstance(actions, Tensor):
        raise TypeError(f"{expected}, a tensor or an array. Got {type(actions).__name__}.")
    if actions.shape != like.shape or actions.dtype != like.dtype:
        raise ValueError(f"{expected}. Got {tuple(actions.shape)} {_name(actions.dtype)}.")
    if actions.device != like.device:
        raise ValueError(f"{expected} on {like.device}. Got them on {actions.device}.")
    if actions.is_cuda or not bool(actions.isnan().any()):
        return actions
    wrong = actions.isnan().any(-1) & ~ignored
    if wrong.any():
        raise ValueError(f"actions must not be NaN. Those of environments {rows(wrong)} are.")
    return drop_nan(actions)[0]


def drop_nan(actions: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the actions of environments with NaN by zero; returns the actions and these environments, (N,) bool."""
    wrong = actions.isnan().any(-1)
    return torch.where(wrong.unsqueeze(-1), 0.0, actions), wrong


def check_reset_mask(options: dict[str, Any] | None, num_envs: int, device: torch.device) -> Tensor | None:
    """Return the ``reset_mask`` of the options of a reset, (N,) bool on the device, or None without one.

    Raises
    ------
    ValueError
        If there are other options, the shape differs, or no environment is selected.
    TypeError
        If it is neither array nor tensor, or not of bool.
    """
    unknown = [f"'{name}'" for name in options or {} if name != "reset_mask"]
    if unknown:
        raise ValueError(f"`options` of reset knows 'reset_mask' only. Got {', '.join(unknown)}.")
    if not options:
        return None
    mask = options["reset_mask"]
    if not isinstance(mask, (np.ndarray, Tensor)):
        raise TypeError(f"`reset_mask` must be an array or tensor of bool. Got {type(mask).__name__}.")
    if mask.dtype not in (np.bool_, torch.bool):
        raise TypeError(f"`reset_mask` must be of bool. Got {_name(mask.dtype)}.")
    if tuple(mask.shape) != (num_envs,):
        raise ValueError(f"`reset_mask` must have shape ({num_envs},). Got {tuple(mask.shape)}.")
    if not mask.any():
        raise ValueError("`reset_mask` must select at least one environment.")
    return (torch.tensor(mask) if isinstance(mask, np.ndarray) else mask).to(device, copy=True)


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
