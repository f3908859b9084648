"""SAPO: Soft Analytic Policy Optimization.

| | actor gradient from | samples used | entropy | critic target |
|---|---|---|---|---|
| sapo.py | the window's return and its terminal value, through the simulation | once | in the return and the target, with a learned temperature | TD(lambda), ensemble's minimum |

Source: "Stabilizing Reinforcement Learning in Differentiable Multiphysics Simulation" (Xing et al. 2025) and its code.
"""  # noqa: E501  # a table

import dataclasses
from typing import ClassVar, Literal, final

from torch import Tensor

from rpo import objectives
from rpo.algorithm import AbstractAlgorithm
from rpo.config import SingleStepConfig, require_number
from rpo.networks import Temperature
from rpo.optimizers import FiniteAdamW
from rpo.rollout import Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class SAPOConfig(SingleStepConfig):
    """Settings of SAPO."""

    target_reduce: Literal["mean", "min"] = "min"
    """Which value of the ensemble the critics' targets bootstrap with (min: SAPO's code; the paper of RPO: mean)."""
    initial_temperature: float = 1.0
    """Temperature of the entropy at the first window (table 4; 0.005 for the hand)."""
    temperature_learning_rate: float = 5e-3
    """Learning rate of the temperature's logarithm, which does not decay (table 4)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("initial_temperature", "temperature_learning_rate"):
            require_number(self, name, 0, above=True)


@final
class SAPO(AbstractAlgorithm[SAPOConfig]):
    """One step a window along the gradient of its return and entropy, whose weight is learned (Xing et al. 2025).

    Its arguments are described at `PersistentModel.__init__`, and its settings at `SAPOConfig`.
    """

    config_class: ClassVar = SAPOConfig

    def _setup_model(self) -> None:
        super()._setup_model()
        cfg = self.config
        self.temperature = Temperature(cfg.initial_temperature).to(self.device)
        # A temperature is no weight to decay: it would be drawn to 1.
        self.temperature_optimizer = FiniteAdamW(
            self.temperature.parameters(),
            cfg.temperature_learning_rate,
            name="temperature",
            betas=cfg.betas,
            weight_decay=0.0,
        )

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        parts, others = super()._get_torch_save_params()
        return [*parts, "temperature", "temperature_optimizer"], others

    def update(self, rollout: Rollout) -> dict[str, Tensor]:
        """Improve the policy, then the critics, then the temperature, on one window; see the base class."""
        temperature = self.temperature()
        rewards = rollout.rewards + temperature.detach() * rollout.entropies
        with self.timed("backward"):
            metrics = self.ascend(rollout, rewards)
        with self.timed("critic"):
            metrics |= self.train_critics(rollout, rewards.detach())
        loss = objectives.temperature_loss(temperature, rollout.entropies.detach(), self.policy.act_dim)
        self.minimise(self.temperature_optimizer, loss, temperature_loss=loss)
        return metrics | {"entropy_coef": temperature}
