"""Models, parameters and arguments: what is taken, what is refused in which words, and that nothing is left broken."""

import math
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
import torch
from simulators import MATERIAL, ROBOTS, at_rest, ball, body, simulator, tensor

from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.model import Actuator, Box, Capsule, Joint, JointType, Link, Material, Model, Sphere
from diffenvs.parameters import default_parameters
from diffenvs.simulator import Simulator

NAN, INF = math.nan, math.inf
HINGE = Joint(type=JointType.HINGE)
FREE = Joint(type=JointType.FREE)


def model(*links: Link, **options) -> Model:
    return Model(name="test", links=links, **options)


def colliding(*collisions: tuple[str, ...], material: Material = MATERIAL) -> Model:
    """Two links with spheres, the second of `material`, and one without."""
    links = [
        body(FREE, name=name, shapes=(Sphere(radius=0.1, material=its),))
        for name, its in {"a": MATERIAL, "b": material}.items()
    ]
    return model(*links, body(FREE, name="bare"), collisions=collisions)


REFUSED = {
    "negative stiffness": (
        lambda: Material(stiffness=-1.0, damping=0.0, tangential_damping=0.0, friction=0.0),
        "`stiffness` of Material must be finite and not negative. Got -1.0",
    ),
    "no damping depth": (
        lambda: replace(MATERIAL, damping_depth=0.0),
        "`damping_depth` of Material must be positive. Got 0.0",
    ),
    "nan damping depth": (lambda: replace(MATERIAL, damping_depth=NAN), "`damping_depth` of Material must be positive"),
    "friction bound": (
        lambda: replace(MATERIAL, friction_bound="normal"),
        "`friction_bound` of Material must be one of 'elastic', 'total'. Got 'normal'",
    ),
    "nan friction": (lambda: replace(MATERIAL, friction=NAN), "`friction` of Material must be finite"),
    "radius": (lambda: Sphere(radius=0.0, material=MATERIAL), "`radius` of Sphere must be finite and positive"),
    "position": (
        lambda: Sphere(radius=1.0, position=(0.0, 0.0), material=MATERIAL),
        "`position` of Sphere must be 3 finite numbers",
    ),
    "half length": (
        lambda: Capsule(radius=1.0, half_length=-1.0, axis=(1, 0, 0), material=MATERIAL),
        "`half_length` of Capsule must be finite and positive",
    ),
    "capsule axis": (
        lambda: Capsule(radius=1.0, half_length=1.0, axis=(1, 1, 0), material=MATERIAL),
        "`axis` of Capsule must have norm 1 to within 0.001. Got .* with norm 1.41421",
    ),
    "half extents": (
        lambda: Box(half_extents=(1.0, 0.0, 1.0), material=MATERIAL),
        "each of `half_extents` of Box must be finite and positive",
    ),
    "box rotation": (
        lambda: Box(half_extents=(1, 1, 1), rotation=(0, 0, 0, 2), material=MATERIAL),
        "`rotation` of Box must have norm 1",
    ),
    "joint type": (lambda: Joint(type=7), "`type` of Joint must be one of .*FREE.* Got 7"),
    "joint axis": (lambda: Joint(type=JointType.HINGE, axis=(0, 0, 0)), "`axis` of Joint must have norm 1"),
    "joint rotation": (
        lambda: Joint(type=JointType.HINGE, rotation=(0, 0, 0, NAN)),
        "`rotation` of Joint must be 4 finite numbers",
    ),
    "damping": (lambda: replace(HINGE, damping=-0.1), "`damping` of Joint must be finite and not negative. Got -0.1"),
    "rest": (lambda: replace(HINGE, rest=INF), "`rest` of Joint must be finite. Got inf"),
    "limits": (lambda: replace(HINGE, lower=1.0, upper=1.0), "`lower` of Joint must be below `upper`. Got 1.0 and 1.0"),
    "nan limit": (lambda: replace(HINGE, lower=NAN), "`lower` of Joint must be below `upper`"),
    "limit that nothing holds": (
        lambda: replace(HINGE, upper=1.0),
        "`limit_stiffness` of Joint with `lower` or `upper` must be finite and positive. Got 0.0",
    ),
    "mass": (lambda: body(HINGE, mass=-1.0), "`mass` of link 'body' must be finite and not negative"),
    "indefinite inertia": (
        lambda: body(HINGE, inertia=(1, 1, 1, 2, 0, 0)),
        "`inertia` of link 'body' must be positive semidefinite. Its moments are",
    ),
    "inertia of no body": (
        lambda: model(body(HINGE, name="plate", inertia=(1, 1, 2, 0, 0, 0)), body(HINGE, inertia=(1, 1, 2.1, 0, 0, 0))),
        r"may exceed the sum of the two others, as those of these links do: 'body' \(1.0, 1.0, 2.1\)",
    ),
    "massless inertia": (lambda: body(HINGE, mass=0.0), "`inertia` of link 'body' must be zero for a massless link"),
    "no links": (lambda: model(), "`links` of Model must hold at least one link"),
    "names": (lambda: model(body(HINGE), body(HINGE)), "link names must differ. 'body' occurs twice"),
    "parent": (
        lambda: model(body(HINGE, parent="arm"), body(HINGE, name="arm")),
        "`parent` of link 'body' must name an earlier link. Got 'arm'",
    ),
    "free child": (
        lambda: model(body(HINGE), body(FREE, name="child", parent="body")),
        "link 'child' has a free joint, so its `parent` must be None",
    ),
    "unknown actuator": (
        lambda: model(body(HINGE), actuators=(Actuator(link="arm", gear=1.0),)),
        "model 'test' has no link 'arm'. It has body",
    ),
    "driven free joint": (
        lambda: model(body(FREE), actuators=(Actuator(link="body", gear=1.0),)),
        "actuator of 'body' needs a hinge or slide. It is FREE",
    ),
    "endless gear": (
        lambda: Actuator(link="body", gear=float("nan")),
        "`gear` of Actuator of link 'body' must be finite. Got nan",
    ),
    "two actuators": (
        lambda: model(body(HINGE), actuators=(Actuator(link="body", gear=1.0),) * 2),
        "`actuators` of Model must drive different joints",
    ),
    "collision of one": (lambda: colliding(("a",)), r"each of `collisions` of Model must name two links. Got \('a',\)"),
    "collision with an unknown": (lambda: colliding(("a", "c")), "model 'test' has no link 'c'. It has a, b, bare"),
    "collision with itself": (
        lambda: colliding(("a", "a")),
        "`collisions` of Model must name two different links. Got 'a' twice",
    ),
    "collision named twice": (
        lambda: colliding(("a", "b"), ("b", "a")),
        "`collisions` of Model must name a pair once. 'b' and 'a' occur twice",
    ),
    "collision without a shape": (
        lambda: colliding(("a", "bare")),
        "`collisions` of Model must name links with shapes. 'bare' has none",
    ),
    "collision of two damping depths": (
        lambda: colliding(("a", "b"), material=replace(MATERIAL, damping_depth=1e-3)),
        "the materials of 'a' and 'b' must have one `damping_depth` and one `friction_bound`",
    ),
    "collision of two friction bounds": (
        lambda: colliding(("a", "b"), material=replace(MATERIAL, friction_bound="total")),
        "the materials of 'a' and 'b' must have one",
    ),
    "up": (lambda: model(body(HINGE), up=(0, 2, 0)), "`up` of Model must have norm 1"),
    "gravity": (lambda: model(body(HINGE), gravity=(0, NAN, 0)), "`gravity` of Model must be 3 finite numbers"),
    "dt": (lambda: model(body(HINGE), dt=0.0), "`dt` of Model must be finite and positive"),
    "substeps": (lambda: model(body(HINGE), substeps=0), "`substeps` of Model must be positive. Got 0"),
    "interval": (
        lambda: model(body(HINGE), substeps=16, mass_matrix_interval=3),
        "`mass_matrix_interval` of Model must divide `substeps`. Got 3 and 16",
    ),
    "num_envs": (lambda: Simulator(ROBOTS["hopper"], 0), "`num_envs` must be a positive integer. Got 0"),
    "too many environments": (
        lambda: Simulator(ROBOTS["hopper"], 10**20),
        r"`num_envs` must be below 2\*\*63. Got 1000",
    ),
    "too many steps": (
        lambda: DiffVectorEnv("diffenvs/Hopper-v0", max_episode_steps=2**63),
        r"`max_episode_steps` must be below 2\*\*63. Got 9223372036854775808",
    ),
    "dtype": (
        lambda: Simulator(ROBOTS["hopper"], 1, dtype=torch.float16),
        "`dtype` must be 'float32' or 'float64'",
    ),
    "threads": (
        lambda: Simulator(ROBOTS["hopper"], 1, num_threads=0),
        "`num_threads` must be a positive integer. Got 0",
    ),
    "device": (
        lambda: Simulator(ROBOTS["hopper"], 1, device="meta"),
        "`device` must be 'cpu', 'cuda' or 'cuda:<index>'. Got 'meta'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_nonsense_is_refused_with_words_that_help(case):
    build, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        build()


PARTS = (
    MATERIAL,
    Sphere(radius=0.1, material=MATERIAL),
    Capsule(radius=0.1, half_length=0.1, axis=(1, 0, 0), material=MATERIAL),
    Box(half_extents=(1, 1, 1), material=MATERIAL),
    HINGE,
    body(HINGE),
    Actuator(link="body", gear=1.0),
    model(body(HINGE)),
)


@pytest.mark.parametrize("wrong", [object(), [[1.0], [1.0, 2.0]]], ids=["object", "ragged list"])
@pytest.mark.parametrize(
    ("part", "field"),
    [(part, field.name) for part in PARTS for field in fields(part) if field.init],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_values_of_a_wrong_type_are_refused_by_the_name_of_their_field(part, field, wrong):
    with pytest.raises((TypeError, ValueError), match=f"`{field}` of "):
        replace(part, **{field: wrong})


def test_words_for_wrong_types_say_what_is_expected():
    wrong = {
        "`dt` of Model must be a number. Got '0.01'": lambda: model(body(HINGE), dt="0.01"),
        "`lower` of Joint must be a number. Got '3'": lambda: replace(HINGE, lower="3"),
        "`substeps` of Model must be an integer. Got 1.5": lambda: model(body(HINGE), substeps=1.5),
        "`ground` of Model must be True or False. Got 1": lambda: model(body(HINGE), ground=1),
        "`gear` of Actuator of link 'body' must be a number. Got None": lambda: Actuator(link="body", gear=None),
        "`joint` of link 'body' must be of type Joint. Got NoneType": lambda: body(None),
        "`links` of Model must be a tuple. Got Link": lambda: Model(name="test", links=body(HINGE)),
        "`parent` of link 'body' must be of type str or None. Got int": lambda: body(HINGE, parent=3),
        "an entry of `shapes` of link 'body' must be of type Sphere or Capsule or Box. Got str": lambda: body(
            HINGE, shapes=("sphere",)
        ),
        "`axis` of Joint must be 3 finite numbers. Got .'0', '0', '1'": lambda: replace(HINGE, axis=("0", "0", "1")),
        "`model` must be of type Model. Got str": lambda: Simulator("<mujoco/>", 2),
    }
    for message, make in wrong.items():
        with pytest.raises((TypeError, ValueError), match=message):
            make()


def test_numbers_of_numpy_become_plain_ones():
    made = model(body(HINGE), substeps=np.int64(4), dt=np.float32(0.5))
    assert (made.substeps, made.dt) == (4, 0.5)
    assert (type(made.substeps), type(made.dt)) == (int, float)


MEANINGLESS = {
    JointType.FREE: [field.name for field in fields(Joint) if field.name != "type"],
    JointType.FIXED: [field.name for field in fields(Joint) if field.name not in ("type", "position", "rotation")],
}


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, names in MEANINGLESS.items() for field in names])
def test_joints_have_no_fields_that_mean_nothing_for_their_type(kind, field):
    values = {"axis": (1, 0, 0), "position": (0, 0, 1), "rotation": (1, 0, 0, 0)}
    wrong = {field: values.get(field, 1.0)}
    if field in ("lower", "upper"):
        wrong["limit_stiffness"] = 1.0
    with pytest.raises(ValueError, match=f"a {kind.name.lower()} Joint has no `({'|'.join(wrong)})`"):
        Joint(type=kind, **wrong)


def test_a_fixed_joint_has_a_place():
    place = {"position": (0.0, 0.0, 1.0), "rotation": (1.0, 0.0, 0.0, 0.0)}
    link = body(Joint(type=JointType.FIXED, **place))
    poses = simulator(model(link), 1).link_poses(torch.zeros(1, 0, dtype=torch.float64))
    assert poses[0, 0].tolist() == [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="`device` is 'cuda', and this machine has 0 usable CUDA devices"):
        Simulator(ROBOTS["hopper"], 1, device="cuda")


def test_models_are_values():
    assert ball() == ball()
    assert hash(ball()) == hash(ball())
    assert ball() != ball(substeps=8)
    with pytest.raises(FrozenInstanceError):
        ball().dt = 1.0


def test_inertias_that_no_body_has_pass_where_a_model_says_so():
    inertia = (0.0, 0.1, 0.0, 0.0, 0.0, 0.0)
    about_y = replace(HINGE, axis=(0.0, 1.0, 0.0))
    assert model(body(about_y, inertia=inertia), physical_inertias=False).links[0].inertia == inertia


def test_directions_are_normalised():
    joint = Joint(type=JointType.HINGE, axis=(0.6, 0.8, 1e-4), rotation=(0.0, 0.0, 0.7071, 0.7071))
    assert math.hypot(*joint.axis) == pytest.approx(1.0, abs=1e-15)
    assert math.hypot(*joint.rotation) == pytest.approx(1.0, abs=1e-15)


def test_indices_of_coordinates_and_velocities_follow_the_joints():
    kinds = [JointType.FREE, JointType.FIXED, JointType.HINGE, JointType.SLIDE, JointType.FREE]
    parents = [None, "0", "1", "2", None]
    links = [body(Joint(type=k), name=str(i), parent=p) for i, (k, p) in enumerate(zip(kinds, parents, strict=True))]
    tree = model(*links)
    assert tree.parents == (-1, 0, 1, 2, -1)
    assert tree.q_start == (0, 7, 7, 8, 9)
    assert tree.v_start == (0, 6, 6, 7, 8)
    assert (tree.nq, tree.nv, tree.nu) == (16, 14, 0)
    assert tree.link_index("3") == 3


def test_contact_points_are_the_ends_of_a_capsule_and_the_corners_of_a_box():
    assert Sphere(radius=0.2, position=(1, 2, 3), material=MATERIAL).contact_points() == (((1, 2, 3), 0.2),)
    capsule = Capsule(radius=0.1, half_length=0.5, axis=(0, 0.6, 0.8), position=(1, 0, 0), material=MATERIAL)
    (first, r), (last, s) = capsule.contact_points()
    assert (r, s) == (0.1, 0.1)
    np.testing.assert_allclose([first, last], [[1, -0.3, -0.4], [1, 0.3, 0.4]])
    # A quarter turn about z takes the extents (1, 2, 3) to (2, 1, 3).
    box = Box(half_extents=(1, 2, 3), rotation=(0, 0, 0.5**0.5, 0.5**0.5), position=(10, 0, 0), material=MATERIAL)
    corners = np.array([corner for corner, radius in box.contact_points() if radius == 0.0])
    expected = {(10 + 2 * x, y, 3 * z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)}
    assert {tuple(corner) for corner in corners.round(12)} == expected


def test_default_parameters_are_the_numbers_of_the_model():
    hopper = ROBOTS["hopper"]
    values = default_parameters(hopper)
    assert values["mass"].tolist() == [link.mass for link in hopper.links]
    assert values["inertia"].shape == (6, 6)
    assert values["upper"].tolist() == [INF, INF, INF, 0.0, 0.0, 0.785398]
    assert values["friction"].tolist() == [0.9] * 4
    assert values["gear"].tolist() == [200.0] * 3
    assert values["gravity"].tolist() == [0.0, -9.81, 0.0]


ARGUMENTS = {
    "q shape": (
        {"q": torch.zeros(2, 5)},
        r"q must be \(2, 6\) torch.float32 on cpu. Got \(2, 5\)",
    ),
    "qd rows": ({"qd": torch.zeros(3, 6)}, r"qd must be \(2, 6\)"),
    "action shape": ({"action": torch.zeros(2, 4)}, r"action must be \(2, 3\) torch.float32 on cpu. Got \(2, 4\)"),
    "action dtype": ({"action": torch.zeros(2, 3).double()}, r"Got \(2, 3\) torch.float64 on cpu"),
    "q device": ({"q": torch.zeros(2, 6, device="meta")}, r"Got \(2, 6\) torch.float32 on meta"),
    "unknown parameter": (
        {"parameters": {"weight": torch.zeros(1, 6)}},
        "no parameter 'weight'. There are mass",
    ),
    "parameter shape": (
        {"parameters": {"mass": torch.ones(3, 6)}},
        r"parameter 'mass' must be \(2, 6\) or \(1, 6\) torch.float32 on cpu. Got \(3, 6\)",
    ),
    "parameter dtype": (
        {"parameters": {"gravity": torch.ones(1, 3).double()}},
        "'gravity' must be .*float64",
    ),
}


@pytest.mark.parametrize("method", ["step", "trace"])
@pytest.mark.parametrize("case", ARGUMENTS)
def test_wrong_arguments_are_refused_and_leave_the_simulator_usable(method, case):
    wrong, message = ARGUMENTS[case]
    sim = simulator(ROBOTS["hopper"], 2, torch.float32)
    right = dict(zip(("q", "qd", "action"), at_rest(sim.model, 2, torch.float32), strict=True))
    expected = sim.step(**right)
    with pytest.raises(ValueError, match=message):
        getattr(sim, method)(**{**right, **wrong})
    for before, after in zip(expected, sim.step(**right), strict=True):
        assert torch.equal(before, after)


def test_array_of_numpy_is_refused_as_a_state():
    _, qd, action = at_rest(ROBOTS["hopper"], 2)
    with pytest.raises(TypeError, match=r"q must be a torch.Tensor. Got ndarray"):
        simulator(ROBOTS["hopper"], 2).step(np.zeros((2, 6)), qd, action)
    with pytest.raises(TypeError, match=r"q must be a torch.Tensor. Got ndarray"):
        simulator(ROBOTS["hopper"], 2).link_poses(np.zeros((2, 6)))
    with pytest.raises(ValueError, match=r"q must be \(2, 6\) torch.float64 on cpu. Got \(1, 6\)"):
        simulator(ROBOTS["hopper"], 2).link_poses(tensor(np.zeros((1, 6))))


def test_tensors_need_not_be_contiguous():
    hopper = ROBOTS["hopper"]
    state = [value + 0.1 * torch.arange(value.shape[1]) for value in at_rest(hopper, 3)]
    strided = [torch.stack([value, -value], dim=-1)[..., 0] for value in state]
    for ours, theirs in zip(simulator(hopper, 3).step(*strided), simulator(hopper, 3).step(*state), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("name", "factor"), [("mass", 2.0), ("gear", 0.5), ("gravity", 0.3), ("friction", 0.1)])
def test_parameter_acts_as_the_number_of_the_model_does(name, factor):
    # Twice the mass by parameter in one environment equals twice the mass in the model.
    start = ball(gravity=(3.0, -9.81, 0.0))
    if name == "gear":
        start = model(body(HINGE), actuators=(Actuator(link="body", gear=3.0),))
    changed = {
        "mass": lambda: replace(start, links=(replace(start.links[0], mass=factor * start.links[0].mass),)),
        "gear": lambda: replace(start, actuators=(Actuator(link="body", gear=factor * 3.0),)),
        "gravity": lambda: replace(start, gravity=tuple(factor * g for g in start.gravity)),
        "friction": lambda: replace(start, links=(replace(start.links[0], shapes=(slippery(factor),)),)),
    }[name]()
    q, qd, action = at_rest(start, 2)
    if start.nq == 7:
        q[:, 1], qd[:, 3] = 0.49, 1.0
    parameters = {name: simulator(start, 2).parameters[name] * tensor([[1.0], [factor]])}
    result = simulator(start, 2).step(q, qd, action + 0.5, parameters)
    for row, reference in enumerate((start, changed)):
        expected = simulator(reference, 2).step(q, qd, action + 0.5)
        for ours, theirs in zip(result, expected, strict=True):
            assert torch.equal(ours[row], theirs[row])


def slippery(factor: float) -> Sphere:
    return Sphere(radius=0.5, material=replace(MATERIAL, friction=factor * MATERIAL.friction))


def test_own_parameters_that_are_learnt_carry_gradients_and_are_checked():
    sim = Simulator(ROBOTS["hopper"], 1, dtype=torch.float64)
    q, qd, action = (torch.zeros(1, width, dtype=torch.float64) for width in (6, 6, 3))
    with torch.no_grad():
        sim.step(q, qd, action)
    gravity = sim.parameters["gravity"].requires_grad_()
    (gradient,) = torch.autograd.grad(sim.step(q, qd, action)[1].sum(), gravity)
    assert gradient.any()
    sim.parameters["gravity"] = torch.zeros(1, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"parameter 'gravity' must be \(1, 3\)"):
        sim.step(q, qd, action)


CHANGES = {
    "replaced": lambda values: values.update(gravity=2 * values["gravity"]),
    "in place": lambda values: values["gravity"].mul_(2),
    "of a view": lambda values: values["gravity"][0, 1:2].mul_(2),
    "detached": lambda values: values["gravity"].detach().mul_(2),
    "by its data": lambda values: values["gravity"].data.mul_(2),
    "by NumPy": lambda values: np.multiply(values["gravity"].numpy(), 2, out=values["gravity"].numpy()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_the_own_parameters_is_seen(change):
    sim = Simulator(ROBOTS["hopper"], 1, dtype=torch.float64)
    q, qd, action = (torch.zeros(1, width, dtype=torch.float64) for width in (6, 6, 3))
    for _ in range(2):
        before = sim.step(q, qd, action)[1]
        CHANGES[change](sim.parameters)
        after = sim.step(q, qd, action)[1]
        assert not torch.equal(before, after)
        gravity = {"gravity": sim.parameters["gravity"].clone()}
        assert torch.equal(after, Simulator(sim.model, 1, dtype=torch.float64).step(q, qd, action, gravity)[1])


def test_parameter_that_is_no_tensor_is_refused():
    sim = Simulator(ROBOTS["hopper"], 1)
    state = [torch.zeros(1, width) for width in (6, 6, 3)]
    with pytest.raises(TypeError, match=r"parameter 'gravity' must be a torch\.Tensor\. Got float"):
        sim.step(*state, {"gravity": -9.81})


@pytest.mark.parametrize("made_there", [False, True])
def test_simulator_runs_in_inference_mode_and_out_of_it_again(made_there):
    sim = None if made_there else Simulator(ROBOTS["hopper"], 1)
    q, qd = torch.zeros(1, 6), torch.zeros(1, 6)
    action = torch.zeros(1, 3, requires_grad=True)
    with torch.inference_mode():
        sim = sim or Simulator(ROBOTS["hopper"], 1)
        first, poses = sim.step(q, qd, action)[0], sim.link_poses(q)
    again = sim.step(q, qd, action)[0]
    again.sum().backward()
    assert torch.equal(again, first)
    assert torch.equal(sim.link_poses(q), poses)
    assert action.grad is not None
    assert action.grad.any()


def test_dtype_may_be_given_by_its_name():
    sim = Simulator(ROBOTS["hopper"], 1, dtype="float64")
    q, qd, action = (torch.zeros(1, width, dtype=torch.float64) for width in (6, 6, 3))
    assert sim.step(q, qd, action)[0].dtype is torch.float64
