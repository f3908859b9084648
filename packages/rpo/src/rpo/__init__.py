"""Reparameterization Proximal Policy Optimization (arXiv 2508.06214) for differentiable environments.

Not CleanRL's Robust Policy Optimization, which has the same abbreviation.
"""

from rpo.checkpoint import CheckpointError
from rpo.env import DifferentiableVectorEnv
from rpo.evaluation import Evaluation, evaluate
from rpo.presets import PRESETS, TaskPreset
from rpo.rpo import RPO, RPOConfig
from rpo.vec_env import TorchVecEnv

__all__ = [
    "PRESETS",
    "RPO",
    "CheckpointError",
    "DifferentiableVectorEnv",
    "Evaluation",
    "RPOConfig",
    "TaskPreset",
    "TorchVecEnv",
    "evaluate",
]
