"""The simulator: a model and a number of environments, advanced by one control step at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffenvs.autograd import ControlStep
from diffenvs.checks import check_count, check_device, check_dtype
from diffenvs.engine import Engine, is_capturing, stamp_of
from diffenvs.fields import converted
from diffenvs.kernel_arguments import Structure
from diffenvs.model import Model
from diffenvs.parameters import ARRAYS, check_parameters, default_parameters, pack
from diffenvs.resistance import require_resistance


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
        If an argument is out of range, a GPU is asked for where there is none, or what resists a joint of the model is
        lost in the rounding of `dtype`.
    """

    @torch.inference_mode(False)  # whose tensors could join no graph later
    def __init__(
        self,
        model: Model,
        num_envs: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str = torch.float32,
        num_threads: int | None = None,
    ) -> None:
        self.model = converted("`model`", model, Model)
        self.num_envs = check_count("num_envs", num_envs)
        self.device = check_device(device)
        self.dtype = check_dtype(dtype)
        require_resistance(model, str(self.dtype).removeprefix("torch."))
        self._num_threads = torch.get_num_threads() if num_threads is None else check_count("num_threads", num_threads)
        self.parameters: dict[str, Tensor] = {
            name: torch.as_tensor(value, dtype=self.dtype, device=self.device).unsqueeze(0)
            for name, value in default_parameters(model).items()
        }
        """Parameters of the model by name, (1, count[, components]): see :func:`default_parameters`.

        They may be replaced, also by (N, count[, components]), or changed in place; the next step sees it. Only on a
        GPU, where looking at them would wait for it, changes that PyTorch does not count, by way of ``.data``, are
        missed.
        """
        self._defaults = dict(self.parameters)
        self._packed: dict[str, Tensor] = {}
        self._packed_stamp: list[tuple[int, int]] | None = None
        self._packed_from: list[Tensor] = []
        """The parameters that were packed, held so that their identity stays theirs."""
        self._packed_values: list[Tensor] = []
        """Copies of them, none on a GPU."""
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

    def link_poses(self, q: Tensor) -> Tensor:
        """Poses of all links: position [m] and quaternion (x, y, z, w), (N, links, 7); nothing is differentiated.

        Parameters
        ----------
        q
            Coordinates, (N, nq).

        Raises
        ------
        TypeError, ValueError
            If it is no tensor, or has the wrong shape, dtype or device.
        """
        self._check("q", q, self.model.nq)
        return self._engine.link_poses(q.detach())

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
        if is_capturing(self.device):  # packing becomes part of the graph, and has no values yet
            check_parameters(self.parameters, self._defaults, self.num_envs)
            return pack(self.parameters)
        own = list(self.parameters.values())
        stamp = stamp_of(own)
        learnt = any(value.requires_grad for value in own)
        replaced = stamp is None or stamp != self._packed_stamp
        if learnt or replaced or not all(map(torch.equal, own, self._packed_values)):
            check_parameters(self.parameters, self._defaults, self.num_envs)
            with torch.inference_mode(False):
                # What is learnt is packed anew for each step, and its graph is kept by no one.
                self._packed, self._packed_stamp = pack(self.parameters), None if learnt else stamp
                self._packed_values = [] if learnt or own[0].is_cuda else [value.clone() for value in own]
            self._packed_from = own
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
