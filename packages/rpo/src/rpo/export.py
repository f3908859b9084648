"""Policies as files for other programs: ONNX for runtimes without Python, PT2 for PyTorch without this package."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rpo.files import replacing

INPUT = "observation"
OUTPUT = "action"


class DeterministicPolicy(nn.Module):
    """Raw observations, (N, obs), to the most likely actions, (N, act): normaliser, actor and squashing in one.

    Parameters
    ----------
    normalizer
        From raw to normalised observations.
    actor
        From normalised observations to a distribution with a `mode`.
    """

    def __init__(self, normalizer: nn.Module, actor: nn.Module) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.actor = actor

    def forward(self, observation: Tensor) -> Tensor:
        """Return actions in [-1, 1]."""
        return self.actor(self.normalizer(observation)).mode()


def export(module: nn.Module, example: Tensor, path: str | Path) -> None:
    """Write a module of one batch of observations, of any size, to a file of the kind that its name ends in.

    Parameters
    ----------
    module
        From observations, (N, obs), to actions, (N, act); exported as a copy on the CPU.
    example
        Observations, (N, obs) with N >= 2, of the type that the file shall take.
    path
        File to write: `.onnx`, with input "observation" and output "action", or `.pt2` for `torch.export.load`.

    Raises
    ------
    ValueError
        If the name ends in something else.
    ImportError
        If the packages of `rpo-rl[onnx]` are needed and not installed.
    """
    path = Path(path)
    if path.suffix not in WRITERS:
        raise ValueError(f"path must end in {' or '.join(WRITERS)}. Got {path.name!r}.")
    module = copy.deepcopy(module).cpu().requires_grad_(False).eval()
    with replacing(path) as temporary:
        WRITERS[path.suffix](module, example.cpu(), temporary)


def _write_onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    try:
        import onnxscript  # noqa: F401  # torch's exporter imports it
    except ImportError as error:
        raise ImportError("Export to ONNX needs onnx and onnxscript: pip install rpo-rl[onnx].") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch 2.13 warns of its own code
        torch.onnx.export(
            module,
            (example,),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=_any_batch(),
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def _write_pt2(module: nn.Module, example: Tensor, path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(torch.export.export(module, (example,), dynamic_shapes=_any_batch()), file)


def _any_batch() -> dict[str, Any]:
    return {INPUT: {0: torch.export.Dim("batch")}}


WRITERS: dict[str, Callable[[nn.Module, Tensor, Path], None]] = {".onnx": _write_onnx, ".pt2": _write_pt2}
