"""What a first-order algorithm consists of between two updates."""

from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

from rpo.config import FirstOrderConfig
from rpo.optimizers import FiniteAdamW, StepGuard
from rpo.persistence import STANDARD_POLICY, PersistentModel
from rpo.policy import FirstOrderPolicy, make_generator
from rpo.vec_env import TorchVecEnv

FirstOrderConfigT = TypeVar("FirstOrderConfigT", bound=FirstOrderConfig)


class FirstOrderModel(PersistentModel[FirstOrderConfigT]):
    """Networks, optimisers and random streams of an algorithm, its environment, and its files.

    Its arguments are described at `PersistentModel.__init__`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {STANDARD_POLICY: FirstOrderPolicy}
    policy: FirstOrderPolicy  # pyright: ignore[reportIncompatibleVariableOverride]  # narrowed, as in SB3's own
    env: TorchVecEnv | None  # pyright: ignore[reportIncompatibleVariableOverride]

    def _own_arguments(self, adapter: TorchVecEnv | None) -> dict[str, Any]:
        return {"learning_rate": self.config.learning_rate, "support_multi_env": True}

    def _setup_model(self) -> None:
        """Make networks, optimisers and random generators."""
        assert issubclass(self.policy_class, FirstOrderPolicy)
        self.policy = self.policy_class(self.observation_space, self.action_space, self.config, self.seed)  # type: ignore[arg-type]
        self.policy.to(self.device)
        self.set_random_seed(self.seed)
        self.actor_optimizer = self._make_optimizer("actor", self.policy.actor, self.config.learning_rate)
        self.critic_optimizer = self._make_optimizer("critic", self.policy.critics, self.config.critic_learning_rate)
        self.guard = StepGuard()

    def _make_optimizer(self, name: str, module: torch.nn.Module, learning_rate: float) -> FiniteAdamW:
        cfg = self.config
        return FiniteAdamW(
            module.parameters(), learning_rate, name=name, betas=cfg.betas, weight_decay=cfg.weight_decay
        )

    def optimizers(self) -> list[FiniteAdamW]:
        """Return all optimisers."""
        parts = (getattr(self, name) for name in self._get_torch_save_params()[0])
        return [part for part in parts if isinstance(part, FiniteAdamW)]

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
            "guard/in_a_row": torch.tensor([self.guard.in_a_row.get(part.name, 0) for part in self.optimizers()]),
        }

    def _restore_training(self, tensors: dict[str, Tensor]) -> None:
        assert self.policy.generator is not None
        self._generator.set_state(tensors["generator/learn"])
        self.policy.generator.set_state(tensors["generator/predict"])
        in_a_row = tensors["guard/in_a_row"].tolist()
        self.guard.in_a_row = {part.name: windows for part, windows in zip(self.optimizers(), in_a_row, strict=True)}
