"""What is taken from MJCF and URDF files, and what is refused."""

import math
import re
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

import diffenvs.mjcf
from diffenvs.model import Actuator, Box, JointType, Material, Model, Sphere
from diffenvs.simulator import Simulator

FLOOR = '<geom name="floor" type="plane" size="1 1 1" friction="0.7"/>'
MATERIAL = Material(stiffness=1e3, damping=1e2, tangential_damping=10.0, friction=0.3)


def robot(*, joint="", geom="", inside="", world=FLOOR, actuator="", rest="", option=""):
    """An arm: body 'base' with joint 'slide', body 'arm' with joint 'hinge'."""
    return f"""<mujoco model="robot"><compiler angle="radian"/><option>{option}</option><worldbody>{world}
      <body name="base" pos="0 0 1"><joint name="slide" type="slide" axis="1 0 0" armature="0.1"/><geom size="0.1"/>
        <body name="arm" pos="0.5 0 0"><joint name="hinge" axis="0 1 0" {joint}/>
          <geom name="rod" {"" if "type" in geom else 'type="capsule"'} size="0.05 0.2 0.1" {geom}/>{inside}
        </body></body></worldbody><actuator>{actuator}</actuator>{rest}</mujoco>"""


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


HAND = '<body name="hand" pos="0 0 1"><joint name="wrist"/><geom name="palm" size="0.1" {}/></body>'


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

URDF = """<robot name="leg">
  <link name="trunk"><inertial><origin xyz="0 0 0.1" rpy="0 0 1.5707963267948966"/><mass value="2"/>
    <inertia ixx="0.1" iyy="0.2" izz="0.25" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><box size="0.2 0.4 0.6"/></geometry></collision>
    <visual><geometry><cylinder radius="0.1" length="1"/></geometry></visual></link>
  <link name="shank"><inertial><origin xyz="0 0 -0.5"/><mass value="1"/>
    <inertia ixx="0.1" iyy="0.1" izz="0.05" ixy="0.01" ixz="0" iyz="0"/></inertial></link>
  <joint name="knee" type="revolute"><parent link="trunk"/><child link="shank"/><origin xyz="0 0 -0.3" rpy="0 0 0.5"/>
    <axis xyz="0 1 0"/><limit lower="-1" upper="0.5" effort="5" velocity="3"/><dynamics damping="0.1"/></joint>
  <link name="foot"><inertial><mass value="0.5"/>
    <inertia ixx="0.001" iyy="0.001" izz="0.001" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><sphere radius="0.05"/></geometry></collision></link>
  <joint name="sole" type="fixed"><parent link="shank"/><child link="foot"/><origin xyz="0 0 -1"/></joint>
</robot>"""


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


# What is refused

TENDON = '<tendon><fixed name="cord" {}><joint joint="hinge" coef="1"/></fixed></tendon>'
MOTOR = '<motor name="motor" joint="hinge" ctrlrange="-1 1" {}/>'
HILL = '<asset><hfield name="hill" nrow="2" ncol="2" size="1 1 1 1" elevation="0 0 1 1"/></asset>'
HULL = '<asset><mesh name="hull" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset>'
UNSUPPORTED = {
    "ball joint": ({"inside": '<body><joint name="hip" type="ball"/><geom size="1"/></body>'}, "ball joint 'hip'"),
    "damped free joint": (
        {
            "world": '<body><joint name="root" type="free" armature="1" damping="2" stiffness="3"/>'
            '<geom size="1"/></body>'
        },
        "joint 'root' with stiffness and damping and armature",
    ),
    "frictionloss": ({"joint": 'frictionloss="1"'}, "joint 'hinge' with frictionloss"),
    "yielding spring": ({"joint": 'stiffness="1" springyield="1"'}, "joint 'hinge' with a yielding spring"),
    "stiffness": ({"joint": 'stiffness="1 2"'}, "joint 'hinge' with nonlinear stiffness"),
    "damping": ({"joint": 'damping="1 2"'}, "joint 'hinge' with nonlinear damping"),
    "gravcomp": ({"inside": '<body name="kite" gravcomp="1"><geom size="1"/></body>'}, "body 'kite' with gravity comp"),
    "mocap": ({"world": '<body name="hand" mocap="true"/>'}, "body 'hand' with motion capture"),
    "fluid": ({"rest": '<option density="1" viscosity="2"/>'}, "density of a fluid, viscosity of a fluid are not"),
    "flags": (
        {"option": '<flag gravity="disable" contact="disable" limit="disable"/>'},
        "disabled contact, disabled gravity, disabled limit",
    ),
    "equality": (
        {"rest": '<equality><joint name="gears" joint1="slide" joint2="hinge"/></equality>'},
        "equality 'gears' is not",
    ),
    "stiff tendon": ({"rest": TENDON.format('stiffness="1"')}, "tendon 'cord' with stiffness is not"),
    "damped tendon": ({"rest": TENDON.format('damping="1"')}, "tendon 'cord' with damping"),
    "limited tendon": ({"rest": TENDON.format('range="0 1" limited="true"')}, "tendon 'cord' with a limit"),
    "rough tendon": ({"rest": TENDON.format('frictionloss="1"')}, "tendon 'cord' with frictionloss"),
    "heavy tendon": ({"rest": TENDON.format('armature="1"')}, "tendon 'cord' with armature"),
    "driven tendon": (
        {"rest": TENDON.format(""), "actuator": '<motor name="winch" tendon="cord" ctrlrange="-1 1"/>'},
        "actuator 'winch' with tendon transmission",
    ),
    "cylinder": ({"geom": 'type="cylinder"'}, "cylinder geom 'rod'"),
    "ellipsoid": ({"geom": 'type="ellipsoid"'}, "ellipsoid geom 'rod'"),
    "high ground": ({"world": FLOOR.replace("<geom", '<geom pos="0 0 1"')}, r"geom 'floor' \(a plane other than z = 0"),
    "slope": ({"world": FLOOR.replace("<geom", '<geom euler="0.1 0 0"')}, r"geom 'floor' \(a plane other than z = 0"),
    "stairs": (
        {"world": FLOOR + '<body name="stairs"><geom name="step" type="box" size="1 1 0.1"/></body>'},
        r"geom 'step' \(which does not move; only with `collisions`\) is",
    ),
    "terrain": (
        {"world": '<geom type="hfield" hfield="hill"/>', "rest": HILL},
        r"geom 'geom0' \(which does not move; only with `collisions`\) is",
    ),
    "mesh": ({"geom": 'type="mesh" mesh="hull"', "rest": HULL}, "mesh geom 'rod'"),
    "flex": (
        {"world": '<flexcomp type="grid" count="2 2 2" spacing="1 1 1" name="jelly" dim="3" mass="1" rigid="true"/>'},
        "flex 'jelly'",
    ),
    "plugin": (
        {
            "rest": '<extension><plugin plugin="mujoco.pid"/></extension>',
            "actuator": '<plugin name="pid" joint="hinge" plugin="mujoco.pid" ctrlrange="-1 1"/>',
        },
        "actuator 'pid' with a plugin",
    ),
    "conveyor": (
        {"world": FLOOR.replace("<geom", '<geom surfacevel="1 0 0 0 0 0"')},
        "geom 'floor' with a surface velo",
    ),
    "sticky": ({"geom": 'adhesion="1"'}, "geom 'rod' with adhesion"),
    "unlimited motor": ({"actuator": '<motor name="motor" joint="hinge"/>'}, "actuator 'motor' with no ctrlrange"),
    "one-sided motor": (
        {"actuator": '<motor name="motor" joint="hinge" ctrlrange="0 1"/>'},
        "actuator 'motor' with a constant force",
    ),
    "cut motor": ({"actuator": MOTOR.format('forcerange="-0.5 1"')}, "actuator 'motor' with a forcerange that cuts"),
    "cut joint": (
        {"joint": 'actuatorfrcrange="-0.5 1"', "actuator": MOTOR},
        "actuator 'motor' with an actuatorfrcrange of its joint that cuts",
    ),
    "cut servo": (
        {"actuator": '<position name="servo" joint="hinge" kp="1" ctrlrange="-1 1" forcerange="-9 9"/>'},
        "actuator 'servo' with a forcerange that cuts",
    ),
    "two motors": (
        {"actuator": MOTOR.format("") + MOTOR.format("").replace('"motor"', '"second"')},
        "actuator 'second' with the joint of actuator 'motor'",
    ),
    "muscle": (
        {"actuator": '<muscle name="calf" joint="hinge" lengthrange="0 1"/>'},
        "actuator 'calf' with muscle dynamics and muscle gain and muscle bias",
    ),
    "integrator": (
        {"actuator": '<intvelocity name="servo" joint="hinge" kp="1" actrange="-1 1" ctrlrange="-1 1"/>'},
        "actuator 'servo' with integrator dynamics",
    ),
    "damper": (
        {"actuator": '<damper name="brake" joint="hinge" kv="1" ctrlrange="0 1"/>'},
        "actuator 'brake' with affine gain",
    ),
    "thruster": (
        {"inside": '<site name="nozzle"/>', "actuator": '<motor name="jet" site="nozzle" ctrlrange="-1 1"/>'},
        "actuator 'jet' with site transmission",
    ),
    "driven free joint": (
        {
            "world": '<body><freejoint name="root"/><geom size="1"/></body>',
            "actuator": '<motor name="jet" joint="root" gear="1 0 0 0 0 0" ctrlrange="-1 1"/>',
        },
        "actuator 'jet' with a free joint",
    ),
    "disabled group": (
        {"rest": '<option actuatorgroupdisable="3"/>', "actuator": MOTOR.format('group="3"')},
        "actuator 'motor' with a disabled group",
    ),
    "delay": ({"actuator": MOTOR.format('delay="0.01" nsample="5"')}, "actuator 'motor' with a delay"),
    "rotor": ({"actuator": MOTOR.format('armature="1" damping="1"')}, "actuator 'motor' with armature and damping"),
    "negative spring": (
        {"actuator": MOTOR.replace("<motor", '<general biastype="affine" biasprm="0 1 0"')},
        "actuator 'motor' with a force that grows",
    ),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_the_engine_cannot_simulate_is_refused_by_name(case):
    parts, message = UNSUPPORTED[case]
    with pytest.raises(NotImplementedError, match=message):
        Model.from_mjcf(robot(**{name: text.format("") if "{}" in text else text for name, text in parts.items()}))


def test_all_that_is_not_supported_is_named_at_once():
    parts = {
        "joint": 'frictionloss="1"',
        "inside": '<body><joint name="hip" type="ball"/><geom name="palm" type="cylinder" size="1 1"/></body>',
        "actuator": '<motor name="winch" tendon="cord" ctrlrange="-1 1"/>',
        "rest": TENDON.format('stiffness="2" damping="1"')
        + '<equality><connect name="hook" body1="arm" body2="base" anchor="0 0 0"/></equality><option density="1"/>',
    }
    message = (
        "density of a fluid, joint 'hinge' with frictionloss, ball joint 'hip', cylinder geom 'palm', equality 'hook', "
        "tendon 'cord' with stiffness and damping, actuator 'winch' with tendon transmission are not supported (robot)."
    )
    with pytest.raises(NotImplementedError, match=f"^{re.escape(message)}$"):
        Model.from_mjcf(robot(**parts))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"inside": HAND.format('contype="0"'), "world": FLOOR.replace("<geom", '<geom contype="4"')},
            "geom 'palm' (which touches bodies but not the ground) is not supported",
        ),
        (
            {
                "inside": HAND.format('/><geom size="0.1" contype="2" conaffinity="0"'),
                "world": FLOOR.replace("<geom", '<geom conaffinity="3"'),
            },
            "touch of some geoms only of bodies 'base' and 'hand' is not supported",
        ),
        (
            {"rest": '<contact><pair name="glue" geom1="rod" geom2="floor" adhesion="1"/></contact>'},
            "pair 'glue' with adhesion",
        ),
    ],
)
def test_collisions_that_the_engine_has_not_are_refused(parts, message):
    with pytest.raises(NotImplementedError, match=re.escape(message)):
        Model.from_mjcf(robot(**parts), collisions=True)


def test_what_has_no_effect_on_the_motion_is_accepted():
    parts = {
        "inside": '<geom type="mesh" mesh="hull" contype="0" conaffinity="0" mass="0"/><camera/><light/>'
        '<geom type="cylinder" size="1 1" contype="0" conaffinity="0" mass="0"/><site name="tip"/>',
        "rest": TENDON.format("")
        + HULL
        + '<equality><connect name="hook" body1="arm" body2="base" anchor="0 0 0" active="false"/></equality>'
        "<sensor><accelerometer site='tip'/></sensor><keyframe><key qpos='0 1'/></keyframe>"
        "<custom><numeric name='n' data='1'/></custom>",
    }
    rich, plain = Model.from_mjcf(robot(**parts)), Model.from_mjcf(robot())
    assert rich.links[0] == plain.links[0]
    assert rich.links[1].shapes == plain.links[1].shapes


# Fields of MuJoCo's compiled model that the reader does not look at, and why it need not.
LEFT_OUT = {
    "poses and inertias, taken from the kinematics": "body_(i?pos|i?quat) geom_(pos|quat)",
    "what MuJoCo derives from other fields": r"""body_(rootid|dof\w+|treeid|geom\w+|simple|sameframe|subtreemass|margin|
        invweight0|contype|conaffinity|bvh\w+) jnt_(actuatorid|springyield) dof_(bodyid|jntid|parentid|treeid|Madr|
        simplenum|M0|length) geom_(sameframe|aabb|rbound) pair_signature tendon_(adr|num|actuatorid|tree\w+|length0|
        invweight0|springyield) actuator_(ctrlnum|outnum|act\w+|historyadr|acc0|length0)""",
    "the law of contacts and limits, which is ours": r"""\w+_sol(ref|imp|mix)\w* (geom|pair|jnt|tendon)_(margin|gap)""",
    "pictures and notes": r"\w+_(user|group|rgba|matid|castshadow|width) geom_dataid",
    "of no effect without what is refused": r"""jnt_actgravcomp geom_fluid eq_(type|obj\w+|data)
        tendon_(type|actfrc\w+|range|lengthspring) actuator_(ctrlspec|cranklength|dynprm|history|lengthrange)""",
    "MuJoCo's way of solving and stepping, and its sensors": r"""(timestep|impratio|\w*tolerance|integrator|cone|
        jacobian|solver|\w*iterations|o_\w+|enableflags|sdf_initpoints|wind|magnetic)""",
}


def test_every_field_of_mujocos_model_is_read_refused_or_of_no_effect():
    m = mujoco.MjSpec.from_string("<mujoco/>").compile()
    folder = Path(diffenvs.mjcf.__file__).parent
    read = set(re.findall(r"\w+", " ".join(path.read_text() for path in folder.glob("*.py"))))
    kinds = r"(body|jnt|dof|geom|pair|exclude|eq|tendon|actuator)_\w+"
    fields = [*(name for name in m._all_fields if re.fullmatch(kinds, name)), *m.opt._all_fields]
    left_out = [pattern for text in LEFT_OUT.values() for pattern in re.sub(r"\|\s+", "|", text).split()]
    unknown = [name for name in fields if name not in read and not any(re.fullmatch(p, name) for p in left_out)]
    assert unknown == []
    idle = [p for p in left_out if not any(re.fullmatch(p, name) for name in fields)]
    assert idle == []


# Bad input


BODY = "<mujoco><worldbody><body name='plate'><joint/><inertial pos='0 0 0' mass='{}' {}/></body></worldbody></mujoco>"


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("robot.xml", {}, FileNotFoundError, "there is no file 'robot.xml'; text of a model must start with '<'"),
        ("<mujoco>", {}, ValueError, "XML parse error"),
        ("<mujoco><robot/></mujoco>", {}, ValueError, "unrecognized element"),
        (BODY.format(1, "diaginertia='1 1 3'"), {}, ValueError, r"A \+ B >= C(.|\n)*'plate'"),
        (BODY.format(1, "diaginertia='1 1 -1'"), {}, ValueError, "(.|\n)*'plate'"),
        (BODY.format(1, "fullinertia='1 1 1 2 0 0'"), {}, ValueError, "positive eigenvalues(.|\n)*'plate'"),
        (BODY.format(0, "diaginertia='1 1 1'"), {}, ValueError, "mass and inertia of moving bodies(.|\n)*'plate'"),
        (URDF.replace('ixx="0.1" iyy="0.1"', 'ixx="9.1" iyy="0.1"'), {}, ValueError, r"A \+ B >= C(.|\n)*'shank'"),
        ("<mujoco/>", {}, ValueError, "`links` of Model must hold at least one link"),
        (
            robot(),
            {"floating": True},
            ValueError,
            "`floating` needs one root body, without joints. There is 'base' with 1",
        ),
        ("<mujoco/>", {"floating": True}, ValueError, "`floating` needs one root body, without joints. There is none"),
        (robot(), {"dt": -1.0}, ValueError, "`dt` of Model must be finite and positive"),
        (robot(), {"ground": "yes"}, ValueError, "`ground` of Model must be True or False. Got 'yes'"),
        (robot(), {"material": "rubber"}, TypeError, "`material` must be a Material or None. Got str"),
        (
            robot(joint='range="0 1"'),
            {"limit_stiffness": -1.0},
            ValueError,
            "`limit_stiffness` of Joint must be finite",
        ),
    ],
)
def test_bad_input_is_refused_with_words_that_help(source, options, error, message):
    with pytest.raises(error, match=message):
        Model.from_mjcf(source, **options)


def test_absence_of_mujoco_is_said_with_the_extra_that_brings_it():
    code = "import sys; sys.modules['mujoco'] = None; import diffenvs; diffenvs.Model.from_mjcf('<mujoco/>')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.rstrip().endswith("ImportError: MJCF and URDF are read by MuJoCo: pip install diffenvs[mjcf]")
