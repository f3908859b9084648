"""What every algorithm is to its user besides its learning: arguments, environment, and files that execute nothing."""

import copy
import dataclasses
import numbers
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Never, Self, TypeVar

import torch
from gymnasium.spaces import Box
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import recursive_getattr
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import check_for_correct_spaces
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import Tensor

from rpo import checkpoint
from rpo.arguments import checked_count, checked_seed
from rpo.config import AlgorithmConfig
from rpo.logs import InterruptedLearn
from rpo.making import AnyEnv, env_id_of, resolve_env
from rpo.policy import ActingPolicy, resolve_device
from rpo.presets import preset_named
from rpo.vec_env import TorchVecEnv

ConfigT = TypeVar("ConfigT", bound=AlgorithmConfig)

STANDARD_POLICY = "MlpPolicy"
"""Stable-Baselines3's name for the policy that an algorithm has unless told otherwise."""
LOAD_ARGUMENTS = ("policy", "num_envs", "seed", "stats_window_size", "tensorboard_log", "verbose")
"""Arguments of the constructor that loading takes too."""


class PersistentModel(BaseAlgorithm, Generic[ConfigT]):
    """A Stable-Baselines3 algorithm whose settings are one typed configuration and whose files are data only.

    The parts that `_get_torch_save_params` names, networks and optimisers, are saved with the model; what a training
    needs besides, a subclass adds in `_training_tensors` and puts back in `_restore_training`.
    """

    config_class: ClassVar[type[AlgorithmConfig]]
    config: ConfigT
    policy: ActingPolicy  # pyright: ignore[reportIncompatibleVariableOverride]  # every one of ours is a BasePolicy too
    env_id: str | None
    _interrupted: InterruptedLearn | None = None
    """What a loaded training continues, until `learn` is called."""

    def __init__(
        self,
        env: AnyEnv | None,
        config: ConfigT | None = None,
        *,
        policy: str | type[BasePolicy] = STANDARD_POLICY,
        num_envs: int | None = None,
        preset: str = "paper",
        seed: int | None = None,
        device: torch.device | str = "auto",
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        _init_setup_model: bool = True,
        **unknown: Never,
    ) -> None:
        """Make a model that has learned nothing yet.

        Parameters
        ----------
        env
            A differentiable vector environment, an id ("diffenvs/Ant-v0"), what `gymnasium.make` returned, or what
            `get_env` of another model did. Each model has statistics of observations of its own: of a `VecNormalize`
            the environment inside is taken, but neither statistics nor `training`, and options other than those of a
            PPO's own are refused.
        config
            Settings; by default the preset's for a task it has, else the defaults of the configuration class.
        policy
            "MlpPolicy", or a subclass of the class that it stands for (`policy_aliases`).
        num_envs
            Parallel environments, where env is not a vector environment; by default the preset's number.
        preset
            Where the settings that are not given come from: "paper"; "tuned", the paper's but for HandReorient; or
            "small", for a look on a laptop.
        seed
            Seed of networks, noise, minibatches and environments; two runs with one seed are equal on the CPU.
        device
            Device of the networks, "cpu" or "cuda"; "auto" is the environment's.
        stats_window_size
            Finished episodes over which the logged return and length are averaged.
        tensorboard_log, verbose
            As in Stable-Baselines3.

        Raises
        ------
        ValueError
            If an argument has a value that it cannot have, or there is no environment.
        TypeError
            If the environment is not differentiable, configuration or policy are those of another algorithm, or an
            argument is none of these: settings are in the configuration, and the environment's in the environment.
        """
        if unknown:
            raise self._unknown_arguments(unknown)
        if env is None and _init_setup_model:
            raise ValueError(f"{type(self).__name__} needs an environment: only `load` does without.")
        adapter = None if env is None else resolve_env(env, num_envs, preset)
        preset_named(preset)
        if config is not None and not isinstance(config, self.config_class):
            raise TypeError(f"config must be a {self.config_class.__name__}. Got {type(config).__name__}.")
        standard = self.policy_aliases[STANDARD_POLICY]
        if isinstance(policy, type) and not issubclass(policy, standard):
            raise TypeError(f"policy must be a subclass of {standard.__name__}. Got {policy.__name__}.")
        seed = None if seed is None else checked_seed("seed", seed)
        self.env_id = None if adapter is None else env_id_of(adapter.env)
        self.config = config or self.config_class.for_env(self.env_id, preset)  # type: ignore[assignment]
        if device == "auto" and adapter is not None:
            device = adapter.env.device
        super().__init__(
            policy=policy,
            env=None if adapter is None else self._wrapped(adapter),
            stats_window_size=checked_count("stats_window_size", stats_window_size),
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            seed=seed,
            device=resolve_device(device),
            **self._own_arguments(adapter),
        )
        if _init_setup_model:
            self._setup_model()

    @classmethod
    def _unknown_arguments(cls, names: Iterable[str]) -> TypeError:
        """Return the error that says where what an algorithm does not take as an argument belongs."""
        config = cls.config_class.__name__
        return TypeError(
            f"{cls.__name__} has no argument {', '.join(names)}. Settings go into "
            f"config=dataclasses.replace({config}.for_env(env_id), ...), and arguments of the environment into "
            "env=gymnasium.make_vec(env_id, num_envs=..., ...)."
        )

    @abstractmethod
    def _own_arguments(self, adapter: TorchVecEnv | None) -> dict[str, Any]:
        """Return what Stable-Baselines3's constructor takes besides, by name; the configuration is known."""

    @property
    def adapter(self) -> TorchVecEnv:
        """The adapter around the environment, under whatever wraps it.

        Raises
        ------
        ValueError
            If the model has no environment.
        """
        if self.env is None:
            raise ValueError(f"{type(self).__name__} has no environment to learn in: call `set_env` first.")
        assert isinstance(self.env.unwrapped, TorchVecEnv)
        return self.env.unwrapped

    def _wrapped(self, adapter: TorchVecEnv) -> VecEnv:
        """Return what the algorithm steps: the adapter, or a wrapper around it."""
        return adapter

    def set_env(self, env: AnyEnv, force_reset: bool = True) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Learn in another environment of the same spaces from now on; the number of environments may differ.

        Parameters
        ----------
        env
            As the constructor takes it. Statistics of observations, and whether they go on, stay the model's own.
        force_reset
            Whether episodes begin anew where it is the environment that the model has already. In any other they do.

        Raises
        ------
        ValueError
            If the spaces are not those of the model.
        """
        adapter = resolve_env(env)
        check_for_correct_spaces(adapter, self.observation_space, self.action_space)
        same = self.env is not None and adapter.env is self.adapter.env
        if force_reset or not same:
            self._last_obs = None
        if same:
            return  # another adapter would know neither the episodes that go on nor the type of the actions
        self.env = self._wrapped(adapter)
        self._vec_normalize_env = unwrap_vec_normalize(self.env)
        self.n_envs, self.env_id = adapter.num_envs, env_id_of(adapter.env)

    # ---------------------------------------------------------------------------------------------------- the model

    def _policy_of_the_user(self) -> str | None:
        """Return the name of the policy's class if it is the user's own; None for the algorithm's."""
        standard = self.policy_class is self.policy_aliases[STANDARD_POLICY]
        return None if standard else self.policy_class.__name__

    def _header(self) -> dict[str, Any]:
        assert isinstance(self.observation_space, Box)
        assert isinstance(self.action_space, Box)
        return {
            "algorithm": type(self).__name__,
            "policy_class": self._policy_of_the_user(),
            "env_id": self.env_id,
            "config": self.config.to_dict(),
            "observation_space": checkpoint.space_to_json(self.observation_space),
            "action_space": checkpoint.space_to_json(self.action_space),
            "seed": self.seed,
            "stats_window_size": self._stats_window_size,
            "num_timesteps": self.num_timesteps,
            "n_updates": self._n_updates,
        }

    def _tensors(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, values in self.get_parameters().items():
            is_optimizer = isinstance(recursive_getattr(self, name), torch.optim.Optimizer)
            tensors |= checkpoint.with_prefix(name, checkpoint.optimizer_tensors(values) if is_optimizer else values)
        return tensors

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Put back what `_header` and `_tensors` returned, into a model that is set up."""
        for name in self._get_torch_save_params()[0]:
            part, values = recursive_getattr(self, name), checkpoint.without_prefix(name, tensors)
            if isinstance(part, torch.optim.Optimizer):
                checkpoint.restore_optimizer(part, values, untouched=header["n_updates"] == 0)
            else:
                part.load_state_dict(values)
        self.num_timesteps, self._n_updates = header["num_timesteps"], header["n_updates"]

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
            Further arguments of the constructor: policy, num_envs, seed, stats_window_size, tensorboard_log, verbose.

        Raises
        ------
        TypeError
            If there is any other argument: settings are those of the file.
        CheckpointError
            If the file is damaged or incomplete, or of another algorithm or program.
        ValueError
            If the environment has another id or other spaces than the file, or the policy is of another class: a file
            holds the name of a class of the user's, who passes the class itself.
        """
        return cls._from_content(_with_suffix(path), env, device, **kwargs)[0]

    def set_parameters(  # pyright: ignore[reportIncompatibleMethodOverride]  # no open files
        self,
        load_path_or_dict: str | Path | Mapping[str, Any],
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Copy weights, statistics of observations and moments of the optimisers into this model; all or nothing.

        What decides how the training goes on stays the model's own: its settings, also those of the optimisers, which
        Stable-Baselines3 would replace; the steps that it has taken; and the learning rate, where its schedule stands.

        Parameters
        ----------
        load_path_or_dict
            What `get_parameters` of a model returned, which are that model's live tensors as in Stable-Baselines3 (copy
            them to keep them as they are), or the file of one; nothing in the file is executed.
        exact_match
            Whether all parts must be there, and all weights of the policy.
        device
            Of no effect: the parameters stay where they are.

        Raises
        ------
        ValueError
            If a part is missing or unknown, or moments are of other shapes than the weights.
        RuntimeError
            If weights are missing, unknown or of other shapes than the model's.
        CheckpointError
            If the file is damaged, or of another algorithm or program.
        """
        if not isinstance(load_path_or_dict, Mapping):
            load_path_or_dict = type(self).load(load_path_or_dict, policy=self.policy_class).get_parameters()
        before = copy.deepcopy(self.get_parameters())
        given, own = set(load_path_or_dict), set(before)
        if given != own if exact_match else not given <= own:
            raise ValueError(f"Names of parameters do not match: expected {sorted(own)}. Got {sorted(given)}.")
        try:
            self._copy_parameters(load_path_or_dict, exact_match)
        except BaseException:
            self._copy_parameters(before, strict=True)
            raise

    def _copy_parameters(self, parameters: Mapping[str, Any], strict: bool) -> None:
        for name, values in parameters.items():
            part = recursive_getattr(self, name)
            if isinstance(part, torch.optim.Optimizer):
                checkpoint.restore_optimizer(part, checkpoint.optimizer_tensors(values), untouched=True)
            else:
                part.load_state_dict(values, strict=strict)

    @classmethod
    def _from_content(
        cls, path: Path, env: AnyEnv | None, device: torch.device | str, **kwargs: Any
    ) -> tuple[Self, dict[str, Any], dict[str, Tensor]]:
        unknown = [name for name in kwargs if name not in LOAD_ARGUMENTS]
        if unknown:
            raise TypeError(
                f"{cls.__name__} is loaded without {', '.join(unknown)}: the arguments besides env and device are "
                f"{', '.join(LOAD_ARGUMENTS)}. Settings are the file's."
            )
        header, tensors = checkpoint.read(path)
        with checkpoint.content_of(path):
            if header["algorithm"] != cls.__name__:
                raise ValueError(f"it holds a model of {header['algorithm']}, not of {cls.__name__}.")
            config = cls.config_class.from_dict(header["config"])
            observation_space = checkpoint.space_from_json(header["observation_space"])
            action_space = checkpoint.space_from_json(header["action_space"])
            window = header.get("stats_window_size", 100)  # the first files had no such part
            kwargs = {"seed": header["seed"], "stats_window_size": window, **kwargs}
            env_id = header["env_id"]
        model = cls(env, config, device=device, _init_setup_model=False, **kwargs)
        names = header.get("policy_class"), model._policy_of_the_user()  # the first files had no such part
        if names[0] != names[1]:
            there, here = (name or STANDARD_POLICY for name in names)
            raise ValueError(
                f"{path} holds a policy of the class {there}, not {here}. A file holds no class: pass the one that it "
                f"was trained with, policy={there}."
            )
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
            model._restore(header, tensors)
        return model, header, tensors

    # ------------------------------------------------------------------------------------------------ the training

    def _between_windows(self) -> bool:
        """Say whether the training stands where one window is learned from and the next has not begun."""
        return self._last_obs is not None

    def _setup_learn(
        self, total_timesteps: int, callback: MaybeCallback = None, reset_num_timesteps: bool = True, *args: Any
    ) -> tuple[int, BaseCallback]:
        if not isinstance(total_timesteps, numbers.Real) or not total_timesteps >= 0:  # NaN neither
            raise ValueError(f"total_timesteps must be a number >= 0. Got {total_timesteps!r}.")
        result = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, *args)
        interrupted, self._interrupted = self._interrupted, None
        if interrupted is not None and not reset_num_timesteps:
            interrupted.restore(self)
        return result

    @abstractmethod
    def _training_tensors(self) -> dict[str, Tensor]:
        """Return what an exact continuation needs besides the model and the environment: random streams, above all."""

    @abstractmethod
    def _restore_training(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `_training_tensors` returned."""

    def save_training(self, path: str | Path) -> None:
        """Save the model and all that an exact continuation needs, between two windows (`on_rollout_start`).

        Raises
        ------
        ValueError
            If no training has begun, or inside a window.
        """
        if self.env is None:
            raise ValueError("There is no environment whose state could be saved.")
        if not self._between_windows():
            raise ValueError("A training is saved between two windows: none has begun, or one is not learned from yet.")
        assert self.ep_info_buffer is not None
        episodes = self.adapter.episodes
        tensors = {
            **self._tensors(),
            **self._training_tensors(),
            **checkpoint.with_prefix("env", self.adapter.env.get_state()),
            "episode/returns": torch.from_numpy(episodes.returns),
            "episode/lengths": torch.from_numpy(episodes.lengths),
        }
        training = {
            "num_envs": self.n_envs,
            "episodes": list(self.ep_info_buffer),
            "learn": dataclasses.asdict(self._interrupted or InterruptedLearn.of(self)),
        }
        checkpoint.write(_with_suffix(path), {**self._header(), "training": training}, tensors)

    @classmethod
    def load_training(
        cls, path: str | Path, env: AnyEnv | None, device: torch.device | str = "auto", **kwargs: Any
    ) -> Self:
        """Load what `save_training` wrote; `learn(n, reset_num_timesteps=False)` continues as if never interrupted.

        Parameters
        ----------
        path
            The file; ".zip" may be left out.
        env
            Environment of the same task and number; its state is replaced. None is refused.
        device
            Of the networks: "auto", "cpu", "cuda" or "cuda:<number>".
        **kwargs
            Further arguments of the constructor, as `load` takes them.

        Raises
        ------
        TypeError
            If there is any other argument.
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
            model._interrupted = InterruptedLearn(**header["training"]["learn"])
        if model.env is None or (model.env_id, model.n_envs) != (header["env_id"], num_envs):
            here = "no environment" if model.env is None else f"{model.n_envs} environments of {model.env_id}"
            raise checkpoint.CheckpointError(
                f"{path} continues {num_envs} environments of {header['env_id']}. Got {here}."
            )
        model._last_obs = model.env.reset()  # type: ignore[assignment]  # as in SB3: its type has tuples too
        with checkpoint.content_of(path):
            here = model.adapter.env.get_state()
            state = checkpoint.without_prefix("env", tensors)
            model.adapter.env.set_state({name: tensor.to(here[name].device) for name, tensor in state.items()})
            model.adapter.episodes.restore(tensors["episode/returns"].numpy(), tensors["episode/lengths"].numpy())
            model.ep_info_buffer = deque(episodes, maxlen=model._stats_window_size)
            model._restore_training(tensors)
        model.ep_success_buffer = deque(maxlen=model._stats_window_size)
        return model


def _with_suffix(path: str | Path) -> Path:
    """Return the path, with ".zip" added unless it ends in it."""
    path = Path(path)
    return path if path.suffix == ".zip" else path.with_name(path.name + ".zip")
