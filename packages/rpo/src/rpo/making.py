"""Making environments from what users pass: an id, a single environment, or a vector environment."""

import importlib
import sys
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv
from stable_baselines3.common.vec_env import VecNormalize

from rpo.arguments import checked_count
from rpo.config import require
from rpo.env import DifferentiableVectorEnv, check_env
from rpo.normalization import VEC_NORMALIZE
from rpo.presets import PAPER, preset_named
from rpo.vec_env import TorchVecEnv

AnyEnv = DifferentiableVectorEnv | TorchVecEnv | VecNormalize | gymnasium.Env | str
"""What an algorithm takes as its environment."""

STANDARD_WRAPPERS = (
    gymnasium.wrappers.PassiveEnvChecker,
    gymnasium.wrappers.OrderEnforcing,
    gymnasium.wrappers.TimeLimit,
)
"""Wrappers that `gymnasium.make` adds: the vector environment needs none of them."""


def env_id_of(env: object) -> str | None:
    """Return the registered id of an environment, of its spec, or None where it has none."""
    spec = getattr(getattr(env, "unwrapped", env), "spec", None)
    return None if spec is None else spec.id


def registered_id(env_id: str) -> str:
    """Return the part of an id that is registered: what comes after the module, if there is one (`module:id`)."""
    return env_id.partition(":")[2] or env_id


def import_namespace(env_id: str) -> None:
    """Import the module that an id names (`module:id`), or else its namespace, if the id is not registered yet.

    Raises
    ------
    ValueError
        If there is no such module, or it registers no such id.
    """
    name = registered_id(env_id)
    if name in gymnasium.registry:
        return
    namespace, _, _ = name.rpartition("/")
    module = env_id.partition(":")[0] if name != env_id else namespace
    if module:
        _import(module, env_id)
    if name not in gymnasium.registry:
        raise ValueError(f"No environment {env_id!r} is registered.{_hint(namespace, name)}")


def _hint(namespace: str, name: str) -> str:
    """Return what ids there are in a namespace, or, without one, which tasks of the presets an id may stand for."""
    if not namespace:
        meant = [task for task in PAPER.tasks if name.lower() in task.lower()]
        return f" Did you mean {' or '.join(meant)}?" if meant else ""
    known = sorted(key for key in gymnasium.registry if key.startswith(f"{namespace}/"))
    return f" {namespace} has {', '.join(known)}." if known else ""


def _import(module: str, env_id: str) -> None:
    """Import the module that registers an id."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the module imports
        places = ", ".join(place or str(Path.cwd()) for place in sys.path)
        raise ValueError(
            f"No environment {env_id!r}: there is no package {module!r} to register it. `import {module}` looked in "
            f"{places}."
        ) from None


def make_vector_env(env_id: str, num_envs: int, **kwargs: Any) -> DifferentiableVectorEnv:
    """Make the vector environment of an id, importing the package of its namespace if need be."""
    import_namespace(env_id)
    env = gymnasium.make_vec(env_id, num_envs=num_envs, **kwargs)
    try:
        return check_env(env)
    except (TypeError, ValueError):
        env.close()
        raise


def vector_env_of(env: gymnasium.Env, num_envs: int) -> DifferentiableVectorEnv:
    """Make the vector environment of the same spec and arguments as what `gymnasium.make` returned.

    Raises
    ------
    ValueError
        If the environment was not registered, or wrappers would be lost.
    """
    inner: gymnasium.Env = env
    while isinstance(inner, gymnasium.Wrapper):
        if not isinstance(inner, STANDARD_WRAPPERS):
            raise ValueError(f"env is wrapped by {type(inner).__name__}, which the vector environment would not have.")
        inner = inner.env
    spec = env.spec  # the outermost one's has the time limit
    if spec is None or spec.vector_entry_point is None:
        raise ValueError(f"{type(inner).__name__} has no registered vector environment to train on.")
    kwargs = dict(spec.kwargs)
    if spec.max_episode_steps is not None:
        kwargs["max_episode_steps"] = spec.max_episode_steps
    return make_vector_env(spec.id, num_envs, **kwargs)


def resolve_env(env: AnyEnv, num_envs: int | None = None, preset: str = "paper") -> TorchVecEnv:
    """Return the adapter around what a user passes as environment.

    Parameters
    ----------
    env
        A differentiable vector environment, its adapter, what `get_env` of a model returned, an id, or what
        `gymnasium.make` returned. Of a `VecNormalize`, as a PPO has, the environment inside is taken.
    num_envs
        Environments to make from an id or a single environment; by default the preset's number for the task.
    preset
        Name of the preset.

    Raises
    ------
    ValueError
        If the number of environments is not known, not positive, or not that of the environment given; if no such id is
        registered; or if a `VecNormalize` has other options than a PPO's own, which would be lost.
    TypeError
        If the environment is not differentiable, or is no environment.
    """
    num_envs = None if num_envs is None else checked_count("num_envs", num_envs)
    if isinstance(env, type) or (isinstance(env, str) and env.endswith("Policy")):
        name = env if isinstance(env, str) else env.__name__
        raise TypeError(f"env is the first argument and the policy an optional keyword. Got {name} as env.")
    if isinstance(env, VecNormalize) and isinstance(env.venv, TorchVecEnv):
        for name, value in VEC_NORMALIZE.items():
            expectation = f"{value}, as a model has it, which normalises by itself: pass the environment inside"
            require(env, name, expectation, getattr(env, name) == value)
        env = env.venv
    if isinstance(env, (TorchVecEnv, VectorEnv)):
        adapter = env if isinstance(env, TorchVecEnv) else TorchVecEnv(env)  # type: ignore[arg-type]
        if num_envs not in (None, adapter.num_envs):
            raise ValueError(f"num_envs={num_envs} was asked for, but env has {adapter.num_envs}.")
        return adapter
    if not isinstance(env, (str, gymnasium.Env)):
        raise TypeError(f"env must be a differentiable VectorEnv, an id or an Env. Got {type(env).__name__}.")
    if isinstance(env, str):
        import_namespace(env)
    env_id = registered_id(env) if isinstance(env, str) else env_id_of(env)
    if num_envs is None:
        num_envs = preset_named(preset).num_envs(env_id)
    return TorchVecEnv(make_vector_env(env, num_envs) if isinstance(env, str) else vector_env_of(env, num_envs))
