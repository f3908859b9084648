"""What a first-order algorithm consists of between two updates."""

from typing import ClassVar

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from rpo.making import AnyEnv
from rpo.persistence import ConfigT, PersistentModel
from rpo.policy import FirstOrderPolicy, make_generator
from rpo.vec_env import TorchVecEnv


class FirstOrderModel(PersistentModel[ConfigT]):
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

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": FirstOrderPolicy}
    policy: FirstOrderPolicy  # pyright: ignore[reportIncompatibleVariableOverride]  # narrowed, as in SB3's own
    env: TorchVecEnv | None  # pyright: ignore[reportIncompatibleVariableOverride]

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
        adapter, device = self._resolve_arguments(env, config, num_envs, device, needed=_init_setup_model)
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

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "actor_optimizer", "critic_optimizer"], []

    def _training_tensors(self) -> dict[str, Tensor]:
        assert self.policy.generator is not None
        return {
            "generator/learn": self._generator.get_state(),
            "generator/predict": self.policy.generator.get_state(),
        }

    def _restore_training(self, tensors: dict[str, Tensor]) -> None:
        assert self.policy.generator is not None
        self._generator.set_state(tensors["generator/learn"])
        self.policy.generator.set_state(tensors["generator/predict"])
