"""Files of models and trainings: a zip of one JSON header and one safetensors table. Reading one executes nothing."""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from gymnasium.spaces import Box
from torch import Tensor

from rpo.files import replacing

FORMAT = "rpo-checkpoint"
VERSION = 1
HEADER_NAME = "header.json"
TENSORS_NAME = "tensors.safetensors"


class CheckpointError(ValueError):
    """A file is damaged, or holds something else than what was asked for."""


@contextlib.contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Report what fails in the block, where the content of a file is put to use, as a fault of the file.

    Raises
    ------
    CheckpointError
        If a part is missing, or is not what the block needs.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{path} does not hold what was asked for: {reason}") from error


def write(path: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write header and tensors to a file that is there completely or not at all.

    Parameters
    ----------
    path
        File to write; an existing one is replaced only by a complete one. Its folder is made.
    header
        What JSON can hold.
    tensors
        Tensors by name, of any device and type.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = safetensors.torch.save({name: tensor.detach().cpu().clone() for name, tensor in tensors.items()})
    text = json.dumps({"format": FORMAT, "version": VERSION, **header}, indent=1)
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(HEADER_NAME, text)
        archive.writestr(TENSORS_NAME, payload)


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the header and the tensors (on the CPU) that `write` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is truncated, damaged or of another program.
    """
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise CheckpointError(f"{path} was not written by this package: it is compressed.")
            header = json.loads(archive.read(HEADER_NAME))
            payload = archive.read(TENSORS_NAME)
        tensors = safetensors.torch.load(payload)
    except CheckpointError:
        raise
    except KeyError as error:
        raise CheckpointError(f"{path} was not written by this package: {error.args[0]}.") from error
    except Exception as error:  # zipfile has no error of its own for much of what damage can look like
        raise CheckpointError(f"{path} is truncated or damaged: {error or type(error).__name__}.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by this package: its header is another's.")
    if header.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {header.get('version')} of the format; this package reads {VERSION}."
        )
    return header, tensors


def trained_steps(path: Path) -> int:
    """Return the environment steps that the model in a file was trained for.

    Raises
    ------
    CheckpointError
        If the file is damaged, or of another program.
    """
    header, _ = read(path)
    with content_of(path):
        return header["num_timesteps"]


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under names that start with `prefix/`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix/`, under the rest of their names."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def optimizer_tensors(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the moments and step counts that the state dict of an optimiser has, as `index/name`."""
    state = state_dict["state"]
    return {f"{index}/{name}": tensor for index, values in state.items() for name, tensor in values.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], untouched: bool) -> None:
    """Put copies of what `optimizer_tensors` returned into an optimiser, which keeps its own settings.

    Parameters
    ----------
    optimizer
        An Adam or AdamW of the same parameters.
    tensors
        Its moments and step counts; none of them if it has taken no step yet.
    untouched
        Whether it may have taken no step.

    Raises
    ------
    ValueError
        If a tensor is missing, too many, or of another shape than its parameter.
    """
    parameters = enumerate(optimizer.param_groups[0]["params"])
    expected = {
        f"{index}/{name}": shape
        for index, parameter in parameters
        for name, shape in (("step", torch.Size()), ("exp_avg", parameter.shape), ("exp_avg_sq", parameter.shape))
    }
    if not (untouched and not tensors) and {name: tensor.shape for name, tensor in tensors.items()} != expected:
        raise ValueError("the optimiser's moments do not fit its parameters.")
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = tensor.clone()  # torch would take it, and change it in place
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def space_to_json(space: Box) -> dict[str, Any]:
    """Return a box as plain values."""
    return {"low": space.low.tolist(), "high": space.high.tolist(), "dtype": str(space.dtype)}


def space_from_json(values: Mapping[str, Any]) -> Box:
    """Rebuild a box from `space_to_json`."""
    dtype = np.dtype(values["dtype"])
    low, high = np.array(values["low"], dtype), np.array(values["high"], dtype)
    return Box(low, high, dtype=dtype.type)  # type: ignore[arg-type]  # Gymnasium's annotation lacks scalar types
