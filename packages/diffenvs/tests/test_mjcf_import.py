"""What is taken from MJCF and URDF files."""

import math

import mujoco
import numpy as np
import pytest
import torch
from mjcf_files import FLOOR, HAND, URDF, robot

from diffenvs.mjcf.contacts import Contacts
from diffenvs.model import Actuator, Box, JointType, Material, Model, Sphere
from diffenvs.simulator import Simulator

MATERIAL = Material(stiffness=1e3, damping=1e2, tangential_damping=10.0, friction=0.3)


def arm(text, **options):
    return next(link for link in Model.from_mjcf(text, **options).links if link.name == "arm")


# Joints and drives


def test_several_joints_of_a_body_are_a_chain_of_which_the_last_link_is_the_body():
    model = Model.from_mjcf(robot(inside='<joint name="twist" axis="0 0 1"/>'))
    assert [(link.name, link.parent, link.mass > 0) for link in model.links] == [
        ("base", None, True),
        ("arm/hinge", "base", False),
        ("arm", "arm/hinge", True),
    ]


def test_limit_is_stiff_enough_to_vibrate_at_a_known_frequency_against_the_joints_inertia():
    text = robot(joint='range="-1 2" limited="true"')
    joint = arm(text).joint
    engine = Simulator(Model.from_mjcf(text, substeps=1), 1, dtype=torch.float64)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    inertia = 1 / np.linalg.inv(engine.trace(zero, zero, zero[:, :0]).mass_matrix[0, 0])[1, 1]
    assert (joint.lower, joint.upper, joint.limit_damping) == (-1.0, 2.0, 0.0)
    assert joint.limit_stiffness == pytest.approx(100.0**2 * inertia)
    given = arm(text, limit_stiffness=7.0, limit_damping=3.0).joint
    assert (given.limit_stiffness, given.limit_damping) == (7.0, 3.0)
    free = arm(robot(), limit_stiffness=7.0, limit_damping=3.0).joint
    assert (free.lower, free.upper, free.limit_stiffness, free.limit_damping) == (-math.inf, math.inf, 0.0, 0.0)


def test_action_of_a_motor_is_the_end_of_its_control_range():
    model = Model.from_mjcf(robot(actuator='<motor joint="hinge" gear="-3" ctrlrange="-2 2"/>'))
    assert model.actuators == (Actuator(link="arm", gear=-6.0),)


def test_servo_is_a_drive_a_spring_and_a_damper():
    servo = '<position joint="hinge" kp="10" kv="2" gear="3" ctrlrange="-1 2"/>'
    model = Model.from_mjcf(robot(joint='stiffness="5" springref="0.4" damping="1"', actuator=servo))
    joint = model.links[1].joint
    assert model.actuators == (Actuator(link="arm", gear=10 * 3 * 1.5),)
    assert (joint.stiffness, joint.damping) == (5 + 10 * 9, 1 + 2 * 9)
    assert joint.stiffness * joint.rest == pytest.approx(5 * 0.4 + 3 * 10 * 0.5)


def test_order_of_actions_is_that_of_the_actuators():
    motors = "".join(f'<motor joint="{name}" ctrlrange="-1 1"/>' for name in ("hinge", "slide"))
    assert [actuator.link for actuator in Model.from_mjcf(robot(actuator=motors)).actuators] == ["arm", "base"]


def test_forces_that_a_limit_of_force_cannot_cut_are_taken():
    wide = '<motor joint="hinge" gear="2" ctrlrange="-1 1" forcerange="-1 1"/>'
    joint = 'actuatorfrclimited="true" actuatorfrcrange="-2 2"'
    assert Model.from_mjcf(robot(joint=joint, actuator=wide)).actuators == (Actuator(link="arm", gear=2.0),)


def test_limits_of_force_are_motors_also_of_joints_without_names():
    text = """<mujoco><worldbody><body name="{0}"><joint {2}/><geom size="0.1" mass="1"/><body name="{1}">
      <joint name="joint0" actuatorfrcrange="-2 2"/><joint axis="0 1 0" {2}/><geom size="0.1" mass="1"/>
      </body></body></worldbody></mujoco>""".format("thigh", "foot", 'actuatorfrcrange="-3 3"')
    assert Model.from_mjcf(text).actuators == (
        Actuator(link="thigh", gear=3.0),
        Actuator(link="foot/joint0", gear=2.0),
        Actuator(link="foot", gear=3.0),
    )


# Options of the model


def test_options_are_the_arguments_and_the_world_is_the_files():
    text = robot(option="").replace("<option>", '<option gravity="0 1 -5" timestep="0.3">')
    model = Model.from_mjcf(text, dt=0.02, substeps=8, mass_matrix_interval=4)
    assert (model.name, model.up, model.gravity) == ("robot", (0.0, 0.0, 1.0), (0.0, 1.0, -5.0))
    assert (model.dt, model.substeps, model.mass_matrix_interval, model.ground) == (0.02, 8, 4, True)


def test_source_may_be_a_path_in_either_form(tmp_path):
    path = tmp_path / "robot.xml"
    path.write_text(robot())
    assert Model.from_mjcf(path) == Model.from_mjcf(str(path)) == Model.from_mjcf(robot())


def test_bodies_without_a_joint_between_them_are_one_link_and_those_fixed_to_the_world_none():
    hand = '<body name="hand" pos="0 0 0.4" quat="1 1 0 0"><geom type="box" size="0.1 0.2 0.3" mass="2"/></body>'
    base = '<body name="table" pos="3 0 0"><geom size="0.1" contype="0" conaffinity="0"/></body>'
    model = Model.from_mjcf(robot(inside=hand, world=FLOOR + base))
    assert [link.name for link in model.links] == ["base", "arm"]
    together, alone = model.links[1], arm(robot())
    box = together.shapes[1]
    assert isinstance(box, Box)
    np.testing.assert_allclose(box.position, (0.0, 0.0, 0.4), atol=1e-15)
    assert together.mass == pytest.approx(alone.mass + 2.0)
    assert together.com[2] == pytest.approx(2.0 * 0.4 / together.mass)
    # About the common centre; the box, turned by 90 degrees about x, is 0.1 x 0.3 x 0.2.
    reduced = alone.mass * 2.0 / together.mass * 0.4**2
    assert together.inertia[0] == pytest.approx(alone.inertia[0] + 2.0 / 3 * (0.3**2 + 0.2**2) + reduced)
    assert together.inertia[2] == pytest.approx(alone.inertia[2] + 2.0 / 3 * (0.1**2 + 0.3**2))


# Contacts


def test_default_material_carries_the_robot_at_a_depth_of_three_centimetres():
    ball = '<body pos="0 0 0.1"><freejoint/><geom size="0.1" mass="3"/></body>'
    text = f"<mujoco><worldbody>{FLOOR}{ball}</worldbody></mujoco>"
    engine = Simulator(Model.from_mjcf(text), 1, dtype=torch.float64)
    q = torch.tensor([[0.0, 0.0, 0.1 - 0.03, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    q_next, qd_next = engine.step(q, torch.zeros(1, 6, dtype=torch.float64), q[:, :0])
    torch.testing.assert_close(q_next, q, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(qd_next, torch.zeros_like(qd_next), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("geom", "floor", "rest", "friction"),
    [
        ('friction="0.5"', "", "", 0.7),
        ('friction="0.9"', "", "", 0.9),
        ('friction="0.5" priority="1"', "", "", 0.5),
        ('friction="0.5"', 'condim="1"', "", 0.7),
        ('condim="1"', 'condim="1"', "", 0.0),
        ('friction="0.5"', "", '<contact><pair geom1="rod" geom2="floor" friction="0.2 0.2 0 0 0"/></contact>', 0.2),
        ("", "", '<contact><pair geom1="rod" geom2="floor" condim="1"/></contact>', 0.0),
    ],
)
def test_friction_is_the_files(geom, floor, rest, friction):
    text = robot(geom=geom, rest=rest, world=FLOOR.replace("<geom", f"<geom {floor}"))
    assert [shape.material.friction for shape in arm(text).shapes] == [friction]
    assert [shape.material for shape in arm(text, material=MATERIAL).shapes] == [MATERIAL]


def test_friction_of_two_geoms_is_that_of_mujocos_contact():
    random, seen = np.random.default_rng(0), set()
    for _ in range(200):
        balls = "".join(
            f'<body><freejoint/><geom name="{name}" size="1" friction="{random.choice([0.2, 0.5, 0.9])}" '
            f'priority="{random.integers(2)}" condim="{random.choice([1, 3])}"/></body>'
            for name in ("a", "b")
        )
        pair = f'<pair geom1="a" geom2="b" condim="{random.choice([1, 3])}" friction="0.3 0.3"/>' * random.integers(2)
        text = f"<mujoco><worldbody>{balls}</worldbody><contact>{pair}</contact></mujoco>"
        m = mujoco.MjModel.from_xml_string(text)
        d = mujoco.MjData(m)
        mujoco.mj_forward(m, d)
        expected = 0.0 if d.contact.dim[0] == 1 else d.contact.friction[0, 0]
        assert Contacts(m, ground=None, collisions=True).friction_between(0, 1) == expected
        seen.add(expected)
    assert seen == {0.0, 0.2, 0.3, 0.5, 0.9}


@pytest.mark.parametrize(
    ("geom", "rest", "touches"),
    [
        ("", "", True),
        ('contype="0"', "", True),
        ('contype="0" conaffinity="0"', "", False),
        ('contype="2" conaffinity="2"', "", False),
        ("", '<contact><exclude body1="world" body2="arm"/></contact>', False),
        ('contype="0" conaffinity="0"', '<contact><pair geom1="rod" geom2="floor"/></contact>', True),
    ],
)
def test_geoms_that_do_not_touch_the_ground_are_no_shapes(geom, rest, touches):
    assert bool(arm(robot(geom=geom, rest=rest)).shapes) is touches


@pytest.mark.parametrize(
    ("world", "ground", "expected", "shapes"),
    [
        (FLOOR, None, True, 1),
        (FLOOR, False, False, 1),
        ("", None, False, 1),
        ("", True, True, 1),
        (FLOOR.replace("<geom", '<geom contype="0" conaffinity="0"'), None, False, 1),
    ],
)
def test_ground_is_the_files_or_as_said(world, ground, expected, shapes):
    model = Model.from_mjcf(robot(world=world), ground=ground)
    assert model.ground is expected
    assert [len(link.shapes) for link in model.links] == [shapes, shapes]


@pytest.mark.parametrize(
    ("geom", "rest", "expected"),
    [
        ("", "", (("base", "hand"),)),
        ('contype="2" conaffinity="1"', "", (("base", "hand"),)),
        ("", '<contact><exclude body1="base" body2="hand"/></contact>', ()),
        ("", '<option><flag filterparent="disable"/></option>', (("arm", "hand"), ("base", "arm"), ("base", "hand"))),
        ("", '<contact><pair geom1="rod" geom2="palm"/></contact>', (("arm", "hand"), ("base", "hand"))),
    ],
)
def test_links_touch_each_other_where_the_file_says_so_if_asked(geom, rest, expected):
    text = robot(inside=HAND.format(geom), rest=rest)
    assert Model.from_mjcf(text).collisions == ()
    assert set(Model.from_mjcf(text, collisions=True).collisions) == set(expected)


def test_what_stands_in_the_world_is_a_fixed_link_if_collisions_are_asked_for():
    world = (
        FLOOR + '<body name="stairs" pos="3 0 0"><geom type="box" size="1 1 0.1"/></body><geom size="0.3" pos="0 0 9"/>'
    )
    model = Model.from_mjcf(robot(world=world), collisions=True)
    assert [link.name for link in model.links] == ["base", "arm", "world", "stairs"]
    assert {link.joint.type for link in model.links[2:]} == {JointType.FIXED}
    assert model.links[3].shapes[0].position == (3.0, 0.0, 0.0)
    expected = {(a, b) for a in ("world", "stairs") for b in ("base", "arm")}
    assert set(model.collisions) == expected or {pair[::-1] for pair in model.collisions} == expected


def test_base_of_a_robot_that_stands_in_the_world_is_left_out():
    arm = '<body name="arm" pos="0 0 1"><joint/><geom size="1"/></body>'
    text = f'<mujoco><worldbody><body><geom size="1"/>{arm}</body></worldbody></mujoco>'
    assert [link.name for link in Model.from_mjcf(text).links] == ["arm"]


# URDF


def test_urdf_stands_fixed_and_its_efforts_are_motors():
    model = Model.from_mjcf(URDF, ground=True)
    (shank,) = model.links
    assert (shank.name, shank.parent, shank.mass) == ("shank", None, 1.5)
    np.testing.assert_allclose(shank.com, (0, 0, -(0.5 + 0.5 * 1.0) / 1.5))
    np.testing.assert_allclose(shank.joint.position, (0, 0, -0.3))
    np.testing.assert_allclose(shank.joint.rotation, (0, 0, math.sin(0.25), math.cos(0.25)))
    assert (shank.joint.lower, shank.joint.upper, shank.joint.damping) == (-1.0, 0.5, 0.1)
    assert model.actuators == (Actuator(link="shank", gear=5.0),)
    assert isinstance(shank.shapes[0], Sphere)


def test_urdf_floats_if_asked_with_the_inertia_in_the_links_axes():
    model = Model.from_mjcf(URDF, ground=True, floating=True)
    trunk = model.links[0]
    assert (trunk.name, trunk.joint.type, trunk.mass) == ("trunk", JointType.FREE, 2.0)
    np.testing.assert_allclose(trunk.com, (0, 0, 0.1), atol=1e-15)
    np.testing.assert_allclose(trunk.inertia, (0.2, 0.1, 0.25, 0, 0, 0), atol=1e-12)
    assert trunk.shapes[0].half_extents == (0.1, 0.2, 0.3)
    assert model.links[1].parent == "trunk"
