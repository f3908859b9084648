"""The paper's settings per task, as typed data.

Source: "Reparameterization Proximal Policy Optimization" (arXiv 2508.06214), tables 5 and 6 of its appendix. What all
tasks share (table 4) is the default of the configuration classes.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TaskPreset:
    """What differs from task to task. A field with the name of a field of a configuration becomes its value."""

    num_envs: int
    """Parallel environments, N (table 5)."""
    decay_timesteps: int
    """Environment steps of training: the budget in AHAC's configuration, which the paper follows."""
    entropy_coef: float
    """Entropy coefficient (table 6)."""
    kl_coef: float
    """KL coefficient (table 6)."""
    clip_low: float
    """Clip range below 1 (table 6)."""
    clip_high: float
    """Clip range above 1 (table 6)."""


PRESETS: dict[str, TaskPreset] = {
    "diffenvs/Hopper-v0": TaskPreset(
        num_envs=1024, decay_timesteps=16_400_000, entropy_coef=0.2, kl_coef=0.4, clip_low=0.8, clip_high=1.0
    ),
    "diffenvs/Ant-v0": TaskPreset(
        num_envs=128, decay_timesteps=8_200_000, entropy_coef=0.5, kl_coef=0.5, clip_low=0.8, clip_high=1.0
    ),
}
"""Settings by environment id."""
