"""`close` frees memory: environments that were made and closed leave nothing behind."""

import gc
import subprocess
import sys
import weakref

import gymnasium
import pytest
import torch
from environments import make

import diffenvs

CYCLES = """
import gc, itertools, sys
from pathlib import Path
import gymnasium, torch, warp
import diffenvs

torch.set_num_threads(2)

def cycle(id):
    env = gymnasium.make_vec(id, num_envs=16)
    env.reset(seed=0)
    actions = torch.zeros(env.action_space.shape, requires_grad=True)
    env.step_grad(actions)[0].sum().backward()
    env.step(actions)
    env.close()
    single = gymnasium.make(id)
    single.reset(seed=0)
    single.step(single.action_space.sample())
    single.close()

def count():
    '''Objects of all kinds, tensors and Warp arrays among them; resident memory [MiB].'''
    gc.collect()
    objects = gc.get_objects()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    kinds = (torch.Tensor, warp.array)
    return [len(objects), *(sum(isinstance(each, kind) for each in objects) for kind in kinds), pages / 256]

ids = itertools.cycle(diffenvs.TASKS)
for _ in range(20):
    cycle(next(ids))
before = count()
for _ in range(int(sys.argv[1])):
    cycle(next(ids))
print(*(after - first for after, first in zip(count(), before)))
"""
MEGABYTES = 1.0
"""Growth of the resident memory that is allowed over all cycles; four environments of 16 Ants take about as much."""


def growth(cycles):
    command = [sys.executable, "-c", CYCLES, str(cycles)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(value) for value in result.stdout.split()]


def check_growth(cycles):
    objects, tensors, arrays, megabytes = growth(cycles)
    assert (tensors, arrays) == (0, 0)
    assert abs(objects) < 50
    assert megabytes < MEGABYTES


def test_memory_does_not_grow_when_environments_are_made_and_closed():
    check_growth(100)


@pytest.mark.slow
def test_memory_does_not_grow_over_a_thousand_cycles():
    check_growth(1000)


@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_close_frees_the_simulator_at_once_though_the_environment_is_held(id):
    env = make(id)
    env.reset(seed=0)
    env.step(torch.zeros(env.action_space.shape))
    dynamics = env._dynamics
    held = [weakref.ref(dynamics.simulator), weakref.ref(dynamics.simulator._engine), weakref.ref(env.state["q"])]
    del dynamics
    gc.disable()  # without the help of the garbage collector
    try:
        env.close()
        assert [reference() for reference in held] == [None] * 3
    finally:
        gc.enable()
    assert env.closed


def test_an_environment_that_is_dropped_is_freed_too():
    env = gymnasium.make("diffenvs/Hopper-v0")
    env.reset(seed=0)
    held = weakref.ref(env.unwrapped._envs._dynamics.simulator._engine)
    gc.disable()
    try:
        del env
        assert held() is None
    finally:
        gc.enable()


def test_what_was_returned_outlives_the_environment():
    env = make()
    env.reset(seed=0)
    action = torch.zeros(3, 3, requires_grad=True)
    observation = env.step_grad(action)[0]
    env.close()
    observation.sum().backward()
    assert action.grad.any()
