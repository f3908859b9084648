"""The losses of the actor and of the critics. Pure functions, one equation each.

Source: "Reparameterization Proximal Policy Optimization" (Zhong, Wang, Li, Huang; arXiv 2508.06214), [RPO] below.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rpo.distributions import SquashedGaussian


def scaled_entropy(entropy: Float[Tensor, "*batch"], act_dim: int) -> Float[Tensor, "*batch"]:
    """Return the entropy bonus h = ((entropy + |target|) / 2) / |target| with target = -act_dim / 2.

    It is 0 at the target and 1 when the entropy reaches |target| (SAPO's code, Xing et al. 2025).

    Examples
    --------
    >>> scaled_entropy(torch.tensor([-4.0, 0.0, 4.0]), act_dim=8)
    tensor([0.0000, 0.5000, 1.0000])
    """
    target = act_dim / 2.0
    return (entropy + target) / (2.0 * target)


def action_gradients(
    objective: Float[Tensor, ""], actions: Sequence[Float[Tensor, "world act"]]
) -> Float[Tensor, "horizon world act"]:
    """Return the total derivative of the window's objective to every action: G, the one backward pass of a window.

    It includes how later actions respond through the policy. The graph is freed; no parameter gets a gradient.

    Parameters
    ----------
    objective
        The scalar of `returns.window_objective`.
    actions
        The action tensors given to the environment, one (world, act) a step.

    References
    ----------
    [RPO] section 4.i and Figure 2.
    """
    return torch.stack(torch.autograd.grad(objective, list(actions)))


@torch.no_grad()
def clip_action_gradients(
    action_grad: Float[Tensor, "horizon world act"], multiple: float
) -> Float[Tensor, "horizon world act"]:
    """Return action gradients whose norms are at most a multiple of the window's median norm; directions stay.

    Contact, and rewards with sharp edges, give single samples derivatives that are hundreds of times the usual ones.
    The sum over a window is then that of a few samples, which say little about the policy. This trades its
    unbiasedness for a variance that is bounded.

    Parameters
    ----------
    action_grad
        Cached derivative G of the window's objective to the actions.
    multiple
        Largest norm, in medians over samples, of those whose gradient is not zero.

    Examples
    --------
    >>> action_grad = torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]], [[0.0, -1.0]], [[0.0, 0.0]]])
    >>> clip_action_gradients(action_grad, multiple=2.0).squeeze(1)
    tensor([[ 1.2000,  1.6000],
            [ 0.0000,  1.0000],
            [ 0.0000, -1.0000],
            [ 0.0000,  0.0000]])
    """
    norm = action_grad.norm(dim=-1, keepdim=True)
    limit = multiple * torch.where(norm > 0.0, norm, torch.nan).nanmedian()
    return torch.where(norm > limit, action_grad * (limit / norm), action_grad)


def regenerated_action(policy: SquashedGaussian, u: Float[Tensor, "*batch act"]) -> Float[Tensor, "*batch act"]:
    """Return the stored action as a function of the current policy's parameters.

    Parameters
    ----------
    policy
        The current policy at the stored observations.
    u
        The stored actions before the squashing, (..., act).

    Returns
    -------
    Tensor
        Action with gradient to the policy, (..., act).

    Notes
    -----
    Eq. (12) of [RPO]: eps = (u - mu) / sigma, a constant; a = tanh(mu + sigma * eps). The value is the stored action
    whatever the parameters are, only the derivative follows them.
    """
    noise = ((u - policy.mean) * (-policy.log_std).exp()).detach()
    return torch.tanh(policy.presquash(noise))


@torch.no_grad()
def importance_ratio(
    policy: SquashedGaussian, behaviour: SquashedGaussian, u: Float[Tensor, "*batch act"]
) -> Float[Tensor, "*batch"]:
    """Return pi(a|s) / pi_old(a|s) as a constant, (...).

    Parameters
    ----------
    policy, behaviour
        The current policy and the one that acted, at the stored observations.
    u
        The stored actions before the squashing, (..., act).

    Notes
    -----
    The tanh's Jacobian cancels: a ratio of Gaussians of u, joint over the action's dimensions, taken in log space.
    """
    return (policy.log_prob_presquash(u) - behaviour.log_prob_presquash(u)).exp()


def inside_clip(ratio: Float[Tensor, "*batch"], clip_low: float, clip_high: float) -> Bool[Tensor, "*batch"]:
    """Return which samples take part, (...): 1 - clip_low <= ratio <= 1 + clip_high, and finite."""
    return (ratio >= 1.0 - clip_low) & (ratio <= 1.0 + clip_high) & ratio.isfinite()


def clipped_surrogate(
    action: Float[Tensor, "*batch act"],
    action_grad: Float[Tensor, "*batch act"],
    ratio: Float[Tensor, "*batch"],
    clip_low: float,
    clip_high: float,
) -> Float[Tensor, ""]:
    """Return the surrogate whose gradient re-attaches the cached action gradients to the current policy.

    Parameters
    ----------
    action
        Actions from `regenerated_action`, (..., act).
    action_grad
        Cached derivative G of the window's objective to the actions, (..., act).
    ratio
        Importance ratio, a constant, (...).
    clip_low, clip_high
        Distance of the ratio from 1, below and above, beyond which a sample is left out.

    Notes
    -----
    Eq. (13) of [RPO]: sum 1[1 - c_low <= rho <= 1 + c_high] rho <a, G>. At the first epoch, where rho = 1, its
    gradient is the reparameterised policy gradient of the window's objective. A sum: G has the mean's 1/(N H) in it.
    """
    weight = torch.where(inside_clip(ratio, clip_low, clip_high), ratio, 0.0)
    return (weight.unsqueeze(-1) * action_grad * action).sum()


def kl_penalty(behaviour: SquashedGaussian, policy: SquashedGaussian) -> Float[Tensor, ""]:
    """Return the mean divergence of the current policy from the one that acted, Eq. (9) of [RPO]: KL(old || new)."""
    return behaviour.kl(policy).mean()


def entropy_bonus(policy: SquashedGaussian, noise: Float[Tensor, "*batch act"]) -> Float[Tensor, ""]:
    """Return the mean scaled entropy of the current policy, estimated with fresh noise, (..., act): Eq. (10) of [RPO].

    Its gradient goes straight to the policy's parameters, undiscounted (appendix C.2).
    """
    return scaled_entropy(policy.entropy(noise), noise.shape[-1]).mean()


def policy_objective(
    surrogate: Float[Tensor, ""], kl: Float[Tensor, ""], entropy: Float[Tensor, ""], kl_coef: float, entropy_coef: float
) -> Float[Tensor, ""]:
    """Return what the policy epochs maximise, a scalar: Eq. (11) of [RPO], with weight 1 on the surrogate.

    The three terms are those of `clipped_surrogate`, `kl_penalty` and `entropy_bonus`. The paper gives no weight of the
    first one.
    """
    return surrogate - kl_coef * kl + entropy_coef * entropy


def temperature_loss(
    temperature: Float[Tensor, ""], scaled_entropies: Float[Tensor, "*batch"], act_dim: int
) -> Float[Tensor, ""]:
    """Return the loss whose gradient lowers the temperature while the policy's entropy is above the target.

    Parameters
    ----------
    temperature
        Weight of the entropy in the objective.
    scaled_entropies
        Constant entropies from `scaled_entropy`, (...).
    act_dim
        Dimensions of the action.

    Notes
    -----
    The mean of temperature * (entropy - target), where entropy - target is act_dim times the scaled entropy.

    References
    ----------
    Haarnoja et al. 2018, "Soft Actor-Critic Algorithms and Applications", their equation 18.
    """
    return temperature * act_dim * scaled_entropies.mean()


def value_loss(values: Float[Tensor, "critic batch"], targets: Float[Tensor, " batch"]) -> Float[Tensor, ""]:
    """Return the critics' squared error, averaged over samples and critics: Eq. (14) of [RPO]."""
    return (values - targets).square().mean()


def explained_variance(values: Float[Tensor, "*batch"], targets: Float[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """Return the share of the targets' variance that the values explain: 1 perfect, 0 no better than a constant."""
    return 1.0 - (targets - values).var(correction=0) / targets.var(correction=0).clamp_min(1e-12)
