"""check_vector_env passes an environment that keeps the contract and names the clause that a broken one breaks."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from diffenvs import testing
from diffenvs.testing import check_vector_env


class Pushed(VectorEnv):
    """A mass on a line that is pushed by the action: the smallest environment of the protocol, not one of ours."""

    device = torch.device("cpu")

    def __init__(self, num_envs=4, mode=AutoresetMode.SAME_STEP, limit=7):
        self.num_envs, self.mode, self.limit = num_envs, mode, limit
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.single_action_space = spaces.Box(-1, 1, (1,), np.float64)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def draw(self, episode):
        index = torch.arange(self.num_envs, dtype=torch.float64)
        return torch.stack([torch.sin(1 + index + 9.7 * episode + self.seed), torch.zeros_like(index)], dim=-1)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.seed, self.episode = seed, torch.zeros(self.num_envs, dtype=torch.int64)
        mask = (options or {}).get("reset_mask", torch.ones(self.num_envs, dtype=torch.bool))
        if not hasattr(self, "x") or mask.all():
            self.x, self.count = self.draw(self.episode * 0), torch.arange(self.num_envs)
            self.pending = torch.zeros(self.num_envs, dtype=torch.bool)
        self.begin(mask)
        return self.x.clone(), {}

    def begin(self, mask):
        self.episode = self.episode + mask
        self.x = torch.where(mask[:, None], self.draw(self.episode), self.x)
        self.count = torch.where(mask, 0, self.count)
        self.pending = self.pending & ~mask

    def advance(self, actions):
        action = actions.clamp(-1, 1)
        reward = self.x[:, 0] - action[:, 0] ** 2
        velocity = self.x[:, 1] + 0.1 * action[:, 0]
        self.x = torch.stack([self.x[:, 0] + 0.1 * velocity, velocity], dim=-1)
        self.count = self.count + 1
        truncated = self.count >= self.limit + torch.arange(self.num_envs) % 2
        terminated = torch.zeros_like(truncated)
        if self.mode is AutoresetMode.NEXT_STEP:
            pending = self.pending
            self.pending = truncated & ~pending
            self.begin_pending(pending)
            return self.x.clone(), torch.where(pending, 0.0, reward), terminated, truncated & ~pending, {}
        if self.mode is AutoresetMode.DISABLED:
            return self.x.clone(), reward, terminated, truncated, {}
        info = {"final_obs": self.x.clone(), "_final_obs": truncated, "final_info": {}, "_final_info": truncated}
        self.begin(truncated)
        return self.x.clone(), reward, terminated, truncated, info

    def begin_pending(self, pending):
        kept = self.pending
        self.begin(pending)
        self.pending = kept

    def step(self, actions):
        self.detach()
        with torch.no_grad():
            return self.advance(actions)

    def step_grad(self, actions):
        if self.mode is AutoresetMode.NEXT_STEP:
            raise RuntimeError("no gradients")
        return self.advance(actions)

    def detach(self):
        self.x = self.x.detach()
        return self.x.clone()

    NAMES = ("x", "episode", "count", "pending")

    def get_state(self):
        return {name: getattr(self, name).detach().clone() for name in self.NAMES}

    def set_state(self, state):
        for name in self.NAMES:
            setattr(self, name, state[name].clone())
        return self.x.clone()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_an_environment_that_keeps_the_contract_passes(mode):
    check_vector_env(Pushed(mode=mode))


class WrongSpaces(Pushed):
    def __init__(self):
        super().__init__()
        self.action_space = self.single_action_space


class WrongMetadata(Pushed):
    def __init__(self):
        super().__init__()
        self.metadata = {"autoreset_mode": "SameStep"}


class NeverDone(Pushed):
    def __init__(self):
        super().__init__(limit=10**6)


class FloatFlags(Pushed):
    def advance(self, actions):
        observation, reward, terminated, truncated, info = super().advance(actions)
        return observation, reward, terminated.float(), truncated, info


class SinglePrecisionReward(Pushed):
    def advance(self, actions):
        observation, reward, *rest = super().advance(actions)
        return observation, reward.float(), *rest


class NanReward(Pushed):
    def advance(self, actions):
        observation, reward, *rest = super().advance(actions)
        return observation, reward * torch.nan, *rest


class BothFlags(Pushed):
    def advance(self, actions):
        observation, reward, _, truncated, info = super().advance(actions)
        return observation, reward, truncated, truncated, info


class KeysOnlyWhenDone(Pushed):
    def advance(self, actions):
        *result, truncated, info = super().advance(actions)
        if truncated.any():
            info["episode_length"] = self.count
        return *result, truncated, info


class FinalObsAfterTheReset(Pushed):
    def advance(self, actions):
        observation, reward, terminated, truncated, info = super().advance(actions)
        return observation, reward, terminated, truncated, info | {"final_obs": observation.clone()}


class WrongFinalMask(Pushed):
    def advance(self, actions):
        *result, info = super().advance(actions)
        return *result, info | {"_final_obs": torch.ones(self.num_envs, dtype=torch.bool)}


class NoFinalInfo(Pushed):
    def advance(self, actions):
        *result, info = super().advance(actions)
        del info["final_info"]
        return *result, info


class FinalInfoOfOtherKind(Pushed):
    def advance(self, actions):
        *result, info = super().advance(actions)
        return *result, info | {"final_info": info["final_obs"]}


class WordsInInfo(Pushed):
    def advance(self, actions):
        *result, info = super().advance(actions)
        return *result, info | {"final_info": {"map": "flat"}}


class ReturnsItsBuffer(Pushed):
    def advance(self, actions):
        _, *rest = super().advance(actions)
        return self.x, *rest


class RewardIsPartOfTheKeptObservation(Pushed):
    def advance(self, actions):
        observation, _, *rest = super().advance(actions)
        self.kept = observation.clone()
        return observation, self.kept[:, 0], *rest

    def detach(self):
        observation = super().detach()
        return getattr(self, "kept", observation).detach().clone()


class DetachReturnsItsBuffer(Pushed):
    def detach(self):
        super().detach()
        return self.x


class WritesIntoActions(Pushed):
    def step(self, actions):
        return super().step(actions.clamp_(-0.5, 0.5))


class ForgetsTheSeed(Pushed):
    calls = 0

    def reset(self, *, seed=None, options=None):
        ForgetsTheSeed.calls += 1
        return super().reset(seed=None if seed is None else seed + ForgetsTheSeed.calls, options=options)


class NoiseFromOutside(Pushed):
    def advance(self, actions):
        return super().advance(actions + 0.1 * torch.randn_like(actions))


class MaskResetsAll(Pushed):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed, options=None)


class MaskResetsNone(Pushed):
    def reset(self, *, seed=None, options=None):
        if options:
            return self.x.clone(), {}
        return super().reset(seed=seed)


class StateWithoutCounters(Pushed):
    NAMES = ("x", "episode", "pending")


class StateIsTheBuffer(Pushed):
    def get_state(self):
        state = super().get_state()
        self.x = state["x"]
        return state

    def step(self, actions):
        x = self.x
        result = super().step(actions)
        x.copy_(self.x)
        return result


class StepDiffersFromStepGrad(Pushed):
    def step_grad(self, actions):
        observation, reward, *rest = super().step_grad(actions)
        return observation, reward + 1e-9, *rest


class NoGraph(Pushed):
    def step_grad(self, actions):
        return self.step(actions)


class GraphOfOneStep(Pushed):
    def step_grad(self, actions):
        self.detach()
        return super().step_grad(actions)


class DetachThatDoesNot(Pushed):
    def detach(self):
        return self.x.detach().clone()

    def step(self, actions):
        self.x = self.x.detach()
        return super().step(actions)


class StepThatKeepsTheGraph(Pushed):
    def step(self, actions):
        return self.advance(actions.detach())


class GradientsAcrossResets(Pushed):
    def begin(self, mask):
        x = self.x
        super().begin(mask)
        self.x = self.x + 0.5 * torch.where(mask[:, None], x - x.detach(), 0.0)


class OneResetCutsAll(Pushed):
    def begin(self, mask):
        super().begin(mask)
        if mask.any():
            self.x = self.x.detach()


class WrongGradient(Pushed):
    def advance(self, actions):
        slow = actions * 0.9
        return super().advance(slow + (actions - slow).detach())


BROKEN = {
    WrongSpaces: "action_space must be the batch of single_action_space",
    WrongMetadata: r"metadata\['autoreset_mode'\] must be an AutoresetMode",
    NeverDone: "no episode ended in 64 steps",
    FloatFlags: r"terminated must be .*torch.bool",
    SinglePrecisionReward: r"reward must be .*torch.float64",
    NanReward: "rewards must be finite",
    BothFlags: "what is terminated must not be truncated as well",
    KeysOnlyWhenDone: "info must have the same keys in every step. .*episode_length",
    FinalObsAfterTheReset: "final_obs must be the observation before the reset where an episode ended",
    WrongFinalMask: "_final_obs must be the environments whose episode ended",
    NoFinalInfo: "under SAME_STEP info must have final_info and _final_info",
    FinalInfoOfOtherKind: "final_info must be the info of the step, a dictionary",
    WordsInInfo: r"info\['final_info'\]\['map'\] must be a tensor with a row for each environment",
    ReturnsItsBuffer: "writing into returned tensors must not change the environment",
    RewardIsPartOfTheKeptObservation: "writing into returned tensors must not change the environment",
    DetachReturnsItsBuffer: "writing into returned tensors must not change the environment",
    WritesIntoActions: "step must not change the actions",
    ForgetsTheSeed: "reset with one seed must return equal observations",
    NoiseFromOutside: "one seed and equal actions must give equal results",
    MaskResetsAll: "a reset_mask must leave the other environments as they are",
    MaskResetsNone: "a reset_mask must reset its environments",
    StateWithoutCounters: "set_state must continue exactly",
    StateIsTheBuffer: "get_state must return copies",
    StepDiffersFromStepGrad: "step and step_grad must return equal values",
    NoGraph: "observations of step_grad must be attached to the graph",
    GraphOfOneStep: "must have gradients to all actions since the last cut",
    DetachThatDoesNot: "detach must cut the graph",
    StepThatKeepsTheGraph: "step must return a detached observation",
    GradientsAcrossResets: "no gradient may cross the end of an episode",
    OneResetCutsAll: "the end of one episode must not cut the gradients of the others",
    WrongGradient: "gradients of step_grad must agree with central differences",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_environment_is_named_by_the_clause_it_breaks(broken):
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        check_vector_env(broken())


def test_broken_environments_are_named_where_python_drops_asserts():
    path = Path(testing.__file__)
    optimised = {"__name__": testing.__name__}
    exec(compile(path.read_text(), path, "exec", optimize=2), optimised)
    with pytest.raises(AssertionError, match="rewards must be finite"):
        optimised["check_vector_env"](NanReward())


class NextStepWithReward(Pushed):
    def advance(self, actions):
        observation, reward, *rest = super().advance(actions)
        return observation, reward + 1.0, *rest


class StepGradUnderNextStep(Pushed):
    def step_grad(self, actions):
        return self.advance(actions)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (NextStepWithReward, "under NEXT_STEP the step that resets must have reward 0 and no flags"),
        (StepGradUnderNextStep, "step_grad must raise RuntimeError under NEXT_STEP"),
    ],
)
def test_a_broken_environment_is_named_under_next_step(broken, message):
    with pytest.raises(AssertionError, match=message):
        check_vector_env(broken(mode=AutoresetMode.NEXT_STEP))


def test_one_environment_is_too_few_to_check():
    with pytest.raises(AssertionError, match="at least two environments"):
        check_vector_env(Pushed(num_envs=1))


def test_what_is_no_differentiable_vector_environment_is_refused_with_what_it_lacks():
    lacks = "device, step_grad, detach, get_state, set_state"
    with pytest.raises(AssertionError, match=f"CartPoleVectorEnv is no differentiable vector env.*: it has no {lacks}"):
        check_vector_env(gymnasium.make_vec("CartPole-v1", num_envs=2))
    with pytest.raises(AssertionError, match="it has no num_envs, device, single_observation_space"):
        check_vector_env(gymnasium.make("CartPole-v1").unwrapped)
