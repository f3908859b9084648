"""The tunable numbers of a model: names for users, packed arrays for the kernel.

A parameter may differ from environment to environment and carries gradients like a state or an action.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from diffenvs.kernels.arguments import ARRAYS
from diffenvs.model import Model


def default_parameters(model: Model) -> dict[str, np.ndarray]:
    """Parameters of the model by name.

    Returns
    -------
    dict of numpy.ndarray
        ``mass`` (links,); ``com`` (links, 3); ``inertia`` (links, 6); ``stiffness``, ``rest``, ``damping``,
        ``armature``, ``limit_stiffness``, ``limit_damping``, ``lower``, ``upper`` (nv,), which for free joints are zero
        or infinite; ``contact_stiffness``, ``contact_damping``, ``tangential_damping``, ``friction`` (shapes,);
        ``gear`` (nu,); ``gravity`` (3,). Meaning and units are those of the fields in :mod:`diffenvs.model`; the units
        are listed in :data:`diffenvs.parameter_table.PARAMETERS`.
    """
    links = model.links
    joints = [link.joint for link in links for _ in range(link.joint.type.nv)]
    materials = [shape.material for link in links for shape in link.shapes]
    values = {
        "mass": [link.mass for link in links],
        "com": [link.com for link in links],
        "inertia": [link.inertia for link in links],
        "contact_stiffness": [material.stiffness for material in materials],
        "contact_damping": [material.damping for material in materials],
        "tangential_damping": [material.tangential_damping for material in materials],
        "friction": [material.friction for material in materials],
        "gear": [actuator.gear for actuator in model.actuators],
        "gravity": model.gravity,
    }
    for name in ARRAYS["joint"]:
        values[name] = [getattr(joint, name) for joint in joints]
    return {name: np.array(value, dtype=np.float64) for name, value in values.items()}


def pack(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join named parameters, (N or 1, count[, components]) each, to the kernel's arrays (N or 1, count, components)."""
    arrays = {}
    for array, components in ARRAYS.items():
        parts = [_columns(parameters[name], width) for name, width in components.items()]
        rows = max(part.shape[0] for part in parts)
        arrays[array] = torch.cat([part.expand(rows, -1, -1) for part in parts], dim=-1)
    return arrays


def _columns(value: Tensor, width: int) -> Tensor:
    if value.ndim == 2 and width > 1:  # one vector an environment
        return value.unsqueeze(1)
    return value.reshape(*value.shape[:2], width)


def check_parameters(parameters: Mapping[str, Tensor], defaults: Mapping[str, Tensor], num_envs: int) -> None:
    """Raise ValueError for an unknown name, a wrong shape, dtype or device, TypeError for what is no tensor."""
    for name, value in parameters.items():
        if name not in defaults:
            raise ValueError(f"there is no parameter '{name}'. There are {', '.join(defaults)}.")
        if not isinstance(value, Tensor):
            raise TypeError(f"parameter '{name}' must be a torch.Tensor. Got {type(value).__name__}.")
        default = defaults[name]
        shapes = [(rows, *default.shape[1:]) for rows in dict.fromkeys((num_envs, 1))]
        if tuple(value.shape) not in shapes or value.dtype != default.dtype or value.device != default.device:
            raise ValueError(
                f"parameter '{name}' must be {' or '.join(map(str, shapes))} {default.dtype} on {default.device}. "
                f"Got {tuple(value.shape)} {value.dtype} on {value.device}."
            )
