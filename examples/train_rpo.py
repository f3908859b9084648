"""Train RPO on the Ant from Python, with a Stable-Baselines3 callback that looks on and ends the training.

Callbacks of Stable-Baselines3 work as with its own algorithms: their `model` is the RPO model.
"""

from stable_baselines3.common.callbacks import BaseCallback

from rpo import RPO, evaluate
from rpo.making import make_vector_env

TASK = "diffenvs/Ant-v0"


class StopAtReturn(BaseCallback):
    """Print the return of the last training episodes after every window, and end the training once it is reached.

    Parameters
    ----------
    goal
        Mean return of the last 100 training episodes at which to stop.
    """

    def __init__(self, goal: float) -> None:
        super().__init__()
        self.goal = goal
        self.curve: list[float] = []

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        if episodes:
            self.curve.append(sum(episode["r"] for episode in episodes) / len(episodes))
            print(f"{self.num_timesteps:8,} steps  return {self.curve[-1]:7.1f}")

    def _on_step(self) -> bool:
        return not self.curve or self.curve[-1] < self.goal


def main(steps: int = 300_000, goal: float = 3000.0) -> StopAtReturn:
    """Train with the settings for a laptop, and print the returns of whole episodes; returns the callback."""
    model = RPO(TASK, preset="small", seed=0)
    callback = StopAtReturn(goal)
    model.learn(steps, callback, log_interval=None)
    summary = evaluate(model.policy, make_vector_env(TASK, 32), episodes=32, seed=1).summary()
    print(f"after {model.num_timesteps:,} steps, 32 episodes: return {summary['mean']:.1f} +- {summary['std']:.1f}")
    return callback


if __name__ == "__main__":
    main()
