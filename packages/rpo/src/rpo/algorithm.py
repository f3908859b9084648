"""What all first-order algorithms do: learn in windows, step optimisers, log. No maths."""

import contextlib
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Self

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.type_aliases import MaybeCallback
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from rpo import objectives, returns, schedules
from rpo.arguments import is_integer
from rpo.env import DifferentiableVectorEnv
from rpo.host_array import HostArray
from rpo.logs import dump_progress
from rpo.model import FirstOrderConfigT, FirstOrderModel
from rpo.optimizers import FiniteAdamW
from rpo.rollout import Rollout, collect

SCHEDULES = {"exponential": schedules.exponential, "linear": schedules.linear}


class AbstractAlgorithm(FirstOrderModel[FirstOrderConfigT]):
    """Base of the algorithms that learn from the gradients of a differentiable environment; see `FirstOrderModel`.

    A concrete algorithm says in `update` what it does with a window, and nothing else.
    """

    _seconds: dict[str, float]

    @abstractmethod
    def update(self, rollout: Rollout) -> dict[str, Tensor]:
        """Improve policy and critics on one window, and return statistics to log by name.

        A scalar is logged as `train/<name>`, the elements of a vector as `<name>/<index>`. What is logged is the last
        window's, but an integer scalar is a count: it is summed over the windows since the last output.
        """

    def learn(  # pyright: ignore[reportIncompatibleMethodOverride]  # log_interval counts windows
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = 1,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Train for at least `total_timesteps` environment steps, in whole windows.

        The arguments are Stable-Baselines3's: `total_timesteps` counts from 0, or with `reset_num_timesteps=False` from
        the steps taken before, and `log_interval` counts windows.

        Callbacks are called once per control step (of all environments), inside the open graph: they must not step the
        training environment. Their `locals` have `rewards` and `dones`, (N,), which are copied from the simulation's
        device when a callback looks at them (`HostArray`), and no `infos`. A window that a callback gives up is not
        learned from, and the next `learn` resets the environment.

        Raises
        ------
        ValueError
            If there is no environment, `total_timesteps` is no number or negative, or `log_interval` is not positive.
        NonFiniteError
            If a loss or a gradient was not finite in `optimizers.LIMIT` windows in a row. Steps along such a gradient
            are left out and counted (`train/skipped_<whose>_steps`).
        """
        env = self.adapter.env
        if log_interval is not None and not is_integer(log_interval, minimum=1):
            raise ValueError(f"log_interval must be an integer >= 1, or None. Got {log_interval!r}.")
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name or type(self).__name__, progress_bar
        )
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total_timesteps:
            self._seconds = {}
            self._update_current_progress_remaining(self.num_timesteps, total_timesteps)
            self._set_learning_rates()
            callback.on_rollout_start()
            # A window that a callback or an exception cuts short leaves no observation: the next `learn` resets.
            last, self._last_obs = self._last_obs, None
            rollout = self._collect(env, callback)
            if rollout is None:
                break
            callback.on_rollout_end()
            metrics = self.update(rollout) | self._rollout_metrics(rollout)
            self.policy.normalizer.update(rollout.raw_observations)
            self._n_updates += 1
            self._record(rollout, metrics)
            self._last_obs = last
            windows = (self.num_timesteps - self._num_timesteps_at_start) // (self.config.horizon * self.n_envs)
            if log_interval is not None and windows % log_interval == 0:
                self.dump_logs(windows)
            self.guard.end_window(self.optimizers())
        callback.on_training_end()
        return self

    def _set_learning_rates(self) -> None:
        """Decay over the task's budget of steps, whatever this call of `learn` runs."""
        cfg = self.config
        progress = self.num_timesteps / cfg.decay_timesteps
        for optimizer, start in (
            (self.actor_optimizer, cfg.learning_rate),
            (self.critic_optimizer, cfg.critic_learning_rate),
        ):
            rate = SCHEDULES[cfg.learning_rate_decay](start, cfg.learning_rate_end, progress)
            optimizer.param_groups[0]["lr"] = rate

    def _collect(self, env: DifferentiableVectorEnv, callback: BaseCallback) -> Rollout | None:
        """Roll out one window with the statistics of observations known before it."""

        def on_step(rewards: Tensor, ended: Tensor) -> bool:
            self.num_timesteps += self.n_envs
            callback.update_locals({"rewards": HostArray(rewards), "dones": HostArray(ended)})
            return callback.on_step()

        self.policy.normalizer.refresh()
        with self.timed("rollout"):
            return collect(env, self.policy, self.config.horizon, self._generator, on_step)

    # ------------------------------------------------------------------------------------------ steps of an update

    def noise_like(self, like: Tensor) -> Tensor:
        """Return fresh standard normal noise of a tensor's shape, from this model's generator."""
        return torch.randn(like.shape, generator=self._generator, device=like.device, dtype=like.dtype)

    def minimise(self, optimizer: FiniteAdamW, loss: Tensor, **terms: Tensor) -> Tensor:
        """Take one optimiser step on a loss, unless it is not finite, and return the gradient's norm before clipping.

        Parameters
        ----------
        optimizer
            Optimiser of the parameters that get a gradient; no others do.
        loss
            What to minimise.
        terms
            Parts of the loss, scalars, that a message may name if they are not finite.
        """
        parameters = optimizer.param_groups[0]["params"]
        optimizer.zero_grad()
        loss.backward(inputs=parameters)
        norm = clip_grad_norm_(parameters, self.config.max_grad_norm)
        optimizer.step_if_finite(norm, **terms)
        return norm

    def window_objective(self, rollout: Rollout, rewards: Tensor) -> Tensor:
        """Return the actor's objective of a window with these rewards, entropy bonus included, (horizon, world)."""
        ends = rollout.terminated, rollout.truncated
        return returns.window_objective(rewards, rollout.next_values.mean(0), *ends, self.config.gamma)

    def ascend(self, rollout: Rollout, rewards: Tensor) -> dict[str, Tensor]:
        """Take one step of the actor along the gradient of the window's objective, and return statistics of it."""
        objective = self.window_objective(rollout, rewards)
        norm = self.minimise(self.actor_optimizer, -objective, objective=objective)
        return {"objective": objective, "actor_grad_norm": norm}

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
        batches = [
            batch
            for _ in range(cfg.critic_epochs)
            for batch in torch.randperm(len(targets), generator=self._generator, device=self.device).chunk(
                cfg.critic_minibatches
            )
        ]
        losses, norms = [], []
        for batch in batches:
            loss = objectives.value_loss(critics(observations[batch]), targets[batch])
            norms.append(self.minimise(self.critic_optimizer, loss, value_loss=loss))
            losses.append(loss.detach())
        per_epoch = len(batches) // cfg.critic_epochs
        return {
            "value_loss": torch.stack(losses[-per_epoch:]).mean(),
            "critic_grad_norm": torch.stack(norms[-per_epoch:]).mean(),
            "explained_variance": explained,
        }

    # -------------------------------------------------------------------------------------------------- logging

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to what is logged as `time/<name>_seconds`.

        They are the host's. CUDA works behind the host's back: there they say how long the block took to launch its
        kernels and to wait where it needed a result, not how long the kernels took.
        """
        start = time.perf_counter()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    @torch.no_grad()
    def _rollout_metrics(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the statistics of a window that all algorithms share, after its update."""
        action_grad_norm = rollout.action_gradients.values.norm(dim=-1)
        skipped = {f"skipped_{optimizer.name}_steps": optimizer.skipped for optimizer in self.optimizers()}
        return skipped | {
            "kl": objectives.kl_penalty(rollout.behaviour, self.policy.actor(rollout.observations)),
            "entropy": rollout.entropies.mean(),
            "non_finite_states": rollout.non_finite.sum(),
            "lost_gradients": rollout.action_gradients.lost.any(0).sum(),
            "action_grad_mean": action_grad_norm.mean(),
            "action_grad_max": action_grad_norm.max(),
            "action_grad_mean_by_step": action_grad_norm.mean(1),
            "action_grad_max_by_step": action_grad_norm.amax(1),
        }

    def _record(self, rollout: Rollout, metrics: Mapping[str, Tensor]) -> None:
        """Move the window's numbers to the host, all statistics in one transfer, and hand them to the logger."""
        assert self.ep_info_buffer is not None
        rewards = rollout.rewards.detach().cpu().numpy()
        ended = (rollout.terminated | rollout.truncated).cpu().numpy()
        self.ep_info_buffer.extend(self.adapter.episodes.update(rewards, ended))
        flat = torch.cat([value.detach().reshape(-1).double().to(self.device) for value in metrics.values()]).tolist()
        position = 0
        for name, tensor in metrics.items():
            values = flat[position : position + tensor.numel()]
            position += tensor.numel()
            if tensor.ndim == 0:
                before = 0.0 if tensor.is_floating_point() else self.logger.name_to_value[f"train/{name}"]
                self.logger.record(f"train/{name}", before + values[0])
                continue
            for index, value in enumerate(values):
                self.logger.record(f"{name}/{index:02d}", value, exclude=("stdout", "log"))
        for optimizer in (self.actor_optimizer, self.critic_optimizer):
            self.logger.record(f"train/{optimizer.name}_learning_rate", optimizer.param_groups[0]["lr"])
        self._seconds["simulation"] = rollout.simulation_seconds
        for name, seconds in self._seconds.items():
            self.logger.record(f"time/{name}_seconds", seconds)

    def dump_logs(self, iteration: int = 0) -> None:
        """Write the last window's numbers, and the counts since the last output, to the logger's outputs."""
        dump_progress(self, iteration)
