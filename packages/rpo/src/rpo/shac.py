"""SHAC: Short-Horizon Actor-Critic.

| | actor gradient from | samples used | entropy | critic target |
|---|---|---|---|---|
| shac.py | the window's return and its terminal value, through the simulation | once | no | TD(lambda), ensemble's mean |

Source: "Accelerated Policy Learning with Parallel Differentiable Simulation" (Xu et al. 2022), with the networks, the
normaliser and the critics that the paper of RPO (arXiv 2508.06214) gives to all algorithms it compares.
"""  # noqa: E501  # a table

import dataclasses
from typing import ClassVar, final

from torch import Tensor

from rpo.algorithm import AbstractAlgorithm
from rpo.config import SingleStepConfig
from rpo.rollout import Rollout


@dataclasses.dataclass(frozen=True, kw_only=True)
class SHACConfig(SingleStepConfig):
    """Settings of SHAC."""


@final
class SHAC(AbstractAlgorithm[SHACConfig]):
    """One step a window along the gradient of its return (Xu et al. 2022).

    Its arguments are described at `PersistentModel.__init__`, and its settings at `SHACConfig`.
    """

    config_class: ClassVar = SHACConfig

    def update(self, rollout: Rollout) -> dict[str, Tensor]:
        """Improve the policy, then the critics, on one window; see the base class."""
        with self.timed("backward"):
            metrics = self.ascend(rollout, rollout.rewards)
        with self.timed("critic"):
            return metrics | self.train_critics(rollout, rollout.rewards.detach())
