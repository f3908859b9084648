"""RPO: Reparameterization Proximal Policy Optimization.

| | actor gradient from | samples used | entropy | critic target |
|---|---|---|---|---|
| rpo.py | stored action gradients of the window's return, re-attached to the current policy | several epochs, clipped ratio and KL | in the return, the target, and straight to the policy | TD(lambda), ensemble |
"""  # noqa: E501  # a table

import dataclasses
from typing import ClassVar, final

import torch
from torch import Tensor

from rpo import objectives
from rpo.algorithm import AbstractAlgorithm
from rpo.config import FirstOrderConfig, require_integer, require_number
from rpo.rollout import Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class RPOConfig(FirstOrderConfig):
    """Settings of RPO; the defaults are those of the paper's Ant and Humanoid."""

    policy_epochs: int = 5
    """Passes of the actor over a window's cached action gradients, M (table 4; 2 in the ablation of table 2)."""
    clip_low: float = 0.8
    """Samples with a ratio below 1 - clip_low are left out (1 for none)."""
    clip_high: float = 1.0
    """Samples with a ratio above 1 + clip_high are left out (inf for none)."""
    kl_coef: float = 0.5
    """Weight of the divergence from the policy that acted (0 in the ablation of table 2)."""
    entropy_coef: float = 0.5
    """Weight of the entropy, in the return as in the policy's objective."""
    max_action_grad: float | None = None
    """Multiple of their median norm to which cached action gradients are clipped (None for never: the paper)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer(self, "policy_epochs", minimum=1)
        require_number(self, "clip_low", 0, 1)
        require_number(self, "clip_high", 0, infinite=True)
        for name in ("kl_coef", "entropy_coef"):
            require_number(self, name, 0)
        if self.max_action_grad is not None:
            require_number(self, "max_action_grad", 0, above=True)


@final
class RPO(AbstractAlgorithm[RPOConfig]):
    """Several policy epochs on the cached action gradients of one backward pass (Algorithm 1 of arXiv 2508.06214).

    Its arguments are described at `PersistentModel.__init__`, and its settings at `RPOConfig`.
    """

    config_class: ClassVar = RPOConfig

    def update(self, rollout: Rollout) -> dict[str, Tensor]:
        """Improve the policy, then the critics, on one window; see the base class."""
        cfg = self.config
        rewards = rollout.rewards + cfg.entropy_coef * rollout.entropies
        with self.timed("backward"):
            objective = self.window_objective(rollout, rewards)
            action_grad = objectives.action_gradients(objective, rollout.actions)
            if cfg.max_action_grad is not None:
                action_grad = objectives.clip_action_gradients(action_grad, cfg.max_action_grad)
        with self.timed("actor"):
            metrics = self._improve_policy(rollout, action_grad)
        with self.timed("critic"):
            metrics |= self.train_critics(rollout, rewards.detach())
        return metrics | {"objective": objective, "entropy_coef": torch.tensor(cfg.entropy_coef)}

    def _improve_policy(self, rollout: Rollout, action_grad: Tensor) -> dict[str, Tensor]:
        """Take the policy epochs, full batch; return statistics of the last epoch, and of every one."""
        cfg, old = self.config, rollout.behaviour
        epochs = []
        for _ in range(cfg.policy_epochs):
            policy = self.policy.actor(rollout.observations)
            action = objectives.regenerated_action(policy, rollout.presquash)
            ratio = objectives.importance_ratio(policy, old, rollout.presquash)
            surrogate = objectives.clipped_surrogate(action, action_grad, ratio, cfg.clip_low, cfg.clip_high)
            kl = objectives.kl_penalty(old, policy)
            entropy = objectives.entropy_bonus(policy, self.noise_like(policy.mean))
            loss = -objectives.policy_objective(surrogate, kl, entropy, cfg.kl_coef, cfg.entropy_coef)
            norm = self.minimise(self.actor_optimizer, loss, surrogate=surrogate, kl=kl, entropy=entropy)
            clipped = ~objectives.inside_clip(ratio, cfg.clip_low, cfg.clip_high)
            epochs.append((ratio.mean(), ratio.min(), ratio.max(), clipped.to(ratio.dtype).mean(), norm))
        names = ("ratio_mean", "ratio_min", "ratio_max", "clip_fraction", "actor_grad_norm")
        by_epoch = dict(zip(names, zip(*epochs, strict=True), strict=True))
        return {name: values[-1] for name, values in by_epoch.items()} | {
            f"{name}_by_epoch": torch.stack(values) for name, values in by_epoch.items()
        }
