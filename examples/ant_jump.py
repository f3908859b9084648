"""Optimise a trajectory: let an Ant jump, by gradient descent on its actions.

The Ant falls from its start pose and lands on legs that do nothing. Fifty actions, nothing else, are optimised for the
height of the torso at the end; the gradient comes through the landing, the crouch and the push. With the name of a file
as argument, the jump is written there as a page that any browser plays.
"""

import sys

import torch
from torch import Tensor

import diffenvs

PUSH, FLIGHT = 50, 40
"""Control steps of 1/60 s: those that are optimised, and those that follow without an action."""


def make_env() -> diffenvs.DiffVectorEnv:
    """Make an Ant that starts at rest in its pose and whose episode does not end."""
    env = diffenvs.DiffVectorEnv("diffenvs/Ant-v0", early_termination=False, reset_noise=False, max_episode_steps=None)
    env.reset(seed=0)
    return env


def heights(env: diffenvs.DiffVectorEnv, start: dict[str, Tensor], actions: Tensor) -> Tensor:
    """Height of the torso after each step [m], (steps,), attached to the graph of the actions, (steps, 1, 8)."""
    env.set_state(start)
    observations = torch.cat([env.step_grad(action)[0] for action in actions])
    return env.task.entry(observations, "height")


def optimise(iterations: int = 80) -> tuple[Tensor, Tensor]:
    """Return the actions before and after, flight included, (steps, 1, 8)."""
    env = make_env()
    start = env.get_state()
    inputs = torch.zeros(PUSH, 1, 8, requires_grad=True)  # of a tanh, which keeps the actions within -1 and 1
    optimizer = torch.optim.Adam([inputs], lr=0.1)
    for iteration in range(iterations):
        height = heights(env, start, inputs.tanh())[-1]
        optimizer.zero_grad()
        (-height).backward()
        optimizer.step()
        if iteration % 20 == 0:
            print(f"iteration {iteration:3}  height at the end of the push {height.item():.2f} m")
    flight = torch.zeros(FLIGHT, 1, 8)
    return torch.zeros(PUSH + FLIGHT, 1, 8), torch.cat([inputs.detach().tanh(), flight])


def write_replay(path: str, actions: Tensor) -> None:
    """Write the motion as an HTML file."""
    env = make_env()
    replay = env.record_replay(every=1)
    replay.add()
    for action in actions:
        env.step(action)
        replay.add()
    replay.write(path)
    print(f"replay: {path}")


def main(path: str | None = None) -> Tensor:
    """Print how high the torso rises after landing, before and after; returns the actions of the jump."""
    env = make_env()
    start = env.get_state()
    idle, jump = optimise()
    for name, actions in (("before", idle), ("after", jump)):
        height = heights(env, start, actions).detach()
        landed = int(height[:PUSH].argmin())
        print(f"{name:6}  down to {height[landed]:.2f} m, then up to {height[landed:].max():.2f} m")
    if path is not None:
        write_replay(path, jump)
    return jump


if __name__ == "__main__":
    main(*sys.argv[1:])
