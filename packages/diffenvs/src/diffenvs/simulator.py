"""The simulator: a model and a number of environments, advanced by one control step at a time."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import torch
import warp as wp
from torch import Tensor

from diffenvs.autograd import ControlStep
from diffenvs.checks import check_count, check_device, check_dtype
from diffenvs.kernel_arguments import Scratch, Structure, as_warp, make_constants, make_tree
from diffenvs.kernels.arguments import Tree, arguments
from diffenvs.kernels.control_step import control_step
from diffenvs.model import Model
from diffenvs.parameters import ARRAYS, check_parameters, default_parameters, pack
from diffenvs.spatial import algebra

REAL: Final = {torch.float32: wp.float32, torch.float64: wp.float64}
CUDA_BLOCK: Final = 32
"""Threads of a CUDA block; one thread simulates one environment."""
INPUTS: Final = ("q", "qd", "action")


class Simulator:
    """Advances `num_envs` copies of a model, and the derivatives of their motion.

    On the CPU the environments are divided among threads, on a GPU each has its own; the results of one environment
    do not depend on the others, their number or the division.

    Parameters
    ----------
    model
        The robot and the physics options.
    num_envs
        Number of environments N.
    device
        Where tensors live and the kernels run.
    dtype
        ``torch.float32`` or ``torch.float64``, or their names "float32" and "float64".
    num_threads
        CPU threads; PyTorch's number by default.

    Raises
    ------
    ValueError
        If an argument is out of range, or a GPU is asked for where there is none.
    """

    def __init__(
        self,
        model: Model,
        num_envs: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str = torch.float32,
        num_threads: int | None = None,
    ) -> None:
        self.model = model
        self.num_envs = check_count("num_envs", num_envs)
        self.device = check_device(device)
        self.dtype = check_dtype(dtype)
        self._num_threads = torch.get_num_threads() if num_threads is None else check_count("num_threads", num_threads)
        self.parameters: dict[str, Tensor] = {
            name: torch.as_tensor(value, dtype=self.dtype, device=self.device).unsqueeze(0)
            for name, value in default_parameters(model).items()
        }
        """Parameters of the model by name, (1, count[, components]): see :func:`default_parameters`."""
        self._defaults = dict(self.parameters)
        self._packed: dict[str, Tensor] = {}
        self._packed_stamp: list[tuple[int, int]] | None = None
        self._packed_from: list[Tensor] = []
        """The parameters that were packed, held so that their identity stays theirs."""
        self._structure = Structure.of(model)
        threads = min(self._num_threads, self.num_envs)
        self._engine = Engine(self._structure, self.num_envs, self.device, self.dtype, threads)

    def __getstate__(self) -> dict[str, Any]:
        """Keep what makes an equal simulator, not recorded launches, the identities of tensors, and graphs."""
        names = ("model", "num_envs", "device", "dtype")
        arguments = {"num_threads": self._num_threads, **{name: getattr(self, name) for name in names}}
        parameters = {name: value.detach() for name, value in self.parameters.items()}
        return {"arguments": arguments, "parameters": parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Simulator.__init__(self, **state["arguments"])
        self.parameters = state["parameters"]

    def step(
        self, q: Tensor, qd: Tensor, action: Tensor, parameters: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Advance all environments by one control step.

        Differentiable once with respect to the state, the action and the parameters. The derivative is exact, through
        contact and the mass matrix. An environment whose next state is not finite gets zero gradients.

        Parameters
        ----------
        q
            Coordinates, (N, nq).
        qd
            Velocities, (N, nv).
        action
            Control of the actuators, clipped to [-1, 1], (N, nu).
        parameters
            Parameters that differ from the model's, by name, (N or 1, count[, components]).

        Returns
        -------
        q, qd
            The next state, in new tensors.

        Raises
        ------
        ValueError
            If a tensor has the wrong shape, dtype or device, or a parameter is unknown.
        """
        packed = self._arguments(q, qd, action, parameters)
        return ControlStep.apply(self._engine, q, qd, action, *packed)

    def trace(self, q: Tensor, qd: Tensor, action: Tensor, parameters: Mapping[str, Tensor] | None = None) -> Trace:
        """Advance all environments by one control step and return what happened in each substep.

        Parameters and errors are those of :meth:`step`; nothing is differentiated.
        """
        packed = self._arguments(q, qd, action, parameters)
        engine = Engine(self._structure, self.num_envs, self.device, self.dtype, threads=1, lanes=self.num_envs)
        engine.forward(q.detach(), qd.detach(), action.detach(), [value.detach() for value in packed])
        return Trace.of(self._structure, engine.scratch[0].values)

    def _arguments(
        self, q: Tensor, qd: Tensor, action: Tensor, parameters: Mapping[str, Tensor] | None
    ) -> list[Tensor]:
        """Check the arguments of a step and pack its parameters."""
        self._check("q", q, self.model.nq)
        self._check("qd", qd, self.model.nv)
        self._check("action", action, self.model.nu)
        if parameters is not None:
            check_parameters(parameters, self.parameters, self.num_envs)
        packed = pack({**self.parameters, **parameters}) if parameters is not None else self._own_packed()
        return [packed[name] for name in ARRAYS]

    def _own_packed(self) -> dict[str, Tensor]:
        """Return the packed `parameters`, made anew if one of them was replaced, changed in place or is learnt."""
        stamp = _stamp(self.parameters.values())
        learnt = any(value.requires_grad for value in self.parameters.values())
        if learnt or stamp is None or stamp != self._packed_stamp:
            check_parameters(self.parameters, self._defaults, self.num_envs)
            with torch.inference_mode(False):
                self._packed, self._packed_stamp = pack(self.parameters), stamp
            self._packed_from = list(self.parameters.values())
        return self._packed

    def _check(self, name: str, value: Tensor, width: int) -> None:
        expected = (self.num_envs, width)
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor. Got {type(value).__name__}.")
        if tuple(value.shape) != expected or value.dtype != self.dtype or value.device != self.device:
            raise ValueError(
                f"{name} must be {expected} {self.dtype} on {self.device}. "
                f"Got {tuple(value.shape)} {value.dtype} on {value.device}."
            )


@dataclass(frozen=True)
class Trace:
    """Intermediate results of a control step, (N, substeps, ...); spatial vectors as in :mod:`diffenvs.spatial`."""

    q: Tensor
    """Coordinates before each substep and after the last, (N, substeps + 1, nq)."""
    qd: Tensor
    """Velocities before each substep and after the last, (N, substeps + 1, nv)."""
    link_pose: Tensor
    """Position [m] and quaternion (x, y, z, w), (N, substeps, links, 7)."""
    link_velocity: Tensor
    """Spatial velocity, (N, substeps, links, 6)."""
    link_bias: Tensor
    """Spatial acceleration at zero joint acceleration, without gravity, (N, substeps, links, 6)."""
    subtree_force: Tensor
    """Spatial force that a link and its descendants need, contact taken off, (N, substeps, links, 6)."""
    tau: Tensor
    """Generalised force left to accelerate the robot, (N, substeps, nv)."""
    qdd: Tensor
    """Generalised acceleration, (N, substeps, nv)."""
    motion_subspace: Tensor
    """Columns of the Jacobian at the start of each block of substeps, (N, blocks, nv, 6)."""
    mass_matrix: Tensor
    """With armature, at the start of each block of substeps, (N, blocks, nv, nv)."""

    @classmethod
    def of(cls, structure: Structure, values: Mapping[str, Tensor]) -> Trace:
        """Read the fields of the kernel's scratch."""
        model = structure.model
        rows, columns = torch.tensor(structure.entries, device=values["H"].device).unbind(-1)
        mass_matrix = values["H"].new_zeros(*values["H"].shape[:2], model.nv, model.nv)
        mass_matrix[..., rows, columns] = values["H"]
        mass_matrix[..., columns, rows] = values["H"]
        return cls(
            q=values["q"],
            qd=values["qd"],
            link_pose=values["pose"][:, :, 1:],
            link_velocity=values["velocity"][:, :, 1:],
            link_bias=values["bias"][:, :, 1:],
            subtree_force=values["force"][:, :, 1:],
            tau=values["tau"],
            qdd=values["qdd"][..., : model.nv],
            motion_subspace=values["subspace"][:, :: model.mass_matrix_interval],
            mass_matrix=mass_matrix,
        )


class Engine:
    """Fixed buffers and recorded launches: what is copied in is advanced and copied out."""

    def __init__(
        self,
        structure: Structure,
        num_envs: int,
        device: torch.device,
        dtype: torch.dtype,
        threads: int,
        lanes: int | None = None,
    ) -> None:
        model, real = structure.model, REAL[dtype]
        types = algebra(real)
        self.num_envs = num_envs
        self._device = device
        self._kinds = dict(
            zip(ARRAYS, (types.vec10, types.vec8, types.vec4, real, types.vec3), strict=True),
            **dict.fromkeys((*INPUTS, "q_out", "qd_out"), real),
        )
        shapes: dict[str, tuple[int, ...]] = {
            "body": (len(model.links), 10),
            "joint": (model.nv, 8),
            "material": (sum(len(link.shapes) for link in model.links), 4),
            "gear": (model.nu,),
            "gravity": (3,),
            "q": (model.nq,),
            "qd": (model.nv,),
            "action": (model.nu,),
            "q_out": (model.nq,),
            "qd_out": (model.nv,),
        }
        self.values = {k: torch.zeros(num_envs, *shape, dtype=dtype, device=device) for k, shape in shapes.items()}
        self.gradients = {k: torch.zeros_like(value) for k, value in self.values.items()}
        self._loaded: list[tuple[int, int]] | None = None
        self._held: list[Tensor] = []
        """The loaded parameters, held so that their identity stays theirs."""

        with _quiet():
            wp.init()
        warp_device = wp.device_from_torch(device)
        self._kernel = control_step(real).kernel
        self._tree = make_tree(structure, warp_device)
        self._constants = make_constants(structure, real, warp_device)
        self._adjoint_structs = (Tree(), arguments(real).Constants(), arguments(real).Scratch())
        parts = 1 if device.type == "cuda" else threads
        edges = [round(i * num_envs / parts) for i in range(parts + 1)]
        self._shards = [slice(start, stop) for start, stop in itertools.pairwise(edges)]
        # A CPU launch runs its environments one after the other, so that they can share one lane, which stays in cache.
        per_shard = [lanes or (1 if device.type == "cpu" else shard.stop - shard.start) for shard in self._shards]
        self.scratch = [Scratch(structure, count, dtype, device, real) for count in per_shard]
        self._launches: dict[tuple[bool, bool], list[Any]] = {}

    def forward(self, q: Tensor, qd: Tensor, action: Tensor, parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Run the kernel on these values, (N, count) each, and return the next state."""
        self._load(q, qd, action, parameters)
        self._run(adjoint=False, parameter_gradients=False)
        return self.values["q_out"].clone(), self.values["qd_out"].clone()

    def backward(
        self,
        q: Tensor,
        qd: Tensor,
        action: Tensor,
        parameters: list[Tensor],
        grad_q: Tensor,
        grad_qd: Tensor,
        *,
        parameter_gradients: bool,
    ) -> list[Tensor | None]:
        """Gradients of the state, the action and, if asked for, the parameters, (N, count[, components]) each."""
        self._load(q, qd, action, parameters)
        wanted = (*INPUTS, *ARRAYS) if parameter_gradients else INPUTS
        for name in wanted:
            self.gradients[name].zero_()
        self.gradients["q_out"].copy_(grad_q)
        self.gradients["qd_out"].copy_(grad_qd)
        self._run(adjoint=True, parameter_gradients=parameter_gradients)
        return [self.gradients[name].clone() if name in wanted else None for name in (*INPUTS, *ARRAYS)]

    def _load(self, q: Tensor, qd: Tensor, action: Tensor, parameters: list[Tensor]) -> None:
        for name, value in zip(INPUTS, (q, qd, action), strict=True):
            self.values[name].copy_(value)
        # While a CUDA graph is captured the copies must become part of it, and nothing is copied yet.
        capturing = self._device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        stamp = None if capturing else _stamp(parameters)
        if stamp is not None and stamp == self._loaded:
            return
        for name, value in zip(ARRAYS, parameters, strict=True):
            self.values[name].copy_(value.view(value.shape[0], *self.values[name].shape[1:]))
        self._loaded, self._held = stamp, parameters

    def _run(self, *, adjoint: bool, parameter_gradients: bool) -> None:
        key = (adjoint, parameter_gradients)
        if key not in self._launches:
            pairs = zip(self._shards, self.scratch, strict=True)
            with _quiet():  # the first launch on a machine compiles the kernel
                self._launches[key] = [self._record(shard, scratch, *key) for shard, scratch in pairs]
        launches = self._launches[key]
        if self._device.type == "cuda":
            launches[0].launch(stream=wp.stream_from_torch(torch.cuda.current_stream(self._device)))
            return
        # The calling thread takes the first part, the pool the others.
        pending = [_pool(len(launches)).submit(launch.launch) for launch in launches[1:]]
        launches[0].launch()
        for future in pending:
            future.result()

    def _record(self, shard: slice, scratch: Scratch, adjoint: bool, parameter_gradients: bool) -> Any:
        def array(name: str) -> Any:
            kind, gradient = self._kinds[name], None
            if adjoint and (parameter_gradients or name not in ARRAYS):
                gradient = as_warp(self.gradients[name][shard], kind)
            return as_warp(self.values[name][shard], kind, gradient)

        parameters = [array(name) for name in ARRAYS]
        inputs = [self._tree, self._constants, *parameters, *map(array, INPUTS), scratch.argument]
        tree, constants, scratch_struct = self._adjoint_structs
        return wp.launch(
            self._kernel,
            dim=shard.stop - shard.start,
            inputs=inputs,
            outputs=[array("q_out"), array("qd_out")],
            adj_inputs=[tree, constants, *[None] * (len(ARRAYS) + len(INPUTS)), scratch_struct] if adjoint else [],
            adj_outputs=[None, None] if adjoint else [],
            device=wp.device_from_torch(self._device),
            adjoint=adjoint,
            record_cmd=True,
            block_dim=CUDA_BLOCK if self._device.type == "cuda" else None,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Warp from printing its banner and the names of generated modules."""
    level, wp.config.log_level = wp.config.log_level, max(wp.config.log_level, wp.LOG_WARNING)
    try:
        yield
    finally:
        wp.config.log_level = level


def _stamp(values: Iterable[Tensor]) -> list[tuple[int, int]] | None:
    """Tell tensors and their contents apart from others, as long as they are held; None if that cannot be done."""
    values = list(values)
    if any(value.is_inference() for value in values):
        return None
    return [(id(value), value._version) for value in values]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="diffenvs")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_pool.cache_clear)
