"""Replays: HTML files that hold all they need."""

import base64
import re

import msgspec
import pytest
import zstandard

from diffenvs.envs.vector import DiffVectorEnv


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    """A replay of 30 steps of an Ant."""
    env = DiffVectorEnv("diffenvs/Ant-v0", num_envs=2)
    env.reset(seed=0)
    recording = env.record_replay(environment=1)
    recording.add()
    for _ in range(30):
        env.step(env.action_space.sample())
        recording.add()
    path = tmp_path_factory.mktemp("replay") / "ant.html"
    recording.write(path)
    env.close()
    return path


def test_a_replay_is_one_file_that_asks_for_no_other(replay):
    text = replay.read_text()
    assert re.search(r'__VISER_EMBED_DATA__="([A-Za-z0-9+/=]+)"', text)
    assert not re.findall(r'(?:src|href)="(https?:[^"]+)"', text)
    assert replay.stat().st_size < 3_000_000


def test_a_replay_holds_the_recorded_states(replay):
    payload = base64.b64decode(re.search(r'__VISER_EMBED_DATA__="([^"]+)"', replay.read_text()).group(1))
    inner = zstandard.ZstdDecompressor().decompress(payload[8:], max_output_size=int.from_bytes(payload[:8], "little"))
    size = int.from_bytes(inner[:8], "little")
    recording = msgspec.msgpack.decode(inner[8 : 8 + size])
    assert recording["durationSeconds"] == pytest.approx(16 * 2 / 60)  # every other one of 31 states
    moves = [message for time, message in recording["messages"] if time > 0 and "position" in message]
    assert len({message["name"] for message in moves}) >= 9  # links


def test_nothing_recorded_is_refused(tmp_path):
    env = DiffVectorEnv("diffenvs/Hopper-v0")
    env.reset(seed=0)
    recording = env.record_replay()
    with pytest.raises(ValueError, match=r"nothing to write: no state was added"):
        recording.write(tmp_path / "empty.html")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"`environment` must be in \[0, 1\)\. Got 1"):
        env.record_replay(environment=1)
    with pytest.raises(ValueError, match=r"`every` must be a positive integer\. Got 0"):
        env.record_replay(every=0)
