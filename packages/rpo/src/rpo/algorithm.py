"""What all first-order algorithms share: learn, save, load, optimisers, logging. No maths."""

import contextlib
import sys
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import check_for_correct_spaces, safe_mean
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from rpo import checkpoint, objectives, returns, schedules
from rpo.config import AlgorithmConfig
from rpo.env import DifferentiableVectorEnv, env_id_of, make_vector_env, vector_env_of
from rpo.episodes import EpisodeStatistics
from rpo.policy import FirstOrderPolicy, make_generator
from rpo.presets import PRESETS
from rpo.rollout import Rollout, collect
from rpo.vec_env import TorchVecEnv

ConfigT = TypeVar("ConfigT", bound=AlgorithmConfig)
AnyEnv = DifferentiableVectorEnv | TorchVecEnv | gymnasium.Env | str

SCHEDULES = {"exponential": schedules.exponential, "linear": schedules.linear}


class HostArray:
    """A tensor that callbacks see as a NumPy array; it moves to the host only if one of them looks."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor.detach()

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._tensor.cpu().numpy(), dtype=dtype)


def resolve_env(env: AnyEnv, num_envs: int | None = None) -> TorchVecEnv:
    """Return the adapter around what a user passes as environment.

    Parameters
    ----------
    env
        A differentiable vector environment, its adapter, an id, or what `gymnasium.make` returned.
    num_envs
        Environments to make from an id or a single environment; by default the paper's number for the task.

    Raises
    ------
    ValueError
        If the number of environments is not known, not positive, or not that of the environment given.
    TypeError
        If the environment is not differentiable, or is no environment.
    """
    if num_envs is not None and (not isinstance(num_envs, int) or num_envs < 1):
        raise ValueError(f"num_envs must be an integer >= 1. Got {num_envs!r}.")
    if isinstance(env, type) or (isinstance(env, str) and env.endswith("Policy")):
        name = env if isinstance(env, str) else env.__name__
        raise TypeError(f"env is the first argument and the policy an optional keyword. Got {name} as env.")
    if isinstance(env, (TorchVecEnv, VectorEnv)):
        adapter = env if isinstance(env, TorchVecEnv) else TorchVecEnv(env)  # type: ignore[arg-type]
        if num_envs not in (None, adapter.num_envs):
            raise ValueError(f"num_envs={num_envs} was asked for, but env has {adapter.num_envs}.")
        return adapter
    if not isinstance(env, (str, gymnasium.Env)):
        raise TypeError(f"env must be a differentiable VectorEnv, an id or an Env. Got {type(env).__name__}.")
    env_id = env.partition(":")[2] or env if isinstance(env, str) else env_id_of(env)
    if num_envs is None:
        if env_id not in PRESETS:
            known = ", ".join(PRESETS)
            raise ValueError(f"num_envs must be given for {env_id}: there are presets for {known} only.")
        num_envs = PRESETS[env_id].num_envs
    return TorchVecEnv(make_vector_env(env, num_envs) if isinstance(env, str) else vector_env_of(env, num_envs))


class AbstractAlgorithm(BaseAlgorithm, Generic[ConfigT]):
    """Base of the algorithms that learn from the gradients of a differentiable environment.

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
        Device of the networks; "auto" is the environment's.
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
        self._seconds: dict[str, float] = {}
        if _init_setup_model:
            self._setup_model()

    @abstractmethod
    def update(self, rollout: Rollout) -> dict[str, Tensor]:
        """Improve policy and critics on one window, and return statistics to log by name.

        A scalar is logged as `train/<name>`, the elements of a vector as `<name>/<index>`.
        """

    # ------------------------------------------------------------------------------------------------ learning

    def _setup_model(self) -> None:
        """Make networks, optimisers and random generators."""
        self.set_random_seed(self.seed)
        assert issubclass(self.policy_class, FirstOrderPolicy)
        self.policy = self.policy_class(self.observation_space, self.action_space, self.config, self.seed)  # type: ignore[arg-type]
        self.policy.to(self.device)
        self.policy.generator = self._predict_generator
        self.actor_optimizer = self._make_optimizer(self.policy.actor, self.config.learning_rate)
        self.critic_optimizer = self._make_optimizer(self.policy.critics, self.config.critic_learning_rate)
        self._episodes = EpisodeStatistics(0 if self.env is None else self.n_envs)

    def _make_optimizer(self, module: torch.nn.Module, learning_rate: float) -> torch.optim.AdamW:
        cfg = self.config
        return torch.optim.AdamW(
            module.parameters(), lr=learning_rate, betas=cfg.betas, weight_decay=cfg.weight_decay, fused=True
        )

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the generators of this model, and the environment at its next reset; no global one."""
        streams = [None, None] if seed is None else np.random.SeedSequence(seed).generate_state(2).tolist()
        self._generator, self._predict_generator = (make_generator(self.device, stream) for stream in streams)
        if seed is not None:
            self.action_space.seed(seed)
            if self.env is not None:
                self.env.seed(seed)

    def learn(  # pyright: ignore[reportIncompatibleMethodOverride]  # log_interval counts windows
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train until `total_timesteps` environment steps, in whole windows; see Stable-Baselines3 for the arguments.

        Callbacks are called once per control step (of all environments), inside the open graph: they must not step the
        training environment. `log_interval` counts windows.
        """
        if self.env is None:
            raise ValueError(f"{type(self).__name__} has no environment to learn in: call `set_env` first.")
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name or type(self).__name__, progress_bar
        )
        callback.on_training_start(locals(), globals())
        windows = 0
        while self.num_timesteps < total_timesteps:
            self._seconds = {}
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            self._set_learning_rates()
            callback.on_rollout_start()
            rollout = self._collect(callback)
            if rollout is None:
                break
            callback.on_rollout_end()
            metrics = self.update(rollout) | self._rollout_metrics(rollout)
            self.policy.normalizer.update(rollout.raw_observations)
            self._n_updates += 1
            windows += 1
            self._record(rollout, metrics)
            if log_interval is not None and windows % log_interval == 0:
                self.dump_logs(windows)
        callback.on_training_end()
        return self

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        last = self._last_obs
        result = super()._setup_learn(*args, **kwargs)
        if self._last_obs is not last:  # the environment was reset
            self._episodes = EpisodeStatistics(self.n_envs)
        return result

    def _set_learning_rates(self) -> None:
        """Decay over the task's budget of steps, whatever this call of `learn` runs."""
        cfg = self.config
        progress = self.num_timesteps / cfg.decay_timesteps
        for name, optimizer, start in (
            ("actor", self.actor_optimizer, cfg.learning_rate),
            ("critic", self.critic_optimizer, cfg.critic_learning_rate),
        ):
            rate = SCHEDULES[cfg.learning_rate_decay](start, cfg.learning_rate_end, progress)
            optimizer.param_groups[0]["lr"] = rate
            self.logger.record(f"train/{name}_learning_rate", rate)

    def _collect(self, callback: BaseCallback) -> Rollout | None:
        """Roll out one window with the statistics of observations known before it."""
        assert self.env is not None

        def on_step(rewards: Tensor, ended: Tensor) -> bool:
            self.num_timesteps += self.n_envs
            callback.update_locals({"rewards": HostArray(rewards), "dones": HostArray(ended)})
            return callback.on_step()

        self.policy.normalizer.refresh()
        with self.timed("rollout"):
            return collect(self.env.env, self.policy, self.config.horizon, self._generator, on_step)

    # ------------------------------------------------------------------------------------------ steps of an update

    def noise_like(self, like: Tensor) -> Tensor:
        """Return fresh standard normal noise of a tensor's shape, from this model's generator."""
        return torch.randn(like.shape, generator=self._generator, device=like.device, dtype=like.dtype)

    def minimise(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
        """Take one optimiser step on a loss and return the gradient's norm before clipping."""
        optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(optimizer.param_groups[0]["params"], self.config.max_grad_norm)
        optimizer.step()
        return norm

    def train_critics(self, rollout: Rollout, rewards: Tensor) -> dict[str, Tensor]:
        """Fit the critics to the TD(lambda) targets of a window, in shuffled minibatches.

        Parameters
        ----------
        rollout
            The window.
        rewards
            Constant rewards, entropy bonus included where the algorithm has one, (horizon, world).

        Returns
        -------
        dict
            Value loss and gradient norm of the last epoch, and the variance explained before the first.
        """
        cfg, critics = self.config, self.policy.critics
        next_values = rollout.next_values.detach()
        next_value = next_values.mean(0) if cfg.target_reduce == "mean" else next_values.amin(0)
        ends = rollout.terminated, rollout.truncated
        targets = returns.td_lambda(rewards, next_value, *ends, cfg.gamma, cfg.td_lambda).flatten()
        observations = rollout.observations.flatten(0, 1)
        with torch.no_grad():
            explained = objectives.explained_variance(critics(observations).mean(0), targets)
        losses, norms = [], []
        for _ in range(cfg.critic_epochs):
            order = torch.randperm(len(targets), generator=self._generator, device=self.device)
            batches = order.chunk(cfg.critic_minibatches)
            losses, norms = [], []
            for batch in batches:
                loss = objectives.value_loss(critics(observations[batch]), targets[batch])
                norms.append(self.minimise(self.critic_optimizer, loss))
                losses.append(loss.detach())
        return {
            "value_loss": torch.stack(losses).mean(),
            "critic_grad_norm": torch.stack(norms).mean(),
            "explained_variance": explained,
        }

    # -------------------------------------------------------------------------------------------------- logging

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to what is logged as `time/<name>_seconds`."""
        start = time.perf_counter()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    @torch.no_grad()
    def _rollout_metrics(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the statistics of a window that all algorithms share, after its update."""
        return {
            "kl": objectives.kl_penalty(rollout.behaviour, self.policy.actor(rollout.observations)),
            "entropy": rollout.entropies.mean(),
            "non_finite_states": rollout.non_finite.sum(),
        }

    def _record(self, rollout: Rollout, metrics: Mapping[str, Tensor]) -> None:
        """Move the window's numbers to the host, all statistics in one transfer, and hand them to the logger."""
        assert self.ep_info_buffer is not None
        rewards = rollout.rewards.detach().cpu().numpy()
        ended = (rollout.terminated | rollout.truncated).cpu().numpy()
        self.ep_info_buffer.extend(self._episodes.update(rewards, ended))
        flat = torch.cat([value.detach().reshape(-1).double().to(self.device) for value in metrics.values()]).tolist()
        position = 0
        for name, tensor in metrics.items():
            values = flat[position : position + tensor.numel()]
            position += tensor.numel()
            if tensor.ndim == 0:
                self.logger.record(f"train/{name}", values[0])
                continue
            for index, value in enumerate(values):
                self.logger.record(f"{name}/{index:02d}", value, exclude=("stdout", "log"))
        self._seconds["simulation"] = rollout.simulation_seconds
        for name, seconds in self._seconds.items():
            self.logger.record(f"time/{name}_seconds", seconds)

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the last window's numbers to the logger's outputs."""
        assert self.ep_info_buffer is not None
        elapsed = max((time.time_ns() - self.start_time) / 1e9, sys.float_info.epsilon)
        if self.ep_info_buffer:
            self.logger.record("rollout/ep_rew_mean", safe_mean([episode["r"] for episode in self.ep_info_buffer]))
            self.logger.record("rollout/ep_len_mean", safe_mean([episode["l"] for episode in self.ep_info_buffer]))
        self.logger.record("time/iterations", iteration, exclude="tensorboard")
        self.logger.record("time/fps", int((self.num_timesteps - self._num_timesteps_at_start) / elapsed))
        self.logger.record("time/time_elapsed", int(elapsed), exclude="tensorboard")
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        self.logger.dump(step=self.num_timesteps)

    # ---------------------------------------------------------------------------------------- environment and files

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
        """Save settings, networks, normaliser and optimisers to a file (".zip" is added where there is no suffix)."""
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
            If the file is damaged, or of another algorithm or program.
        ValueError
            If the environment has other spaces than the file.
        """
        return cls._from_content(_with_suffix(path), env, device, **kwargs)[0]

    @classmethod
    def _from_content(
        cls, path: Path, env: AnyEnv | None, device: torch.device | str, **kwargs: Any
    ) -> tuple[Self, dict[str, Any], dict[str, Tensor]]:
        header, tensors = checkpoint.read(path)
        if header["algorithm"] != cls.__name__:
            raise checkpoint.CheckpointError(f"{path} holds a model of {header['algorithm']}, not of {cls.__name__}.")
        config = cls.config_class.from_dict(header["config"])
        kwargs = {"seed": header["seed"], **kwargs}
        model = cls(env, config, device=device, _init_setup_model=False, **kwargs)  # type: ignore[arg-type]
        observation_space = checkpoint.space_from_json(header["observation_space"])
        action_space = checkpoint.space_from_json(header["action_space"])
        if model.env is not None:
            try:
                check_for_correct_spaces(model.env, observation_space, action_space)
            except ValueError as error:
                raise ValueError(f"{path} was trained on {header['env_id']}, not on {model.env_id}: {error}") from error
        model.observation_space, model.action_space = observation_space, action_space
        model.env_id = model.env_id or header["env_id"]
        model._setup_model()
        model.policy.load_state_dict(checkpoint.without_prefix("policy", tensors))
        for name in ("actor_optimizer", "critic_optimizer"):
            checkpoint.restore_optimizer(getattr(model, name), checkpoint.without_prefix(name, tensors))
        model.num_timesteps, model._n_updates = header["num_timesteps"], header["n_updates"]
        return model, header, tensors

    def save_training(self, path: str | Path) -> None:
        """Save the model and all that an exact continuation needs, between two windows (`on_rollout_start`)."""
        if self.env is None:
            raise ValueError("There is no environment whose state could be saved.")
        assert self.ep_info_buffer is not None
        tensors = {
            **self._tensors(),
            **checkpoint.with_prefix("env", self.env.env.get_state()),
            "generator/learn": self._generator.get_state(),
            "generator/predict": self._predict_generator.get_state(),
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
            If the file is damaged, of another algorithm, of another task, or not of a training.
        """
        path = _with_suffix(path)
        model, header, tensors = cls._from_content(path, env, device, **kwargs)
        training = header.get("training")
        if training is None:
            raise checkpoint.CheckpointError(f"{path} holds a model only, not the state of a training.")
        if model.env is None or (model.env_id, model.n_envs) != (header["env_id"], training["num_envs"]):
            here = "no environment" if model.env is None else f"{model.n_envs} environments of {model.env_id}"
            raise checkpoint.CheckpointError(
                f"{path} continues {training['num_envs']} environments of {header['env_id']}. Got {here}."
            )
        model._last_obs = model.env.reset()
        model.env.env.set_state(checkpoint.without_prefix("env", tensors))
        model._generator.set_state(tensors["generator/learn"])
        model._predict_generator.set_state(tensors["generator/predict"])
        model._episodes.returns[:] = tensors["episode/returns"].numpy()
        model._episodes.lengths[:] = tensors["episode/lengths"].numpy()
        model.ep_info_buffer = deque(training["episodes"], maxlen=model._stats_window_size)
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)
        return model


def _with_suffix(path: str | Path) -> Path:
    """Return the path, ending in .zip where it has no suffix."""
    path = Path(path)
    return path if path.suffix == ".zip" else path.with_name(path.name + ".zip")
