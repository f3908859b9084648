import sys

import numpy as np
import onnxruntime
import pytest
import torch
from small_runs import small_config

from rpo import RPO
from rpo.algorithms import ALGORITHMS


def trained(algorithm, env):
    return algorithm(env, small_config(algorithm, hidden_sizes=(8, 8)), seed=0).learn(64, log_interval=None)


@pytest.fixture
def policy(lq):
    return RPO(lq(4), small_config(RPO), seed=0).policy


def run_onnx(path):
    session = onnxruntime.InferenceSession(path)
    return lambda observations: session.run(["action"], {"observation": observations})[0]


def run_pt2(path):
    module = torch.export.load(path).module()
    return lambda observations: module(torch.from_numpy(observations)).numpy()


@pytest.mark.parametrize(
    ("algo", "name", "run"),
    [
        *((algo, "policy.onnx", run_onnx) for algo in ("rpo", "ppo")),
        *((algo, "policy.pt2", run_pt2) for algo in ALGORITHMS),
    ],
)
def test_exported_policy_acts_on_raw_observations_in_batches_of_any_size(lq, tmp_path, algo, name, run):
    model = trained(ALGORITHMS[algo], lq(4))
    model.policy.export(tmp_path / name)
    assert model.policy.normalizer.shift.any()
    assert list(tmp_path.iterdir()) == [tmp_path / name]
    exported = run(tmp_path / name)
    for size in (1, 2, 7):
        observations = 10 * np.random.default_rng(size).normal(size=(size, 2)).astype(np.float32)
        # The statistics of PPO's observations are the environments', as usual in Stable-Baselines3.
        known = model.env.normalize_obs(observations) if algo == "ppo" else observations
        expected, _ = model.predict(known, deterministic=True)
        np.testing.assert_allclose(exported(observations), expected, rtol=1e-5, atol=1e-6)
    assert all(parameter.requires_grad for parameter in model.policy.parameters())  # it learns on


def test_policy_that_learns_on_leaves_the_exported_file_as_it_is(lq, tmp_path):
    model = trained(RPO, lq(4))
    model.policy.export(tmp_path / "policy.pt2")
    observations = np.ones((3, 2), np.float32)
    before, _ = model.predict(observations, deterministic=True)
    model.learn(64, log_interval=None)
    np.testing.assert_allclose(run_pt2(tmp_path / "policy.pt2")(observations), before, rtol=1e-5)
    assert not np.allclose(model.predict(observations, deterministic=True)[0], before)


@pytest.mark.parametrize("name", ["policy", "policy.zip", "policy.ONNX"])
def test_other_kinds_of_files_are_refused(policy, tmp_path, name):
    with pytest.raises(ValueError, match=f"path must end in .onnx or .pt2. Got '{name}'"):
        policy.export(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_missing_onnxscript_names_the_extra_and_leaves_no_file(policy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"pip install rpo-rl\[onnx\]"):
        policy.export(tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())
