"""Learning-rate schedules: progress in [0, 1] to a value."""


def exponential(start: float, end: float, progress: float) -> float:
    """Return start at progress 0, end at 1 and after, and the geometric interpolation between."""
    return start * (end / start) ** min(max(progress, 0.0), 1.0)


def linear(start: float, end: float, progress: float) -> float:
    """Return start at progress 0, end at 1 and after, and the straight line between."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)


def kl_adaptive(rate: float, kl: float, target: float, low: float = 1e-6, high: float = 1e-2) -> float:
    """Return the next learning rate of a policy that moved by a divergence: a factor of 1.5 less or more.

    It shrinks where the divergence is above twice the target, and grows where it is below half of it; low and high
    bound it.

    References
    ----------
    The adaptive schedule of rl_games (Makoviichuk and Makoviychuk 2021), which SAPO's code (Xing et al. 2025) gives to
    its PPO, with these constants.
    """
    if kl > 2.0 * target:
        return max(rate / 1.5, low)
    if kl < 0.5 * target:
        return min(rate * 1.5, high)
    return rate
