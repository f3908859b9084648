"""Train Stable-Baselines3's PPO on the task of train_rpo.py, and watch what gradients of the simulation are worth.

PPO sees observations and rewards, as of any environment. Task, environments and steps are those of train_rpo.py, the
rollout is as long as a window there; the other settings are Stable-Baselines3's defaults.
"""

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from diffenvs import DiffVectorEnv
from diffenvs.sb3 import SB3VecEnv

TASK = "diffenvs/Ant-v0"


def main(steps: int = 300_000, episodes: int = 32) -> tuple[PPO, float]:
    """Train, and print the return of whole episodes; returns the model and their mean return."""
    vec_env = VecNormalize(SB3VecEnv(DiffVectorEnv(TASK, num_envs=32)), gamma=0.99)
    model = PPO("MlpPolicy", vec_env, n_steps=32, seed=0, device="cpu")
    model.learn(steps)

    vec_env.training, vec_env.norm_reward = False, False
    vec_env.seed(1)
    returns, _ = evaluate_policy(model, vec_env, n_eval_episodes=episodes, return_episode_rewards=True)
    mean, std = np.mean(returns), np.std(returns)
    print(f"after {model.num_timesteps:,} steps, {episodes} episodes: return {mean:.1f} +- {std:.1f}")
    return model, float(mean)


if __name__ == "__main__":
    main()
