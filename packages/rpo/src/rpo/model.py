"""What an algorithm consists of between two updates, and how that is saved and loaded."""

from collections import deque
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import check_for_correct_spaces
from torch import Tensor

from rpo import checkpoint
from rpo.config import AlgorithmConfig
from rpo.episodes import EpisodeStatistics
from rpo.making import AnyEnv, env_id_of, resolve_env
from rpo.policy import FirstOrderPolicy, make_generator, resolve_device
from rpo.vec_env import TorchVecEnv

ConfigT = TypeVar("ConfigT", bound=AlgorithmConfig)


class FirstOrderModel(BaseAlgorithm, Generic[ConfigT]):
    """Networks, optimisers and random streams of an algorithm, its environment, and its files.

    Parameters
    ----------
    env
        A differentiable vector environment, an id ("diffenvs/Ant-v0"), or what `gymnasium.make` returned.
    config
        Settings; by default the paper's for a task it has, else the defaults of the configuration class.
    policy
        "MlpPolicy" or a subclass of `FirstOrderPolicy`.
    num_envs
        Parallel environments, where env is not a vector environment; by default the paper's number.
    seed
        Seed of networks, noise, minibatches and environments; two runs with one seed are equal on the CPU.
    device
        Device of the networks, "cpu" or "cuda"; "auto" is the environment's.
    stats_window_size
        Finished episodes over which the logged return and length are averaged.
    tensorboard_log, verbose
        As in Stable-Baselines3.
    """

    config_class: ClassVar[type[AlgorithmConfig]]
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": FirstOrderPolicy}
    policy: FirstOrderPolicy  # pyright: ignore[reportIncompatibleVariableOverride]  # narrowed, as in SB3's own
    env: TorchVecEnv | None  # pyright: ignore[reportIncompatibleVariableOverride]
    config: ConfigT

    def __init__(
        self,
        env: AnyEnv | None,
        config: ConfigT | None = None,
        *,
        policy: str | type[FirstOrderPolicy] = "MlpPolicy",
        num_envs: int | None = None,
        seed: int | None = None,
        device: torch.device | str = "auto",
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        _init_setup_model: bool = True,
    ) -> None:
        if env is None and _init_setup_model:
            raise ValueError(f"{type(self).__name__} needs an environment: only `load` does without.")
        adapter = None if env is None else resolve_env(env, num_envs)
        if config is not None and not isinstance(config, self.config_class):
            raise TypeError(f"config must be a {self.config_class.__name__}. Got {type(config).__name__}.")
        self.env_id = None if adapter is None else env_id_of(adapter.env)
        self.config = config or self.config_class.for_env(self.env_id)  # type: ignore[assignment]
        if device == "auto" and adapter is not None:
            device = adapter.env.device
        device = resolve_device(device)
        super().__init__(
            policy,
            adapter,
            self.config.learning_rate,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
        )
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        """Make networks, optimisers and random generators."""
        assert issubclass(self.policy_class, FirstOrderPolicy)
        self.policy = self.policy_class(self.observation_space, self.action_space, self.config, self.seed)  # type: ignore[arg-type]
        self.policy.to(self.device)
        self.set_random_seed(self.seed)
        self.actor_optimizer = self._make_optimizer(self.policy.actor, self.config.learning_rate)
        self.critic_optimizer = self._make_optimizer(self.policy.critics, self.config.critic_learning_rate)
        self._episodes = EpisodeStatistics(0 if self.env is None else self.n_envs)

    def _make_optimizer(self, module: torch.nn.Module, learning_rate: float) -> torch.optim.AdamW:
        cfg = self.config
        return torch.optim.AdamW(
            module.parameters(), lr=learning_rate, betas=cfg.betas, weight_decay=cfg.weight_decay, fused=True
        )

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the generators of learning and of `predict`, and the environment at its next reset; no global one."""
        streams = [None, None] if seed is None else np.random.SeedSequence(seed).generate_state(2).tolist()
        self._generator, self.policy.generator = (make_generator(self.device, stream) for stream in streams)
        if seed is not None:
            self.action_space.seed(seed)
            if self.env is not None:
                self.env.seed(seed)

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> TorchVecEnv:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the adapter around any environment that the constructor takes."""
        return resolve_env(env)

    def set_env(self, env: AnyEnv, force_reset: bool = True) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Learn in another environment of the same spaces from now on; the number of environments may differ.

        Raises
        ------
        ValueError
            If the spaces are not those of the model.
        """
        adapter = self._wrap_env(env)
        check_for_correct_spaces(adapter, self.observation_space, self.action_space)
        if force_reset or self.env is None or adapter.num_envs != self.n_envs:
            self._last_obs = None
        self.env = adapter  # pyright: ignore[reportIncompatibleVariableOverride]
        self.n_envs, self.env_id = adapter.num_envs, env_id_of(adapter.env)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "actor_optimizer", "critic_optimizer"], []

    def _header(self) -> dict[str, Any]:
        assert isinstance(self.observation_space, Box)
        assert isinstance(self.action_space, Box)
        return {
            "algorithm": type(self).__name__,
            "env_id": self.env_id,
            "config": self.config.to_dict(),
            "observation_space": checkpoint.space_to_json(self.observation_space),
            "action_space": checkpoint.space_to_json(self.action_space),
            "seed": self.seed,
            "num_timesteps": self.num_timesteps,
            "n_updates": self._n_updates,
        }

    def _tensors(self) -> dict[str, Tensor]:
        return {
            **checkpoint.with_prefix("policy", self.policy.state_dict()),
            **checkpoint.with_prefix("actor_optimizer", checkpoint.optimizer_tensors(self.actor_optimizer)),
            **checkpoint.with_prefix("critic_optimizer", checkpoint.optimizer_tensors(self.critic_optimizer)),
        }

    def save(self, path: str | Path) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # nothing is optional
        """Save settings, networks, normaliser and optimisers to a file (".zip" is added unless the path ends in it)."""
        checkpoint.write(_with_suffix(path), self._header(), self._tensors())

    @classmethod
    def load(  # pyright: ignore[reportIncompatibleMethodOverride]  # no pickled objects to replace
        cls, path: str | Path, env: AnyEnv | None = None, device: torch.device | str = "auto", **kwargs: Any
    ) -> Self:
        """Load what `save` or `save_training` wrote; nothing in the file is executed.

        Parameters
        ----------
        path
            The file.
        env
            Environment to go on learning in; None to predict only, or to call `set_env` later.
        device
            Device of the networks.
        kwargs
            Further arguments of the constructor: num_envs, seed, tensorboard_log, verbose.

        Raises
        ------
        CheckpointError
            If the file is damaged or incomplete, or of another algorithm or program.
        ValueError
            If the environment has another id or other spaces than the file.
        """
        return cls._from_content(_with_suffix(path), env, device, **kwargs)[0]

    @classmethod
    def _from_content(
        cls, path: Path, env: AnyEnv | None, device: torch.device | str, **kwargs: Any
    ) -> tuple[Self, dict[str, Any], dict[str, Tensor]]:
        header, tensors = checkpoint.read(path)
        with checkpoint.content_of(path):
            if header["algorithm"] != cls.__name__:
                raise ValueError(f"it holds a model of {header['algorithm']}, not of {cls.__name__}.")
            config = cls.config_class.from_dict(header["config"])
            observation_space = checkpoint.space_from_json(header["observation_space"])
            action_space = checkpoint.space_from_json(header["action_space"])
            kwargs = {"seed": header["seed"], **kwargs}
            env_id = header["env_id"]
        model = cls(env, config, device=device, _init_setup_model=False, **kwargs)  # type: ignore[arg-type]
        if model.env is not None:
            try:
                check_for_correct_spaces(model.env, observation_space, action_space)
            except ValueError as error:
                raise ValueError(f"{path} was trained on {env_id}, not on {model.env_id}: {error}") from error
        if None not in (env_id, model.env_id) and env_id != model.env_id:
            raise ValueError(
                f"{path} was trained on {env_id}, not on {model.env_id}. To go on there all the same, load it without "
                "an environment and call `set_env`."
            )
        model.observation_space, model.action_space = observation_space, action_space
        model.env_id = model.env_id or env_id
        with checkpoint.content_of(path):
            model._setup_model()
            model.policy.load_state_dict(checkpoint.without_prefix("policy", tensors))
            for name in ("actor_optimizer", "critic_optimizer"):
                moments = checkpoint.without_prefix(name, tensors)
                checkpoint.restore_optimizer(getattr(model, name), moments, untouched=header["n_updates"] == 0)
            model.num_timesteps, model._n_updates = header["num_timesteps"], header["n_updates"]
        return model, header, tensors

    def save_training(self, path: str | Path) -> None:
        """Save the model and all that an exact continuation needs, between two windows (`on_rollout_start`).

        Raises
        ------
        ValueError
            If no training has begun, or inside a window.
        """
        if self.env is None:
            raise ValueError("There is no environment whose state could be saved.")
        if self._last_obs is None:
            raise ValueError("A training is saved between two windows: none has begun, or one is not learned from yet.")
        assert self.ep_info_buffer is not None
        assert self.policy.generator is not None
        tensors = {
            **self._tensors(),
            **checkpoint.with_prefix("env", self.env.env.get_state()),
            "generator/learn": self._generator.get_state(),
            "generator/predict": self.policy.generator.get_state(),
            "episode/returns": torch.from_numpy(self._episodes.returns),
            "episode/lengths": torch.from_numpy(self._episodes.lengths),
        }
        training = {"num_envs": self.n_envs, "episodes": list(self.ep_info_buffer)}
        checkpoint.write(_with_suffix(path), {**self._header(), "training": training}, tensors)

    @classmethod
    def load_training(
        cls, path: str | Path, env: AnyEnv | None, device: torch.device | str = "auto", **kwargs: Any
    ) -> Self:
        """Load what `save_training` wrote; `learn(n, reset_num_timesteps=False)` continues as if never interrupted.

        Raises
        ------
        CheckpointError
            If the file is damaged, of another algorithm, of another number of environments, or not of a training, or
            if the networks were on another kind of device, whose random streams go on nowhere else.
        ValueError
            If the environment is of another task than the file.
        """
        path = _with_suffix(path)
        model, header, tensors = cls._from_content(path, env, device, **kwargs)
        if "training" not in header:
            raise checkpoint.CheckpointError(f"{path} holds a model only, not the state of a training.")
        with checkpoint.content_of(path):
            num_envs, episodes = header["training"]["num_envs"], header["training"]["episodes"]
        if model.env is None or (model.env_id, model.n_envs) != (header["env_id"], num_envs):
            here = "no environment" if model.env is None else f"{model.n_envs} environments of {model.env_id}"
            raise checkpoint.CheckpointError(
                f"{path} continues {num_envs} environments of {header['env_id']}. Got {here}."
            )
        model._last_obs = model.env.reset()
        assert model.policy.generator is not None
        with checkpoint.content_of(path):
            here = model.env.env.get_state()
            state = checkpoint.without_prefix("env", tensors)
            model.env.env.set_state({name: tensor.to(here[name].device) for name, tensor in state.items()})
            model._generator.set_state(tensors["generator/learn"])
            model.policy.generator.set_state(tensors["generator/predict"])
            model._episodes.restore(tensors["episode/returns"].numpy(), tensors["episode/lengths"].numpy())
            model.ep_info_buffer = deque(episodes, maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)
        return model


def _with_suffix(path: str | Path) -> Path:
    """Return the path, with ".zip" added unless it ends in it."""
    path = Path(path)
    return path if path.suffix == ".zip" else path.with_name(path.name + ".zip")
