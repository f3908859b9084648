import dataclasses
import json
import re

import numpy as np
import pytest

from rpo import PRESETS, RPOConfig, SAPOConfig, SHACConfig


@pytest.mark.parametrize(
    ("name", "value", "expectation"),
    [
        ("horizon", 0, "an integer >= 1"),
        ("horizon", 2.5, "an integer >= 1"),
        ("policy_epochs", 0, "an integer >= 1"),
        ("critic_epochs", -1, "an integer >= 1"),
        ("critic_count", True, "an integer >= 1"),
        ("critic_minibatches", 0, "an integer >= 1"),
        ("decay_timesteps", 0, "an integer >= 1"),
        ("gamma", 1.01, "a number in [0, 1]"),
        ("td_lambda", -0.1, "a number in [0, 1]"),
        ("clip_low", 1.5, "a number in [0, 1]"),
        ("clip_high", -0.1, "a number in [0, inf]"),
        ("kl_coef", -0.5, "a number in [0, inf)"),
        ("entropy_coef", -0.1, "a number in [0, inf)"),
        ("entropy_coef", float("nan"), "a number in [0, inf)"),
        ("kl_coef", float("inf"), "a number in [0, inf)"),
        ("max_action_grad", 0.0, "a number in (0, inf)"),
        ("max_action_grad", float("nan"), "a number in (0, inf)"),
        ("learning_rate", float("inf"), "a number in (0, inf)"),
        ("learning_rate", 0, "a number in (0, inf)"),
        ("learning_rate", 1e-6, "a number >= `learning_rate_end`, 1e-05"),
        ("critic_learning_rate", 1e-6, "a number >= `learning_rate_end`, 1e-05"),
        ("horizon", np.bool_(True), "an integer >= 1"),
        ("critic_learning_rate", -1e-3, "a number in (0, inf)"),
        ("learning_rate_end", 0.0, "a number in (0, inf)"),
        ("max_grad_norm", "1", "a number in (0, inf)"),
        ("weight_decay", -1, "a number in [0, inf)"),
        ("target_reduce", "max", "'mean' or 'min'"),
        ("learning_rate_decay", "cosine", "'exponential' or 'linear'"),
        ("hidden_sizes", (), "a tuple of integers >= 1"),
        ("hidden_sizes", (8, 0), "a tuple of integers >= 1"),
        ("hidden_sizes", (2.5,), "a tuple of integers >= 1"),
        ("hidden_sizes", 400, "a tuple of integers >= 1"),
        ("betas", 0.9, "two numbers in [0, 1)"),
        ("betas", (0.9, 1.0), "two numbers in [0, 1)"),
        ("betas", ("a", 0.9), "two numbers in [0, 1)"),
    ],
)
def test_invalid_value_names_class_field_expectation_and_value(name, value, expectation):
    message = f"`{name}` of RPOConfig must be {expectation}. Got {value!r}."
    with pytest.raises(ValueError, match=re.escape(message)):
        RPOConfig(**{name: value})


def test_defaults_are_the_papers():
    config = RPOConfig()
    assert (config.horizon, config.gamma, config.td_lambda) == (32, 0.99, 0.95)
    assert (config.policy_epochs, config.hidden_sizes, config.critic_count) == (5, (400, 200, 100), 2)
    assert (config.learning_rate, config.critic_learning_rate, config.betas) == (5e-4, 5e-4, (0.7, 0.95))
    assert (config.max_grad_norm, config.max_action_grad) == (0.5, None)


@pytest.mark.parametrize("name", ["initial_temperature", "temperature_learning_rate"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_sapo_s_temperature_and_its_learning_rate_are_positive(name, value):
    message = f"`{name}` of SAPOConfig must be a number in (0, inf). Got {value}"
    with pytest.raises(ValueError, match=re.escape(message)):
        SAPOConfig(**{name: value})


def test_paper_s_preset_is_tables_5_and_6_of_the_paper():
    rows = {
        task: (p.num_envs, p.entropy_coef, p.kl_coef, p.clip_low, p.clip_high)
        for task, p in PRESETS["paper"].tasks.items()
    }
    assert rows == {
        "diffenvs/Hopper-v0": (1024, 0.2, 0.4, 0.8, 1.0),
        "diffenvs/Ant-v0": (128, 0.5, 0.5, 0.8, 1.0),
        "diffenvs/Humanoid-v0": (64, 0.5, 0.5, 0.8, 1.0),
        "diffenvs/Anymal-v0": (128, 0.25, 0.2, 0.8, 1.0),
        "diffenvs/HandReorient-v0": (64, 0.001, 0.003, 0.8, 1.0),
    }


def test_defaults_of_sapo_and_shac_are_those_they_are_compared_with():
    for config in (SAPOConfig(), SHACConfig()):
        assert (config.learning_rate, config.critic_learning_rate, config.learning_rate_end) == (2e-3, 5e-4, 1e-5)
        assert (config.learning_rate_decay, config.critic_epochs, config.critic_minibatches) == ("linear", 16, 4)
        assert (config.betas, config.max_grad_norm, config.hidden_sizes) == ((0.7, 0.95), 0.5, (400, 200, 100))
    assert (SHACConfig().target_reduce, SAPOConfig().target_reduce) == ("mean", "min")
    assert (SAPOConfig().initial_temperature, SAPOConfig().temperature_learning_rate) == (1.0, 5e-3)


def test_config_of_a_task_is_its_preset_and_of_any_other_the_default():
    assert RPOConfig.for_env("diffenvs/Hopper-v0").kl_coef == 0.4
    assert RPOConfig.for_env("diffenvs/Hopper-v0").decay_timesteps == 16_400_000
    assert RPOConfig.for_env("other") == RPOConfig.for_env(None) == RPOConfig()
    assert SAPOConfig.for_env("diffenvs/HandReorient-v0").initial_temperature == 0.005
    assert SAPOConfig.for_env("diffenvs/Humanoid-v0").initial_temperature == 1.0
    assert SHACConfig.for_env("diffenvs/Ant-v0") == SHACConfig(decay_timesteps=8_200_000)


def test_small_preset_keeps_the_task_s_settings_and_shrinks_the_rest():
    paper, small = (RPOConfig.for_env("diffenvs/Anymal-v0", preset) for preset in ("paper", "small"))
    assert (small.kl_coef, small.entropy_coef, small.decay_timesteps) == (0.2, 0.25, 12_300_000)
    assert dataclasses.replace(small, hidden_sizes=paper.hidden_sizes, critic_epochs=paper.critic_epochs) == paper
    assert sum(small.hidden_sizes) < sum(paper.hidden_sizes)
    assert RPOConfig.for_env("other", "small").hidden_sizes == small.hidden_sizes
    assert all(PRESETS["small"].num_envs(task) < PRESETS["paper"].num_envs(task) for task in PRESETS["paper"].tasks)


def test_tuned_preset_is_the_papers_but_for_the_hand():
    paper, tuned = PRESETS["paper"], PRESETS["tuned"]
    assert [task for task in paper.tasks if paper.tasks[task] != tuned.tasks[task]] == ["diffenvs/HandReorient-v0"]
    hand = RPOConfig.for_env("diffenvs/HandReorient-v0", "tuned")
    assert (hand.max_action_grad, hand.kl_coef, hand.entropy_coef) == (0.7, 0.03, 0.003)
    assert RPOConfig.for_env("diffenvs/HandReorient-v0").max_action_grad is None


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match=r"`preset` must be one of paper, tuned, small. Got 'large'"):
        RPOConfig.for_env("diffenvs/Ant-v0", "large")


def test_config_survives_json():
    config = RPOConfig(hidden_sizes=(3, 4), clip_high=float("inf"), kl_coef=0.1)
    assert RPOConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match="RPOConfig has no field kl, lambda"):
        RPOConfig.from_dict({"lambda": 1, "kl": 2})


def test_numbers_of_numpy_are_kept_as_python_s():
    numbers = {"horizon": np.int64(8), "kl_coef": np.float32(0.25), "gamma": np.float64(0.9)}
    tuples = {"hidden_sizes": (np.int32(3), 4), "betas": (np.float32(0.5), 0.75)}
    config = RPOConfig(**numbers, **tuples)
    assert config == RPOConfig(horizon=8, kl_coef=0.25, gamma=0.9, hidden_sizes=(3, 4), betas=(0.5, 0.75))
    assert RPOConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ValueError, match=r"`horizon` of RPOConfig must be an integer >= 1\. Got 2\.5\."):
        RPOConfig(horizon=np.float64(2.5))


def test_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RPOConfig().gamma = 0.5
