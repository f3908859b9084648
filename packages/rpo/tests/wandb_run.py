"""Train for a moment with Weights & Biases, which stays offline, in the folder given: python wandb_run.py FOLDER."""

import sys
from pathlib import Path

import wandb
from systems import LinearQuadratic
from wandb.integration.sb3 import WandbCallback

from rpo import RPO, RPOConfig

folder = Path(sys.argv[1])
with wandb.init(project="rpo", mode="offline", dir=folder, sync_tensorboard=True):
    config = RPOConfig(hidden_sizes=(8,), horizon=4, critic_epochs=1)
    model = RPO(LinearQuadratic(4, max_episode_steps=6), config, seed=0, tensorboard_log=str(folder / "tensorboard"))
    model.learn(64, callback=WandbCallback(model_save_path=str(folder), gradient_save_freq=4))
