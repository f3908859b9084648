"""Differentiable articulated-body environments for Gymnasium. Importing this package registers them."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from diffenvs.registration import TASKS, register_task, register_tasks

if TYPE_CHECKING:
    from diffenvs.envs.vector import DiffVectorEnv
    from diffenvs.model import Model
    from diffenvs.simulator import Simulator
    from diffenvs.tasks.base import AbstractTask

__all__ = ["TASKS", "AbstractTask", "DiffVectorEnv", "Model", "Simulator", "register_task"]

__version__ = importlib.metadata.version("diffenvs")

_LAZY = {
    "AbstractTask": "diffenvs.tasks.base",
    "DiffVectorEnv": "diffenvs.envs.vector",
    "Model": "diffenvs.model",
    "Simulator": "diffenvs.simulator",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that registering the ids does not load torch and Warp."""
    if name not in _LAZY:
        raise AttributeError(f"module 'diffenvs' has no attribute '{name}'")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """List what is imported on first use too."""
    return sorted({*globals(), *__all__})


register_tasks()
