"""The kernel on fixed buffers: values are copied in, recorded launches run it or its adjoint, results copied out."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Final

import torch
import warp as wp
from torch import Tensor

from diffenvs.kernel_arguments import Scratch, Structure, as_warp, make_constants, make_tree
from diffenvs.kernels.arguments import Tree, arguments
from diffenvs.kernels.control_step import control_step
from diffenvs.kernels.kinematics import link_poses
from diffenvs.parameters import ARRAYS
from diffenvs.spatial import algebra

REAL: Final = {torch.float32: wp.float32, torch.float64: wp.float64}
CUDA_BLOCK: Final = 32
"""Threads of a CUDA block; one thread simulates one environment."""
INPUTS: Final = ("q", "qd", "action")
_BUILD: Final = threading.RLock()
"""Held while Warp builds; its registry of kernels and its compiler are for one thread at a time."""


@contextlib.contextmanager
def _building() -> Iterator[None]:
    """Declare, compile and load kernels: one thread at a time, and without Warp's banner and list of modules."""
    with _BUILD:
        level, wp.config.log_level = wp.config.log_level, max(wp.config.log_level, wp.LOG_WARNING)
        try:
            yield
        finally:
            wp.config.log_level = level


class Engine:
    """Fixed buffers and recorded launches: what is copied in is advanced and copied out.

    Threads take turns, and so do CUDA streams; a CUDA graph's replays are ordered by who replays it.
    """

    @_building()
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
        wp.init()
        self._real, types = real, algebra(real)
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
        self._poses = torch.zeros(num_envs, len(model.links) + 1, 7, dtype=dtype, device=device)
        self._loaded: list[tuple[int, int]] | None = None
        self._held: list[Tensor] = []
        """The loaded parameters, held so that their identity stays theirs."""
        self._turn = threading.Lock()
        self._last_stream: torch.cuda.Stream | None = None
        self._captured = False
        """Whether a CUDA graph uses the buffers, whose replays change them unseen."""

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
        kind = dtype, device, real
        self.scratch = [Scratch(structure, n, *kind, lane_last=device.type == "cuda") for n in per_shard]
        self._launches: dict[tuple[bool, bool], list[Any]] = {}
        self._launch_poses: Any = None

    def forward(self, q: Tensor, qd: Tensor, action: Tensor, parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Run the kernel on these values, (N, count) each, and return the next state."""
        with self._turn:
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
        wanted = (*INPUTS, *ARRAYS) if parameter_gradients else INPUTS
        with self._turn:
            self._load(q, qd, action, parameters)
            for name in wanted:
                self.gradients[name].zero_()
            self.gradients["q_out"].copy_(grad_q)
            self.gradients["qd_out"].copy_(grad_qd)
            self._run(adjoint=True, parameter_gradients=parameter_gradients)
            return [self.gradients[name].clone() if name in wanted else None for name in (*INPUTS, *ARRAYS)]

    def link_poses(self, q: Tensor) -> Tensor:
        """Poses of the links at coordinates (N, nq), (N, links, 7)."""
        with self._turn:
            self._follow_stream()
            self.values["q"].copy_(q)
            if self._launch_poses is None:
                self._launch_poses = self._record_poses()
            self._launch_poses.launch(stream=self._stream())
            return self._poses[:, 1:].clone()

    def _stream(self) -> Any:
        """Torch's stream, on a GPU."""
        return wp.stream_from_torch(torch.cuda.current_stream(self._device)) if self._device.type == "cuda" else None

    def _follow_stream(self) -> None:
        """Let torch's stream wait for the one that used the buffers last."""
        if self._device.type == "cuda" and not is_capturing(self._device):
            stream = torch.cuda.current_stream(self._device)
            if self._last_stream is not None and self._last_stream != stream:
                stream.wait_stream(self._last_stream)
            self._last_stream = stream

    def _load(self, q: Tensor, qd: Tensor, action: Tensor, parameters: list[Tensor]) -> None:
        self._follow_stream()
        for name, value in zip(INPUTS, (q, qd, action), strict=True):
            self.values[name].copy_(value)
        # While a CUDA graph is captured the copies must become part of it, and nothing is copied yet.
        self._captured |= is_capturing(self._device)
        stamp = None if self._captured else stamp_of(parameters)
        if stamp is not None and stamp == self._loaded:
            return
        for name, value in zip(ARRAYS, parameters, strict=True):
            self.values[name].copy_(value.view(value.shape[0], *self.values[name].shape[1:]))
        self._loaded, self._held = stamp, parameters

    def _run(self, *, adjoint: bool, parameter_gradients: bool) -> None:
        key = (adjoint, parameter_gradients)
        if key not in self._launches:
            pairs = zip(self._shards, self.scratch, strict=True)
            self._launches[key] = [self._record(shard, scratch, *key) for shard, scratch in pairs]
        launches = self._launches[key]
        if self._device.type == "cuda":
            launches[0].launch(stream=self._stream())
            return
        # The calling thread takes the first part, the pool the others.
        pending = [_pool(len(launches)).submit(launch.launch) for launch in launches[1:]]
        try:
            launches[0].launch()
        finally:
            wait(pending)
        for future in pending:
            future.result()

    @_building()  # the first launch on a machine compiles the kernel
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

    @_building()
    def _record_poses(self) -> Any:
        return wp.launch(
            link_poses(self._real),
            dim=self.num_envs,
            inputs=[self._tree, self._constants, as_warp(self.values["q"], self._real)],
            outputs=[as_warp(self._poses, algebra(self._real).transform)],
            device=wp.device_from_torch(self._device),
            record_cmd=True,
        )


def is_capturing(device: torch.device) -> bool:
    """Whether what is launched becomes part of a CUDA graph, instead of running."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


def stamp_of(values: Iterable[Tensor]) -> list[tuple[int, int]] | None:
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
    os.register_at_fork(before=_BUILD.acquire, after_in_parent=_BUILD.release, after_in_child=_BUILD.release)
