"""What can be shown of the CUDA code without a GPU: it compiles, and the memory it works on holds the same numbers."""

import re
import sys

import pytest
import torch
import warp as wp
from gradients import rollout
from simulators import ROBOTS, golden, tensor

from diffenvs.engine import REAL, Engine
from diffenvs.kernel_arguments import Scratch, Structure
from diffenvs.kernels.control_step import control_step
from diffenvs.kernels.kinematics import link_poses
from diffenvs.simulator import Simulator

ENVS = 8
HORIZON = 2
OLDEST = 75
"""Compute capability of the oldest GPUs that Warp supports, Turing's."""


@pytest.mark.skipif(sys.platform == "darwin", reason="Warp has no CUDA compiler on macOS")
@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_kernels_compile_for_gpus(dtype, tmp_path):
    directions = ["backward", "forward"]
    for kernel, expected in ((control_step(REAL[dtype]).kernel, directions), (link_poses(REAL[dtype]), ["forward"])):
        (path,) = wp.compile_aot_module(kernel.module, arch=OLDEST, module_dir=tmp_path, use_ptx=True)
        assert sorted(re.findall(r"\.entry \w+_cuda_kernel_(\w+)\(", path.read_text())) == expected


@pytest.mark.parametrize("robot", ROBOTS)
def test_one_launch_in_the_memory_of_a_gpu_gives_the_same_numbers(robot):
    model, data = ROBOTS[robot], golden(robot)
    results = []
    for lane_last in (False, True):
        sim = Simulator(model, ENVS, dtype=torch.float64, num_threads=1)
        if lane_last:
            structure, kind = Structure.of(model), (sim.dtype, sim.device, REAL[sim.dtype])
            sim._engine = Engine(structure, ENVS, sim.device, sim.dtype, threads=1, lanes=ENVS)
            sim._engine.scratch = [Scratch(structure, ENVS, *kind, lane_last=True)]
        actions = tensor(data["grad_actions"][:HORIZON]).swapaxes(0, 1)
        values = {"q": tensor(data["grad_q0"]), "qd": tensor(data["grad_qd0"]), "action": actions, **sim.parameters}
        leaves = {name: value.clone().requires_grad_() for name, value in values.items()}
        state = rollout(sim, leaves)
        results.append([state, *torch.autograd.grad(state.sin().sum(), list(leaves.values()))])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))
