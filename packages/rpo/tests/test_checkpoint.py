import contextlib
import itertools
import json
import os
import pickle
import stat
import zipfile

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.logger import configure

from rpo import RPO, CheckpointError, RPOConfig, checkpoint
from rpo.algorithm import AbstractAlgorithm
from rpo.algorithms import ALGORITHMS
from rpo.logs import read_progress

CONFIG = RPOConfig(hidden_sizes=(8,), horizon=4, critic_epochs=2, clip_high=float("inf"))
OBSERVATIONS = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)


@pytest.fixture
def trained(lq):
    return RPO(lq(4), CONFIG, seed=0).learn(64, log_interval=None)


@pytest.fixture
def saved(trained, tmp_path):
    trained.save(tmp_path / "model")
    return tmp_path / "model.zip"


def test_loaded_model_predicts_the_same(trained, saved):
    loaded = RPO.load(saved)
    expected, _ = trained.predict(OBSERVATIONS, deterministic=True)
    assert np.array_equal(loaded.predict(OBSERVATIONS, deterministic=True)[0], expected)
    # One row alone goes through another kernel than a batch, with another order of summation.
    np.testing.assert_allclose(loaded.predict(OBSERVATIONS[0], deterministic=True)[0], expected[0], rtol=1e-5)
    assert loaded.config == CONFIG
    assert loaded.num_timesteps == 64


def test_loaded_model_learns_in_any_number_of_environments_once_it_has_some(saved, lq):
    model = RPO.load(saved)
    with pytest.raises(ValueError, match="RPO has no environment to learn in: call `set_env` first"):
        model.learn(32)
    model.set_env(lq(2))
    assert model.learn(32, log_interval=None, reset_num_timesteps=False).num_timesteps == 96


def test_optimisers_are_saved(trained, saved, lq):
    loaded = RPO.load(saved, lq(4))
    for name in ("actor_optimizer", "critic_optimizer"):
        expected, actual = (getattr(model, name).state_dict()["state"] for model in (trained, loaded))
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[i][k], actual[i][k]) for i in expected for k in expected[i])


@pytest.mark.parametrize("windows", [1, 3])
def test_resumed_training_ends_bit_identical_to_one_never_interrupted(lq, tmp_path, windows):
    whole = RPO(lq(4, max_episode_steps=6), CONFIG, seed=3).learn(16 * 5, log_interval=None)
    part = RPO(lq(4, max_episode_steps=6), CONFIG, seed=3).learn(16 * windows, log_interval=None)
    part.save_training(tmp_path / "training.zip")
    resumed = RPO.load_training(tmp_path / "training.zip", lq(4, max_episode_steps=6))
    resumed.learn(16 * (5 - windows), log_interval=None, reset_num_timesteps=False)
    expected, actual = whole._tensors(), resumed._tensors()
    assert expected.keys() == actual.keys()
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    assert [e["r"] for e in whole.ep_info_buffer] == [e["r"] for e in resumed.ep_info_buffer]
    states = whole.env.env.get_state(), resumed.env.env.get_state()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_resumed_learn_counts_time_and_windows_on_and_logs_what_waits(lq, tmp_path, monkeypatch):
    def rows_of(model, steps, folder):
        model.set_logger(configure(str(folder), ["csv"]))
        model.learn(steps, log_interval=2, reset_num_timesteps=False)
        model.logger.close()
        return read_progress(folder / "progress.csv")

    whole = rows_of(RPO(lq(4), CONFIG, seed=3), 16 * 6, tmp_path / "whole")
    part = RPO(lq(4), CONFIG, seed=3)
    first = rows_of(part, 16 * 3, tmp_path / "part")
    monkeypatch.setattr("time.time_ns", lambda: part.start_time + 3_600_000_000_000)
    part.save_training(tmp_path / "training")
    monkeypatch.undo()
    resumed = RPO.load_training(tmp_path / "training", lq(4))
    second = rows_of(resumed, 16 * 3, tmp_path / "resumed")
    for name in ("time/iterations", "time/total_timesteps", "train/value_loss", "train/lost_gradients"):
        assert [row[name] for row in [*first, *second]] == [row[name] for row in whole]
    assert [row["time/iterations"] for row in whole] == ["2", "4", "6"]
    assert all(3600 <= float(row["time/time_elapsed"]) < 4000 for row in second)
    assert int(second[-1]["time/fps"]) == 0


def test_counts_that_wait_for_the_next_output_are_kept(lq, tmp_path):
    model = RPO(lq(4, poison_step=3), CONFIG, seed=0).learn(16, log_interval=None)
    assert model.logger.name_to_value["train/non_finite_states"] == 1
    model.save_training(tmp_path / "training")
    resumed = RPO.load_training(tmp_path / "training", lq(4))
    resumed.learn(16, log_interval=None, reset_num_timesteps=False)
    assert resumed.logger.name_to_value["train/non_finite_states"] == 1
    fresh = RPO.load_training(tmp_path / "training", lq(4)).learn(16, log_interval=None)
    assert fresh.logger.name_to_value["train/non_finite_states"] == 0


def test_number_of_episodes_that_returns_are_averaged_over_is_kept(lq, tmp_path):
    model = RPO(lq(4, max_episode_steps=6), CONFIG, seed=0, stats_window_size=7).learn(96, log_interval=None)
    model.save_training(tmp_path / "training")
    resumed = RPO.load_training(tmp_path / "training", lq(4, max_episode_steps=6))
    resumed.learn(96, log_interval=None, reset_num_timesteps=False)
    assert (resumed.ep_info_buffer.maxlen, len(resumed.ep_info_buffer)) == (7, 7)
    other = RPO.load_training(tmp_path / "training", lq(4, max_episode_steps=6), stats_window_size=5)
    assert (other.ep_info_buffer.maxlen, len(other.ep_info_buffer)) == (5, 5)
    model.save(tmp_path / "model")
    loaded = RPO.load(tmp_path / "model", lq(4, max_episode_steps=6)).learn(96, log_interval=None)
    assert loaded.ep_info_buffer.maxlen == 7


def test_file_holds_only_json_and_safetensors(saved):
    with zipfile.ZipFile(saved) as archive:
        assert archive.namelist() == ["header.json", "tensors.safetensors"]
        header = json.loads(archive.read("header.json"))
    assert header["algorithm"] == "RPO"
    assert header["config"]["kl_coef"] == 0.5


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_pickled_code_in_a_file_is_not_run(tmp_path, lq, algo):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data", "policy.pth", "pytorch_variables.pth"):  # those of Stable-Baselines3
            archive.writestr(name, pickle.dumps(Bomb()))
    algorithm = ALGORITHMS[algo]
    model = algorithm(lq(2), algorithm.config_class(hidden_sizes=(8,)))
    for load in (algorithm.load, model.set_parameters, lambda path: algorithm.load_training(path, lq(2))):
        with pytest.raises(CheckpointError, match="was not written by this package"):
            load(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_truncated_file_is_refused(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CheckpointError, match="is truncated or damaged"):
        RPO.load(saved)


def test_file_with_any_damaged_byte_is_refused_or_read_as_it_was(saved):
    content, (header, tensors) = saved.read_bytes(), checkpoint.read(saved)
    last = len(content)  # of what is the zip's own, every byte; of what it holds, some
    positions = [*range(60), *range(60, last - 250, 199), *range(last - 250, last)]
    read = 0
    for position, bits in itertools.product(positions, (0x08, 0xFF)):
        damaged = bytearray(content)
        damaged[position] ^= bits
        saved.write_bytes(damaged)
        with contextlib.suppress(CheckpointError):
            again = checkpoint.read(saved)
            assert again[0] == header
            assert all(tensor.equal(tensors[name]) for name, tensor in again[1].items())
            read += 1
    assert read < 0.5 * len(positions)  # dates and the like, which nobody asks for


def test_compressed_file_is_refused(saved):
    header, _ = checkpoint.read(saved)
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"format": checkpoint.FORMAT, **header}))
        archive.writestr("tensors.safetensors", bytes(10**6))
    with pytest.raises(CheckpointError, match="was not written by this package: it is compressed"):
        RPO.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "its header is another's"),
        ({"version": 99}, "has version 99 of the format"),
        ({"algorithm": "SAPO"}, "holds a model of SAPO, not of RPO"),
        ({"config": {"horizont": 3}}, "RPOConfig has no field horizont"),
    ],
)
def test_file_of_something_else_is_refused(saved, change, message):
    header, tensors = checkpoint.read(saved)
    payload = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, **header, **change}
    checkpoint.write(saved, payload, tensors)
    with pytest.raises(ValueError, match=message):
        RPO.load(saved)


@pytest.mark.parametrize("key", ["algorithm", "config", "env_id", "seed", "action_space", "num_timesteps", "n_updates"])
def test_file_without_a_part_of_its_header_is_refused(saved, key):
    header, tensors = checkpoint.read(saved)
    checkpoint.write(saved, {k: v for k, v in header.items() if k != key}, tensors)
    with pytest.raises(CheckpointError, match=f"model.zip does not hold what was asked for: '{key}' is missing"):
        RPO.load(saved)


@pytest.mark.parametrize(
    "name",
    [
        "policy/actor.mean.weight",
        "policy/normalizer.mean",
        "actor_optimizer/0/exp_avg",
        "critic_optimizer/1/step",
        "env/x",
        "env/elapsed",
        "generator/learn",
        "generator/predict",
        "episode/returns",
        "episode/lengths",
    ],
)
def test_file_with_a_missing_or_misshapen_tensor_is_refused(trained, tmp_path, lq, name):
    path = tmp_path / "training.zip"
    trained.save_training(path)
    header, tensors = checkpoint.read(path)
    tensor = tensors.pop(name)
    checkpoint.write(path, header, tensors)
    with pytest.raises(CheckpointError, match=r"training\.zip does not hold"):
        RPO.load_training(path, lq(4))
    if name.startswith("env/"):  # whose shapes are the environment's own affair
        return
    checkpoint.write(path, header, tensors | {name: tensor.new_zeros(7)})
    with pytest.raises(CheckpointError, match=r"training\.zip does not hold"):
        RPO.load_training(path, lq(4))


def test_file_without_the_moments_of_a_trained_model_is_refused(saved):
    header, tensors = checkpoint.read(saved)
    checkpoint.write(saved, header, {name: t for name, t in tensors.items() if "optimizer" not in name})
    with pytest.raises(CheckpointError, match="the optimiser's moments do not fit its parameters"):
        RPO.load(saved)


def test_untrained_model_is_saved_and_loaded_too(lq, tmp_path):
    RPO(lq(2), CONFIG, seed=0).save(tmp_path / "new")
    assert RPO.load(tmp_path / "new", lq(2)).learn(8, log_interval=None).num_timesteps == 8


def test_other_task_of_equal_spaces_is_refused_unless_it_is_set(tmp_path):
    gymnasium.register("lq/Twin-v0", vector_entry_point=gymnasium.spec("lq/LinearQuadratic-v0").vector_entry_point)
    try:
        twin = gymnasium.make_vec("lq/Twin-v0", num_envs=2)
    finally:
        del gymnasium.registry["lq/Twin-v0"]
    RPO("lq/LinearQuadratic-v0", CONFIG, num_envs=2, seed=0).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"was trained on lq/LinearQuadratic-v0, not on lq/Twin-v0.*call `set_env`"):
        RPO.load(tmp_path / "model", twin)
    model = RPO.load(tmp_path / "model")
    model.set_env(twin)
    assert model.learn(8, log_interval=None).env_id == "lq/Twin-v0"


def test_random_streams_of_another_device_are_refused(trained, tmp_path, lq):
    path = tmp_path / "training.zip"
    trained.save_training(path)
    header, tensors = checkpoint.read(path)
    cuda_state = torch.zeros(16, dtype=torch.uint8)  # seed and offset
    checkpoint.write(path, header, tensors | {"generator/learn": cuda_state, "generator/predict": cuda_state})
    with pytest.raises(CheckpointError, match="RNG state"):
        RPO.load_training(path, lq(4))


def test_training_is_saved_between_two_windows_only(lq, tmp_path):
    model = RPO(lq(4), CONFIG, seed=0)
    with pytest.raises(ValueError, match="A training is saved between two windows: none has begun"):
        model.save_training(tmp_path / "early")
    model.learn(1000, callback=lambda *_: model.num_timesteps < 24, log_interval=None)
    with pytest.raises(ValueError, match="or one is not learned from yet"):
        model.save_training(tmp_path / "late")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.zip"):
        RPO.load(tmp_path / "nothing")


def test_environment_with_other_spaces_is_refused(saved, lq):
    class Wider(lq):
        def __init__(self, num_envs):
            super().__init__(num_envs)
            self.single_observation_space = Box(-np.inf, np.inf, (3,), np.float32)

    with pytest.raises(ValueError, match=r"was trained on .*Observation spaces do not match"):
        RPO.load(saved, Wider(2))
    with pytest.raises(ValueError, match="Observation spaces do not match"):
        RPO.load(saved).set_env(Wider(2))


def test_model_file_is_no_training_and_a_training_keeps_its_environment(saved, trained, lq):
    with pytest.raises(CheckpointError, match="holds a model only"):
        RPO.load_training(saved, lq(4))
    trained.save_training(saved)
    with pytest.raises(CheckpointError, match=r"continues 4 environments of None. Got 2 environments of None"):
        RPO.load_training(saved, lq(2))
    other = gymnasium.make_vec("lq/LinearQuadratic-v0", num_envs=4)
    with pytest.raises(CheckpointError, match="Got 4 environments of lq/LinearQuadratic-v0"):
        RPO.load_training(saved, other)
    with pytest.raises(ValueError, match="no environment whose state could be saved"):
        RPO.load(saved).save_training(saved)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_file_has_the_permissions_of_any_new_file(trained, tmp_path, mask):
    before = os.umask(mask)
    try:
        trained.save(tmp_path / "model")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.zip").stat().st_mode) == 0o666 & ~mask


def test_policy_alone_is_neither_pickled_nor_unpickled(trained, tmp_path):
    with pytest.raises(NotImplementedError, match=r"model\.save"):
        trained.policy.save(str(tmp_path / "policy"))
    with pytest.raises(NotImplementedError, match=r"RPO\.load"):
        type(trained.policy).load(str(tmp_path / "policy"))


def test_algorithm_has_one_thing_to_implement():
    assert "update" in AbstractAlgorithm.__abstractmethods__
    assert not RPO.__abstractmethods__
