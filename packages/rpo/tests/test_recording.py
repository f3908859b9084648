"""Recorded episodes are those that an evaluation counts."""

import math

import pytest
from systems import LostReward

from rpo import RPO, RPOConfig, evaluate
from rpo.recording import record_episode


@pytest.fixture
def policy(lq):
    return RPO(lq(1), RPOConfig(hidden_sizes=(8,)), seed=0).policy


def test_return_of_a_recorded_episode_is_the_one_that_is_evaluated(policy):
    env = LostReward(1, max_episode_steps=6, lost_reward=math.nan)
    (expected,) = evaluate(policy, env, episodes=1, seed=3).returns
    assert expected < 0
    assert record_episode(policy, env, seed=3) == pytest.approx(expected)


def test_long_episode_is_recorded_to_its_end(policy, lq):
    env = lq(1, max_episode_steps=1100, limit=float("inf"))
    record_episode(policy, env, seed=0)
    assert env.steps == 1100


def test_episode_that_never_ends_is_not_recorded(policy, lq, endless):
    env = lq(1, max_episode_steps=None)
    with pytest.raises(ValueError, match=r"`max_episode_steps` of LinearQuadratic must be an integer <= 100,000"):
        record_episode(policy, env)
    assert env.steps == 0
    with pytest.raises(ValueError, match="An episode of Endless has not ended after 60 steps"):
        record_episode(policy, endless(1), max_steps=60)
