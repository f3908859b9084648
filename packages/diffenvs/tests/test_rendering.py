"""Frames: real pictures of the state. Without OpenGL on the system they cannot be drawn, and the tests say so."""

import itertools
import subprocess
import sys
import textwrap

import gymnasium
import numpy as np
import pytest
import torch

from diffenvs import quaternions
from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.model import Box, Capsule, Joint, JointType, Link, Material, Model, Sphere
from diffenvs.registration import TASKS
from diffenvs.rendering import frames, scene
from diffenvs.robots.humanoid import humanoid

SIZE = (96, 128)
MATERIAL = Material(stiffness=1.0, damping=1.0, tangential_damping=1.0, friction=1.0)
NO_GHOSTS = np.empty((0, 7))


@pytest.fixture(scope="module", autouse=True)
def _opengl():
    try:
        renderer(ball(Sphere(radius=0.1, material=MATERIAL))).close()
    except RuntimeError as error:
        pytest.skip(str(error))


def ball(shape, **kwargs):
    """Model of one free body of a shape."""
    inertia = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    link = Link(name="ball", parent=None, joint=Joint(type=JointType.FREE), mass=1.0, inertia=inertia, shapes=(shape,))
    return Model(name="ball", links=(link,), up=(0.0, 0.0, 1.0), **kwargs)


def at(*position, rotation=(0.0, 0.0, 0.0, 1.0)):
    return np.array([[*position, *rotation]])


def renderer(model, start=None, size=SIZE):
    start = at(0.0, 0.0, 0.5) if start is None else start
    return frames.FrameRenderer(scene.Scene.of(model, start), *size)


def project(drawn, points):
    """Pixels of points in the pictures' world (z up) in the last frame, column and row, (..., 3) to (..., 2)."""
    camera, other_eye = drawn._drawn.camera
    position, forward, up = 0.5 * (camera.pos + other_eye.pos), camera.forward, camera.up
    offset, right = points - position, np.cross(forward, up)
    scale = camera.frustum_near / camera.frustum_top
    depth = offset @ forward
    across, above = scale * (offset @ right) / depth, scale * (offset @ up) / depth
    height, width = drawn._view.height, drawn._view.width
    return np.stack([0.5 * (width + height * across), 0.5 * height * (1.0 - above)], axis=-1)


def changed(frame, background):
    return np.abs(frame.astype(int) - background.astype(int)).max(-1) > 40


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_drawn_and_moves_with_its_state(task):
    env = gymnasium.make_vec(task, num_envs=2, render_mode="rgb_array", height=SIZE[0], width=SIZE[1])
    env.reset(seed=0)
    first = env.render()
    assert isinstance(first, tuple)
    assert len(first) == 2
    assert {(frame.shape, frame.dtype) for frame in first} == {((*SIZE, 3), np.dtype(np.uint8))}
    assert len(np.unique(first[0].reshape(-1, 3), axis=0)) > 100, "a blank picture"
    assert np.array_equal(env.render()[0], first[0]), "two pictures of one state differ"
    assert not np.array_equal(first[0], first[1]), "two states look the same"
    for _ in range(5):
        env.step(env.action_space.sample())
    assert changed(env.render()[0], first[0]).sum() > 20, "the picture does not move"
    env.close()


@pytest.mark.parametrize("position", [(0.0, 0.0, 0.5), (0.3, -0.2, 0.53), (-0.4, 0.5, 0.46)])
def test_a_sphere_is_where_the_camera_projects_it(position):
    drawn = renderer(ball(Sphere(radius=0.03, material=MATERIAL), ground=False), size=(240, 320))
    background = drawn.draw(at(*position[:2], 50.0), NO_GHOSTS)
    frame = drawn.draw(at(*position), NO_GHOSTS)
    rows, columns = np.nonzero(changed(frame, background))
    assert len(rows) > 50
    column, row = project(drawn, np.array(position))
    np.testing.assert_allclose([columns.mean(), rows.mean()], [column, row], atol=1.5)
    drawn.close()


def test_links_are_drawn_where_the_state_has_them():
    env = DiffVectorEnv("diffenvs/Ant-v0", num_envs=4, render_mode="rgb_array", height=240, width=320)
    env.reset(seed=3)
    drawn = env.render()
    view = env._pictures._frames
    poses, _ = view._view.poses(env._now)
    for i, frame in enumerate(drawn):
        turned = scene.turned(poses[i], view._view.scene.rotation)
        background = view.renderer.draw(poses[i] + [0.0, 50.0, 0.0, 0.0, 0.0, 0.0, 0.0], NO_GHOSTS)
        view.renderer.draw(poses[i], NO_GHOSTS)
        robot = changed(frame, background)
        assert 0.01 < robot.mean() < 0.3
        for link, shape, _ in view._view.scene.shapes:
            centre = turned[link, :3] + quaternions.rotate(turned[link, 3:], shape.position)
            column, row = project(view.renderer, centre).round().astype(int)
            assert robot[row, column], f"shape of link {link} is not where it is drawn"
    env.close()


def test_boxes_and_capsules_have_their_pose():
    quarter = (0.0, np.sqrt(0.5), 0.0, np.sqrt(0.5))  # about y: z to x
    upright = Capsule(radius=0.05, half_length=0.3, axis=(0.0, 0.0, 1.0), material=MATERIAL)
    lying = Capsule(radius=0.05, half_length=0.3, axis=(1.0, 0.0, 0.0), material=MATERIAL)
    box = Box(half_extents=(0.05, 0.05, 0.35), material=MATERIAL)
    turned_box = Box(half_extents=(0.35, 0.05, 0.05), rotation=quarter, material=MATERIAL)
    pictures = {}
    for name, shape, rotation in [
        ("upright", upright, (0.0, 0.0, 0.0, 1.0)),
        ("lying, turned up", lying, quarter),
        ("lying", lying, (0.0, 0.0, 0.0, 1.0)),
        ("box", box, (0.0, 0.0, 0.0, 1.0)),
        ("box, turned twice", turned_box, (0.0, 0.0, 0.0, 1.0)),
    ]:
        drawn = renderer(ball(shape, ground=False))
        drawn._scene = scene.Scene.of(ball(upright, ground=False), at(0.0, 0.0, 0.5))
        pictures[name] = drawn.draw(at(0.0, 0.0, 0.5, rotation=rotation), NO_GHOSTS)
        drawn.close()
    assert changed(pictures["upright"], pictures["lying, turned up"]).sum() == 0
    assert changed(pictures["upright"], pictures["lying"]).sum() > 50
    assert changed(pictures["box"], pictures["box, turned twice"]).sum() < 5


def test_links_are_drawn_as_thick_as_they_are_but_for_a_hundredth_that_tells_neighbours_apart():
    ball = {"mass": 1.0, "inertia": (0.1, 0.1, 0.1, 0.0, 0.0, 0.0), "shapes": (Sphere(radius=0.1, material=MATERIAL),)}
    names = [None, *(f"link{i}" for i in range(120))]
    hinge = Joint(type=JointType.HINGE)
    links = [Link(name=b, parent=a, joint=hinge, **ball) for a, b in itertools.pairwise(names)]
    for model in (Model(name="chain", links=tuple(links)), humanoid()):
        drawn = scene.Scene.of(model, np.tile([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (len(model.links), 1))).shapes
        own = [(i, shape.radius) for i, link in enumerate(model.links) for shape in link.shapes]
        pairs = zip(drawn, own, strict=False)  # the bones come after the shapes
        factors = {i: round(shape.radius / radius, 6) for (i, shape, _), (_, radius) in pairs}
        assert set(factors.values()) == {1.0, 0.99}
        neighbours = [(i, model.parents[i]) for i in factors if model.parents[i] in factors]
        assert all(factors[i] != factors[parent] for i, parent in neighbours)
        assert neighbours


def test_single_environment_gives_one_frame():
    env = gymnasium.make("diffenvs/Hopper-v0", render_mode="rgb_array", height=48, width=64)
    env.reset(seed=0)
    assert env.render().shape == (48, 64, 3)
    env.close()


def test_a_video_is_recorded(tmp_path):
    env = gymnasium.make("diffenvs/Hopper-v0", render_mode="rgb_array", height=48, width=64)
    env = gymnasium.wrappers.RecordVideo(env, str(tmp_path / "videos"), disable_logger=True)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    env.close()
    (video,) = tmp_path.glob("videos/*.mp4")
    assert video.stat().st_size > 500


def test_several_renderers_live_side_by_side():
    one, two = (renderer(ball(Sphere(radius=r, material=MATERIAL))) for r in (0.1, 0.3))
    first = one.draw(at(0.0, 0.0, 0.5), NO_GHOSTS)
    two.draw(at(0.0, 0.0, 0.5), NO_GHOSTS)
    two.close()
    assert np.array_equal(one.draw(at(0.0, 0.0, 0.5), NO_GHOSTS), first)
    del two
    one.close()
    one.close()  # a second time does nothing


def test_a_moved_origin_leaves_the_picture_as_it_is():
    env = DiffVectorEnv("diffenvs/Ant-v0", num_envs=1, render_mode="rgb_array", height=96, width=128)
    env.reset(seed=0)
    before = env.render()[0]
    state = env.get_state()
    env.set_state({**state, "origin": state["origin"] + torch.tensor([[800.0, 0.0, 0.0]])})
    assert np.array_equal(env.render()[0], before)
    env.close()


def test_system_without_opengl_is_told_what_to_install(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(frames.sys, "platform", "linux")
    monkeypatch.setattr(frames.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(RuntimeError, match=r"EGL, OSMesa.*apt install libegl1"):
        renderer(ball(Sphere(radius=0.1, material=MATERIAL)))


def test_without_a_mode_nothing_is_drawn():
    env = DiffVectorEnv("diffenvs/Ant-v0")
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None
    with pytest.raises(ValueError, match=r"`height` must be a positive integer\. Got 0"):
        DiffVectorEnv("diffenvs/Ant-v0", height=0)


def test_triton_can_be_imported_after_a_frame():
    pytest.importorskip("triton", reason="this PyTorch comes without Triton")
    code = """
        import gymnasium, diffenvs
        env = gymnasium.make("diffenvs/Hopper-v0", render_mode="rgb_array")
        env.reset()
        assert env.render().any()
        import triton
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
