"""A task on a simulator: how episodes begin and advance, as functions of the state."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from diffenvs.envs.arguments import drop_nan
from diffenvs.envs.checked_task import CheckedTask
from diffenvs.envs.env_state import EnvState, is_valid
from diffenvs.envs.masks import known_empty
from diffenvs.envs.parameters import Parameters
from diffenvs.envs.randomize import Randomization
from diffenvs.envs.rebase import Rebase
from diffenvs.random import EnvRandom, seed_stream
from diffenvs.simulator import Simulator
from diffenvs.tasks.base import AbstractTask


@dataclass(frozen=True, kw_only=True)
class Transition:
    """What one control step of all environments did, before any reset."""

    state: EnvState
    observation: Tensor
    """(N, obs)"""
    reward: Tensor
    """Sum of the terms in their order, zero where that is not finite, (N,)."""
    reward_terms: dict[str, Tensor]
    """(N,) each"""
    terminated: Tensor
    """(N,) bool"""
    non_finite: Tensor
    """(N,) bool"""


class Dynamics:
    """Begins and advances the episodes of a task in a number of environments.

    Parameters
    ----------
    task
        The task.
    simulator
        Of the task's model.
    randomization
        Of the model's parameters.
    """

    def __init__(self, task: AbstractTask, simulator: Simulator, randomization: Randomization) -> None:
        self._checked = CheckedTask(task, simulator.model, simulator.num_envs, simulator.dtype, simulator.device)
        self.simulator = simulator
        self.parameters = Parameters(simulator, randomization)
        self._kind = {"dtype": simulator.dtype, "device": simulator.device}
        self._rebase = Rebase.of(simulator.model, **self._kind) if task.TRAVELS else None
        self._env = torch.arange(simulator.num_envs, device=simulator.device)
        self._start_q = self._checked.start_q()

    def first(self, seed: int) -> EnvState:
        """Begin the first episodes of a seed."""
        return self.begin(torch.full_like(self._env, seed_stream(seed)), torch.zeros_like(self._env))

    def begin(self, stream: Tensor, episode: Tensor) -> EnvState:
        """Begin the given episodes (N,) of the given random streams (N,)."""
        n, model, task = self.simulator.num_envs, self.simulator.model, self._checked.task
        random = EnvRandom(stream, self._env, episode, self.simulator.dtype)
        if task.reset_noise:
            q, qd = self._checked.reset(random, self._start_q)
        else:
            q, qd = self._start_q.expand(n, -1), torch.zeros(n, model.nv, **self._kind)
        return EnvState(
            q=q,
            qd=qd,
            origin=torch.zeros(n, 3, **self._kind),
            memory=self._checked.first_memory(random) if task.MEMORY else torch.zeros(n, 0, **self._kind),
            action=torch.zeros(n, model.nu, **self._kind),
            step_count=torch.zeros_like(episode),
            episode=episode,
            stream=stream,
            factors=self.parameters.randomization.draw(stream, self._env, episode),
            needs_reset=torch.zeros_like(episode, dtype=torch.bool),
        )

    def observe(self, state: EnvState) -> Tensor:
        """Observation of a state, (N, obs)."""
        return self._checked.observation(state, state.action)

    def simulator_for(self, state: EnvState) -> Simulator:
        """Return the simulator, with the parameters of the state's episodes."""
        self.parameters.apply(state.factors)
        return self.simulator

    def advance(self, now: EnvState, observation: Tensor, actions: Tensor) -> Transition:
        """Advance all environments by one control step.

        Parameters
        ----------
        now, observation
            State and its observation (N, obs).
        actions
            Not clipped yet, (N, nu). Environments with NaN among them become not finite.
        """
        task, action, wrong = self._checked.task, actions.clamp(-1.0, 1.0), None
        if action.is_cuda:  # on the CPU, NaN was refused before; here asking would wait for the device
            action, wrong = drop_nan(action)
        new, non_finite = self._simulate(now, action)
        if wrong is not None:
            non_finite = non_finite | wrong
        next_observation = self.observe(new)
        reward, terms, wrong = self._reward(observation, action, next_observation)
        terminated = non_finite = non_finite | wrong
        if task.early_termination:
            terminated = non_finite | self._checked.terminated(next_observation)
        if task.MEMORY:
            random = EnvRandom(new.stream, self._env, new.episode, self.simulator.dtype, new.step_count)
            new = dataclasses.replace(new, memory=self._checked.next_memory(random, new, next_observation))
            next_observation = self.observe(new)
        return Transition(
            state=new,
            observation=next_observation,
            reward=reward,
            reward_terms=terms,
            terminated=terminated,
            non_finite=non_finite,
        )

    def _simulate(self, now: EnvState, action: Tensor) -> tuple[EnvState, Tensor]:
        """Step the simulator; environments that become invalid stay where they were, without gradient."""
        q, qd = self.simulator_for(now).step(now.q, now.qd, action)
        broken = ~is_valid(q, qd)
        if not known_empty(broken):
            column = broken.unsqueeze(-1)
            q, qd = torch.where(column, now.q.detach(), q), torch.where(column, now.qd.detach(), qd)
        new = dataclasses.replace(now, q=q, qd=qd, action=action, step_count=now.step_count + 1)
        return self.rebased(new), broken

    def _reward(self, *inputs: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Reward of these inputs (N, ...), its terms and where it is not finite; there it is zero, without gradient."""
        inputs = tuple(value.view_as(value) for value in inputs)
        terms = self._checked.reward_terms(*inputs)
        # One by one: a sum over a stacked axis rounds differently from one number of environments to another.
        reward = functools.reduce(torch.add, terms.values())
        wrong = ~reward.detach().isfinite()
        if known_empty(wrong):
            return reward, terms, wrong
        for value in inputs:
            if value.requires_grad:  # or zero times infinity, NaN, would flow on
                value.register_hook(lambda grad: torch.where(wrong.unsqueeze(-1), 0.0, grad))
        return torch.where(wrong, 0.0, reward), terms, wrong

    def rebased(self, state: EnvState) -> EnvState:
        """Describe robots that are far from their origins about nearer ones."""
        if self._rebase is None:
            return state
        q, qd, origin = self._rebase(state.q, state.qd, state.origin)
        if origin is state.origin:
            return state
        return dataclasses.replace(state, q=q, qd=qd, origin=origin)
