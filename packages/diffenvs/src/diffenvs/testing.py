"""A checker for vector environments of torch tensors, with or without gradients: what Gymnasium has for `Env` only.

It holds any environment to the contract of :class:`~diffenvs.envs.vector.DiffVectorEnv`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

FD_STEP = 1e-6
"""Of central differences, in units of the action."""
FD_TOLERANCE = 1e-5
"""Largest relative difference of a directional derivative in four fifths of the environments."""
WINDOW = 4
"""Steps through which gradients are checked."""
Result = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]


class DifferentiableVectorEnv(Protocol):
    """What :func:`check_vector_env` needs of an environment."""

    num_envs: int
    device: torch.device
    metadata: dict[str, Any]
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    single_observation_space: gymnasium.Space
    single_action_space: gymnasium.Space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict]:
        """Begin new episodes; returns observations (N, obs) and infos."""
        ...

    def step(self, actions: Tensor) -> Result:
        """Advance by actions (N, act) without a graph; returns what Gymnasium's `step` returns, as tensors."""
        ...

    def step_grad(self, actions: Tensor) -> Result:
        """Advance by actions (N, act) within the graph; returns what `step` returns."""
        ...

    def detach(self) -> Tensor:
        """Cut the graph; returns the observations, (N, obs)."""
        ...

    def get_state(self) -> dict[str, Tensor]:
        """Copy all that an exact continuation needs."""
        ...

    def set_state(self, state: Mapping[str, Tensor]) -> Tensor:
        """Continue from such a copy; returns the observations, (N, obs)."""
        ...


def check_vector_env(env: DifferentiableVectorEnv, *, steps: int = 64) -> None:
    """Check that an environment keeps the contract, by running it.

    Parameters
    ----------
    env
        At least two environments, unwrapped. Make it with a small ``max_episode_steps``, so that episodes end.
        Gradients to its actions, if it has any, are compared with finite differences if its dtype is float64.
    steps
        Length of the runs; some episode must end in them.

    Raises
    ------
    AssertionError
        If the contract is broken; the message says which clause.
    """
    names = [*DifferentiableVectorEnv.__annotations__, *vars(DifferentiableVectorEnv)]
    missing = [name for name in names if not name.startswith("_") and not hasattr(env, name)]
    lacks = ", ".join(missing)
    _require(not missing, f"{type(env).__name__} is no differentiable vector environment: it has no {lacks}.")
    check = _Check(env, steps)
    check.spaces()
    check.reset()
    check.steps_and_infos()
    check.determinism()
    check.fresh_tensors()
    check.continuation()
    check.reset_mask()
    if check.mode is AutoresetMode.NEXT_STEP:
        check.step_grad_is_refused()
        return
    check.step_equals_step_grad()
    if not check.actions[0].numel():  # nothing that gradients could lead to
        return
    check.graph_and_its_cuts()
    if check.dtype is torch.float64:
        check.finite_differences()


class _Check:
    """The clauses of the contract, one method each."""

    def __init__(self, env: DifferentiableVectorEnv, steps: int) -> None:
        self.env = env
        self.n = env.num_envs
        self.mode = env.metadata.get("autoreset_mode")
        _require(isinstance(self.mode, AutoresetMode), "metadata['autoreset_mode'] must be an AutoresetMode.")
        _require(self.n >= 2, "checking needs at least two environments.")
        self.dtype = torch.float64 if env.single_action_space.dtype == "float64" else torch.float32
        generator = torch.Generator().manual_seed(0)
        shape = (steps, self.n, *(env.single_action_space.shape or ()))
        actions = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
        self.actions = list(actions.to(env.device, self.dtype))

    def run(self, actions: Sequence[Tensor], grad: bool = False) -> list[Result]:
        """Step, and reset done environments where the environment does not."""
        results = []
        for action in actions:
            given = action.detach().clone()
            result = self.env.step_grad(action) if grad else self.env.step(action)
            _require(torch.equal(action, given), "step must not change the actions.")
            results.append(result)
            done = result[2].bool() | result[3].bool()
            if self.mode is AutoresetMode.DISABLED and bool(done.any()):
                self.env.reset(options={"reset_mask": done})
        return results

    def spaces(self) -> None:
        env = self.env
        _require(
            env.observation_space == batch_space(env.single_observation_space, self.n),
            "observation_space must be the batch of single_observation_space.",
        )
        _require(
            env.action_space == batch_space(env.single_action_space, self.n),
            "action_space must be the batch of single_action_space.",
        )

    def reset(self) -> None:
        observation, info = self.env.reset(seed=0)
        self._observation("reset", observation)
        _require(isinstance(info, dict), "reset must return a dictionary of infos.")

    def steps_and_infos(self) -> None:
        self.env.reset(seed=0)
        keys: set[str] | None = None
        was_done = torch.zeros(self.n, dtype=torch.bool, device=self.env.device)
        ended = False
        for result in self.run(self.actions):
            observation, reward, terminated, truncated, info = result
            self._observation("step", observation)
            self._tensor("reward", reward, self.dtype)
            _require(bool(reward.isfinite().all()), "rewards must be finite.")
            for name, flag in (("terminated", terminated), ("truncated", truncated)):
                self._tensor(name, flag, torch.bool)
            _require(not bool((terminated & truncated).any()), "what is terminated must not be truncated as well.")
            keys = set(info) if keys is None else keys
            _require(
                set(info) == keys, f"info must have the same keys in every step. {set(info) ^ keys} are in some only."
            )
            self._info("info", info)
            done = terminated | truncated
            ended = ended or bool(done.any())
            if self.mode is AutoresetMode.SAME_STEP:
                self._final(observation, done, info)
            if self.mode is AutoresetMode.NEXT_STEP:
                _require(
                    not bool((was_done & (done | (reward != 0))).any()),
                    "under NEXT_STEP the step that resets must have reward 0 and no flags.",
                )
            was_done = done
        _require(
            ended, f"no episode ended in {len(self.actions)} steps: take a smaller max_episode_steps or more steps."
        )

    def _final(self, observation: Tensor, done: Tensor, info: dict[str, Any]) -> None:
        for key in ("final_obs", "final_info"):
            _require({key, f"_{key}"} <= set(info), f"under SAME_STEP info must have {key} and _{key}.")
            _require(torch.equal(info[f"_{key}"], done), f"_{key} must be the environments whose episode ended.")
        _require(isinstance(info["final_info"], Mapping), "final_info must be the info of the step, a dictionary.")
        final = info["final_obs"]
        self._observation("final_obs", final)
        _require(torch.equal(final[~done], observation[~done]), "final_obs must be the observation where none ended.")
        same = (final[done] == observation[done]).all(-1)
        _require(not bool(same.any()), "final_obs must be the observation before the reset where an episode ended.")

    def fresh_tensors(self) -> None:
        message = "writing into returned tensors must not change the environment."
        self.env.reset(seed=0)
        expected = [_copy([self.run([action])[0], self.env.detach()]) for action in self.actions]
        observation, _ = self.env.reset(seed=0)
        observation.fill_(torch.nan)
        for action, (result, current) in zip(self.actions, expected, strict=True):
            own = action.clone()
            got = self.run([own])[0]
            _require(_same(got, result), message)
            _map(lambda value: value.zero_(), got)
            own.zero_()
            observation = self.env.detach()
            _require(torch.equal(observation, current), message)
            observation.zero_()

    def determinism(self) -> None:
        first, _ = self.env.reset(seed=7)
        results = self.run(self.actions)
        again, _ = self.env.reset(seed=7)
        _require(torch.equal(first, again), "reset with one seed must return equal observations.")
        _require(_same(results, self.run(self.actions)), "one seed and equal actions must give equal results.")

    def reset_mask(self) -> None:
        half = len(self.actions) // 2
        mask = torch.arange(self.n, device=self.env.device) % 2 == 0
        self.env.reset(seed=0)
        self.run(self.actions[:half])
        state = self.env.get_state()
        expected = self.run(self.actions[half:])
        before = self.env.set_state(state)
        observation, _ = self.env.reset(options={"reset_mask": mask})
        message = "a reset_mask must leave the other environments as they are"
        _require(torch.equal(observation[~mask], before[~mask]), f"{message}: their observations changed.")
        _require(
            not bool((observation[mask] == before[mask]).all(-1).any()), "a reset_mask must reset its environments."
        )
        got = self.run(self.actions[half:])
        others = all(
            torch.equal(a[~mask], b[~mask]) for x, y in zip(got, expected, strict=True) for a, b in _pairs(x, y)
        )
        _require(others, f"{message}: their steps changed.")

    def continuation(self) -> None:
        half = len(self.actions) // 2
        self.env.reset(seed=0)
        before = self.run(self.actions[:half])[-1]
        state = self.env.get_state()
        _require(not any(value.requires_grad for value in state.values()), "get_state must return detached tensors.")
        kept = _copy(state)
        expected = self.run(self.actions[half:])
        _require(_same(state, kept), "get_state must return copies, which later steps do not change.")
        observation = self.env.set_state(state)
        if self.mode is not AutoresetMode.DISABLED:
            _require(torch.equal(observation, before[0]), "set_state must return the observation of that state.")
        _require(_same(self.run(self.actions[half:]), expected), "set_state must continue exactly, resets included.")

    def step_grad_is_refused(self) -> None:
        self.env.reset(seed=0)
        try:
            self.env.step_grad(self.actions[0])
        except RuntimeError:
            return
        raise AssertionError("step_grad must raise RuntimeError under NEXT_STEP.")

    def step_equals_step_grad(self) -> None:
        self.env.reset(seed=0)
        expected = self.run(self.actions)
        self.env.reset(seed=0)
        actions = [action.clone().requires_grad_() for action in self.actions]
        equal = _same([_copy(result) for result in self.run(actions, grad=True)], expected)
        _require(equal, "step and step_grad must return equal values.")

    def graph_and_its_cuts(self) -> None:
        for name, cut in {"detach": self.env.detach, "step": lambda: self.env.step(self.actions[0])}.items():
            self.env.reset(seed=0)
            early, late = (self.actions[i].clone().requires_grad_() for i in (0, 1))
            observation, _, terminated, truncated, _ = self.env.step_grad(early)
            _require(observation.requires_grad, "observations of step_grad must be attached to the graph.")
            attached = [flag.requires_grad for flag in (terminated, truncated)]
            _require(not any(attached), "flags must not be attached.")
            total = self.env.step_grad(late)[0].sum()
            grads = torch.autograd.grad(total, [early, late], allow_unused=True, retain_graph=True)
            _require(
                all(grad is not None and bool(grad.any()) for grad in grads),
                "observations of step_grad must have gradients to all actions since the last cut.",
            )
            returned = cut()
            observation = returned if isinstance(returned, Tensor) else returned[0]
            _require(not observation.requires_grad, f"{name} must return a detached observation.")
            observation = self.env.step_grad(late)[0]
            (grad,) = torch.autograd.grad(observation.sum(), [early], allow_unused=True)
            _require(grad is None, f"{name} must cut the graph.")
        self._gradient_ends_with_the_episode()

    def _gradient_ends_with_the_episode(self) -> None:
        self.env.reset(seed=0)
        for i, action in enumerate(self.actions[:-1]):
            action = action.clone().requires_grad_()
            self.env.detach()
            done = torch.stack(self.run([action], grad=True)[0][2:4]).any(0)
            if not bool(done.any()):
                continue
            observation, reward, *_ = self.env.step_grad(self.actions[i + 1].clone().requires_grad_())
            (grad,) = torch.autograd.grad(observation.sum() + reward.sum(), [action], allow_unused=True)
            alive = ~done
            _require(grad is None or not bool(grad[done].any()), "no gradient may cross the end of an episode.")
            if bool(alive.any()):
                survives = grad is not None and bool(grad[alive].any())
                _require(survives, "the end of one episode must not cut the gradients of the others.")
            return

    def finite_differences(self) -> None:
        self.env.reset(seed=0)
        state = self.env.get_state()
        start = torch.stack(self.actions[:WINDOW]) * 0.9  # inside the bounds, so that nothing is clipped
        generator = torch.Generator().manual_seed(1)
        direction = torch.randn(start.shape, generator=generator, dtype=self.dtype).to(start.device)
        weights = torch.randn(self.env.observation_space.shape or (), generator=generator, dtype=self.dtype)
        weights = weights.to(start.device)

        def objective(actions: Tensor) -> tuple[Tensor, Tensor]:
            self.env.set_state(state)
            results = self.run(list(actions), grad=True)
            running = ~torch.stack([result[2] | result[3] for result in results]).any(0)
            total = (results[-1][0] * weights).sum(-1)
            for result in results:
                total = total + result[1]
            return total, running

        actions = start.clone().requires_grad_()
        total, running = objective(actions)
        (grad,) = torch.autograd.grad(total.sum(), [actions])
        exact = (grad * direction).flatten(2).sum((0, 2))
        with torch.no_grad():
            up, down = (objective(start + sign * FD_STEP * direction)[0] for sign in (1, -1))
        difference = (up - down) / (2 * FD_STEP)
        _require(bool(running.any()), f"no environment ran through {WINDOW} steps, so no gradient could be checked.")
        error = ((exact - difference).abs() / difference.abs().clamp(min=1e-3))[running].quantile(0.8)
        _require(
            float(error) <= FD_TOLERANCE,
            "gradients of step_grad must agree with central differences. "
            f"The relative error is above {float(error):.1e} in a fifth of the environments.",
        )

    def _observation(self, name: str, value: Any) -> None:
        self._tensor(f"observation of {name}", value, self.dtype, self.env.single_observation_space.shape or ())
        _require(bool(value.isfinite().all()), f"observation of {name} must be finite.")

    def _info(self, name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                self._info(f"{name}['{key}']", item)
            return
        has_rows = isinstance(value, Tensor) and value.shape[:1] == (self.n,)
        _require(has_rows, f"{name} must be a tensor with a row for each environment.")

    def _tensor(self, name: str, value: Any, dtype: torch.dtype, tail: tuple[int, ...] = ()) -> None:
        _require(isinstance(value, Tensor), f"{name} must be a tensor. Got {type(value).__name__}.")
        expected = ((self.n, *tail), dtype, self.env.device)
        got = (tuple(value.shape), value.dtype, value.device)
        _require(got == expected, f"{name} must be {expected}. Got {got}.")


def _require(holds: bool, clause: str) -> None:
    """Raise AssertionError with a clause of the contract that does not hold; an assert would go with ``python -O``."""
    if not holds:
        raise AssertionError(clause)


def _map(function: Callable[[Tensor], Any], value: Any) -> Any:
    """Apply a function to the tensors in nested containers."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _map(function, item) for key, item in value.items()}
    return [_map(function, item) for item in value]


def _copy(value: Any) -> Any:
    return _map(lambda tensor: tensor.detach().clone(), value)


def _pairs(a: Any, b: Any) -> list[tuple[Tensor, Tensor]]:
    """Corresponding tensors of two nested containers."""
    if isinstance(a, Tensor):
        return [(a, b)]
    items = [(a[key], b[key]) for key in a] if isinstance(a, Mapping) else zip(a, b, strict=True)
    return [pair for x, y in items for pair in _pairs(x, y)]


def _same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in _pairs(a, b))
