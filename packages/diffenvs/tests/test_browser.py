"""What a browser shows: replays that play and scrub without a network, and the live view."""

import time

import numpy as np
import pytest
import torch
from browsers import headless, picture

from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.rendering.browser import CAMERA

SIZE = {"width": 320, "height": 276}
HEIGHTS = np.linspace(0.5, 1.1, 61)
"""Of the torso of an Ant that is lifted, at each control step [m]."""
FIELD_OF_VIEW = np.radians(75.0)
"""Viser's, from the lower edge of the picture to the upper one."""
NEAR = 0.015
"""Part of the picture's height, a tenth of the way of the torso; a leg hides its lower edge."""
PATIENCE = 60.0
"""Longest time to wait for a picture [s]."""


@pytest.fixture(scope="module")
def browser():
    with headless() as browser:
        yield browser


@pytest.fixture(scope="module")
def lifted(tmp_path_factory):
    """A replay of an Ant that is lifted, and what tells where in the picture its torso is at a time."""
    env = DiffVectorEnv("diffenvs/Ant-v0")
    env.reset(seed=0)
    replay = env.record_replay(every=1)
    for height in HEIGHTS:
        lift(env, height)
        replay.add()
    path = tmp_path_factory.mktemp("lifted") / "ant.html"
    replay.write(path)
    scene, dt = replay._view.scene, env.dt
    env.close()
    return path, lambda seconds: projected(scene, HEIGHTS[min(int(seconds / dt), len(HEIGHTS) - 1)])


def lift(env, height):
    q = env.get_state()["q"]
    q[:, 1] = height
    env.set_state({"q": q, "qd": torch.zeros(1, env.model.nv)})


def projected(scene, height):
    """Where the camera has the torso at a height [m]: 0 at the upper edge of the picture, 1 at the lower one."""
    back = CAMERA / np.linalg.norm(CAMERA)
    up = np.array([0.0, 0.0, 1.0]) - back[2] * back
    point = np.append(-scene.centre[:2], height - scene.centre[2])
    depth = scene.radius * np.linalg.norm(CAMERA) - point @ back
    return 0.5 - 0.5 * point @ up / np.linalg.norm(up) / depth / np.tan(0.5 * FIELD_OF_VIEW)


def torso(page):
    """Where the picture has the torso, as `projected` says it; nan if it has none."""
    pixels = picture(page)
    rows, _ = np.nonzero((pixels[..., 0] > 120) & (pixels[..., 0] - pixels[..., 2] > 80))
    return rows.mean() / len(pixels) if len(rows) > 100 else np.nan


def until(condition):
    """Wait for what happens soon."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"


@pytest.fixture(scope="module")
def player(browser, lifted):
    """The replay in a page without a network, and what it has asked for and complained of."""
    page = browser.new_context(offline=True, viewport=SIZE).new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(lifted[0].as_uri())
    until(lambda: np.isfinite(torso(page)))
    return page, asked, errors


def button(page, icon):
    return page.locator(f"button:has(svg[class*=player-{icon}])")


def moment(page):
    """Where the timeline is [s]."""
    return float(page.get_by_role("slider", include_hidden=True).get_attribute("aria-valuenow"))


def test_replay_plays_by_itself_and_can_be_paused(player):
    page, *_ = player
    first = torso(page)
    until(lambda: abs(torso(page) - first) > 0.03)
    button(page, "pause").click()
    held = moment(page), torso(page)
    assert (moment(page), torso(page)) == pytest.approx(held, abs=0.003)
    button(page, "play").click()
    until(lambda: moment(page) != held[0])


def test_timeline_leads_to_the_state_that_was_recorded_then(player, lifted):
    page, *_ = player
    _, row = lifted
    if button(page, "pause").count():
        button(page, "pause").click()
    track = page.locator(".mantine-Slider-track").bounding_box()
    moments = [moment(page)]
    for part in (0.8, 0.2, 0.5):
        page.mouse.click(track["x"] + part * track["width"], track["y"] + 0.5 * track["height"])
        until(lambda: moment(page) != moments[-1])
        moments.append(moment(page))
        until(lambda: abs(torso(page) - row(moments[-1])) < NEAR)
    late, early, middle = moments[1:]
    assert late > middle + 0.1 > early + 0.2


def test_replay_asks_for_nothing_but_itself(player, lifted):
    _, asked, errors = player
    assert asked == [lifted[0].as_uri()]
    assert errors == []


def test_live_view_shows_the_state_of_each_step(browser):
    env = DiffVectorEnv("diffenvs/Ant-v0", render_mode="human")
    env.reset(seed=0)
    view = env._pictures._live
    page = browser.new_page(viewport=SIZE)
    page.goto(view.url)
    for height in (0.6, 1.0):
        lift(env, height)
        env.render()
        until(lambda height=height: abs(torso(page) - projected(view._view.scene, height)) < NEAR)
    env.close()
