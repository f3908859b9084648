import sys

import numpy as np
import onnxruntime
import pytest
import torch
from small_runs import small_config
from torch import nn

from rpo import RPO
from rpo.algorithms import ALGORITHMS
from rpo.distributions import SquashedGaussian
from rpo.policy import FirstOrderPolicy


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


class LinearActor(nn.Module):
    def __init__(self, obs_dim, act_dim):
        super().__init__()
        self.gain = nn.Linear(obs_dim, act_dim)
        self.log_std = nn.Parameter(torch.zeros(act_dim))

    def forward(self, observation):
        mean = self.gain(observation)
        return SquashedGaussian(mean, self.log_std.expand_as(mean))


class LinearPolicy(FirstOrderPolicy):
    def __init__(self, observation_space, action_space, config, seed=None):
        super().__init__(observation_space, action_space, config, seed)
        self.actor = LinearActor(2, 1)


@pytest.mark.parametrize(("name", "run"), [("policy.onnx", run_onnx), ("policy.pt2", run_pt2)])
def test_policy_of_other_networks_is_trained_and_exported(lq, tmp_path, name, run):
    model = RPO(lq(4), small_config(RPO), policy=LinearPolicy, seed=0)
    before = model.policy.actor.gain.weight.detach().clone()
    model.learn(64, log_interval=None)
    assert not torch.equal(model.policy.actor.gain.weight, before)
    model.policy.export(tmp_path / name)
    observations = np.ones((3, 2), np.float32)
    expected, _ = model.predict(observations, deterministic=True)
    np.testing.assert_allclose(run(tmp_path / name)(observations), expected, rtol=1e-5)


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
