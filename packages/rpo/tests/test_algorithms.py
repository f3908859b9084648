"""What holds for every algorithm: equal runs, own files only, environments that keep the protocol, presets."""

import inspect
import pydoc
import re

import gymnasium
import pytest
from gymnasium.spaces import Box
from small_runs import ENV, small_config
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize

from rpo import PRESETS, CheckpointError, TaskPreset, TorchVecEnv, checkpoint
from rpo.algorithms import ALGORITHMS
from rpo.cli import main


@pytest.fixture(params=ALGORITHMS)
def name(request):
    return request.param


@pytest.fixture
def algorithm(name):
    return ALGORITHMS[name]


def test_two_runs_with_one_seed_are_bit_identical_and_another_differs(algorithm, lq):
    models = [algorithm(lq(4), small_config(algorithm), seed=seed).learn(64, log_interval=None) for seed in (7, 7, 8)]
    same, other, different = (model._tensors() for model in models)
    assert same.keys() == other.keys()
    assert [key for key in same if not same[key].equal(other[key])] == []
    assert not all(same[key].equal(different[key]) for key in same)


def test_file_of_another_algorithm_is_refused(algorithm, lq, tmp_path):
    algorithm(lq(4), small_config(algorithm)).save(tmp_path / "model")
    for other in set(ALGORITHMS.values()) - {algorithm}:
        message = f"it holds a model of {algorithm.__name__}, not of {other.__name__}"
        with pytest.raises(CheckpointError, match=message):
            other.load(tmp_path / "model")
    assert algorithm.load(tmp_path / "model").config == small_config(algorithm)


def test_environment_without_gradients_is_refused(algorithm):
    class Single(gymnasium.Env):
        observation_space = Box(-10, 10, (2,))
        action_space = Box(-1, 1, (1,))

    with pytest.raises(TypeError, match="SyncVectorEnv is not differentiable: it has no step_grad"):
        algorithm(gymnasium.vector.SyncVectorEnv([Single]), small_config(algorithm))


def test_horizon_of_zero_is_refused(algorithm):
    config = algorithm.config_class
    with pytest.raises(ValueError, match=rf"`horizon` of {config.__name__} must be an integer >= 1\. Got 0"):
        config(horizon=0)


def test_config_of_another_algorithm_is_refused(algorithm, lq):
    for other in set(ALGORITHMS.values()) - {algorithm}:
        message = f"config must be a {algorithm.config_class.__name__}. Got {other.config_class.__name__}"
        with pytest.raises(TypeError, match=message):
            algorithm(lq(4), other.config_class())


@pytest.mark.parametrize("own", ["Own", "MlpPolicy"])  # the second has the name of the standard one
def test_policy_of_the_user_s_own_class_is_loaded_with_that_class_only(algorithm, lq, tmp_path, own):
    Own = type(own, (algorithm.policy_aliases["MlpPolicy"],), {})
    standard = algorithm(lq(4), small_config(algorithm))
    model = algorithm(lq(4), small_config(algorithm), policy=Own).learn(16, log_interval=None)
    model.save_training(tmp_path / "own")
    standard.save(tmp_path / "standard")
    message = rf"own\.zip holds a policy of the class {own}, not MlpPolicy.* pass the one .*, policy={own}"
    for load in (
        lambda: algorithm.load(tmp_path / "own"),
        lambda: algorithm.load_training(tmp_path / "own", lq(4)),
        lambda: standard.set_parameters(tmp_path / "own"),
    ):
        with pytest.raises(ValueError, match=message):
            load()
    with pytest.raises(ValueError, match=f"holds a policy of the class MlpPolicy, not {own}"):
        algorithm.load(tmp_path / "standard", policy=Own)
    resumed = algorithm.load_training(tmp_path / "own", lq(4), policy=Own)
    assert type(resumed.learn(16, log_interval=None).policy) is Own
    model.set_parameters(tmp_path / "own")
    assert type(algorithm.load(tmp_path / "standard").policy) is type(standard.policy)


def test_policy_of_another_algorithm_is_refused(algorithm, lq):
    standard = algorithm.policy_aliases["MlpPolicy"].__name__
    with pytest.raises(TypeError, match=f"policy must be a subclass of {standard}. Got ActorCriticPolicy"):
        algorithm(lq(4), small_config(algorithm), policy=ActorCriticPolicy)


def test_file_written_before_it_named_the_policy_is_of_the_standard_one(algorithm, lq, tmp_path):
    algorithm(lq(4), small_config(algorithm)).save(tmp_path / "model")
    header, tensors = checkpoint.read(tmp_path / "model.zip")
    assert header.pop("policy_class") is None
    checkpoint.write(tmp_path / "model.zip", header, tensors)
    assert type(algorithm.load(tmp_path / "model").policy) is algorithm.policy_aliases["MlpPolicy"]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "0"])
def test_seed_that_is_none_is_refused(algorithm, lq, seed):
    message = rf"seed must be an integer in \[0, 2\*\*32\)\. Got {seed!r}"
    with pytest.raises(ValueError, match=message):
        algorithm(lq(4), small_config(algorithm), seed=seed)


@pytest.mark.parametrize("steps", [-1, "10", None, float("nan")])
def test_number_of_steps_that_is_none_is_refused(algorithm, lq, steps):
    model = algorithm(lq(4), small_config(algorithm))
    with pytest.raises(ValueError, match=re.escape(f"total_timesteps must be a number >= 0. Got {steps!r}.")):
        model.learn(steps)
    assert model.learn(1e1, log_interval=None).num_timesteps == 16  # whole windows


def test_task_that_is_not_registered_is_looked_for_before_its_settings(algorithm):
    with pytest.raises(ValueError, match=r"No environment 'Hopper' is registered. Did you mean diffenvs/Hopper-v0\?"):
        algorithm("Hopper")


def test_known_task_gets_the_settings_and_environments_of_the_preset(algorithm, monkeypatch):
    task = TaskPreset(num_envs=8, decay_timesteps=123, entropy_coef=0.3, kl_coef=0.7)
    for preset, factor in (("paper", 1), ("small", 2)):
        monkeypatch.setitem(PRESETS[preset].tasks, ENV, TaskPreset(**{**vars(task), "num_envs": 8 // factor}))
    paper, little = algorithm(ENV), algorithm(ENV, preset="small")
    assert (paper.n_envs, little.n_envs) == (8, 4)
    assert paper.config == algorithm.config_class.for_env(ENV)
    assert little.config == algorithm.config_class.for_env(ENV, "small")
    assert little.config.hidden_sizes != paper.config.hidden_sizes == (400, 200, 100)


def test_unknown_preset_is_refused(algorithm, name, tmp_path):
    message = "`preset` must be one of paper, tuned, small. Got 'large'"
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        algorithm(ENV, preset="large")
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):  # though it would say nothing more
        algorithm(ENV, small_config(algorithm), num_envs=4, preset="large")
    with pytest.raises(SystemExit, match=message.replace(".", r"\.")):
        main(["train", "--algo", name, "--env", ENV, "--preset", "large", "--runs", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_environment_of_another_model_is_taken(algorithm, lq):
    first = algorithm(lq(4), small_config(algorithm), seed=0)
    second = algorithm(first.get_env(), small_config(algorithm), seed=0)
    assert second.adapter.env is first.adapter.env
    second.set_env(first.get_env())
    assert second.learn(16, log_interval=None).num_timesteps == 16


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [("norm_obs", False, True), ("norm_reward", True, False), ("clip_obs", 3.0, 10.0), ("epsilon", 1e-8, 1e-5)],
)
def test_normalisation_that_would_be_dropped_is_refused(algorithm, lq, option, value, expected):
    model = algorithm(lq(4), small_config(algorithm))
    own = {"norm_reward": False, "epsilon": 1e-5}
    env = VecNormalize(TorchVecEnv(lq(4)), **{**own, option: value})
    message = rf"`{option}` of VecNormalize must be {expected}, .* pass the environment inside. Got {value}"
    for take in (lambda: algorithm(env, small_config(algorithm)), lambda: model.set_env(env)):
        with pytest.raises(ValueError, match=message):
            take()
    model.set_env(VecNormalize(TorchVecEnv(lq(4)), **own))
    assert model.learn(16, log_interval=None).num_timesteps == 16


def test_help_of_an_algorithm_describes_its_arguments(algorithm):
    text = pydoc.render_doc(algorithm, renderer=pydoc.plaintext)
    described = text[text.index("Parameters\n") :]
    lines = re.findall(r"^[ |]+(\w+(?:, \w+)*)$", described, re.MULTILINE)
    others = inspect.signature(algorithm).parameters.keys() - set(", ".join(lines).split(", "))
    assert others == {"_init_setup_model", "unknown"}
    assert [name for name in PRESETS if f'"{name}"' not in described] == []
    assert "PersistentModel.__init__" in algorithm.__doc__


@pytest.mark.parametrize("window", [0, -1, 1.5, "10", True])
def test_number_of_episodes_to_average_over_that_is_none_is_refused(algorithm, lq, window):
    message = re.escape(f"stats_window_size must be an integer >= 1. Got {window!r}.")
    with pytest.raises(ValueError, match=message):
        algorithm(lq(4), small_config(algorithm), stats_window_size=window)


def test_arguments_that_loading_does_not_take_are_named(algorithm, lq, tmp_path):
    algorithm(lq(4), small_config(algorithm)).learn(16, log_interval=None).save_training(tmp_path / "model")
    for arguments in ({"force_reset": False}, {"print_system_info": True}, {"config": small_config(algorithm)}):
        (argument,) = arguments
        message = (
            rf"{algorithm.__name__} is loaded without {argument}: .* are policy, num_envs, seed, stats_window_size, "
            r"tensorboard_log, verbose\. Settings are the file's"
        )
        for load in (algorithm.load, algorithm.load_training):
            with pytest.raises(TypeError, match=message):
                load(tmp_path / "model", lq(4), **arguments)
