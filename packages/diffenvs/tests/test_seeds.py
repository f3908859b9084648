"""Gymnasium's random generator of an environment decides its episodes."""

import copy
import pickle

import gymnasium
import numpy as np
import pytest
import torch

import diffenvs  # noqa: F401 - registers the environments

ID = "diffenvs/Hopper-v0"


def many():
    return gymnasium.make_vec(ID, num_envs=3)


def one():
    return gymnasium.make(ID)


both = pytest.mark.parametrize("make", [many, one])


def first(env, **kwargs):
    return np.asarray(env.reset(**kwargs)[0])


@both
def test_seed_of_a_first_reset_without_one_repeats_it(make):
    env = make()
    observation, seed = first(env), env.unwrapped.np_random_seed
    for again in (env, make()):
        np.testing.assert_array_equal(first(again, seed=seed), observation)
        assert not np.array_equal(first(again), observation)


@both
def test_seed_is_the_generators_and_stays_while_the_streams_go_on(make):
    env = make()
    first(env, seed=5)
    expected = np.random.Generator(np.random.PCG64(5)).integers(100, size=4)
    first(env)
    assert env.unwrapped.np_random_seed == 5
    np.testing.assert_array_equal(env.unwrapped.np_random.integers(100, size=4), expected)


@both
@pytest.mark.parametrize("begun", [False, True])
def test_a_generator_that_is_assigned_decides_the_next_reset(make, begun):
    seen = []
    for seed in (1, 1, 2):
        env = make()
        if begun:
            first(env, seed=0)
        env.unwrapped.np_random = np.random.default_rng(seed)
        assert env.unwrapped.np_random_seed == -1
        seen.append((first(env), first(env)))
    for a, b in zip(*seen[:2], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(*seen[0])
    assert not np.array_equal(seen[0][0], seen[2][0])


@both
def test_one_generator_is_taken_once(make):
    env, again = make(), make()
    env.unwrapped.np_random = np.random.default_rng(1)
    first(env)
    first(again, seed=0)
    again.unwrapped.np_random = env.unwrapped.np_random
    assert not np.array_equal(first(again), first(env)), "its next number must be another one"


def test_a_generator_that_is_assigned_begins_episodes_of_the_mask_only():
    env = many()
    before = first(env, seed=0)
    env.np_random = np.random.default_rng(1)
    after = first(env, options={"reset_mask": np.array([False, True, False])})
    assert (after == before).all(-1).tolist() == [True, False, True]
    alone = many()
    alone.np_random = np.random.default_rng(1)
    np.testing.assert_array_equal(first(alone)[1], after[1])


@both
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("assigned", [False, True])
def test_copies_have_the_same_next_episodes(make, copier, assigned):
    env = make()
    first(env, seed=0)
    if assigned:
        env.unwrapped.np_random = np.random.default_rng(1)
    again = copier(env)
    assert again.unwrapped.np_random_seed == env.unwrapped.np_random_seed
    for _ in range(2):
        np.testing.assert_array_equal(first(again), first(env))


def test_a_state_goes_on_with_its_own_streams():
    env, other = many(), many()
    first(env, seed=0)
    other.set_state(env.get_state())
    assert torch.equal(env.reset()[0], other.reset()[0])


def test_a_reset_that_fails_does_not_use_up_the_generator(monkeypatch):
    env, expected = many(), first(many(), seed=3)
    first(env, seed=0)

    def broken(*_):
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(type(env.task), "observation", broken)
        with pytest.raises(RuntimeError, match="broken"):
            env.reset(seed=3)
    np.testing.assert_array_equal(first(env), expected)
