"""Many environments at once, on torch tensors, with gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from diffenvs.checks import check_count, check_device, check_dtype
from diffenvs.envs.arguments import check_actions, check_autoreset, check_reset_mask, keywords_of
from diffenvs.envs.autoreset import StepResult, advance
from diffenvs.envs.checked_task import model_of
from diffenvs.envs.dynamics import Dynamics
from diffenvs.envs.env_state import EnvState
from diffenvs.envs.fixed import FixedAttributes
from diffenvs.envs.masks import known_empty, rows
from diffenvs.envs.pictures import RENDER_MODES, Pictures
from diffenvs.envs.randomize import Randomization
from diffenvs.registration import make_task, registered_steps
from diffenvs.simulator import Simulator
from diffenvs.tasks.base import AbstractTask

if TYPE_CHECKING:
    from diffenvs.rendering.browser import TaskReplay


class DiffVectorEnv(FixedAttributes, gymnasium.vector.VectorEnv[Tensor, Tensor, Tensor]):
    """A Gymnasium vector environment of torch tensors whose steps can be differentiated.

    Observations (N, obs), rewards (N,) and flags (N,) are fresh tensors on `device`. Actions are clipped to [-1, 1];
    a clipped entry has no gradient. An environment whose new state is not finite, or exploded, ends alone, and so does
    one whose reward is not finite, which is then 0 and has no gradient.

    ``info`` has the same keys in every step: ``non_finite`` (N,), the environments that ended like this, and
    ``reward_terms``, by name the terms (N,) of which the reward is the sum, as the task made them, without a graph.
    Under SAME_STEP it has ``final_obs`` (N, obs), the true next observation of every environment, and ``final_info``,
    the info of the step that led there, with the masks ``_final_obs`` and ``_final_info`` of the environments whose
    episode ended. That of a reset is empty.

    What ``pickle`` and ``copy.deepcopy`` make of an environment continues exactly where it is, also in another process;
    an open graph stays behind. Arguments that are strings and numbers keep ``env.spec`` convertible to JSON.

    Attributes named as arguments are fixed, but for ``max_episode_steps``: to assign one raises AttributeError.

    Parameters
    ----------
    task
        A task, or the id of a registered one.
    num_envs
        N.
    device
        Of the simulation and of all tensors.
    dtype
        "float32" or "float64".
    autoreset_mode
        "SameStep", "NextStep" or "Disabled", as in Gymnasium.
    max_episode_steps
        Steps after which an episode is truncated, None for never; by default the registered number of the id, and 1000
        for a task that is made already.
    num_threads
        Of the simulation on the CPU; None for PyTorch's number.
    randomize
        Parameters of the model that every reset scales by a factor drawn uniformly from a range, such as
        ``{"friction": (0.5, 1.0)}``: see :mod:`diffenvs.envs.randomize`.
    render_mode
        None, "rgb_array" for frames from :meth:`render`, or "human" for a live view in the browser, whose address is
        printed.
    width, height
        Of the frames [pixels].
    **task_fields
        Fields of the task, if `task` is an id.

    Raises
    ------
    TypeError, ValueError
        If an argument is unknown or has a wrong value, or the device does not exist. What the methods of a task return
        is checked once: the start pose here, the others in the first reset and the first step, which then raise.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    @torch.inference_mode(False)  # whose tensors could join no graph later
    def __init__(
        self,
        task: AbstractTask | str,
        num_envs: int = 1,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        max_episode_steps: int | Literal["registered"] | None = "registered",
        num_threads: int | None = None,
        randomize: Mapping[str, Sequence[float]] | None = None,
        render_mode: str | None = None,
        width: int = 640,
        height: int = 480,
        **task_fields: Any,
    ) -> None:
        self.task = make_task(task, task_fields, keywords_of(DiffVectorEnv))
        self.num_envs = check_count("num_envs", num_envs)
        self.device = check_device(device)
        self.dtype = check_dtype(dtype)
        self.autoreset_mode = check_autoreset(autoreset_mode)
        steps = registered_steps(task) if max_episode_steps == "registered" else max_episode_steps
        self.max_episode_steps = steps
        if num_threads is not None:
            check_count("num_threads", num_threads)
        self.render_mode = render_mode
        self._pictures = Pictures(self.task, render_mode, height, width)
        self.model = model_of(self.task)
        self.dt = self.model.dt
        """Length of a control step [s]."""
        self.metadata = {**type(self).metadata, "render_fps": round(1 / self.dt), "autoreset_mode": self.autoreset_mode}
        self._make_spaces()
        simulator = Simulator(self.model, self.num_envs, device=self.device, dtype=self.dtype, num_threads=num_threads)
        randomization = Randomization.of(randomize, simulator.parameters)
        self.randomize = randomization.ranges
        """Lowest and highest factor by name of the parameter."""
        self._dynamics: Dynamics | None = Dynamics(self.task, simulator, randomization)
        self._now: EnvState | None = None
        self._observation = torch.empty(0)
        self._generator: np.random.Generator | None = None  # the one whose streams are in use
        self._is_made = True

    def _make_spaces(self) -> None:
        dtype: Any = np.float64 if self.dtype is torch.float64 else np.float32
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (self.task.observation_size(),), dtype)
        self.single_action_space = spaces.Box(-1.0, 1.0, (self.model.nu,), dtype)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    # Episodes

    @property
    def max_episode_steps(self) -> int | None:
        """Steps after which an episode is truncated, None for never; what is assigned counts from the next step on."""
        return self._max_episode_steps

    @max_episode_steps.setter
    def max_episode_steps(self, steps: int | None) -> None:
        self._max_episode_steps = None if steps is None else check_count("max_episode_steps", steps)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Begin new episodes.

        Parameters
        ----------
        seed
            Makes all that follows reproducible: what happens to an environment then depends on the seed, its index
            and its actions only. Without a seed the random streams go on; first ones, and those after a generator has
            been assigned to ``np_random``, are that generator's.
        options
            ``{"reset_mask": mask}`` with a bool array or tensor (N,) resets these environments only; the others keep
            their episodes and their graph.

        Returns
        -------
        tuple
            Observations (N, obs) and an empty dictionary.

        Raises
        ------
        ClosedEnvironmentError, ResetNeeded, TypeError, ValueError
            If closed; if a first reset has a mask; if the mask is not a bool array or tensor (N,) with a True.
        """
        dynamics = self._open()
        mask = check_reset_mask(options, self.num_envs, self.device)
        if mask is not None and self._now is None and not bool(mask.all()):
            raise ResetNeeded("the first reset must be of all environments, without a `reset_mask`.")
        super().reset(seed=seed)
        with _no_inference(), torch.no_grad():
            if self._now is None or self.np_random is not self._generator:
                state = self._first()
            else:
                state = dynamics.begin(self._now.stream, self._now.episode + 1)
        with _no_inference():
            if mask is not None and self._now is not None:
                state = self._now.where(mask, state)
            observation = self._become(state)
        self._generator = self.np_random
        return observation, {}

    def _first(self) -> EnvState:
        """Begin the first episodes of the generator: of its seed, or of a number from it where that is not known."""
        seed = self.np_random_seed
        return self._open().first(int(self.np_random.integers(2**63)) if seed is None or seed < 0 else seed)

    # Steps

    def step(self, actions: Tensor | np.ndarray) -> StepResult:
        """Advance all environments by a control step, without a graph; an open graph is cut.

        Parameters
        ----------
        actions
            (N, nu), a tensor of the environment's dtype and device or an array of floating numbers.

        Returns
        -------
        tuple
            Observations (N, obs), rewards (N,), terminated and truncated (N,) bool, and info.

        Raises
        ------
        ClosedEnvironmentError, ResetNeeded, TypeError, ValueError
            If closed or not reset, or if `actions` has a wrong type, shape, dtype or device, or (on the CPU, where
            looking costs nothing) is NaN, or under DISABLED an environment is over; nothing has changed then. On
            CUDA, environments with NaN actions end as not finite, and those that are over go on.
        """
        with _no_inference(), torch.no_grad():
            now, actions = self._ready(actions)
            return self._advance(now.detach(), self._observation.detach(), actions.detach())

    def step_grad(self, actions: Tensor) -> StepResult:
        """Advance all environments by a control step within the graph; values are those of :meth:`step`.

        Observations, rewards and ``final_obs`` carry gradients, to the actions of all steps since the last
        :meth:`detach`, :meth:`step`, :meth:`set_state` or :meth:`reset`. No gradient crosses the end of an episode:
        where one ended, the returned observation is a constant, while the reward and ``final_obs`` keep theirs.

        Parameters
        ----------
        actions
            (N, nu), a tensor of the environment's dtype and device.

        Returns
        -------
        tuple
            As :meth:`step`.

        Raises
        ------
        RuntimeError
            Under NEXT_STEP, whose ignored actions have no gradient, and in inference mode.
        ClosedEnvironmentError, ResetNeeded, TypeError, ValueError
            As :meth:`step`.
        """
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            raise RuntimeError("step_grad needs autoreset_mode 'SameStep' or 'Disabled'. It is 'NextStep'.")
        if torch.is_inference_mode_enabled():
            raise RuntimeError("step_grad builds a graph, which inference mode does not allow.")
        now, actions = self._ready(actions)
        return self._advance(now, self._observation, actions)

    def _ready(self, actions: Tensor | np.ndarray) -> tuple[EnvState, Tensor]:
        """Check what a step needs; returns the state and the actions as a tensor."""
        now = self._started()
        actions = check_actions(actions, now.action, now.needs_reset)
        disabled = self.autoreset_mode is AutoresetMode.DISABLED
        if disabled and not now.q.is_cuda and not known_empty(now.needs_reset):
            raise ResetNeeded(f"environments {rows(now.needs_reset)} are done; reset them with a `reset_mask`.")
        return now, actions

    def _advance(self, now: EnvState, observation: Tensor, actions: Tensor) -> StepResult:
        """Advance by one control step and reset; the one path of :meth:`step` and :meth:`step_grad`."""
        state, result = advance(self._open(), self.autoreset_mode, self.max_episode_steps, now, observation, actions)
        self._now, self._observation = state, result[0]
        self._show()
        return result[0].clone(), *result[1:]

    # State

    @property
    def state(self) -> dict[str, Tensor]:
        """The current ``q`` (N, nq), ``qd`` (N, nv), ``origin`` (N, 3) and so on, attached to an open graph.

        They are the environment's own tensors, to be read and differentiated. Never write into them: the robot would
        move, but neither the observation nor the graph would follow. :meth:`get_state` returns copies, which
        :meth:`set_state` takes.
        """
        return self._started().as_dict()

    def get_state(self) -> dict[str, Tensor]:
        """Copy all that an exact continuation needs, detached.

        Returns
        -------
        dict of Tensor
            ``q`` (N, nq), ``qd`` (N, nv), relative to ``origin`` (N, 3); the task's ``memory`` (N, memory); the last
            clipped ``action`` (N, nu); ``step_count``, ``episode`` and the random ``stream``, (N,) int64; the
            ``factors`` (N, factors) of randomised parameters, in the order of
            :data:`diffenvs.envs.randomize.FACTORS`; ``needs_reset`` (N,) bool. Parameters that were set belong to the
            environment, like its task, and not to its state.

        Raises
        ------
        ClosedEnvironmentError, ResetNeeded
            If closed or not reset.
        """
        return {name: value.detach().clone() for name, value in self._started().as_dict().items()}

    def set_state(self, state: Mapping[str, Tensor]) -> Tensor:
        """Continue from a state.

        Parameters
        ----------
        state
            What :meth:`get_state` returned, or ``{"q": ..., "qd": ...}`` only, which makes origin, last action and
            step count zero and keeps the rest: the task's memory, the episode and its factors. Tensors that require
            grad become part of the graph. A robot that is far from its origin gets a nearer one.

        Returns
        -------
        Tensor
            Observations (N, obs).

        Raises
        ------
        ClosedEnvironmentError, TypeError, ValueError
            If closed; if it is no mapping, a name, shape, dtype or device is wrong, a number is not finite or out of
            range, a quaternion's norm is off by more than 1e-3, or, under SAME_STEP, an episode is over; nothing has
            changed then.
        """
        dynamics, now, generator = self._open(), self._now, self._generator
        if now is None:
            with _no_inference(), torch.no_grad():
                now, generator = self._first(), self.np_random
        quaternions = {"q": self.model.quaternions, "memory": self.task.memory_quaternions()}
        with _no_inference():
            new = now.replace(state, quaternions)
            if self.autoreset_mode is AutoresetMode.SAME_STEP and new.needs_reset.any():
                raise ValueError(f"no episode is over under 'SameStep'. {rows(new.needs_reset)} of state need a reset.")
            observation = self._become(dynamics.rebased(new))
        self._generator = generator
        return observation

    # Parameters

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """Copies of the model's parameters in each environment by name, (N or 1, count[, components]).

        Names and units: :data:`diffenvs.parameter_table.PARAMETERS`; shapes:
        :func:`diffenvs.parameters.default_parameters`. Randomised ones are those of the current episodes, and need
        one. They are attached to what :meth:`set_parameters` was given.
        """
        dynamics = self._open()
        factors = self._started().factors if self.randomize else torch.empty(0)
        return MappingProxyType({name: value.clone() for name, value in dynamics.parameters.of(factors).items()})

    def set_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Simulate with other parameters than the model's from now on; episodes and the graph go on.

        Parameters
        ----------
        parameters
            By name, shared (1, count[, components]) or per environment (N, count[, components]), of the environment's
            dtype and device; names that are left out are the model's again. Steps of :meth:`step_grad` carry
            gradients to tensors that require grad, which are used themselves, so that an optimiser's steps are seen;
            :meth:`detach` leaves them attached. Others are copied. Values are checked when they are given. With
            ``randomize`` each episode's factors multiply them.

        Raises
        ------
        ClosedEnvironmentError, TypeError, ValueError
            If closed; if a name, type, shape, dtype or device is wrong; if a value is not finite (limits of joints may
            be infinite), negative where that has no meaning, zero for a mass, an inertia that no body has (unless
            the model allows it), a lower limit above the upper one, or belongs to a free joint or would bind a robot
            that travels to a place; if nothing resists a joint, for its armature and what it moves are zero. Nothing
            has changed then.
        """
        with _no_inference():
            self._open().parameters.give(parameters)

    def detach(self) -> Tensor:
        """Cut the graph here.

        Returns
        -------
        Tensor
            Observations (N, obs), detached.

        Raises
        ------
        ClosedEnvironmentError, ResetNeeded
            If closed or not reset.
        """
        self._now, self._observation = self._started().detach(), self._observation.detach()
        return self._observation.clone()

    def _become(self, state: EnvState) -> Tensor:
        """Make a state the current one; returns observations."""
        observation = self._open().observe(state)
        self._now, self._observation = state, observation
        self._show()
        return observation.clone()

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def _open(self) -> Dynamics:
        if self._dynamics is None:
            raise ClosedEnvironmentError("this environment is closed.")
        return self._dynamics

    def _started(self) -> EnvState:
        self._open()
        if self._now is None:
            raise ResetNeeded("call reset before anything else.")
        return self._now

    # Pictures

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Draw all environments as they are; where an episode ended in the last step, as the next one begins.

        Returns
        -------
        tuple of numpy.ndarray or None
            A frame an environment, (height, width, 3) uint8; None in the live view, which each reset and step updates,
            and without a render mode.

        Raises
        ------
        ClosedEnvironmentError, ResetNeeded
            If closed or not reset.
        ImportError, RuntimeError
            If the renderer or the system's OpenGL is missing; the message says what to install.
        """
        state = self._started()
        return self._pictures.draw(self._open().simulator_for(state), state)

    def record_replay(self, environment: int = 0, every: int = 2) -> TaskReplay:
        """Begin to record one of the environments, for an HTML file that plays in any browser without a network.

        Parameters
        ----------
        environment
            Its index.
        every
            Record every so many control steps.

        Returns
        -------
        TaskReplay
            Its ``add()`` is to be called now and after every step, ``write(path)`` at the end. No render mode is
            needed.

        Raises
        ------
        ClosedEnvironmentError, ResetNeeded, ImportError, ValueError
            If closed or not reset; if viser is missing; if there is no such environment, or `every` is not positive.
        """
        return self._pictures.record(self._open().simulator, self._started, environment, every)

    # Copies and the end

    def __getstate__(self) -> dict[str, Any]:
        """Leave the graph behind, which cannot be copied."""
        now = None if self._now is None else self._now.detach()
        return {**self.__dict__, "_now": now, "_observation": self._observation.detach()}

    def close_extras(self, **kwargs: Any) -> None:
        """Release the simulator, the renderer and all tensors."""
        self._pictures.close()
        self._dynamics = None
        self._now = None
        self._observation = torch.empty(0)


@contextlib.contextmanager
def _no_inference() -> Iterator[None]:
    """Leave inference mode, whose tensors can join no graph later, and keep the grad mode."""
    grad = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.set_grad_enabled(grad):
        yield
