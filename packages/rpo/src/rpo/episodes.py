"""Returns and lengths of the episodes that a training finishes."""

import time

import numpy as np


class EpisodeStatistics:
    """Running return and length of each environment's episode, across windows.

    Attributes
    ----------
    returns
        Undiscounted reward since the episode began, (N,).
    lengths
        Control steps since the episode began, (N,).
    """

    def __init__(self, num_envs: int) -> None:
        self.returns = np.zeros(num_envs, dtype=np.float64)
        self.lengths = np.zeros(num_envs, dtype=np.int64)
        self._start = time.time()

    def reset(self) -> None:
        """Begin all episodes anew."""
        self.returns[:], self.lengths[:] = 0.0, 0

    def restore(self, returns: np.ndarray, lengths: np.ndarray) -> None:
        """Go on from the running returns and lengths of as many environments, (N,) each.

        Raises
        ------
        ValueError
            If there are more or fewer environments here.
        """
        if not returns.shape == lengths.shape == self.returns.shape:
            raise ValueError(f"there are {len(self.returns)} environments. Got {returns.shape} and {lengths.shape}.")
        self.returns[:], self.lengths[:] = returns, lengths

    def update(self, rewards: np.ndarray, ended: np.ndarray) -> list[dict[str, float]]:
        """Add a window, (horizon, N) each, and return its finished episodes as Stable-Baselines3's Monitor notes them.

        They are in the order of the steps, and those of one step in the order of the environments.
        """
        finished = []
        for reward, done in zip(rewards, ended, strict=True):
            self.returns += reward
            self.lengths += 1
            if done.any():
                now = round(time.time() - self._start, 6)
                finished += [
                    {"r": float(self.returns[i]), "l": int(self.lengths[i]), "t": now} for i in np.flatnonzero(done)
                ]
                self.returns[done] = 0.0
                self.lengths[done] = 0
        return finished
