"""DiffVectorEnv: Gymnasium's contract, making, episodes, and users' own tasks."""

import itertools
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib import metadata

import gymnasium
import numpy as np
import pytest
import torch
from environments import IDS, MODES, make, random_actions
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector

import diffenvs
from diffenvs.envs.vector import DiffVectorEnv
from diffenvs.registration import make_task
from diffenvs.tasks.base import Entry
from diffenvs.tasks.hopper import Hopper
from diffenvs.testing import check_vector_env


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("id", "dtype"), [(IDS[0], "float64"), (IDS[1], "float64"), *((id, "float32") for id in IDS[1:])]
)
def test_environments_keep_the_contract(id, dtype, mode):
    check_vector_env(make(id, dtype=dtype, autoreset_mode=mode, max_episode_steps=15), steps=40)


@dataclass(frozen=True, kw_only=True)
class Fall(Hopper):
    """A Hopper without actuators."""

    def model(self):
        return replace(super().model(), actuators=())


@pytest.mark.parametrize("mode", MODES)
def test_environments_without_actuators_keep_the_contract(mode):
    check_vector_env(DiffVectorEnv(Fall(), 3, dtype="float64", autoreset_mode=mode, max_episode_steps=15), steps=40)


def test_gradients_lead_to_states_where_there_are_no_actuators():
    env = DiffVectorEnv(Fall(), 3)
    env.reset(seed=0)
    q, qd = (env.get_state()[name].requires_grad_() for name in ("q", "qd"))
    env.set_state({"q": q, "qd": qd})
    total = env.step_grad(torch.zeros(3, 0))[0].sum()
    assert all(grad.any(-1).all() for grad in torch.autograd.grad(total, [q, qd]))


def test_metadata_and_spaces_describe_the_environment():
    env = make(dtype="float64", autoreset_mode="Disabled")
    assert env.metadata == {
        "render_modes": ["rgb_array", "human"],
        "render_fps": 60,
        "autoreset_mode": AutoresetMode.DISABLED,
    }
    assert DiffVectorEnv.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.single_observation_space.dtype == np.float64
    assert env.action_space.shape == (3, 3)
    assert env.dt == 1 / 60
    assert env.max_episode_steps == 1000


def test_a_task_that_is_made_already_needs_no_registration():
    env = DiffVectorEnv(Hopper(action_cost=0.5), num_envs=2)
    assert env.task.action_cost == 0.5
    with pytest.raises(TypeError, match="fields of a task that is made already cannot be set: action_cost"):
        DiffVectorEnv(Hopper(), action_cost=0.1)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"num_envs": -1}, ValueError, "`num_envs` must be a positive integer. Got -1"),
        ({"num_envs": 0}, ValueError, "`num_envs` must be a positive integer. Got 0"),
        ({"num_envs": 1.5}, ValueError, "`num_envs` must be a positive integer. Got 1.5"),
        ({"dtype": "float16"}, ValueError, "`dtype` must be 'float32' or 'float64'. Got 'float16'"),
        ({"autoreset_mode": "Never"}, ValueError, "`autoreset_mode` must be one of 'NextStep', 'SameStep', 'Disabled'"),
        ({"max_episode_steps": 0}, ValueError, "`max_episode_steps` must be a positive integer"),
        ({"num_threads": 0}, ValueError, "`num_threads` must be a positive integer"),
        ({"device": "tpu"}, ValueError, "`device` must be 'cpu', 'cuda' or 'cuda:<index>'. Got 'tpu'"),
        ({"device": "meta"}, ValueError, "`device` must be 'cpu', 'cuda' or 'cuda:<index>'. Got 'meta'"),
        ({"device": "cuda:99"}, ValueError, "this machine has . usable CUDA devices"),
        ({"render_mode": "ansi"}, ValueError, "`render_mode` must be None or one of 'rgb_array', 'human'. Got 'ansi'"),
        (
            {"acton_cost": 1.0},
            TypeError,
            "Hopper has no field 'acton_cost'. Its fields are early_termination, reset_noise, action_cost, .*"
            "Environments also take num_envs, device, dtype, .*, randomize, ",
        ),
    ],
)
def test_wrong_arguments_are_refused_by_name(kwargs, error, message):
    with pytest.raises(error, match=message):
        make(**kwargs)


def test_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no task has the id 'Snake'\. There are diffenvs/Hopper-v0, diffenvs/Ant-v0"):
        DiffVectorEnv("Snake")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match="`device` is 'cuda', and this machine has 0 usable CUDA devices"):
        make(device="cuda")


@pytest.mark.parametrize("id", IDS)
def test_an_environment_does_not_depend_on_the_number_of_environments(id):
    few, many = (make(id, num_envs=n, max_episode_steps=5) for n in (16, 129))
    assert torch.equal(few.reset(seed=3)[0], many.reset(seed=3)[0][:16])
    for action in random_actions(many, 12):
        for mine, theirs in zip(few.step(action[:16])[:4], many.step(action)[:4], strict=True):
            assert torch.equal(mine, theirs[:16])


def test_environments_episodes_and_seeds_begin_differently():
    env = make(num_envs=50)
    states = torch.cat([env.reset(seed=1)[0], env.reset()[0], env.reset(seed=2)[0]])
    assert len(states.unique(dim=0)) == 150


def test_first_reset_without_a_seed_takes_entropy():
    assert not torch.equal(make().reset()[0], make().reset()[0])


def test_without_noise_episodes_begin_at_rest_in_the_start_pose():
    env = make("diffenvs/Ant-v0", reset_noise=False)
    env.reset(seed=0)
    state = env.get_state()
    torch.testing.assert_close(state["q"], torch.tensor([env.task.start_q()]).expand(3, -1))
    assert not state["qd"].any()


@pytest.mark.parametrize("mode", MODES)
def test_time_limit_truncates_after_its_steps_and_is_no_termination(mode):
    env = make(max_episode_steps=4, autoreset_mode=mode, early_termination=False)
    env.reset(seed=0)
    flags = [env.step(action)[2:4] for action in random_actions(env, 4)]
    assert [bool(truncated.all()) for _, truncated in flags] == [False, False, False, True]
    assert not torch.stack([terminated for terminated, _ in flags]).any()


def test_without_a_limit_episodes_go_on():
    env = DiffVectorEnv(Hopper(early_termination=False), max_episode_steps=None)
    env.reset(seed=0)
    assert not any(bool(env.step(action)[3].any()) for action in random_actions(env, 1100))


@pytest.mark.parametrize("early", [True, False])
def test_a_low_torso_terminates_only_with_early_termination(early):
    env = make(early_termination=early, termination_height=0.5)
    env.reset(seed=0)
    state = env.get_state()
    state["q"][:, 1] = torch.tensor([1.0, 0.2, 1.0])  # in the air
    env.set_state(state)
    _, _, terminated, truncated, info = env.step(torch.zeros(3, 3))
    assert terminated.tolist() == [False, early, False]
    assert not (truncated | info["non_finite"]).any()


def test_next_step_mode_ignores_the_action_of_the_step_that_resets():
    env = make(autoreset_mode="NextStep", max_episode_steps=2)
    actions = random_actions(env, 2)
    env.reset(seed=0)
    last = [env.step(action) for action in actions][-1]
    assert last[3].all()
    observation, reward, terminated, truncated, info = env.step(torch.full((3, 3), torch.nan))
    assert not torch.equal(observation, last[0])
    assert not reward.any()
    assert not (terminated | truncated).any()
    assert set(info) == {"non_finite", "reward_terms"}
    assert not any(term.any() for term in info["reward_terms"].values())
    assert env.get_state()["step_count"].tolist() == [0, 0, 0]
    assert not env.step(actions[0])[3].any()


def test_disabled_mode_refuses_to_step_what_is_done_until_it_is_reset():
    env = make(autoreset_mode="Disabled", max_episode_steps=1)
    env.reset(seed=0)
    action = random_actions(env, 1)[0]
    env.step(action)
    with pytest.raises(ResetNeeded, match="environments 0, 1, 2 are done; reset them with a `reset_mask`"):
        env.step(action)
    env.reset(options={"reset_mask": np.array([True, True, True])})
    env.step(action)


@pytest.mark.parametrize("mode", MODES)
def test_info_holds_the_terms_of_the_reward_in_every_step(mode):
    env = make(autoreset_mode=mode, max_episode_steps=2)
    assert env.reset(seed=0)[1] == {}
    for action in random_actions(env, 7):
        _, reward, terminated, truncated, info = env.step(action)
        terms = info["reward_terms"]
        assert set(terms) == {"progress", "height", "angle", "action"}
        torch.testing.assert_close(torch.stack(list(terms.values())).sum(0), reward)
        final = {"final_obs", "_final_obs", "final_info", "_final_info"} if mode == "SameStep" else set()
        assert set(info) == {"non_finite", "reward_terms"} | final
        if mode == "Disabled" and bool((terminated | truncated).any()):
            env.reset(options={"reset_mask": terminated | truncated})


def test_terms_of_the_reward_have_no_graph():
    env = make()
    env.reset(seed=0)
    _, reward, _, _, info = env.step_grad(random_actions(env, 1)[0].requires_grad_())
    assert reward.requires_grad
    for told in (info, info["final_info"]):
        assert not any(term.requires_grad for term in told["reward_terms"].values())


def test_final_info_is_that_of_single_environments_where_an_episode_ended():
    # Gymnasium's own vector environment collects what the single environments return.
    fields = {"max_episode_steps": 4, "termination_height": -0.05, "reset_noise": False}
    ours = vector.DictInfoToList(vector.ArrayConversion(make(num_envs=2, **fields), env_xp=torch, target_xp=np))
    spec = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": AutoresetMode.SAME_STEP}}
    theirs = gymnasium.make_vec("diffenvs/Hopper-v0", num_envs=2, **spec, **fields)
    theirs = vector.DictInfoToList(theirs)
    for env in (ours, theirs):
        env.reset(seed=0)
    ended = 0
    for action in random_actions(ours.unwrapped, 9).numpy() * [[[1.0], [0.1]]]:
        mine, expected = ours.step(action.astype(np.float32))[4], theirs.step(action.astype(np.float32))[4]
        for told, wanted in zip(mine, expected, strict=True):
            if "final_info" not in wanted:  # the info of a reset is empty, and their step's is in the final one
                assert told["reward_terms"] == pytest.approx(wanted["reward_terms"], abs=1e-6)
            assert ("final_info" in told) is ("final_info" in wanted)
            if "final_info" in wanted:
                ended += 1
                assert told["final_info"]["non_finite"] == wanted["final_info"]["non_finite"]
                assert told["final_info"]["reward_terms"] == pytest.approx(
                    wanted["final_info"]["reward_terms"], abs=1e-6
                )
    assert ended >= 4


def test_reward_is_of_the_observation_before_the_step_and_the_clipped_action():
    env = make("diffenvs/Ant-v0")
    observation, _ = env.reset(seed=0)
    actions = torch.full((3, 8), 3.0)
    following, reward, *_ = env.step(actions)
    terms = env.task.reward_terms(observation, actions.clamp(-1, 1), following)
    torch.testing.assert_close(reward, torch.stack(list(terms.values())).sum(0))
    torch.testing.assert_close(env.task.entry(following, "action"), torch.ones(3, 8))


@dataclass(frozen=True, kw_only=True)
class Chase(Hopper):
    """A Hopper with a memory: a goal that is drawn anew in the middle of an episode, when it has been seen thrice."""

    OBSERVATION = (*Hopper.OBSERVATION, Entry("goal", 1, "m", "drawn"))
    MEMORY = (Entry("goal", 1, "m", "drawn"), Entry("seen", 1, "1", "steps"))

    def first_memory(self, random):
        return torch.cat([random.uniform(1, 1.0, 2.0), random.uniform(1, 0.0, 0.0)], dim=-1)

    def next_memory(self, random, state, next_observation):
        seen = state.memory[:, 1:] + 1.0
        goal = torch.where(seen >= 3, random.uniform(1, 1.0, 2.0), state.memory[:, :1])
        return torch.cat([goal, torch.where(seen >= 3, 0.0, seen)], dim=-1)

    def observation(self, state, action):
        return torch.cat([super().observation(state, action), state.memory[:, :1]], dim=-1)

    def reward_terms(self, observation, action, next_observation):
        return {"goal": self.entry(next_observation, "goal")}


def test_a_task_with_a_memory_keeps_the_contract():
    check_vector_env(DiffVectorEnv(Chase(), num_envs=4, dtype="float64", max_episode_steps=15), steps=40)


def test_memory_is_rewarded_as_it_was_and_observed_as_it_becomes():
    env = DiffVectorEnv(Chase(), num_envs=2)
    observation, _ = env.reset(seed=0)
    goals, rewards = [env.task.entry(observation, "goal")], []
    for action in random_actions(env, 9):
        observation, reward, *_ = env.step(action)
        goals.append(env.task.entry(observation, "goal"))
        rewards.append(reward)
    changes = [not torch.equal(a, b) for a, b in itertools.pairwise(goals)]
    assert changes == [False, False, True] * 3
    assert all(torch.equal(reward, goal) for reward, goal in zip(rewards, goals, strict=False))


def test_importing_the_package_loads_neither_torch_nor_warp():
    code = "import sys, diffenvs; assert not {'torch', 'warp'} & set(sys.modules), 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_package_has_the_names_it_declares():
    assert [name for name in diffenvs.__all__ if not hasattr(diffenvs, name)] == []
    assert diffenvs.__version__ == metadata.version("diffenvs")
    with pytest.raises(AttributeError, match="module 'diffenvs' has no attribute 'colour'"):
        diffenvs.colour  # noqa: B018


def test_episodes_of_an_id_are_as_long_as_it_is_registered():
    assert DiffVectorEnv("diffenvs/HandReorient-v0").max_episode_steps == 600
    assert DiffVectorEnv("diffenvs/Ant-v0").max_episode_steps == 1000
    assert DiffVectorEnv(make_task("diffenvs/HandReorient-v0", {})).max_episode_steps == 1000
    assert DiffVectorEnv("diffenvs/Ant-v0", max_episode_steps=None).max_episode_steps is None


def test_names_that_are_imported_on_first_use_are_listed():
    assert set(diffenvs.__all__) <= set(dir(diffenvs))
