"""The three autoreset modes and `reset_mask`, against Gymnasium's SyncVectorEnv of our single environment.

A single environment has the random stream of index 0, so with noise only that index can be compared.
"""

import gymnasium
import numpy as np
import pytest
from environments import MODES, make

import diffenvs

LIMIT = 5
MASKS = {2: [False, True, False], 6: [True, False, True], 9: [True, False, False]}
"""Step before which these environments are reset, so that episodes end at different times."""
SEEDS = {9: 4}
"""Step before which the reset has a seed."""


def pair(id, mode, **fields):
    sync = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    ours = make(id, num_envs=3, autoreset_mode=mode, max_episode_steps=LIMIT, **fields)
    return ours, gymnasium.make_vec(id, num_envs=3, max_episode_steps=LIMIT, **sync, **fields)


def reset(env, **kwargs):
    observations, _ = env.reset(**kwargs)
    return [np.asarray(observations)]


def step(env, actions):
    """Step; returns arrays, with what was observed last where an episode ended.

    TimeLimit says truncated also of what is terminated, our vector environment does not.
    """
    observations, rewards, terminated, truncated, info = env.step(actions)
    observations, rewards, terminated = (np.asarray(value) for value in (observations, rewards, terminated))
    truncated = np.asarray(truncated) & ~terminated
    final, has_final = np.zeros_like(observations), np.asarray(info.get("_final_obs", np.zeros(3, dtype=bool)))
    for i in np.flatnonzero(has_final):
        final[i] = info["final_obs"][i]
    return [observations, rewards, terminated, truncated, has_final, final]


def trajectory(env, mode, steps=20, scale=1.0):
    """All that is returned, resets included."""
    rng = np.random.default_rng(0)
    results = [reset(env, seed=3)]
    for i in range(steps):
        if i in MASKS:
            results.append(reset(env, seed=SEEDS.get(i), options={"reset_mask": np.array(MASKS[i])}))
        actions = scale * rng.uniform(-1, 1, env.action_space.shape).astype(env.action_space.dtype)
        results.append(step(env, actions))
        done = results[-1][2] | results[-1][3]
        if mode == "Disabled" and done.any():
            results.append(reset(env, options={"reset_mask": done}))
    return results


def check_equal(ours, theirs, rows):
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            np.testing.assert_array_equal(a[rows], b[rows])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("id", diffenvs.TASKS)
def test_every_task_resets_as_gymnasium_resets_its_single_environment(id, mode):
    ours, theirs = (trajectory(env, mode) for env in pair(id, mode))
    check_equal(ours, theirs, [0])
    ends = [bool((result[2] | result[3])[0]) for result in ours if len(result) > 1]
    assert sum(ends) >= 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_environments_agree_where_nothing_is_random(mode, dtype):
    fields = {"reset_noise": False, "termination_height": -0.03, "dtype": dtype}
    ours, theirs = (trajectory(env, mode, steps=40) for env in pair("diffenvs/Hopper-v0", mode, **fields))
    check_equal(ours, theirs, slice(None))
    stepped = [result for result in ours if len(result) > 1]
    terminated, truncated = (np.stack([result[k] for result in stepped]) for k in (2, 3))
    assert terminated.any(), "some episodes must terminate"
    assert truncated.any(), "and some be truncated"
    assert any(0 < (result[2] | result[3]).sum() < 3 for result in stepped), "not all at once"


@pytest.mark.parametrize("mode", MODES)
def test_modes_give_one_sequence_of_episodes(mode):
    """What happens within the episodes of an environment does not depend on the mode."""

    def episodes(mode):
        env = make(autoreset_mode=mode, max_episode_steps=4, early_termination=False)
        observation, _ = env.reset(seed=0)
        seen, episode = [], [observation]
        while len(seen) < 3:
            action = np.full((3, 3), 0.1 * len(episode), dtype=np.float32)
            observation, _, _, truncated, info = env.step(action)
            done = bool(truncated.all())
            episode.append(info["final_obs"] if mode == "SameStep" else observation)
            if done:
                seen.append(episode)
                if mode == "NextStep":
                    observation = env.step(action)[0]
                if mode == "Disabled":
                    observation, _ = env.reset()
                episode = [observation]
        return np.array(seen)

    np.testing.assert_array_equal(episodes(mode), episodes("SameStep"))
