"""PPO: Proximal Policy Optimization, the baseline that takes no gradients from the simulation.

The algorithm is Stable-Baselines3's. What is here gives it the settings that the paper of RPO (arXiv 2508.06214)
compares with, and the arguments and files of this package's other algorithms.
"""

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from rpo import checkpoint, random_streams
from rpo.config import AlgorithmConfig, require, require_integer, require_number
from rpo.logs import dump_progress
from rpo.making import AnyEnv, resolve_env
from rpo.normalization import VEC_NORMALIZE
from rpo.optimizers import FiniteAdamW, StepGuard
from rpo.persistence import STANDARD_POLICY, PersistentModel
from rpo.ppo_policy import SharedTrunkPolicy
from rpo.schedules import kl_adaptive
from rpo.vec_env import TorchVecEnv

LOSS_TERMS = ("policy_gradient_loss", "entropy_loss", "value_loss")
"""Terms of the loss, under the names that Stable-Baselines3 logs their means over an epoch by."""
VARIANCE_MIN = 1e-8
"""Variance of returns below which their scale counts for nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOConfig(AlgorithmConfig):
    """Settings of PPO, under Stable-Baselines3's names where it has them.

    The paper gives no minibatch size, clip range, and weights of entropy and value: they are those of SAPO's code.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's moments (table 4)."""
    gae_lambda: float = 0.95
    """Mixing factor of the generalised advantage estimate (table 4)."""
    n_epochs: int = 5
    """Passes over a window (table 4)."""
    batch_size: int = 2048
    """Samples in a minibatch, at most the window's; it divides the window (SAPO's code)."""
    clip_range: float = 0.2
    """Distance of the ratio from 1 beyond which the surrogate is flat (SAPO's code)."""
    ent_coef: float = 0.0
    """Weight of the entropy in the loss (SAPO's code)."""
    vf_coef: float = 2.0
    """Weight of the value's squared error in units of the variance of returns (SAPO's code: 4 times a half)."""
    target_kl: float = 0.008
    """Divergence of the policy in an epoch that steers the learning rate, see `schedules.kl_adaptive` (table 4)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer(self, "n_epochs", minimum=1)
        require_integer(self, "batch_size", minimum=2)
        require_number(self, "gae_lambda", 0, 1)
        for name in ("ent_coef", "vf_coef"):
            require_number(self, name, 0)
        for name in ("clip_range", "target_kl"):
            require_number(self, name, 0, above=True)

    def minibatch(self, num_envs: int) -> int:
        """Return the samples in a minibatch of a window of so many environments.

        Raises
        ------
        ValueError
            If the window is not a whole number of them, or a single sample, whose advantage has no scale.
        """
        window = self.horizon * num_envs
        size = min(self.batch_size, window)
        fits = window > 1 and window % size == 0
        largest = max(divisor for divisor in range(1, size + 1) if window % divisor == 0)
        hint = f"the largest up to {size} is {largest}"
        expectation = f"a divisor of the window's {window} samples, which are more than one ({hint})"
        require(self, "batch_size", expectation, fits)
        return size


@final
class PPO(PersistentModel[PPOConfig], stable_baselines3.PPO):  # type: ignore[misc]  # as narrowed in `PersistentModel`
    """Stable-Baselines3's PPO with the arguments and files of `PersistentModel` (Schulman et al. 2017).

    Its observations are normalised by `VecNormalize`, and so are those that `predict` takes; `policy.act` takes those
    of the environment. Random numbers are torch's and NumPy's global ones, which `seed` seeds.

    Its arguments are described at `PersistentModel.__init__`, and its settings at `PPOConfig`.
    """

    config_class: ClassVar = PPOConfig
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {STANDARD_POLICY: SharedTrunkPolicy}
    policy: SharedTrunkPolicy  # pyright: ignore[reportIncompatibleVariableOverride]
    rollout_buffer: RolloutBuffer

    def _own_arguments(self, adapter: TorchVecEnv | None) -> dict[str, Any]:
        cfg = self.config
        self._rate = cfg.learning_rate
        return {
            "learning_rate": lambda _: self._rate,
            "n_steps": cfg.horizon,
            "batch_size": cfg.batch_size if adapter is None else cfg.minibatch(adapter.num_envs),
            "n_epochs": 1,  # `train` takes them one at a time
            "gamma": cfg.gamma,
            "gae_lambda": cfg.gae_lambda,
            "clip_range": cfg.clip_range,
            "ent_coef": cfg.ent_coef,
            "vf_coef": cfg.vf_coef,
            "max_grad_norm": cfg.max_grad_norm,
            "_init_setup_model": False,
        }

    def _setup_model(self) -> None:
        if self.env is None:
            self.n_envs = 1  # until `set_env` says how many
        cfg = self.config
        self.policy_kwargs = {
            "hidden_sizes": cfg.hidden_sizes,
            "seed": self.seed,
            "optimizer_class": FiniteAdamW,
            "optimizer_kwargs": {
                "name": "policy",
                "betas": cfg.betas,
                "weight_decay": cfg.weight_decay,
                "eps": 1e-5,  # that of Stable-Baselines3's PPO and of SAPO's code
            },
        }
        super()._setup_model()
        self.guard = StepGuard()
        self._learned_timesteps = self.num_timesteps

    # ----------------------------------------------------------------------------------------------- environment

    def _wrapped(self, adapter: TorchVecEnv) -> VecEnv:
        return VecNormalize(adapter, gamma=self.config.gamma, **VEC_NORMALIZE)

    def set_env(self, env: AnyEnv, force_reset: bool = True) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Learn in another environment of the same spaces from now on; see the base class.

        Raises
        ------
        ValueError
            Also if the samples of a window would not be a whole number of minibatches.
        """
        adapter, before = resolve_env(env), self.env
        batch_size = self.config.minibatch(adapter.num_envs)
        super().set_env(adapter, force_reset)
        self.batch_size = batch_size
        if self.env is before:
            return
        if before is None:
            self._use_statistics()
        else:
            assert isinstance(before, VecNormalize)
            assert isinstance(self.env, VecNormalize)
            self.env.obs_rms, self.env.training = copy.deepcopy(before.obs_rms), before.training
        if self.rollout_buffer.n_envs != self.n_envs:
            self.rollout_buffer.n_envs = self.n_envs
            self.rollout_buffer.reset()

    def _keep_statistics(self) -> None:
        """Copy the statistics of observations from `VecNormalize` to the policy, which is saved."""
        if self.env is None:
            return
        assert isinstance(self.env, VecNormalize)
        known, normalizer = self.env.obs_rms, self.policy.normalizer
        normalizer.mean.copy_(torch.from_numpy(known.mean))  # type: ignore[union-attr]  # one Box, one set
        normalizer.var.copy_(torch.from_numpy(known.var))  # type: ignore[union-attr]
        normalizer.count.fill_(known.count)  # type: ignore[union-attr]
        normalizer.refresh()

    def _use_statistics(self) -> None:
        """Copy the statistics of observations from the policy to `VecNormalize`, if there is one yet."""
        if self.env is None:
            return
        assert isinstance(self.env, VecNormalize)
        known, normalizer = self.env.obs_rms, self.policy.normalizer
        known.mean, known.var = normalizer.mean.cpu().numpy().copy(), normalizer.var.cpu().numpy().copy()  # type: ignore[union-attr]
        known.count = normalizer.count.item()  # type: ignore[union-attr]

    # -------------------------------------------------------------------------------------------------- learning

    def train(self) -> None:
        """Learn from the window, an epoch at a time, after each of which the learning rate adapts.

        Raises
        ------
        NonFiniteError
            If a gradient was not finite in `optimizers.LIMIT` windows in a row; steps along such ones are left out.
            It names the terms of the loss that were not finite in the last window.
        """
        observations = torch.as_tensor(self.rollout_buffer.observations, device=self.device).flatten(0, 1)
        # SAPO's code normalises the values; the loss in their units does not depend on the scale of rewards either.
        self.vf_coef = self.config.vf_coef / max(float(self.rollout_buffer.returns.var()), VARIANCE_MIN)
        with torch.no_grad():
            behaviour = policy = self.policy.gaussian(observations)
        optimizer = self.policy.optimizer
        assert isinstance(optimizer, FiniteAdamW)
        for _ in range(self.config.n_epochs):
            super().train()
            for term in LOSS_TERMS:
                lost = not np.isfinite(self.logger.name_to_value[f"train/{term}"])
                optimizer.lost[term] = optimizer.lost.get(term, 0) + torch.tensor(lost)
            before = policy
            with torch.no_grad():
                policy = self.policy.gaussian(observations)
            self._rate = kl_adaptive(self._rate, _mean_kl(before, policy), self.config.target_kl)
        self._keep_statistics()
        self._learned_timesteps = self.num_timesteps
        self.logger.record("train/kl", _mean_kl(behaviour, policy))
        self.logger.record("train/skipped_policy_steps", optimizer.skipped.item())
        self.guard.end_window([optimizer])

    def dump_logs(self, iteration: int = 0) -> None:
        """Write to the logger's outputs; a resumed `learn` goes on counting windows where it was interrupted."""
        window = self.config.horizon * self.n_envs
        dump_progress(self, (self.num_timesteps - self._num_timesteps_at_start) // window)

    # ----------------------------------------------------------------------------------------------------- files

    def get_parameters(self) -> dict[str, dict[str, Any]]:
        """Return the state of networks and optimiser, with the statistics of all observations so far."""
        self._keep_statistics()
        return super().get_parameters()

    def set_parameters(
        self,
        load_path_or_dict: str | Path | Mapping[str, Any],
        exact_match: bool = True,
        device: torch.device | str = "auto",
    ) -> None:
        """Put the parameters and the statistics of observations into this model; see the base class."""
        super().set_parameters(load_path_or_dict, exact_match, device)
        self._use_statistics()

    def _header(self) -> dict[str, Any]:
        return {**super()._header(), "learning_rate": self._rate}

    def _restore(self, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        super()._restore(header, tensors)
        self._rate = header["learning_rate"]
        self._learned_timesteps = self.num_timesteps
        self._use_statistics()

    def _between_windows(self) -> bool:
        return super()._between_windows() and self.num_timesteps == self._learned_timesteps

    def _setup_learn(self, *args: Any, **kwargs: Any) -> tuple[int, BaseCallback]:
        result = super()._setup_learn(*args, **kwargs)
        self._learned_timesteps = self.num_timesteps  # a window that was cut short is left out
        return result

    def _training_tensors(self) -> dict[str, Tensor]:
        assert isinstance(self._last_obs, np.ndarray)
        return {
            **checkpoint.with_prefix("generator", random_streams.global_state(self.device)),
            "last/observations": torch.from_numpy(self._last_obs),
            "last/episode_starts": torch.from_numpy(self._last_episode_starts),
            "guard/in_a_row": torch.tensor(self.guard.in_a_row.get("policy", 0)),
        }

    def _restore_training(self, tensors: dict[str, Tensor]) -> None:
        self._use_statistics()  # the reset has added to them
        self._last_obs = tensors["last/observations"].numpy()
        self._last_episode_starts = tensors["last/episode_starts"].numpy()
        self.guard.in_a_row = {"policy": int(tensors["guard/in_a_row"])}
        random_streams.set_global_state(checkpoint.without_prefix("generator", tensors), self.device)


def _mean_kl(old: Normal, new: Normal) -> float:
    """Return the mean over samples of KL(old || new) [nat]."""
    return kl_divergence(old, new).sum(-1).mean().item()
