"""Policies as files for other programs: ONNX for runtimes without Python, PT2 for PyTorch without this package."""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from rpo.files import replacing
from rpo.normalization import RunningMeanStd


class ExportablePolicy(ABC):
    """A policy that can be written to a file for other programs."""

    normalizer: RunningMeanStd

    @abstractmethod
    def deterministic_layers(self) -> nn.Sequential:
        """Return what leads from raw observations, (N, obs), to the most likely actions in [-1, 1], (N, act)."""

    def export(self, path: str | Path) -> None:
        """Write the deterministic action of raw observations, float32 (N, obs) with any N, for other programs.

        Parameters
        ----------
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
        layers = copy.deepcopy(self.deterministic_layers()).cpu().requires_grad_(False).eval()
        example = torch.zeros(2, len(self.normalizer.shift))  # a batch of one would be taken for the only size there is
        with replacing(path) as temporary:
            WRITERS[path.suffix](layers, example, temporary)


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
            input_names=["observation"],
            output_names=["action"],
            dynamic_shapes=ANY_BATCH,
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def _write_pt2(module: nn.Module, example: Tensor, path: Path) -> None:
    with path.open("wb") as file:
        torch.export.save(torch.export.export(module, (example,), dynamic_shapes=ANY_BATCH), file)


ANY_BATCH = ({0: torch.export.Dim("batch")},)
WRITERS: dict[str, Callable[[nn.Module, Tensor, Path], None]] = {".onnx": _write_onnx, ".pt2": _write_pt2}
