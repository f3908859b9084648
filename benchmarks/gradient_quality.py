"""Measure how good the gradients of every task are, over the length of the window, and write a page and a figure.

The return of a window is the sum of its rewards and of one more step without action, so that the last action counts.
Environments start from states that random actions have led to; episodes do not end.

- Error: derivatives of returns along random directions of the actions, in float64, against central differences,
  relative to the norm of the gradient. Of the step sizes the best counts for each direction. A difference is wrong
  itself where a contact opens or closes, or the return jumps, between its ends, which the worst direction may show: it
  jumps where a finger joint of the hand crosses its limit, beyond which alone the limit's damping acts. In float32:
  distance of the gradients from those in float64.
- Variance: the gradient of the expected return to the means of normal distributions, whose tanh the actions are, is
  estimated from single samples: through the simulator, and by REINFORCE with the returns to come and the mean of the
  other samples as baseline. The ratio of the two estimates' variances, each summed over the means, is how many times
  more samples REINFORCE needs for the same accuracy.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffenvs import TASKS, DiffVectorEnv
from rpo.plotting import STYLES

HORIZONS = (1, 2, 4, 8, 16, 32)
WARM_UP = 20
"""Control steps of random actions before a window."""
FD_STEPS = (1e-4, 1e-5, 1e-6, 1e-7)
"""Of central differences, in units of the action."""
GROWTH = 5.0
"""Of a difference at the smallest step over that at the one before, beyond which it crosses a jump: there it is ten."""
STATES = 16
"""From which variances are estimated; their mean is reported."""
STD = 0.3
"""Of the normal distributions."""

State = dict[str, Tensor]


@dataclass(frozen=True)
class Quality:
    """What was measured on one task at one horizon."""

    median_error: float
    """Of the analytic derivatives, relative."""
    worst_error: float
    """The largest."""
    jumps: bool
    """Whether the difference along that direction grows as its step shrinks."""
    float32_error: float
    """Median distance of the gradient in float32, relative."""
    variance_ratio: float
    """Variance of REINFORCE's estimate over that of the reparameterised one."""


def make_env(task: str, num_envs: int, dtype: str) -> DiffVectorEnv:
    """Make environments whose episodes do not end."""
    return DiffVectorEnv(task, num_envs, dtype=dtype, early_termination=False, max_episode_steps=None)


def uniform(env: DiffVectorEnv, steps: int, seed: int) -> Tensor:
    """Actions between -0.5 and 0.5, (steps, N, nu)."""
    random = torch.Generator().manual_seed(seed)
    return torch.rand(steps, env.num_envs, env.model.nu, generator=random, dtype=env.dtype) - 0.5


def warm_states(env: DiffVectorEnv) -> State:
    """States in motion, from which windows start."""
    env.reset(seed=0)
    for action in uniform(env, WARM_UP, seed=0):
        env.step(action)
    return env.get_state()


def converted(state: State, dtype: torch.dtype) -> State:
    """Return the same state with floating numbers of another precision."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


def rewards(env: DiffVectorEnv, state: State, actions: Sequence[Tensor] | Tensor) -> Tensor:
    """Rewards of a window and of the step after it, (H + 1, N)."""
    env.set_state(state)
    return torch.stack([env.step_grad(action)[1] for action in (*actions, torch.zeros_like(actions[0]))])


def gradient(env: DiffVectorEnv, state: State, actions: Tensor) -> Tensor:
    """Gradient of each environment's return to its actions, (H, N, nu)."""
    leaf = actions.detach().requires_grad_()
    return torch.autograd.grad(rewards(env, state, leaf).sum(), leaf)[0]


def errors(env: DiffVectorEnv, single: DiffVectorEnv, state: State, horizon: int) -> tuple[Tensor, Tensor, Tensor]:
    """Relative errors of derivatives, whether differences jump, and errors of gradients in float32, (N,) each."""
    actions = uniform(env, horizon, seed=horizon)
    direction = torch.randn(actions.shape, generator=torch.Generator().manual_seed(horizon), dtype=env.dtype)
    exact = gradient(env, state, actions)
    norm, slope = exact.norm(dim=(0, 2)), (exact * direction).sum((0, 2))
    with torch.no_grad():
        differences = [
            (rewards(env, state, actions + step * direction) - rewards(env, state, actions - step * direction)).sum(0)
            / (2 * step)
            for step in FD_STEPS
        ]
    error = (torch.stack(differences) - slope).abs().amin(0) / norm
    jumps = (differences[-1].abs() > GROWTH * differences[-2].abs()) & (error > FD_STEPS[0])
    rounded = gradient(single, converted(state, single.dtype), actions.to(single.dtype))
    return error, jumps, (rounded - exact).norm(dim=(0, 2)) / norm


def estimates(env: DiffVectorEnv, state: State, horizon: int) -> tuple[Tensor, Tensor]:
    """Estimates of the gradient to the means, from one sample of each environment: (STATES, samples, H * nu) each.

    The first ones are those through the simulator, the second ones REINFORCE's.
    """
    samples = env.num_envs // STATES
    begin = {name: value[:STATES].repeat_interleave(samples, dim=0) for name, value in state.items()}
    random = torch.Generator().manual_seed(horizon)
    noise = torch.randn(horizon, env.num_envs, env.model.nu, generator=random, dtype=env.dtype)
    means = torch.zeros_like(noise, requires_grad=True)
    reward = rewards(env, begin, torch.tanh(means + STD * noise))
    (through,) = torch.autograd.grad(reward.sum(), means)
    # Of an action and what follows: the reward of its own step and all later ones, (H, STATES, samples).
    to_come = reward.detach().flip(0).cumsum(0).flip(0)[:horizon].unflatten(1, (STATES, samples))
    baseline = (to_come.sum(-1, keepdim=True) - to_come) / (samples - 1)
    reinforce = (to_come - baseline).flatten(1).unsqueeze(-1) * noise / STD
    shaped = (x.unflatten(1, (STATES, samples)).permute(1, 2, 0, 3).flatten(2) for x in (through, reinforce))
    return tuple(shaped)  # pyright: ignore[reportReturnType]  # of two


def measure(task: str, horizons: Sequence[int], num_envs: int, samples: int) -> dict[int, Quality]:
    """Measure one task with so many directions, and samples for each of the states, at every horizon."""
    exact, single, many = (
        make_env(task, count, dtype)
        for count, dtype in ((num_envs, "float64"), (num_envs, "float32"), (STATES * samples, "float32"))
    )
    state = warm_states(exact)
    crowd = warm_states(many)
    result = {}
    for horizon in horizons:
        error, jumps, rounding = errors(exact, single, state, horizon)
        through, reinforce = (x.double().var(1).sum(-1).mean() for x in estimates(many, crowd, horizon))
        result[horizon] = Quality(
            median_error=error.median().item(),
            worst_error=error.max().item(),
            jumps=bool(jumps[error.argmax()]),
            float32_error=rounding.median().item(),
            variance_ratio=(reinforce / through).item(),
        )
    for env in (exact, single, many):
        env.close()
    return result


def table(results: dict[str, dict[int, Quality]], field: str, pattern: str, star: str = "") -> str:
    """One field as a table in Markdown: a row for each task, a column for each horizon, a star where one is set."""
    horizons = list(next(iter(results.values())))
    lines = [("task", *map(str, horizons)), ("---",) * (len(horizons) + 1)]
    for task, row in results.items():
        cells = [
            pattern.format(getattr(row[horizon], field)) + "\\*" * getattr(row[horizon], star, False)
            for horizon in horizons
        ]
        lines.append((f"`{task}`", *cells))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(results: dict[str, dict[int, Quality]], image: str, num_envs: int, samples: int) -> str:
    """Write down what was measured."""
    method = (__doc__ or "").split("\n\n", 1)[1].strip()
    return f"""# Quality of the gradients

Written by `python benchmarks/gradient_quality.py`: {num_envs} directions for each error, {STATES} states with {samples}
samples each for the variances. Columns are lengths of the window in control steps.

![Errors and variances over the length of the window]({image})

{method}

## Error in float64, median

{table(results, "median_error", "{:.0e}")}

## Error in float64, worst direction

{table(results, "worst_error", "{:.0e}", "jumps")}

\\* The return jumps along this direction, nearer than the smallest step: the difference grows as its step shrinks, and
says nothing about the derivative.

## Distance of the gradient in float32, median

{table(results, "float32_error", "{:.0e}")}

## Variance of REINFORCE over that through the simulator

{table(results, "variance_ratio", "{:,.3g}")}
"""


def draw(results: dict[str, dict[int, Quality]], path: Path) -> None:
    """Draw errors and ratios of variances over the horizon."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 3.8), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = {
        "median_error": "relative error against\ncentral differences (median)",
        "float32_error": "relative distance in float32\n(median)",
        "variance_ratio": "variance of REINFORCE over\nthat through the simulator",
    }
    row_of_axes = figure.subplots(1, len(panels))
    for axes, (field, label) in zip(row_of_axes, panels.items(), strict=True):
        for (task, row), (color, line, marker) in zip(results.items(), STYLES, strict=False):
            values = [getattr(quality, field) for quality in row.values()]
            axes.plot(list(row), values, color=color, linestyle=line, marker=marker, markersize=4, label=task)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set(xlabel="window [control steps]", ylabel=label)
        axes.set_xticks(list(next(iter(results.values()))), list(next(iter(results.values()))))
        axes.grid(alpha=0.3)
    row_of_axes[-1].axhline(1.0, color="0.4", linewidth=1.0)
    figure.legend(
        *row_of_axes[-1].get_legend_handles_labels(), loc="outside upper center", ncols=len(results), fontsize=9
    )
    figure.savefig(path, dpi=120)


def main(args: Sequence[str] | None = None) -> None:
    """Measure, and write page and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=[task for task in TASKS if task.startswith("diffenvs/")])
    parser.add_argument("--horizons", nargs="+", type=int, default=HORIZONS)
    parser.add_argument("--envs", type=int, default=64, help="directions for each error")
    parser.add_argument("--samples", type=int, default=32, help="samples of each state for the variances")
    parser.add_argument("--output", type=Path, default=Path("docs/gradient_quality"), help=".md and .png are added")
    options = parser.parse_args(args)
    image, text = (options.output.with_suffix(suffix) for suffix in (".png", ".md"))
    results = {}
    for task in options.tasks:
        results[task] = measure(task, options.horizons, options.envs, options.samples)
        for horizon, quality in results[task].items():
            print(task, horizon, quality, flush=True)
        draw(results, image)
        text.write_text(page(results, image.name, options.envs, options.samples))
    print(f"{text}\n{image}")


if __name__ == "__main__":
    main()
