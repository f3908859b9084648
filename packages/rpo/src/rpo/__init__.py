"""Reparameterization Proximal Policy Optimization (arXiv 2508.06214) for differentiable environments.

Not CleanRL's Robust Policy Optimization, which has the same abbreviation.
"""

from rpo.checkpoint import CheckpointError
from rpo.env import DifferentiableVectorEnv
from rpo.evaluation import Evaluation, evaluate
from rpo.optimizers import NonFiniteError
from rpo.ppo import PPO, PPOConfig
from rpo.presets import PRESETS, Preset, TaskPreset
from rpo.rpo import RPO, RPOConfig
from rpo.sapo import SAPO, SAPOConfig
from rpo.shac import SHAC, SHACConfig
from rpo.vec_env import TorchVecEnv
from rpo.versions import VERSION

__all__ = [
    "PPO",
    "PRESETS",
    "RPO",
    "SAPO",
    "SHAC",
    "CheckpointError",
    "DifferentiableVectorEnv",
    "Evaluation",
    "NonFiniteError",
    "PPOConfig",
    "Preset",
    "RPOConfig",
    "SAPOConfig",
    "SHACConfig",
    "TaskPreset",
    "TorchVecEnv",
    "evaluate",
]

__version__ = VERSION
