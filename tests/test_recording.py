"""A trained policy is shown: the command line writes videos and replays of real episodes."""

import contextlib
import io

import imageio_ffmpeg
import pytest
import torch

from diffenvs.envs.vector import DiffVectorEnv
from rpo import RPO, cli
from rpo.recording import record_episode


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    sizes = ["--num-envs", "4", "--steps", "64", "--horizon", "16", "--critic-epochs", "1", "--hidden-sizes", "8"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cli.main(["train", "--env", "diffenvs/Hopper-v0", "--runs", str(runs), *sizes])
    (folder,) = (runs / "diffenvs" / "Hopper-v0" / "rpo").iterdir()
    return folder, printed.getvalue()


def test_training_ends_with_a_replay_and_a_curve_and_says_where(finished_run):
    folder, printed = finished_run
    assert (folder / "replay.html").stat().st_size > 500_000
    end = printed.splitlines()[-8:]
    for name in ("replay.html", "learning_curve.png"):
        assert (folder / name).exists()
        assert any(line.endswith(str(folder / name)) for line in end), printed


def test_record_writes_a_video_of_a_whole_episode(finished_run, capsys, needs_opengl):
    folder, _ = finished_run
    cli.main(["record", str(folder), "--width", "64", "--height", "48", "--seed", "5"])
    video = folder / "video.mp4"
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(video))
    model = RPO.load(folder / "model.zip")
    env = DiffVectorEnv("diffenvs/Hopper-v0")
    raw, _ = env.reset(seed=5)
    steps, total, over = 0, 0.0, False
    while not over:
        raw, reward, terminated, truncated, _ = env.step(model.predict(raw, deterministic=True)[0])
        steps, total, over = steps + 1, total + float(reward), bool(terminated | truncated)
    assert frames == (steps + 1) // 2
    assert seconds == pytest.approx(frames / 30, abs=0.05)
    out = capsys.readouterr().out
    assert out.startswith("plays an episode of RPO on diffenvs/Hopper-v0, seed 0, and draws it, up to a minute ...\n")
    assert f"return {total:.1f}" in out


def test_record_without_a_video_names_the_replay_only(finished_run, capsys):
    folder, _ = finished_run
    video, before = folder / "video.mp4", folder.joinpath("replay.html").read_bytes()
    video.write_bytes(b"of another time")
    cli.main(["record", str(folder), "--no-video", "--seed", "6"])
    start, _, *files = capsys.readouterr().out.splitlines()
    assert start == "plays an episode of RPO on diffenvs/Hopper-v0, seed 0 ..."
    assert files == [f"  {folder / 'replay.html'}"]
    assert folder.joinpath("replay.html").read_bytes() != before
    video.unlink()


def test_what_cannot_be_recorded_is_refused_and_leaves_nothing(tmp_path):
    policy = RPO(DiffVectorEnv("diffenvs/Hopper-v0", num_envs=2), seed=0).policy
    with pytest.raises(ValueError, match=r"env must be a single environment\. Got 2"):
        record_episode(policy, DiffVectorEnv("diffenvs/Hopper-v0", num_envs=2))
    with pytest.raises(ValueError, match=r"`render_mode` of DiffVectorEnv must be 'rgb_array'"):
        record_episode(policy, DiffVectorEnv("diffenvs/Hopper-v0"), video=tmp_path / "video.mp4")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_recording_leaves_nothing(tmp_path, monkeypatch):
    env = DiffVectorEnv("diffenvs/Hopper-v0")
    policy = RPO(DiffVectorEnv("diffenvs/Hopper-v0", num_envs=2), seed=0).policy
    monkeypatch.setattr(policy, "act", lambda *_: torch.full((1, 3), torch.nan))
    with pytest.raises(ValueError, match="must not be NaN"):
        record_episode(policy, env, replay=tmp_path / "replay.html")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(SystemExit, match=r"rpo: .*config\.json"):
        cli.main(["record", str(tmp_path)])
