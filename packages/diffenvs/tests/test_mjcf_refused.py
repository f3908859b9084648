"""What of MJCF and URDF files is refused, and that nothing is overlooked."""

import re
import subprocess
import sys
from pathlib import Path

import mujoco
import pytest
from mjcf_files import FLOOR, HAND, TENDON, URDF, robot

import diffenvs.mjcf
from diffenvs.model import Material, Model

MATERIAL = Material(stiffness=1e3, damping=1e2, tangential_damping=10.0, friction=0.3)
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
    "two floors": (
        {"world": FLOOR + FLOOR.replace("floor", "carpet"), "geom": 'contype="2" conaffinity="2"'},
        r"geom 'geom2' \(which touches the ground more than once\) is",
    ),
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


OVERRIDDEN = '<option o_friction="0.1 0.1 0 0 0"><flag override="enable"/></option>'


def test_friction_that_an_option_overrides_is_refused_where_it_is_wanted():
    text = robot(world=FLOOR, rest=OVERRIDDEN)
    with pytest.raises(NotImplementedError, match="enabled override of all contacts' parameters is not supported"):
        Model.from_mjcf(text)
    assert Model.from_mjcf(text, material=MATERIAL).links[0].shapes[0].material == MATERIAL


PAIR = '<contact><pair name="grip" geom1="rod" geom2="{}" {}/></contact>'
MEAN = "between geoms 'geom1' and 'palm' (other than the mean of theirs, "
FRICTIONS = {
    "the larger one": ({"inside": HAND.format('friction="1.4"')}, f"friction 1.4 {MEAN}1.2)"),
    "priority": ({"inside": HAND.format('friction="0.4" priority="1"')}, f"friction 0.4 {MEAN}0.7)"),
    "priority of the ground": (
        {"inside": HAND.format('friction="0.5"'), "world": FLOOR.replace("<geom", '<geom priority="1"')},
        f"friction 1 {MEAN}0.7)",
    ),
    "none": ({"inside": HAND.format('condim="1" priority="1"')}, f"friction 0 {MEAN}0.5)"),
    "pair": (
        {"inside": HAND.format(""), "rest": PAIR.format("palm", 'friction="0.3 0.3"')},
        "friction 0.3 between geoms 'rod' and 'palm' (other than the mean of theirs, 1)",
    ),
    "pair without": (
        {"inside": HAND.format(""), "rest": PAIR.format("palm", 'condim="1"')},
        "friction 0 between geoms 'rod' and 'palm' (other than the mean of theirs, 1)",
    ),
    "directions": (
        {"inside": HAND.format(""), "rest": PAIR.format("palm", 'friction="1 0.1"')},
        "pair 'grip' with friction that depends on the direction",
    ),
    "directions on the ground": (
        {"rest": PAIR.format("floor", 'friction="0.3 0.1"')},
        "pair 'grip' with friction that depends on the direction",
    ),
}


@pytest.mark.parametrize("case", FRICTIONS)
def test_friction_that_the_engine_would_replace_is_refused_but_not_where_a_material_is_given(case):
    parts, message = FRICTIONS[case]
    with pytest.raises(NotImplementedError, match=f"^{re.escape(message)} is not supported"):
        Model.from_mjcf(robot(**parts), collisions=True)
    model = Model.from_mjcf(robot(**parts), collisions=True, material=MATERIAL)
    assert {shape.material for link in model.links for shape in link.shapes} == {MATERIAL}


def test_frictions_that_the_engine_would_replace_are_named_at_once():
    hands = HAND.format('friction="1.4"') + HAND.format("").replace('name="', 'name="other_')
    with pytest.raises(NotImplementedError) as refused:
        Model.from_mjcf(robot(inside=hands, rest=PAIR.format("floor", 'friction="1 0.1"')), collisions=True)
    assert re.findall(r"pair '\w+'|friction [\d.]+ between geoms '\w+' and '\w+'", str(refused.value)) == [
        "pair 'grip'",
        "friction 1.4 between geoms 'geom1' and 'palm'",
        "friction 1.4 between geoms 'palm' and 'other_palm'",
    ]


@pytest.mark.parametrize(
    "parts",
    [
        {"inside": HAND.format("")},
        {"inside": HAND.format('friction="0.5"'), "world": FLOOR.replace("0.7", "1.0")},  # both 1 against the floor
        {"inside": HAND.format(""), "rest": PAIR.format("palm", 'friction="1 1"')},
    ],
)
def test_friction_of_links_that_is_the_mean_of_theirs_is_taken(parts):
    assert ("base", "hand") in Model.from_mjcf(robot(**parts), collisions=True).collisions


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
        o_friction tendon_(type|actfrc\w+|range|lengthspring)
        actuator_(ctrlspec|cranklength|dynprm|history|lengthrange)""",
    "MuJoCo's way of solving and stepping, and its sensors": r"""(timestep|impratio|\w*tolerance|integrator|cone|
        jacobian|solver|\w*iterations|o_margin|o_sol\w+|sdf_initpoints|wind|magnetic)""",
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
        (robot(), {"ground": "yes"}, TypeError, "`ground` of Model must be True or False. Got 'yes'"),
        (robot(), {"material": "rubber"}, TypeError, "`material` must be of type Material or None. Got str"),
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
