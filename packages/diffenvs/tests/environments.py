"""Environments that the tests share."""

import gymnasium
import torch
from gymnasium.vector import AutoresetMode

from diffenvs.envs.vector import DiffVectorEnv

IDS = [f"diffenvs/{robot}-v0" for robot in ("Hopper", "Ant", "Humanoid", "Anymal", "HandReorient")]
MODES = [mode.value for mode in AutoresetMode]


def make(id="diffenvs/Hopper-v0", num_envs=3, **kwargs):
    env = gymnasium.make_vec(id, num_envs=num_envs, **kwargs)
    assert isinstance(env, DiffVectorEnv)
    return env


def random_actions(env, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, env.num_envs, env.single_action_space.shape[0])
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(env.dtype) * 2 - 1
