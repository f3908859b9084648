"""States of a task's environments as poses and frames."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from diffenvs.quantities import STANDARD_GRAVITY
from diffenvs.rendering.scene import Scene
from diffenvs.simulator import Simulator
from diffenvs.state import State
from diffenvs.tasks.base import AbstractTask

CONTACT_PARAMETERS = ("contact_stiffness", "contact_damping")
"""Without these there is no contact."""
ROUNDING = 1e-4
"""Part of the weight below which a force is taken for a rounding error."""


class TaskView:
    """Poses of all that is seen of a task in a number of environments.

    Parameters
    ----------
    task
        The task.
    simulator
        Of the task's model.
    state
        Any state; the links whose ghosts the task shows in it are those of the scene.
    """

    def __init__(self, task: AbstractTask, simulator: Simulator, state: State) -> None:
        self._task, self._simulator = task, simulator
        start = torch.tensor(task.start_q(), dtype=simulator.dtype, device=simulator.device)
        poses = self._link_poses(start.expand(simulator.num_envs, -1))
        self.scene = Scene.of(simulator.model, poses[0], tuple(task.ghosts(state)))
        gravity = float(np.linalg.norm(simulator.model.gravity))
        self.weight = sum(link.mass for link in simulator.model.links) * (gravity or STANDARD_GRAVITY)
        """Of all links [N], a measure of what forces are large."""

    def poses(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Poses, relative to each environment's origin, of the links and of the scene's ghosts.

        Returns
        -------
        tuple of numpy.ndarray
            Position [m] and quaternion (x, y, z, w), (N, links, 7) and (N, ghosts, 7).
        """
        ghosts = [ghost.detach().double().cpu().numpy() for ghost in self._task.ghosts(state).values()]
        shape = (self._simulator.num_envs, len(ghosts), 7)
        return self._link_poses(state.q), np.stack(ghosts, axis=1) if ghosts else np.empty(shape)

    def contact_forces(self, state: State) -> tuple[np.ndarray, np.ndarray]:
        """Force of all contacts of each link, and a point that it acts through.

        It is the difference that contact makes to what the links need to move as they do, so that the law of contact
        stays in the kernel alone. The simulator must have the parameters of the state.

        Returns
        -------
        tuple of numpy.ndarray
            Points, the nearest to the link's origin [m], and forces [N] on the links, (N, links, 3) each.
        """
        simulator, model = self._simulator, self._simulator.model
        idle = state.q.new_zeros(len(state.q), model.nu)
        untouched = {name: torch.zeros_like(simulator.parameters[name]) for name in CONTACT_PARAMETERS}
        free = simulator.trace(state.q, state.qd, idle, untouched)
        # Of subtrees; in the end, what hangs on a link is taken off again.
        wrench = (free.subtree_force - simulator.trace(state.q, state.qd, idle).subtree_force)[:, 0]
        wrench = wrench.double().cpu().numpy()
        own = wrench.copy()
        for i, parent in enumerate(model.parents):
            if parent >= 0:
                own[:, parent] -= wrench[:, i]
        moment, force = own[..., :3], own[..., 3:]
        force[np.linalg.norm(force, axis=-1) < ROUNDING * self.weight] = 0.0
        origin = free.link_pose[:, 0, :, :3].double().cpu().numpy()
        lever = np.cross(force, moment - np.cross(origin, force))
        square = (force**2).sum(-1, keepdims=True)
        return origin + np.divide(lever, square, out=np.zeros_like(lever), where=square > 0.0), force

    def _link_poses(self, q: Tensor) -> np.ndarray:
        return self._simulator.link_poses(q).double().cpu().numpy()
