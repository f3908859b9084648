"""Identify a robot: recover its friction and mass from a recorded trajectory, by gradient descent.

An Ant on slippery ground and heavier than its model says is recorded while it moves at random. The recording is cut
into short windows, which begin at recorded states and are predicted side by side, one environment each. Gradients of
the error of the predicted observations reach the parameters through all steps and contacts of a window.
"""

import torch
from torch import Tensor

import diffenvs

TRUE = {"friction": 0.6, "mass": 1.25}
"""Factors of the model's values: what there is to find."""


def make_env(num_envs: int) -> diffenvs.DiffVectorEnv:
    """Make Ants whose episodes do not end."""
    return diffenvs.DiffVectorEnv("diffenvs/Ant-v0", num_envs, early_termination=False, max_episode_steps=None)


def set_factors(env: diffenvs.DiffVectorEnv, model: dict[str, Tensor], friction: Tensor, mass: Tensor) -> None:
    """Scale the friction of all shapes, and the masses and inertias of all links, as of a denser body."""
    factors = {"friction": friction, "mass": mass, "inertia": mass}
    env.set_parameters({name: factor * model[name] for name, factor in factors.items()})


def record(steps: int) -> tuple[Tensor, Tensor, list[dict[str, Tensor]]]:
    """Observations (steps, obs) after random actions (steps, nu), and the states before them, of the true Ant."""
    env = make_env(1)
    set_factors(env, dict(env.parameters), *torch.tensor(list(TRUE.values())))
    actions = torch.rand(steps, 1, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    env.reset(seed=0)
    observations, states = [], []
    for action in actions:
        states.append(env.get_state())
        observations.append(env.step(action)[0])
    return torch.cat(observations), actions.squeeze(1), states


def identify(steps: int = 128, window: int = 8, iterations: int = 80) -> dict[str, float]:
    """Find the factors by gradient descent from one, the model's own, on a recording of so many control steps."""
    observations, actions, states = record(steps)
    begin = {name: torch.cat([state[name] for state in states[::window]]) for name in states[0]}
    targets, inputs = (x.unflatten(0, (-1, window)).transpose(0, 1) for x in (observations, actions))

    env = make_env(steps // window)
    model = dict(env.parameters)
    logarithms = torch.zeros(2, requires_grad=True)  # of the factors, which so stay positive
    optimizer = torch.optim.Adam([logarithms], lr=0.05)
    for iteration in range(iterations):
        set_factors(env, model, *logarithms.exp())
        env.set_state(begin)
        predicted = torch.stack([env.step_grad(action)[0] for action in inputs])
        error = (predicted - targets).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        if iteration % 20 == 0:
            print(f"iteration {iteration:3}  error {error.item():.1e}")
    return dict(zip(TRUE, logarithms.exp().tolist(), strict=True))


def main() -> None:
    """Print what was found beside what is true."""
    found = identify()
    for name, value in TRUE.items():
        print(f"{name:8}  true {value:.3f}  found {found[name]:.3f}")


if __name__ == "__main__":
    main()
