"""Models of which a joint moves nothing: they have no acceleration, and are refused."""

from dataclasses import replace

import numpy as np
import pytest
import rigid_bodies
import torch
from simulators import body

from diffenvs.model import Actuator, Joint, JointType, Link, Model
from diffenvs.simulator import Simulator

X, Y, Z = np.eye(3)
TURNED = {"position": (0.1, 0.7, 0.3), "rotation": (0.1, 0.2, 0.3, 0.86**0.5)}
UNRESISTED = "in {} nothing resists the joints of these links, with all joints at zero and those beyond free: {}. Each"


def chain(*joints: Joint, **last: object) -> tuple[Link, ...]:
    """Links in a row, "0" to "9", of which the last one alone has a mass."""
    names = [None, *map(str, range(len(joints)))]
    bare = [Link(name=name, parent=parent, joint=j) for name, parent, j in zip(names[1:], names, joints, strict=False)]
    return (*bare[:-1], replace(bare[-1], **{"mass": 1.0, "com": (0.1, 0.2, 0.3), **last}))


def hinge(axis: np.ndarray = Z, **fields: object) -> Joint:
    return Joint(type=JointType.HINGE, axis=axis, **fields)


def slide(axis: np.ndarray = Z, **fields: object) -> Joint:
    return Joint(type=JointType.SLIDE, axis=axis, **fields)


SOLID = {"inertia": (0.1, 0.1, 0.1, 0.0, 0.0, 0.0)}
SINGULAR = {
    "no mass": (chain(hinge(**TURNED), mass=0.0), "'0'"),
    "point mass on the axis": (chain(hinge((0.6, 0.8, 0.0), **TURNED), com=(0.3, 0.4, 0.0)), "'0'"),
    "free point mass": (chain(Joint(type=JointType.FREE)), "'0'"),
    "two hinges on one axis": (chain(hinge(**TURNED), hinge(position=(0.0, 0.0, 2.0)), **SOLID), "'0'"),
    "two parallel slides": (chain(slide(X), slide(Y), slide(X), **SOLID), "'0'"),
    "wrist in its singular pose": (chain(hinge(Z), hinge(Y), hinge(Z), **SOLID), "'0'"),
    "massless branches": (
        (
            body(Joint(type=JointType.FREE), name="trunk"),
            Link(name="left", parent="trunk", joint=hinge()),
            Link(name="glued", parent="left", joint=Joint(type=JointType.FIXED)),
            Link(name="right", parent="trunk", joint=slide()),
        ),
        "'left', 'right'",
    ),
}


@pytest.mark.parametrize("case", SINGULAR)
def test_joint_that_nothing_resists_is_refused_by_name(case):
    links, names = SINGULAR[case]
    with pytest.raises(ValueError, match=UNRESISTED.format("float64", names)):
        Model(name="ghost", links=links)


@pytest.mark.parametrize("case", [case for case in SINGULAR if case != "free point mass"])
def test_armature_resists(case):
    links, names = SINGULAR[case]
    driven = [
        replace(link, joint=replace(link.joint, armature=1e-6)) if f"'{link.name}'" in names else link for link in links
    ]
    model = Model(name="motor", links=driven)
    state = torch.zeros(1, model.nv, dtype=torch.float64)
    q = torch.tensor(rigid_bodies.rest_q(model))[None]
    assert Simulator(model, 1, dtype=torch.float64, num_threads=1).step(q, state, state[:, :0])[1].isfinite().all()


def test_what_is_refused_is_what_has_a_singular_mass_matrix():
    random, seen = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(300):
        joints = [
            (hinge, slide)[random.integers(2)](random.permutation(np.eye(3))[0], position=random.integers(2, size=3))
            for _ in range(random.integers(2, 6))
        ]
        links = [
            replace(link, joint=replace(link.joint, armature=0.1 * random.integers(2)), mass=1.0 * random.integers(2))
            for link in chain(*joints, com=(0.0, 0.0, 0.0))
        ]
        refused = False
        try:
            Model(name="random", links=links)
        except ValueError:
            refused = True
        loaded = [replace(link, joint=replace(link.joint, armature=link.joint.armature + 1.0)) for link in links]
        model = Model(name="random", links=loaded)
        mass_matrix = rigid_bodies.mass_matrix(model, rigid_bodies.rest_q(model)) - np.eye(model.nv)
        assert refused is bool(np.linalg.eigvalsh(mass_matrix)[0] < 1e-9)
        seen[refused] += 1
    assert min(seen.values()) > 50


@pytest.mark.parametrize(("inertia", "accepted"), [(1e-6, True), (1e-8, False)])
def test_what_is_lost_in_the_rounding_of_float32_is_refused_there(inertia, accepted):
    # A rod of 1 kg and 1 m turns about its own axis: in float32 with a tenth of its inertia or a wrong sign below 1e-7.
    along = np.array([0.6, 0.8, 0.0])
    tensor = (np.eye(3) - np.outer(along, along)) / 12 + inertia * np.outer(along, along)
    six = tensor[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    links = chain(hinge(along, **TURNED), com=0.5 * along, inertia=six)
    rod = Model(name="rod", links=links, actuators=(Actuator(link="0", gear=inertia),), gravity=(0.0, 0.0, 0.0))

    def velocity(dtype: torch.dtype) -> float:
        zero = torch.zeros(1, 1, dtype=dtype)
        return float(Simulator(rod, 1, dtype=dtype, num_threads=1).step(zero, zero, zero + 1.0)[1]) / rod.dt

    assert velocity(torch.float64) == pytest.approx(1.0, abs=1e-6)
    if accepted:
        assert velocity(torch.float32) == pytest.approx(1.0, abs=0.1)
        return
    with pytest.raises(ValueError, match=UNRESISTED.format("float32", "'0'")):
        velocity(torch.float32)
