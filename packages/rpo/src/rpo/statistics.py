"""Statistics over runs of one algorithm with different seeds.

Source: "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (Agarwal et al. 2021): the interquartile
mean, and its confidence interval by the percentile bootstrap over runs, as its package rliable computes them.
"""

import numpy as np


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """Return the mean of the middle half of the runs, (run, ...) to (...): the mean where there are fewer than four."""
    cut = len(scores) // 4
    return np.sort(scores, axis=0)[cut : len(scores) - cut].mean(0)


def confidence_interval(
    scores: np.ndarray, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the interquartile mean's confidence interval, (run, ...) to (...) each.

    Parameters
    ----------
    scores
        One score, or one curve, of each run.
    level
        Probability of the interval.
    resamples
        Draws of as many runs as there are, with replacement.
    seed
        Seed of the draws.

    Returns
    -------
    tuple of ndarray
        Lower and upper bound; NaN where there is one run only, which says nothing about others.
    """
    if len(scores) < 2:
        return np.full(scores.shape[1:], np.nan), np.full(scores.shape[1:], np.nan)
    draws = np.random.default_rng(seed).integers(len(scores), size=(resamples, len(scores)))
    means = np.stack([interquartile_mean(scores[draw]) for draw in draws])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
