"""Robots as MJCF and URDF: an arm to be varied, random ones, and models of ours."""

from xml.etree import ElementTree

import mujoco
import numpy as np
import rigid_bodies

from diffenvs.model import JointType, Link, Model

Element = ElementTree.Element
FLOOR = '<geom name="floor" type="plane" size="1 1 1" friction="0.7"/>'
HAND = '<body name="hand" pos="0 0 1"><joint name="wrist"/><geom name="palm" size="0.1" {}/></body>'
TENDON = '<tendon><fixed name="cord" {}><joint joint="hinge" coef="1"/></fixed></tendon>'
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


def robot(*, joint="", geom="", inside="", world=FLOOR, actuator="", rest="", option=""):
    """An arm: body 'base' with joint 'slide', body 'arm' with joint 'hinge'."""
    return f"""<mujoco model="robot"><compiler angle="radian"/><option>{option}</option><worldbody>{world}
      <body name="base" pos="0 0 1"><joint name="slide" type="slide" axis="1 0 0" armature="0.1"/><geom size="0.1"/>
        <body name="arm" pos="0.5 0 0"><joint name="hinge" axis="0 1 0" {joint}/>
          <geom name="rod" {"" if "type" in geom else 'type="capsule"'} size="0.05 0.2 0.1" {geom}/>{inside}
        </body></body></worldbody><actuator>{actuator}</actuator>{rest}</mujoco>"""


def random_robot(seed: int) -> str:
    """Two trees of bodies with no to three joints, of which one is free; references, springs, armature and servos."""
    random = np.random.default_rng(seed)
    root, world, actuators = _file("random", (0.0, 1.0, -9.0))

    def unit(size: int) -> np.ndarray:
        vector = random.normal(size=size)
        return vector / np.linalg.norm(vector)

    def add_joint(body: Element, name: str) -> None:
        kind, spring, reference = random.choice(["hinge", "slide"]), *random.normal(size=2)
        added = _add(body, "joint", name=name, type=kind, axis=unit(3), pos=random.normal(size=3) / 3, ref=reference)
        added.attrib |= _text(stiffness=random.uniform(0, 5), springref=spring, damping=random.uniform(0, 3))
        added.set("armature", str(random.uniform(0, 0.5)))
        low, high, gain, velocity_gain = random.uniform([-2, 0, 0, 0], [0, 2, 9, 3])
        servo = {"kp": gain, "kv": velocity_gain, "ctrlrange": (low, high)}
        motor = {"ctrlrange": (-high, high)}
        tag, more = [("position", servo), ("motor", motor), ("velocity", {"kv": gain, **motor})][random.integers(3)]
        _add(actuators, tag, name=name, joint=name, gear=random.normal(), **more)

    def add_body(parent: Element, name: str, joints: int, depth: int, free: bool = False) -> None:
        body = _add(parent, "body", name=name, pos=random.normal(size=3) / 2, quat=unit(4))
        if free:
            _add(body, "freejoint", name=name)
        for j in range(joints):
            add_joint(body, f"{name} joint {j}")
        size, position = random.uniform(0.05, 0.3, 3), random.normal(size=3) / 3
        _add(body, "geom", type="box", size=size, pos=position, quat=unit(4))
        for b in range(random.integers(1, 3) if depth < 3 else 0):
            add_body(body, f"{name}-{b}", random.integers(0, 3), depth + 1)

    add_body(world, "free", 0, 0, free=True)
    still = _add(world, "body", name="still", pos=random.normal(size=3), quat=unit(4))
    add_body(still, "arm", random.integers(1, 4), 1)
    return ElementTree.tostring(root, encoding="unicode")


def written(model: Model) -> str:
    """Model as MJCF without its shapes; joints of massless links become further joints of the next body."""
    root, world, actuators = _file(model.name, model.gravity)
    still = np.zeros(model.nv)
    frames = rigid_bodies.frames(model, rigid_bodies.rest_q(model), still, still)
    # Of each link, -1 the world: the element of its body, its pose, and the links whose joints wait for a next body.
    bodies: dict[int, tuple[Element, np.ndarray, np.ndarray, list[int]]] = {-1: (world, np.eye(3), np.zeros(3), [])}
    for i, (link, parent) in enumerate(zip(model.links, model.parents, strict=True)):
        element, R, p, waiting = bodies[parent]
        bodies[i] = (element, R, p, [*waiting, i])
        if link.mass > 0.0:
            R_body, p_body = frames[i].R, frames[i].p
            body = _add(element, "body", name=link.name, pos=R.T @ (p_body - p), quat=_quaternion(R.T @ R_body))
            for j in (*waiting, i):
                _add_joint(body, model.links[j], R_body.T @ (frames[j].p - p_body), R_body.T @ frames[j].R)
            _add(body, "inertial", pos=link.com, mass=link.mass, fullinertia=link.inertia)
            bodies[i] = (body, R_body, p_body, [])
    for actuator in model.actuators:
        _add(actuators, "motor", joint=actuator.link, gear=actuator.gear, ctrlrange=(-1, 1))
    return ElementTree.tostring(root, encoding="unicode")


def _add_joint(body: Element, link: Link, position: np.ndarray, rotation: np.ndarray) -> None:
    joint = link.joint
    if joint.type is JointType.FREE:
        _add(body, "freejoint", name=link.name)
        return
    kind = "hinge" if joint.type is JointType.HINGE else "slide"
    added = _add(body, "joint", name=link.name, type=kind, pos=position, axis=rotation @ joint.axis)
    added.attrib |= _text(stiffness=joint.stiffness, springref=joint.rest, damping=joint.damping)
    added.set("armature", repr(joint.armature))


def _file(name: str, gravity: object) -> tuple[Element, Element, Element]:
    root = Element("mujoco", model=name)
    _add(root, "compiler", angle="radian")
    _add(root, "option", gravity=gravity)
    return root, _add(root, "worldbody"), _add(root, "actuator")


def _add(parent: Element, tag: str, **attributes: object) -> Element:
    return ElementTree.SubElement(parent, tag, _text(**attributes))


def _text(**attributes: object) -> dict[str, str]:
    def text(value: object) -> str:
        return value if isinstance(value, str) else " ".join(repr(float(number)) for number in np.ravel(value))

    return {name: text(value) for name, value in attributes.items()}


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, rotation.ravel())
    return quaternion
