"""Motion of the hand without contact, against recorded data and against MuJoCo.

The recorded hand differs from ours in its inertias, so it is made anew from the numbers recorded with it. Its contact
cannot be reproduced, but fingers and cube move without each other where they do not touch.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hands import CHAINS, one_substep, published_hand
from mujoco_trees import mujoco_dynamics, mujoco_tree
from simulators import golden, simulator, tensor

from diffenvs.model import JointType, Model
from diffenvs.robots.allegro import FINGERS, allegro

PROBES = 32
RECORDED = 160
"""Contacts of a probe that are recorded; some have more."""
FORCE = 2e-5
"""Error of recorded float32 forces [N, N m], sums of terms up to 500."""
ACCELERATION = 2e-4
"""Of accelerations, relative to the largest of their degree of freedom; the masses are as small as 0.02 kg."""
SUBSTEP = (2e-7, 1e-5)
"""Of coordinates and velocities after a substep; velocities are up to 30 rad/s."""
STEP = (2e-6, 5e-4)
"""The same after the 64 of a control step."""
BODY_RADIUS = 0.06
"""Largest distance of a point of a link from its origin, less than its length for all but a few [m]."""
EXACT = 1e-12


@pytest.fixture(scope="module")
def data():
    return golden("hand", "")


def probes(data, name):
    """Recorded values of the probes, (PROBES, ...)."""
    return tensor(data[f"sub_{name}"]).flatten(0, 1)


def first_substep(data):
    sim = simulator(one_substep(published_hand(data)), PROBES)
    return sim.trace(probes(data, "q0"), probes(data, "qd0"), probes(data, "act").clamp(-1.0, 1.0))


def contact_forces(data):
    """Recorded spatial forces of contact on each link, (PROBES, links, 6)."""
    return -probes(data, "body_f")[:, data["model_joint_child"].tolist()]


def test_mass_matrix_of_the_published_hand_equals_the_recorded_one(data):
    trace = first_substep(data)
    inertia = trace.mass_matrix[:, 0] - torch.diag(tensor(data["model_joint_armature"]))
    np.testing.assert_allclose(inertia, probes(data, "H"), atol=5e-7)


def test_forces_of_the_published_hand_equal_the_recorded_ones_with_the_recorded_contact(data):
    model, trace, contact = published_hand(data), first_substep(data), contact_forces(data)
    assert (contact.abs().amax((1, 2)) > 1.0).all(), "every probe is in contact"
    for i in reversed(range(len(model.links))):
        if model.parents[i] >= 0:
            contact[:, model.parents[i]] += contact[:, i]
    links = [i for i, link in enumerate(model.links) for _ in range(link.joint.type.nv)]
    tau = trace.tau[:, 0] + (trace.motion_subspace[:, 0] * contact[:, links]).sum(-1)
    np.testing.assert_allclose(tau, probes(data, "tau"), atol=FORCE)
    qdd = torch.linalg.solve(trace.mass_matrix[:, 0], probes(data, "tau"))
    scale = probes(data, "qdd").abs().amax(0)
    np.testing.assert_allclose(qdd / scale, probes(data, "qdd") / scale, atol=ACCELERATION)


@pytest.mark.parametrize("chain", ["ring", "middle", "index", "cube"])
def test_a_substep_without_contact_equals_the_recorded_one(data, chain):
    model, trace = published_hand(data), first_substep(data)
    touched = contact_forces(data).abs().amax(-1) > 0.0
    free = ~touched[:, chain_links(model, chain)].any(-1)
    assert free.sum() > 10
    q, qd = CHAINS[chain]
    np.testing.assert_allclose(trace.q[free, 1, q], probes(data, "q1")[free, q], atol=SUBSTEP[0], rtol=0)
    np.testing.assert_allclose(trace.qd[free, 1, qd], probes(data, "qd1")[free, qd], atol=SUBSTEP[1], rtol=0)


def chain_links(model: Model, chain: str) -> list[int]:
    names = ("cube",) if chain == "cube" else FINGERS[chain]
    return [model.link_index(name) for name in names]


def apart(data, chain: str) -> torch.Tensor:
    """Probes in whose control step no link of the chain can touch, for all move less than they are apart, (PROBES,)."""
    model, steps = published_hand(data), data["sub_steps"]
    states = [(probes(data, "q0"), probes(data, "qd0"))]
    states.append(tuple(tensor(data[f"roll_joint_{name}"][steps + 1]).flatten(0, 1) for name in ("q", "qd")))
    sim = simulator(one_substep(model), PROBES)
    before, after = (sim.trace(q, qd, q.new_zeros(PROBES, model.nu)).link_pose[:, 0] for q, qd in states)
    turn = 2 * torch.arccos((before[..., 3:] * after[..., 3:]).sum(-1).abs().clamp(max=1.0))
    moved = (after - before)[..., :3].norm(dim=-1) + BODY_RADIUS * turn
    moved = torch.cat([moved, torch.zeros(PROBES, 1)], dim=-1)  # the palm, link -1
    # Bodies are numbered by their names in the data, and by the tree in the model.
    order = {body: i for i, body in enumerate(data["model_joint_child"].tolist())} | {-1: -1}
    own = chain_links(model, chain)
    result = probes(data, "ncontacts") <= RECORDED
    for probe, contacts in enumerate(probes(data, "contacts")):
        for first, second, distance in contacts[: int(probes(data, "ncontacts")[probe])]:
            a, b = (order[int(data["model_shape_body"][int(shape)])] for shape in (first, second))
            if (a in own or b in own) and distance <= moved[probe, a] + moved[probe, b]:
                result[probe] = False
    return result


@pytest.mark.parametrize("chain", ["ring", "middle", "index", "cube"])
def test_a_control_step_without_contact_equals_the_recorded_one(data, chain):
    free = apart(data, chain)
    assert free.any()
    q1, qd1 = (tensor(data[f"roll_joint_{name}"][data["sub_steps"] + 1]).flatten(0, 1)[free] for name in ("q", "qd"))
    sim = simulator(published_hand(data), PROBES)
    q, qd = sim.step(probes(data, "q0"), probes(data, "qd0"), probes(data, "act"))
    of_q, of_qd = CHAINS[chain]
    np.testing.assert_allclose(q[free, of_q], q1[:, of_q], atol=STEP[0], rtol=0)
    np.testing.assert_allclose(qd[free, of_qd], qd1[:, of_qd], atol=STEP[1], rtol=0)


def random_states(model: Model, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Any pose within the limits, any velocity, (count, nq) and (count, nv)."""
    random = np.random.default_rng(0)
    joints = [link.joint for link in model.links if link.joint.type is JointType.HINGE]
    q = np.concatenate(
        [
            random.uniform([joint.lower for joint in joints], [joint.upper for joint in joints], (count, len(joints))),
            random.normal(size=(count, 7)),
        ],
        axis=1,
    )
    q[:, -4:] /= np.linalg.norm(q[:, -4:], axis=1, keepdims=True)
    return q, random.normal(scale=3.0, size=(count, model.nv))


def test_mass_matrix_and_bias_forces_equal_those_of_mujoco():
    model, count = allegro(), 200
    sim = simulator(replace(one_substep(model), collisions=()), count)
    q, qd = random_states(model, count)
    trace = sim.trace(tensor(q), tensor(qd), torch.zeros(count, model.nu, dtype=torch.float64))
    tree = mujoco_tree(model)
    expected = [mujoco_dynamics(tree, model, *state) for state in zip(q, qd, strict=True)]
    for ours, theirs in zip((trace.mass_matrix[:, 0], -trace.tau[:, 0]), zip(*expected, strict=True), strict=True):
        error = np.abs(ours.numpy() - theirs).max() / np.abs(theirs).max()
        assert error < EXACT
