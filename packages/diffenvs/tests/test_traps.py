"""Mistakes that give silently wrong gradients or stale numbers, and that an engine like this one can fall back into."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from gradients import gradient_errors
from simulators import MATERIAL, ROBOTS, STANDING, at_rest, body, repeated, simulator, tensor
from torch import Tensor

from diffenvs.model import Actuator, Joint, JointType, Model, Sphere
from diffenvs.simulator import Simulator

LINKS = 30
"""More than any loop that Warp unrolls: a number kept in a register over a longer loop has a wrong derivative."""


def chain(**options: object) -> Model:
    """Many links in a row, the last of which may touch the ground."""
    hinges = [Joint(type=JointType.HINGE, axis=(1.0, 0.0, 0.0) if i % 2 else (0.0, 0.0, 1.0)) for i in range(LINKS)]
    links = [
        body(
            Joint(
                type=JointType.HINGE, axis=hinge.axis, position=(0.1 if i else 0.0, 0.0, 0.0), damping=0.5, armature=0.3
            ),
            name=f"link {i}",
            parent=f"link {i - 1}" if i else None,
            mass=0.3,
            com=(0.05, 0.0, 0.02),
            inertia=(0.01, 0.02, 0.02, 0.0, 0.0, 0.0),
            shapes=(Sphere(radius=0.1, material=MATERIAL),) if i % 2 else (),
        )
        for i, hinge in enumerate(hinges)
    ]
    actuators = [Actuator(link=link.name, gear=0.5) for link in links]
    return Model(name="chain", links=links, actuators=actuators, **options)


def random_chain_state(num_envs: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    values = (torch.randn(num_envs, LINKS, generator=random, dtype=torch.float64) for _ in range(3))
    return tuple(scale * value for scale, value in zip((0.1, 0.2, 0.5), values, strict=True))


@pytest.mark.parametrize(
    ("substeps", "interval"), [(20, 1), (20, 5), (20, 20)], ids=["every substep", "four blocks", "one block"]
)
def test_gradients_are_exact_in_loops_too_long_to_unroll_and_with_any_number_of_mass_matrices(substeps, interval):
    sim = simulator(chain(substeps=substeps, mass_matrix_interval=interval), 60)
    q, qd, action = random_chain_state(60)
    assert sim.trace(q, qd, action).mass_matrix.shape[1] == substeps // interval
    gradient_errors(sim, {"q": q, "qd": qd, "action": action[:, None], **repeated(sim.parameters, 60)}).check()


def test_mass_matrix_serves_exactly_its_block_of_substeps():
    model = chain(substeps=6, mass_matrix_interval=3)
    q, qd, action = random_chain_state(2)
    trace = simulator(model, 2).trace(q, qd, action)
    for s in range(6):
        expected = torch.linalg.solve(trace.mass_matrix[:, s // 3], trace.tau[:, s])
        torch.testing.assert_close(trace.qdd[:, s], expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(trace.mass_matrix[:, 0], trace.mass_matrix[:, 1], rtol=1e-6)


def ant_state(num_envs: int, height: float) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    q, qd, action = at_rest(ROBOTS["ant"], num_envs)
    q[:] = tensor(STANDING["ant"])
    q[:, 1] = height
    return tuple(value + 0.1 * torch.randn(value.shape, generator=random) for value in (q, qd, action))


def gradients(sim: Simulator, state: tuple[Tensor, ...], *, with_parameters: bool = True) -> list[Tensor]:
    """Gradients of the state, the action and, if wanted, the parameters."""
    leaves = [value.clone().requires_grad_() for value in state]
    parameters = {name: value.clone().requires_grad_(with_parameters) for name, value in sim.parameters.items()}
    loss = sum(value.sin().nansum() for value in sim.step(*leaves, parameters))
    return list(torch.autograd.grad(loss, leaves + list(parameters.values()) * with_parameters))


OTHERS = {
    "the same": lambda sim: gradients(sim, ant_state(4, 0.3)),
    "in the air": lambda sim: gradients(sim, ant_state(4, 2.0)),
    "without parameters": lambda sim: gradients(sim, ant_state(4, 0.3), with_parameters=False),
    "not a number": lambda sim: gradients(sim, tuple(value * torch.nan for value in ant_state(4, 0.3))),
    "overflowing": lambda sim: gradients(sim, tuple(value * 1e160 for value in ant_state(4, 0.3))),
    "forward only": lambda sim: sim.step(*ant_state(4, 0.0)),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("other", OTHERS)
def test_gradients_do_not_depend_on_what_ran_before(other, threads):
    # The engine's buffers are used again; an adjoint left in them would be added.
    sim = Simulator(ROBOTS["ant"], 4, dtype=torch.float64, num_threads=threads)
    state = ant_state(4, 0.3)
    fresh = gradients(sim, state)
    assert fresh[0].abs().sum() > 0.0
    for _ in range(2):
        OTHERS[other](sim)
        for before, after in zip(fresh, gradients(sim, state), strict=True):
            assert torch.equal(before, after)


def test_backward_of_an_earlier_step_does_not_see_a_later_one():
    sim = simulator(ROBOTS["ant"], 4)
    state, later = ant_state(4, 0.3), ant_state(4, 0.6)
    leaves = [value.clone().requires_grad_() for value in state]
    loss = sum(value.sin().sum() for value in sim.step(*leaves))
    sim.step(*later, {"mass": 2.0 * sim.parameters["mass"]})
    for ours, expected in zip(torch.autograd.grad(loss, leaves), gradients(sim, state), strict=False):
        assert torch.equal(ours, expected)


def test_results_are_new_tensors():
    sim = simulator(ROBOTS["ant"], 4)
    first = sim.step(*ant_state(4, 0.3))
    kept = [value.clone() for value in first]
    sim.step(*ant_state(4, 0.6))
    assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))


def test_state_may_be_a_view_of_the_result_of_the_step_before():
    sim = simulator(ROBOTS["ant"], 4)
    q, qd, action = ant_state(4, 0.3)
    expected = sim.step(*sim.step(q, qd, action), action)
    copied = sim.step(*(value.clone() for value in sim.step(q, qd, action)), action.clone())
    assert all(torch.equal(a, b) for a, b in zip(expected, copied, strict=True))


def test_threads_that_share_a_simulator_take_turns():
    sim, repeats = simulator(ROBOTS["ant"], 64), 10
    states = [ant_state(64, angle) for angle in (0.3, 0.6)]
    expected = [gradients(sim, state) for state in states]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda k: gradients(sim, states[k % 2]), range(2 * repeats)))
    for k, found in enumerate(results):
        assert all(torch.equal(a, b) for a, b in zip(found, expected[k % 2], strict=True))


@pytest.mark.parametrize("way", ["passed", "own, in place", "own, replaced"])
def test_parameters_changed_between_steps_are_seen(way):
    sim = Simulator(ROBOTS["hopper"], 2, dtype=torch.float64)
    state = at_rest(sim.model, 2)
    passed = {"gravity": sim.parameters["gravity"].clone()} if way == "passed" else None
    before = sim.step(*state, passed)[1]
    match way:
        case "passed":
            passed["gravity"].zero_()
        case "own, in place":
            sim.parameters["gravity"].zero_()
        case "own, replaced":
            sim.parameters["gravity"] = torch.zeros(1, 3, dtype=torch.float64)
    weightless, trace = sim.step(*state, passed)[1], sim.trace(*state, passed)
    assert before.abs().max() > 0.1
    assert (weightless == 0.0).all()
    assert torch.equal(trace.qd[:, -1], weightless)
