"""The window: a short rollout with gradients. The only loop over time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rpo.distributions import SquashedGaussian
from rpo.env import DifferentiableVectorEnv, finite_rewards
from rpo.objectives import scaled_entropy
from rpo.policy import FirstOrderPolicy

EXPLODED = 1e6
"""Observations beyond this magnitude count as a termination without value; the environment must end the episode."""


class ActionGradients:
    """Derivatives of the window's objective to its actions, noted as the backward pass comes by.

    Where the derivative of an environment is not finite it is cut out: 0 goes on to the policy. What is cut out of a
    step is lost for the steps before it in that environment too, and for no other environment. Where there is no
    finite one at all nothing is cut out, so that the optimiser sees that there is nothing to learn from.
    """

    def __init__(self, horizon: int, num_envs: int, act_dim: int, like: Tensor) -> None:
        self.values = like.new_zeros(horizon, num_envs, act_dim)
        """Derivatives after cutting, (horizon, world, act); zero before the backward pass."""
        self.lost = torch.zeros(horizon, num_envs, dtype=torch.bool, device=like.device)
        """Which ones were cut out, (horizon, world)."""

    def watch(self, action: Float[Tensor, "world act"], step: int) -> Float[Tensor, "world act"]:
        """Return the action of a step for the environment; its derivative is noted, and cut, on the way back to it."""

        def note(gradient: Tensor) -> Tensor:
            lost = ~gradient.isfinite().all(-1)
            self.lost[step] = lost
            self.values[step] = torch.where((lost & ~lost.all()).unsqueeze(-1), 0.0, gradient)
            return self.values[step].clone()

        # A view: autograd hands out derivatives to a tensor as they were before the hooks of that tensor itself.
        watched = action.view_as(action)
        watched.register_hook(note)
        return watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One window of H control steps of N environments, on the networks' device.

    "Attached" tensors carry the graph of the window, through simulation and policy; the others are constants.
    """

    raw_observations: Float[Tensor, "horizon world obs"]
    """What the environments showed before each step."""
    observations: Float[Tensor, "horizon world obs"]
    """The same normalised, as the policy saw it."""
    presquash: Float[Tensor, "horizon world act"]
    """Actions before the tanh, u."""
    behaviour: SquashedGaussian
    """The policy that acted, (horizon, world, act), constant."""
    actions: tuple[Float[Tensor, "world act"], ...]
    """Attached: actions in [-1, 1], one tensor per step."""
    action_gradients: ActionGradients
    """Derivatives of what a backward pass starts from to the actions."""
    rewards: Float[Tensor, "horizon world"]
    """Attached: rewards of the environment."""
    entropies: Float[Tensor, "horizon world"]
    """Attached: scaled entropy h of the policy at each observation."""
    next_values: Float[Tensor, "critic horizon world"]
    """Attached: value of the true next observation; 0 where the state is not finite."""
    terminated: Bool[Tensor, "horizon world"]
    """Episodes that ended in a state without future."""
    truncated: Bool[Tensor, "horizon world"]
    """Episodes that ended at the time limit."""
    non_finite: Bool[Tensor, "horizon world"]
    """Next states that were not finite, or exploded: terminated too."""
    simulation_seconds: float
    """Time spent in the environment's forward steps; on CUDA, in launching them (see `AbstractAlgorithm.timed`)."""


def collect(
    env: DifferentiableVectorEnv,
    policy: FirstOrderPolicy,
    horizon: int,
    generator: torch.Generator,
    on_step: Callable[[Tensor, Tensor], bool] = lambda rewards, ended: True,
) -> Rollout | None:
    """Roll the policy out for one window, attached to the graph from its first step to its last.

    The graph is cut at the start; the episodes go on from where the last window left them.

    Parameters
    ----------
    env
        Environments, already reset.
    policy
        Actor, critics and frozen normaliser.
    horizon
        Control steps, H.
    generator
        Source of the policy's noise, on the policy's device.
    on_step
        Called with rewards and ends after every step, inside the open graph; returning False gives the window up.

    Returns
    -------
    Rollout or None
        The window, or None if it was given up.

    Raises
    ------
    ValueError
        If the environment's info lacks what `DifferentiableVectorEnv` asks for, or an episode goes on after a state
        that is not finite or has exploded.
    """
    raw = env.detach()
    env_dtype = raw.dtype
    shape = (2, horizon, env.num_envs, policy.act_dim)
    noise, entropy_noise = torch.randn(shape, generator=generator, device=policy.device, dtype=policy.dtype)
    raws, observations, presquash, means, log_stds, actions, steps = [], [], [], [], [], [], []
    action_gradients = ActionGradients(horizon, env.num_envs, policy.act_dim, noise)
    seconds = 0.0
    for t in range(horizon):
        observation = policy.normalize(raw)
        distribution = policy.actor(observation)
        u = distribution.presquash(noise[t])
        action = torch.tanh(u)
        watched = action_gradients.watch(action, t)
        start = time.perf_counter()
        next_raw, reward, terminated, truncated, info = env.step_grad(watched.to(env.device, env_dtype))
        seconds += time.perf_counter() - start
        raws.append(raw.detach())
        observations.append(observation.detach())
        presquash.append(u.detach())
        means.append(distribution.mean)
        log_stds.append(distribution.log_std)
        actions.append(action)
        try:
            steps.append((reward, terminated, truncated, info["final_obs"], info["non_finite"]))
        except KeyError as error:
            raise ValueError(f"info of {type(env).__name__}.step_grad must have {error}. Got {list(info)}.") from None
        raw = next_raw
        if not on_step(reward, terminated | truncated):
            env.detach()
            return None
    rewards, terminated, truncated, final_obs, non_finite = (
        torch.stack(column).to(policy.device) for column in zip(*steps, strict=True)
    )
    bad = non_finite | ~(final_obs.detach().abs() <= EXPLODED).all(-1)  # NaN fails the comparison
    if (bad & ~(terminated | truncated)).any():
        raise ValueError(
            f"{type(env).__name__} goes on after a state that is not finite, or observed beyond {EXPLODED:.0e}: such a "
            "state must end the episode."
        )
    distribution = SquashedGaussian(torch.stack(means), torch.stack(log_stds))
    # The values of all next observations at once: those that end the window or an episode enter the objective, all of
    # them the critics' targets. Observations of lost states are replaced before the network, so that their gradient is
    # zero and not 0 * NaN.
    next_observations = policy.normalize(torch.where(bad.unsqueeze(-1), 0.0, final_obs))
    next_values = policy.critics(next_observations.flatten(0, 1)).unflatten(1, bad.shape)
    return Rollout(
        raw_observations=torch.stack(raws).to(policy.device),
        observations=torch.stack(observations),
        presquash=torch.stack(presquash),
        behaviour=distribution.detach(),
        actions=tuple(actions),
        action_gradients=action_gradients,
        rewards=finite_rewards(rewards).to(policy.dtype),
        entropies=scaled_entropy(distribution.entropy(entropy_noise), policy.act_dim),
        next_values=torch.where(bad, 0.0, next_values),
        terminated=terminated | bad,
        truncated=truncated & ~terminated & ~bad,
        non_finite=bad,
        simulation_seconds=seconds,
    )
