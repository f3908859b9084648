"""Learning-rate schedules: progress in [0, 1] to a value."""


def exponential(start: float, end: float, progress: float) -> float:
    """Return start at progress 0, end at 1 and after, and the geometric interpolation between."""
    return start * (end / start) ** min(max(progress, 0.0), 1.0)


def linear(start: float, end: float, progress: float) -> float:
    """Return start at progress 0, end at 1 and after, and the straight line between."""
    return start + (end - start) * min(max(progress, 0.0), 1.0)
