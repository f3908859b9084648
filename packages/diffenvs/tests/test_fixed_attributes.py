"""What is fixed when an environment is made cannot be assigned later, where it would do nothing."""

import copy
import pickle

import gymnasium
import pytest
from environments import make
from gymnasium.wrappers import vector

import diffenvs
from diffenvs.envs.fixed import FIXED
from diffenvs.envs.vector import DiffVectorEnv

ID = "diffenvs/Hopper-v0"
MAKERS = {
    "vector": make,
    "wrapped vector": lambda: vector.RecordEpisodeStatistics(make()).unwrapped,
    "single": lambda: gymnasium.make(ID).unwrapped,
    "pickled": lambda: pickle.loads(pickle.dumps(make())),
    "copied": lambda: copy.copy(make()),
    "deeply copied": lambda: copy.deepcopy(gymnasium.make(ID)).unwrapped,
}


@pytest.mark.parametrize("name", sorted(FIXED))
@pytest.mark.parametrize("kind", MAKERS)
def test_fixed_attributes_cannot_be_assigned(kind, name):
    env = MAKERS[kind]()
    before = getattr(env, name, None)
    with pytest.raises(AttributeError, match=f"`{name}` is fixed when an .* Make another .* with `set_parameters`"):
        setattr(env, name, 3)
    assert getattr(env, name, None) is before


def test_wrappers_of_gymnasium_cannot_assign_them_either():
    env = gymnasium.make(ID)
    with pytest.raises(AttributeError, match="`task` is fixed"):
        env.set_wrapper_attr("task", 3)
    assert env.unwrapped.task == diffenvs.registration.make_task(ID, {})


def test_what_an_environment_looks_at_again_can_be_assigned():
    env = make()
    env.reset(seed=0)
    env.max_episode_steps = 1
    assert env.step(env.action_space.sample())[3].all()


@pytest.mark.parametrize("steps", [0, 1.5, "registered"])
def test_what_can_be_assigned_is_checked(steps):
    env = make(max_episode_steps=9)
    with pytest.raises(ValueError, match="`max_episode_steps` must be a positive integer"):
        env.max_episode_steps = steps
    assert env.max_episode_steps == 9


def test_all_arguments_that_are_kept_are_fixed():
    assert set(vars(DiffVectorEnv(ID))) & {*DiffVectorEnv.__init__.__annotations__, "model", "dt"} == FIXED
