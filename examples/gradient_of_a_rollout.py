"""Differentiate a rollout through ground contact, and check the derivative against finite differences.

The derivative of the summed rewards of 32 control steps with respect to all actions is one backward pass. Along a
random direction it is compared with central differences, in float64.
"""

import torch

import diffenvs

HORIZON = 32


def total_reward(env, state, actions):
    """Sum of the rewards of a rollout from the state, over steps and environments."""
    env.set_state(state)
    return torch.stack([env.step_grad(action)[1].sum() for action in actions]).sum()


def main() -> None:
    """Print the derivative from both sources."""
    env = diffenvs.DiffVectorEnv("diffenvs/Ant-v0", num_envs=4, dtype="float64", early_termination=False)
    env.reset(seed=0)
    state = env.get_state()

    torch.manual_seed(0)
    actions = torch.rand(HORIZON, 4, 8, dtype=torch.float64) - 0.5
    direction = torch.randn_like(actions)

    actions.requires_grad_()
    reward = total_reward(env, state, actions)
    (gradient,) = torch.autograd.grad(reward, actions)
    analytic = (gradient * direction).sum().item()

    step = 1e-6
    with torch.no_grad():
        ends = [total_reward(env, state, actions + sign * step * direction) for sign in (1, -1)]
    numeric = (ends[0] - ends[1]).item() / (2 * step)
    print(f"sum of rewards          {reward.item():.6f}")
    print(f"derivative, backward    {analytic:.6f}")
    print(f"derivative, differences {numeric:.6f}")


if __name__ == "__main__":
    main()
