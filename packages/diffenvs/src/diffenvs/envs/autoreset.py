"""Ends of episodes: time limit, Gymnasium's three ways to begin the next one, and what ``info`` tells of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from diffenvs.envs.dynamics import Dynamics, Transition
from diffenvs.envs.env_state import EnvState
from diffenvs.envs.masks import known_empty

StepResult = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]
"""Observations (N, obs), rewards, terminated, truncated (N,) each, and info."""


def advance(
    dynamics: Dynamics,
    mode: AutoresetMode,
    max_episode_steps: int | None,
    now: EnvState,
    observation: Tensor,
    actions: Tensor,
) -> tuple[EnvState, StepResult]:
    """Advance all environments by one control step, and begin the next episodes where the mode says so.

    Parameters
    ----------
    dynamics
        Of the task.
    mode
        Of autoreset.
    max_episode_steps
        At which episodes are truncated, None for never.
    now, observation, actions
        As for :meth:`Dynamics.advance`.

    Returns
    -------
    tuple
        The next state, and what :meth:`DiffVectorEnv.step` returns, in fresh tensors but for the observation.
    """
    made = dynamics.advance(now, observation, actions)
    reward, terminated, info = made.reward.clone(), made.terminated.clone(), _info(made)
    if max_episode_steps is None:
        truncated = torch.zeros_like(terminated)
    else:
        truncated = (made.state.step_count >= max_episode_steps) & ~terminated
    done = terminated | truncated
    if mode is AutoresetMode.SAME_STEP:
        state, observation = _restart(dynamics, done, made)
        info |= {"final_obs": made.observation.clone(), "_final_obs": done}
        info |= {"final_info": _info(made), "_final_info": done.clone()}
        return state, (observation, reward, terminated, truncated, info)
    if mode is AutoresetMode.DISABLED:
        state = dataclasses.replace(made.state, needs_reset=done)
        return state, (made.observation, reward, terminated, truncated, info)
    running = ~now.needs_reset
    state, observation = _restart(dynamics, now.needs_reset, made)
    state = dataclasses.replace(state, needs_reset=done & running)
    info["non_finite"] &= running
    info["reward_terms"] = {name: torch.where(running, term, 0.0) for name, term in info["reward_terms"].items()}
    return state, (observation, torch.where(running, reward, 0.0), terminated & running, truncated & running, info)


def _info(made: Transition) -> dict[str, Any]:
    """Tell of a step, in fresh tensors without a graph."""
    terms = {name: term.detach().clone() for name, term in made.reward_terms.items()}
    return {"non_finite": made.non_finite.clone(), "reward_terms": terms}


def _restart(dynamics: Dynamics, mask: Tensor, made: Transition) -> tuple[EnvState, Tensor]:
    """Begin the next episode in the environments of the mask; their state is then a constant."""
    if known_empty(mask):
        return made.state, made.observation
    with torch.no_grad():
        fresh = dynamics.begin(made.state.stream, made.state.episode + 1)
        observation = dynamics.observe(fresh)
    return made.state.where(mask, fresh), torch.where(mask.unsqueeze(-1), observation, made.observation)
