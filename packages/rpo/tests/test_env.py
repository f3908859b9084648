import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import ClipReward
from systems import ScaledReward

from rpo import PRESETS, RPO, DifferentiableVectorEnv, RPOConfig, TaskPreset, TorchVecEnv
from rpo.env import check_env

CONFIG = RPOConfig(hidden_sizes=(8,), horizon=4, critic_epochs=1)
ID = "lq/LinearQuadratic-v0"


class Single(gymnasium.Env):
    observation_space = Box(-10, 10, (2,))
    action_space = Box(-1, 1, (1,))

    def __init__(self, start=0.3):
        pass


@pytest.fixture
def registered(lq):
    gymnasium.register(
        "lq/Single-v0", entry_point=Single, vector_entry_point=lq, max_episode_steps=7, kwargs={"start": 0.1}
    )
    yield "lq/Single-v0"
    del gymnasium.registry["lq/Single-v0"]


def test_linear_quadratic_system_keeps_the_protocol(lq):
    assert isinstance(check_env(lq(2)), DifferentiableVectorEnv)


def test_wrapper_with_gradients_of_its_own_keeps_the_protocol(lq):
    assert isinstance(check_env(ScaledReward(lq(2), 2.0)), DifferentiableVectorEnv)


def test_id_makes_the_number_of_environments_asked_for():
    model = RPO(ID, CONFIG, num_envs=3)
    assert model.n_envs == 3
    assert model.env_id == ID
    assert RPO(ID, CONFIG, num_envs=np.int64(3)).env.env.spec.kwargs["num_envs"] == 3


def test_single_environment_stands_for_the_vector_environment_of_its_spec(registered):
    model = RPO(gymnasium.make(registered, start=0.5), CONFIG, num_envs=3)
    env = model.env.env
    assert (env.num_envs, env.max_episode_steps, env.start) == (3, 7, 0.5)


def test_time_limit_given_to_make_is_that_of_the_vector_environment(registered):
    model = RPO(gymnasium.make(registered, max_episode_steps=5), CONFIG, num_envs=3)
    assert model.env.env.max_episode_steps == 5
    model.learn(60, log_interval=None)
    assert [episode["l"] for episode in model.ep_info_buffer] == [5] * 12


def test_environment_may_lack_a_time_limit(lq):
    class Endless(lq):
        def __init__(self, num_envs):
            super().__init__(num_envs)
            del self.max_episode_steps

    assert isinstance(check_env(Endless(2)), DifferentiableVectorEnv)


def test_known_task_gets_its_preset(monkeypatch):
    preset = TaskPreset(num_envs=5, decay_timesteps=123, entropy_coef=0.3, kl_coef=0.7, clip_low=0.1, clip_high=0.2)
    monkeypatch.setitem(PRESETS["paper"].tasks, ID, preset)
    model = RPO(ID)
    assert model.n_envs == 5
    config = model.config
    assert (config.decay_timesteps, config.entropy_coef, config.kl_coef) == (123, 0.3, 0.7)
    assert (config.clip_low, config.clip_high, config.horizon) == (0.1, 0.2, 32)


def test_namespace_is_imported_when_the_id_is_not_registered(monkeypatch, tmp_path):
    (tmp_path / "lq_elsewhere.py").write_text(
        "import gymnasium\n"
        "entry_point = gymnasium.spec('lq/LinearQuadratic-v0').vector_entry_point\n"
        "gymnasium.register('lq_elsewhere/X-v0', vector_entry_point=entry_point)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert RPO("lq_elsewhere/X-v0", CONFIG, num_envs=2).n_envs == 2
    with pytest.raises(ValueError, match=r"No environment 'lq_elsewhere/Y-v0' is registered. .* has lq_elsewhere/X-v0"):
        RPO("lq_elsewhere/Y-v0", CONFIG, num_envs=2)


def test_float32_environments_are_trained_too(lq):
    model = RPO(lq(2, dtype="float32"), CONFIG, seed=0).learn(16, log_interval=None)
    assert model.policy.dtype == torch.float32


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "message"),
    [
        (
            ("MlpPolicy", ID),
            {},
            TypeError,
            "env is the first argument and the policy an optional keyword. Got MlpPolicy",
        ),
        ((RPO,), {}, TypeError, "Got RPO as env"),
        ((None,), {}, ValueError, "RPO needs an environment: only `load` does without"),
        (
            (ID,),
            {},
            ValueError,
            "num_envs must be given for lq/LinearQuadratic-v0: there are presets for diffenvs/Hopper",
        ),
        ((ID,), {"num_envs": 0}, ValueError, r"num_envs must be an integer >= 1. Got 0"),
        ((ID,), {"num_envs": 2.5}, ValueError, r"num_envs must be an integer >= 1. Got 2.5"),
        (("lq/Nothing-v0",), {"num_envs": 1}, ValueError, "there is no package 'lq'"),
        (("Nothing-v0",), {"num_envs": 1}, ValueError, "No environment 'Nothing-v0' is registered"),
        (("Hopper",), {"num_envs": 1}, ValueError, r"'Hopper' is registered\. Did you mean diffenvs/Hopper-v0\?"),
        (("ant-v0",), {"num_envs": 1}, ValueError, r"Did you mean diffenvs/Ant-v0\?"),
        (
            (ID,),
            {"num_envs": 1, "learning_rate": 1e-3, "env_kwargs": {}},
            TypeError,
            r"RPO has no argument learning_rate, env_kwargs\. Settings go into config=dataclasses\.replace\(RPOConfig\."
            r"for_env\(env_id\), \.\.\.\), and arguments of the environment into env=gymnasium\.make_vec\(",
        ),
        ((3,), {}, TypeError, "env must be a differentiable VectorEnv, an id or an Env. Got int"),
        ((Single(),), {"num_envs": 1}, ValueError, "Single has no registered vector environment"),
        ((ID,), {"num_envs": 1, "policy": "CnnPolicy"}, ValueError, "Policy CnnPolicy unknown"),
    ],
)
def test_wrong_arguments_are_explained(args, kwargs, error, message):
    with pytest.raises(error, match=message):
        RPO(*args, **kwargs)


@pytest.mark.parametrize("device", ["gpu", "meta", 1.5])
def test_device_of_another_name_is_explained(lq, device):
    with pytest.raises(ValueError, match=f'`device` must be "auto", "cpu", "cuda" or .* Got {device!r}'):
        RPO(lq(2), CONFIG, device=device)


def test_device_that_is_not_there_is_explained(lq, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="`device` is cuda, but torch finds 0 CUDA devices here"):
        RPO(lq(2), CONFIG, device="cuda")
    RPO(lq(2), CONFIG).save(tmp_path / "model")
    with pytest.raises(ValueError, match="`device` is cuda:1, but torch finds 0 CUDA devices here"):
        RPO.load(tmp_path / "model", device=torch.device("cuda:1"))
    assert RPO.load(tmp_path / "model").device.type == "cpu"


def test_wrong_config_is_explained(lq):
    with pytest.raises(TypeError, match=r"config must be a RPOConfig. Got dict"):
        RPO(lq(2), {"horizon": 3})


def test_number_of_environments_must_be_that_of_the_environment_given(lq):
    with pytest.raises(ValueError, match=r"num_envs=3 was asked for, but env has 2"):
        RPO(lq(2), CONFIG, num_envs=3)
    assert RPO(TorchVecEnv(lq(2)), CONFIG, num_envs=2).n_envs == 2


def test_environment_that_does_not_keep_the_protocol_is_refused(lq, registered):
    env = lq(2)
    with pytest.raises(TypeError, match=r"wrapped by ClipReward.*pass env\.unwrapped"):
        RPO(ClipReward(env, 0, 1), CONFIG)
    with pytest.raises(
        TypeError, match=r"wrapped by ClipReward, .* Give it step_grad, detach, get_state, set_state, device of"
    ):
        RPO(ScaledReward(ClipReward(env, 0, 1), 2.0), CONFIG)
    with pytest.raises(ValueError, match="wrapped by ClipReward, which the vector environment would not have"):
        RPO(gymnasium.wrappers.ClipReward(gymnasium.make(registered), 0, 1), CONFIG, num_envs=2)
    with pytest.raises(TypeError, match="SyncVectorEnv is not differentiable: it has no step_grad"):
        RPO(gymnasium.vector.SyncVectorEnv([Single]), CONFIG)
    with pytest.raises(TypeError, match=r"must be a gymnasium.vector.VectorEnv with step_grad. Got object"):
        check_env(object())
    with pytest.raises(ValueError, match=r"must be AutoresetMode.SAME_STEP. Got <AutoresetMode.NEXT_STEP"):
        RPO(lq(2, autoreset_mode=AutoresetMode.NEXT_STEP), CONFIG)


@pytest.mark.parametrize(
    ("name", "space", "message"),
    [
        ("single_observation_space", Discrete(3), "single_observation_space must be a Box with one axis"),
        ("single_action_space", Box(-1, 1, (2, 2)), "single_action_space must be a Box with one axis"),
        ("single_action_space", Box(-2, 2, (1,)), "must have bounds -1 and 1"),
    ],
)
def test_spaces_that_the_policy_cannot_serve_are_refused(lq, name, space, message):
    env = lq(2)
    setattr(env, name, space)
    with pytest.raises(ValueError, match=message):
        RPO(env, CONFIG)
