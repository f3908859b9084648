"""Learning curves from a run's progress.csv. Matplotlib is imported at the call."""

from pathlib import Path

from rpo.logs import read_progress


def learning_curve(progress: Path, image: Path, title: str = "") -> None:
    """Draw the return of training episodes over environment steps.

    Parameters
    ----------
    progress
        The run's progress.csv.
    image
        PNG file to write.
    title
        Line above the plot.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("A learning curve needs matplotlib: pip install rpo-rl[plots].") from error
    rows = [row for row in read_progress(progress) if row.get("rollout/ep_rew_mean")]
    steps = [float(row["time/total_timesteps"]) for row in rows]
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(steps, [float(row["rollout/ep_rew_mean"]) for row in rows])
    axes.set(xlabel="environment steps", ylabel="return (last 100 training episodes)", title=title)
    axes.grid(alpha=0.3)
    figure.savefig(image, dpi=150)
