"""The same kernels on a GPU: the numbers of the CPU, also when a window is captured in a CUDA graph."""

import copy

import numpy as np
import pytest
import torch
from contacts import contacts
from environments import make
from gradients import Inputs, rollout
from rigid_bodies import rest_q
from simulators import ROBOTS, golden, simulator, tensor
from torch import Tensor

from diffenvs.robots.allegro import allegro
from diffenvs.sb3 import SB3VecEnv
from diffenvs.simulator import Simulator

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no CUDA GPU here")

ENVS = 8
HORIZON = 4
SAME = 1e-10
"""Relative to the largest magnitude; the compilers fuse multiplications differently and contact amplifies."""


def inputs(robot: str, dtype: torch.dtype = torch.float64) -> Inputs:
    """States on the ground and actions of the reference data."""
    data = golden(robot)
    actions = tensor(data["grad_actions"][:HORIZON], dtype).swapaxes(0, 1)
    return {"q": tensor(data["grad_q0"], dtype), "qd": tensor(data["grad_qd0"], dtype), "action": actions}


def window(sim: Simulator, leaves: Inputs) -> list[Tensor]:
    """Last state, and the gradients of a function of it."""
    state = rollout(sim, leaves)
    return [state.detach(), *torch.autograd.grad(state.sin().sum(), list(leaves.values()))]


def leaves(values: Inputs, device: str) -> Inputs:
    return {name: value.detach().to(device).clone().requires_grad_() for name, value in values.items()}


@pytest.mark.parametrize("robot", ROBOTS)
def test_states_and_all_gradients_equal_those_of_the_cpu(robot):
    results = []
    for device in ("cpu", "cuda"):
        sim = simulator(ROBOTS[robot], ENVS, device=device)
        results.append(window(sim, leaves({**inputs(robot), **sim.parameters}, device)))
    for ours, theirs in zip(results[1], results[0], strict=True):
        assert ours.is_cuda
        torch.testing.assert_close(ours.cpu(), theirs, rtol=0.0, atol=SAME * max(1.0, float(theirs.abs().max())))


def test_bodies_that_touch_each_other_move_as_on_the_cpu():
    # The cube lies in the palm, and the fingers bend into it.
    model = allegro()
    q = tensor(rest_q(model)).repeat(ENVS, 1)
    q[:, :16] = torch.linspace(0.3, 1.2, ENVS, dtype=torch.float64)[:, None]
    q[:, 16:19] = tensor([0.0, -0.04, 0.55])
    actions = torch.linspace(-1.0, 1.0, ENVS * HORIZON * 16, dtype=torch.float64).view(ENVS, HORIZON, 16)
    start = {"q": q, "qd": q.new_zeros(ENVS, model.nv), "action": actions}
    sim = simulator(model, ENVS)
    touching = contacts(model, sim.trace(q, start["qd"], actions[:, 0]), sim.parameters).touching
    assert (touching[:, 0].sum(-1) >= 2).all()
    results = []
    for device in ("cpu", "cuda"):
        sim = simulator(model, ENVS, device=device)
        results.append(window(sim, leaves({**start, **sim.parameters}, device)))
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours.cpu(), theirs, rtol=0.0, atol=SAME * max(1.0, float(theirs.abs().max())))


@pytest.mark.parametrize("robot", ROBOTS)
def test_trace_equals_that_of_the_cpu(robot):
    values = inputs(robot)
    traces = []
    for device in ("cpu", "cuda"):
        sim = simulator(ROBOTS[robot], ENVS, device=device)
        traces.append(sim.trace(*(value.to(device) for value in (values["q"], values["qd"], values["action"][:, 0]))))
    for name, theirs in vars(traces[0]).items():
        ours = getattr(traces[1], name).cpu()
        torch.testing.assert_close(ours, theirs, rtol=0.0, atol=SAME * max(1.0, float(theirs.abs().max())), msg=name)


@pytest.mark.parametrize("robot", ROBOTS)
def test_poses_of_links_equal_those_of_the_cpu(robot):
    q = inputs(robot)["q"]
    ours, theirs = (simulator(ROBOTS[robot], ENVS, device=d).link_poses(q.to(d)).cpu() for d in ("cuda", "cpu"))
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=SAME)


def test_environment_does_not_depend_on_their_number():
    many, one = simulator(ROBOTS["ant"], ENVS, device="cuda"), simulator(ROBOTS["ant"], 1, device="cuda")
    expected = window(many, leaves(inputs("ant"), "cuda"))
    for n in range(ENVS):
        alone = window(one, leaves({name: value[n : n + 1] for name, value in inputs("ant").items()}, "cuda"))
        for ours, theirs in zip(alone, expected, strict=True):
            assert torch.equal(ours[0], theirs[n])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("robot", ROBOTS)
def test_window_captured_in_a_graph_replays_to_the_numbers_of_eager_execution(robot, dtype):
    sim = simulator(ROBOTS[robot], ENVS, dtype, device="cuda")
    static = leaves(inputs(robot, dtype), "cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            window(sim, static)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = window(sim, static)

    for factor in (1.0, 0.5):
        with torch.no_grad():
            for name, value in inputs(robot, dtype).items():
                static[name].copy_(factor * value if name != "q" else value)
        graph.replay()
        replayed = [value.clone() for value in captured]
        for ours, theirs in zip(replayed, window(sim, static), strict=True):
            assert torch.equal(ours, theirs)


def test_eager_steps_around_a_captured_one_have_their_own_parameters():
    sim = Simulator(ROBOTS["hopper"], ENVS, dtype=torch.float64, device="cuda")
    state = [inputs("hopper")[name].cuda() for name in ("q", "qd")] + [torch.zeros(ENVS, 3).double().cuda()]
    weightless = {"gravity": torch.zeros(1, 3, dtype=torch.float64, device="cuda")}
    expected, floating = sim.step(*state)[1], sim.step(*state, weightless)[1]
    assert not torch.equal(expected, floating)
    sim.parameters["gravity"].mul_(1.0)  # what was packed is out of date when the capture begins
    graph, own = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = sim.step(*state, weightless)[1]
    assert torch.equal(sim.step(*state)[1], expected)
    with torch.cuda.graph(own):
        captured_own = sim.step(*state)[1]
    for _ in range(2):
        graph.replay()
        assert torch.equal(captured, floating)
        assert torch.equal(sim.step(*state)[1], expected)
        own.replay()
        assert torch.equal(captured_own, expected)
        assert torch.equal(sim.step(*state, weightless)[1], floating)
    sim.parameters["gravity"].zero_()
    own.replay()
    assert torch.equal(captured_own, floating)


def test_streams_take_turns():
    sim = simulator(ROBOTS["ant"], ENVS, device="cuda")
    values = [leaves(inputs("ant"), "cuda") for _ in range(2)]
    with torch.no_grad():
        values[1]["action"].neg_()
    expected = [window(sim, its) for its in values]
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    torch.cuda.synchronize()
    for _ in range(5):
        found = []
        for stream, its in zip(streams, values, strict=True):
            with torch.cuda.stream(stream):
                found.append(window(sim, its))
        torch.cuda.synchronize()
        for ours, theirs in zip(found, expected, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_tensor_on_the_cpu_is_refused_by_a_simulator_on_the_gpu():
    sim = simulator(ROBOTS["hopper"], ENVS, device="cuda")
    values = leaves(inputs("hopper"), "cpu")
    with pytest.raises(ValueError, match=r"q must be \(8, 6\) torch.float64 on cuda:0. Got .* on cpu"):
        rollout(sim, values)


def test_stable_baselines_sees_arrays_of_the_same_numbers():
    results = []
    for device in ("cpu", "cuda"):
        env = SB3VecEnv(make(device=device, dtype="float64", max_episode_steps=2, early_termination=False))
        env.seed(0)
        results.append([env.reset(), *(env.step(np.full((3, 3), 0.1))[0] for _ in range(3))])
        assert all(isinstance(array, np.ndarray) for array in results[-1])
    np.testing.assert_allclose(*results, rtol=SAME, atol=SAME)


def test_a_copied_environment_goes_on_on_its_gpu():
    env = make(device="cuda")
    env.reset(seed=0)
    actions = torch.zeros(3, 3, device="cuda")
    again = copy.deepcopy(env)
    assert again.device == env.device
    assert torch.equal(again.step(actions)[0], env.step(actions)[0])


def test_closed_environments_leave_no_memory_of_the_gpu():
    def cycle():
        env = make(device="cuda", num_envs=256)
        env.reset(seed=0)
        env.step_grad(torch.zeros(256, 3, device="cuda", requires_grad=True))[0].sum().backward()
        env.close()
        return torch.cuda.memory_allocated()

    cycle()
    assert cycle() == cycle()
