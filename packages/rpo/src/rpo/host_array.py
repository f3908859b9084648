"""What callbacks see of a step, without a wait for it where they do not look."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch


class HostArray(np.lib.mixins.NDArrayOperatorsMixin):
    """A tensor that is a NumPy array to those who use it, and is copied from its device when they first do.

    On CUDA a copy makes the host wait for all that the device has to do before.

    Examples
    --------
    >>> ended = HostArray(torch.tensor([True, False, True]))
    >>> np.sum(ended).item(), len(ended), bool(ended[0]), (~ended).tolist()
    (2, 3, True, [False, True, False])
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor.detach()

    @functools.cached_property
    def array(self) -> np.ndarray:
        """The values."""
        return self._tensor.cpu().numpy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype) if copy else np.asarray(self.array, dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        values = (value.array if isinstance(value, HostArray) else value for value in inputs)
        return getattr(ufunc, method)(*values, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what copying and pickling ask of an object that has nothing yet
            raise AttributeError(name)
        return getattr(self.array, name)

    def __getitem__(self, index: Any) -> Any:
        return self.array[index]

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array)

    def __repr__(self) -> str:
        return repr(self.array)
