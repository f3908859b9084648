"""A device beside the CPU, on any machine: code that only works where all is on one device fails on it.

It takes the place of a GPU. Its tensors say that they are on CUDA, know no tensor of the CPU, and count the operations
for which the host would have had to wait. They are computed on the CPU, so that all numbers must be those of the CPU.
"""

import sys

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from diffenvs import simulator
from diffenvs.engine import Engine
from diffenvs.envs import vector
from rpo import persistence

CPU = torch.device("cpu")
DEVICE = torch.device("meta")
"""PyTorch's own tensors of this name have a shape and no values; here they have values."""
ATEN = torch.ops.aten
COPIES = (ATEN._to_copy.default, ATEN.copy_.default)
WITH_SIZES_OF_VALUES = (ATEN.nonzero.default, ATEN.masked_select.default, ATEN._unique2.default, ATEN.equal.default)
MASKED = (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default)


class SecondTensor(Tensor):
    """A tensor of the second device, with its values in one of the CPU."""

    values: Tensor
    is_meta = False
    is_cuda = True

    @staticmethod
    def __new__(cls, values):
        layout = {"strides": values.stride(), "storage_offset": values.storage_offset(), "dtype": values.dtype}
        tensor = torch.Tensor._make_wrapper_subclass(cls, values.size(), device=DEVICE, **layout)
        tensor.values = values
        return tensor

    def tolist(self):
        return self.cpu().tolist()

    def __repr__(self, **_):
        return f"SecondTensor({self.values})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError(f"{function} on the second device outside of its context.")


def to_cpu(tree):
    """Return the same with the values of tensors of the second device."""
    return tree_map(lambda leaf: leaf.values if isinstance(leaf, SecondTensor) else leaf, tree)


def to_second(tree):
    """Return the same with tensors of the second device."""
    return tree_map(lambda leaf: SecondTensor(leaf) if isinstance(leaf, Tensor) else leaf, tree)


class SecondDevice(TorchDispatchMode):
    """In its context tensors of the second device are computed with, but with none of the CPU.

    As on a GPU, a number of the CPU, a tensor without axes, is no obstacle unless it is to be changed.

    Attributes
    ----------
    waits
        Operations for whose result the host of a GPU would have had to wait, in their order.
    """

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        second = [tensor for tensor in tensors if isinstance(tensor, SecondTensor)]
        first = [tensor for tensor in tensors if not isinstance(tensor, SecondTensor)]
        changed = [id(value) for value, part in zip(args, function._schema.arguments, strict=False) if part.is_write]
        if second and function not in COPIES and any(tensor.ndim or id(tensor) in changed for tensor in first):
            raise RuntimeError(f"{function} of tensors on the CPU and on the second device.")
        if function is ATEN.copy_.default:
            result_is_second = isinstance(args[0], SecondTensor)
        else:
            result_is_second = bool(second) if device is None else device == DEVICE
        if self._waits(function, args, first, second, result_is_second):
            self.waits.append(str(function))
        result = function(*to_cpu(args), **to_cpu(kwargs) | ({} if device is None else {"device": CPU}))
        if not result_is_second or not any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            return result
        result = to_second(result)
        return return_and_correct_aliasing(function, args, kwargs, result) if second else result

    @staticmethod
    def _waits(function, args, first, second, result_is_second):
        if function is ATEN._to_copy.default:
            return bool(second) != result_is_second
        if function is ATEN.copy_.default:
            return first and second
        if function in MASKED:
            return second and any(index is not None and index.dtype == torch.bool for index in args[1])
        return second and (function is ATEN._local_scalar_dense.default or function in WITH_SIZES_OF_VALUES)


class SecondConstructors(TorchFunctionMode):
    """In its context values become tensors of the second device by way of the CPU: PyTorch would leave them out."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (torch.tensor, torch.as_tensor) and kwargs.get("device") == DEVICE:
            return function(*args, **kwargs | {"device": CPU}).to(DEVICE)
        return function(*args, **kwargs)


class EngineOfBoth:
    """An engine that takes and gives tensors of its device, and simulates on the CPU."""

    def __init__(self, structure, num_envs, device, *args, **kwargs):
        self._from_cpu = to_second if device == DEVICE else lambda tree: tree
        self._engine = Engine(structure, num_envs, CPU, *args, **kwargs)

    def forward(self, *args):
        return self._from_cpu(self._engine.forward(*to_cpu(args)))

    def backward(self, *args, parameter_gradients):
        return self._from_cpu(self._engine.backward(*to_cpu(args), parameter_gradients=parameter_gradients))

    def link_poses(self, q):
        return self._from_cpu(self._engine.link_poses(to_cpu(q)))


class GeneratorOfBoth(torch.Generator):
    """A random generator for both devices."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")


@pytest.fixture
def second_device(monkeypatch):
    """The device's context, in which PyTorch, diffenvs and rpo take it for a whole one."""
    for module, name in ((simulator, "check_device"), (vector, "check_device"), (persistence, "resolve_device")):
        known = getattr(module, name)
        monkeypatch.setattr(module, name, lambda device, known=known: DEVICE if device == DEVICE else known(device))
    monkeypatch.setattr(simulator, "Engine", EngineOfBoth)
    monkeypatch.setattr(torch, "Generator", GeneratorOfBoth)
    # Parameters stay the same objects when their module moves, as they do between the CPU and a GPU.
    monkeypatch.setattr(torch.__future__, "_swap_module_params_on_conversion", True)
    # PyTorch's fused optimisers know the devices that they are written for.
    monkeypatch.setattr(sys.modules["torch.optim.adam"], "_device_dtype_check_for_fused", lambda *_, **__: None)
    with SecondConstructors(), SecondDevice() as device:
        yield device
