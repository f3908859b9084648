"""Print how fast the environments run here: a table of control steps of one environment per second.

Every figure is measured in a process of its own, through the public environment: observations, rewards and resets are
included. "forward" is `step`; "with gradients" is a window of 32 `step_grad` and the backward pass of the summed
rewards with respect to all actions. Reported is the best of several repetitions, with uniformly random actions and, by
default, as many environments as in the paper. It runs on Linux.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HORIZON = 32
REPETITIONS = 7
GRADIENT_MEMORY_ENVS = 1024


@dataclass(frozen=True)
class Speed:
    """Control steps of one environment per second."""

    forward: float
    with_gradients: float


def make(task: str, num_envs: int, threads: int):
    """Environment on the CPU, and the actions of a window."""
    import gymnasium
    import torch

    import diffenvs

    torch.set_num_threads(threads)
    gymnasium.register_envs(diffenvs)
    env: Any = gymnasium.make_vec(task, num_envs=num_envs, num_threads=threads).unwrapped
    env.reset(seed=0)
    generator = torch.Generator().manual_seed(0)
    shape = (HORIZON, *env.action_space.shape)
    return env, 2 * torch.rand(shape, generator=generator) - 1


def run_window(env, actions):
    """Gradient of the summed rewards of a window with respect to its actions."""
    import torch

    env.detach()
    actions = actions.clone().requires_grad_()
    total = torch.stack([env.step_grad(action)[1].sum() for action in actions]).sum()
    total.backward()
    return actions.grad


def clock_of(cpu_time: bool):
    """Clock that counts the CPU's time on this process, or the one on the wall."""
    return time.process_time if cpu_time else time.perf_counter


def measure_speed(task: str, num_envs: int, threads: int, cpu_time: bool) -> Speed:
    """Best of several windows of steps."""
    clock = clock_of(cpu_time)
    env, actions = make(task, num_envs, threads)
    run_window(env, actions)
    best = {"forward": float("inf"), "with_gradients": float("inf")}
    for _ in range(REPETITIONS):
        start = clock()
        for action in actions:
            env.step(action)
        middle = clock()
        run_window(env, actions)
        end = clock()
        best = {
            "forward": min(best["forward"], middle - start),
            "with_gradients": min(best["with_gradients"], end - middle),
        }
    steps = HORIZON * num_envs
    return Speed(**{name: steps / seconds for name, seconds in best.items()})


def measure_compilation(task: str, cache: str, cpu_time: bool) -> float:
    """Seconds from making an environment to the end of its first window, less those of a second window."""
    import warp as wp

    import diffenvs.simulator  # noqa: F401 - imports are not what is measured

    wp.config.kernel_cache_dir = cache
    clock = clock_of(cpu_time)
    start = clock()
    env, actions = make(task, 1, 1)
    run_window(env, actions)
    first = clock() - start
    start = clock()
    run_window(env, actions)
    return first - (clock() - start)


def measure_memory(task: str, num_envs: int) -> tuple[float, float]:
    """Peak memory of a process, and its growth by an environment and a window with gradients [MiB]."""
    env, actions = make(task, 1, 1)
    run_window(env, actions)
    before = memory()
    env, actions = make(task, num_envs, 1)
    run_window(env, actions)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return peak, peak - before


def memory() -> float:
    """Memory that this process holds now [MiB]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def in_fresh_process(function, *arguments):
    """Call the function in a new process and return its result."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=_silence) as pool:
        return pool.submit(function, *arguments).result()


def _silence() -> None:
    contextlib.redirect_stdout(io.StringIO()).__enter__()


def processor() -> str:
    """Name of this machine's processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line.split(":")[1].strip() for line in information.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def main() -> None:
    """Measure and print."""
    import diffenvs
    from rpo.presets import PAPER

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(diffenvs.TASKS), choices=diffenvs.TASKS)
    parser.add_argument("--num-envs", type=int, help="of the speeds; default: the paper's")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count seconds of one core's time, on a machine that has other work too",
    )
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    unit = "CPU second" if arguments.cpu_time else "second"
    print(f"{processor()}, {cores} cores, Python {platform.python_version()}, float32, steps a {unit}\n")
    print("| task | N | cores | forward | with gradients |")
    print("| --- | --- | --- | --- | --- |")
    for task in arguments.tasks:
        num_envs = arguments.num_envs or PAPER.num_envs(task)
        for threads in sorted({1} if arguments.cpu_time else {1, cores}):
            speed = in_fresh_process(measure_speed, task, num_envs, threads, arguments.cpu_time)
            print(f"| {task} | {num_envs} | {threads} | {speed.forward:,.0f} | {speed.with_gradients:,.0f} |")
    print("\n| task | first use [s] | later starts [s] | window, N = 1024, H = 32 [MiB] | whole process [MiB] |")
    print("| --- | --- | --- | --- | --- |")
    for task in arguments.tasks:
        with tempfile.TemporaryDirectory() as cache:
            cold = in_fresh_process(measure_compilation, task, cache, arguments.cpu_time)
            cached = in_fresh_process(measure_compilation, task, cache, arguments.cpu_time)
        peak, window = in_fresh_process(measure_memory, task, GRADIENT_MEMORY_ENVS)
        print(f"| {task} | {cold:.1f} | {cached:.2f} | {window:.0f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
