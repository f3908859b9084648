"""A training run on disk: runs/<env>/<algorithm>/<time>/ with its settings, logs, checkpoints and results."""

import contextlib
import dataclasses
import errno
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout
from stable_baselines3.common.logger import Logger

from rpo.algorithms import algorithm_of
from rpo.checkpoint import content_of
from rpo.config import AlgorithmConfig
from rpo.files import replacing, unfinished
from rpo.logs import ProgressTable, read_progress, tensorboard_from
from rpo.making import registered_id


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write values as JSON, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSettings:
    """All that decides how a run goes, and where it comes from, by which runs are not compared."""

    algorithm: str
    """Name of the algorithm's class."""
    env: str
    """Environment id; the package that its namespace names is imported."""
    num_envs: int
    """Parallel environments."""
    env_args: dict[str, Any]
    """Keywords of the environment."""
    steps: int
    """Environment steps to train for, over all resumptions."""
    seed: int
    """Seed of networks, noise, minibatches and environments."""
    config: AlgorithmConfig
    """Settings of the algorithm."""
    device: str = "auto"
    """Device of the networks; auto is the environment's."""
    preset: str | None = dataclasses.field(default=None, compare=False)
    """Where the settings come from that the user did not give; None where the run is older than this entry."""
    versions: dict[str, str] | None = dataclasses.field(default=None, compare=False)
    """Versions of the packages that began the run, by distribution; None likewise."""

    @property
    def task(self) -> str:
        """Id of the environment as it is registered, whatever module did that."""
        return registered_id(self.env)

    @property
    def title(self) -> str:
        """Algorithm, task and seed, as they stand over a picture."""
        return f"{self.algorithm} on {self.task}, seed {self.seed}"

    def write(self, path: Path) -> None:
        """Write the settings as JSON."""
        write_json(path, dataclasses.asdict(self))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises
        ------
        ValueError
            If it is of an algorithm or a setting that this package does not have.
        """
        values = json.loads(path.read_text())
        config = algorithm_of(values["algorithm"]).config_class.from_dict(values["config"])
        return cls(**{**values, "config": config})


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Where the parts of a run are."""

    path: Path
    """The run's folder."""

    @classmethod
    def create(cls, runs: Path, settings: RunSettings) -> "RunFolder":
        """Make a new folder, named by environment, algorithm and time, with the settings in it, or nothing.

        Raises
        ------
        ValueError
            If the environment's id would lead out of the folder of all runs.
        PermissionError
            If it cannot be written, before any training.
        """
        env = Path(settings.task)  # a colon, as after a module's name, is in no name of a file on Windows
        parent = runs / env / settings.algorithm.lower()
        if env.is_absolute() or ".." in env.parts:
            raise ValueError(f"The run folder of {settings.env} would be outside of {runs}.")
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            draft = cls(unfinished(parent / stamp))
            draft.checkpoints.mkdir(parents=True)
            try:
                settings.write(draft.settings)
                folder = cls(_move_to_new(draft.path, parent / stamp))
            except BaseException:
                shutil.rmtree(draft.path, ignore_errors=True)
                raise
        except OSError as error:
            raise PermissionError(f"The run folder {parent} cannot be written: {error.strerror or error}.") from error
        return folder

    def read_settings(self) -> RunSettings:
        """Return the run's settings.

        Raises
        ------
        ValueError
            If there is no run in the folder, or one of an algorithm or a setting that this package does not have, or
            the file is damaged.
        """
        if not self.settings.exists():
            raise ValueError(f"There is no run in {self.path}: {self.settings.name} is missing.")
        with content_of(self.settings):
            return RunSettings.read(self.settings)

    def read_evaluation(self) -> dict[str, Any] | None:
        """Return what the last evaluation found, or None where there was none.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        if not self.evaluation.exists():
            return None
        with content_of(self.evaluation):
            return json.loads(self.evaluation.read_text())

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes from training the run in the block; a process that is killed gives it up.

        Raises
        ------
        ValueError
            If another process trains it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(f"{self.path} is being trained by another process.") from None
        try:
            yield
        finally:
            lock.release()

    @property
    def settings(self) -> Path:
        """The run's settings, JSON."""
        return self.path / "config.json"

    @property
    def progress(self) -> Path:
        """One row per window, CSV."""
        return self.path / "progress.csv"

    @property
    def checkpoints(self) -> Path:
        """Folder of the training checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.path / "model.zip"

    @property
    def evaluation(self) -> Path:
        """Returns of the trained model, JSON."""
        return self.path / "evaluation.json"

    @property
    def learning_curve(self) -> Path:
        """Picture of the training's returns."""
        return self.path / "learning_curve.png"

    @property
    def replay(self) -> Path:
        """One episode of the trained policy, HTML for any browser."""
        return self.path / "replay.html"

    @property
    def video(self) -> Path:
        """One episode of the trained policy, MP4."""
        return self.path / "video.mp4"

    @property
    def written_by_the_training(self) -> tuple[Path, ...]:
        """The files that only the process writes that has claimed the run; other commands write the others too."""
        return self.settings, self.progress, self.model, self.learning_curve, self.checkpoints / "*.zip"

    def make_logger(self, resumed_at: int = 0) -> Logger:
        """Return a logger to CSV and, where it is installed, TensorBoard.

        Parameters
        ----------
        resumed_at
            Steps of the checkpoint that a resumed run starts from: rows up to it stay, later ones are written again.
        """
        rows = read_progress(self.progress) if self.progress.exists() else []
        table = ProgressTable(self.progress, [row for row in rows if int(row["time/total_timesteps"]) <= resumed_at])
        try:
            return Logger(str(self.path), [table, tensorboard_from(self.path / "tensorboard", resumed_at)])
        except ImportError:
            return Logger(str(self.path), [table])


def _move_to_new(draft: Path, path: Path) -> Path:
    """Give a folder a name that no other process has taken: that of `path`, or with a number where that is taken."""
    taken = 0
    while True:
        target = path.with_name(f"{path.name}_{taken}") if taken else path
        try:
            return draft.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            taken += 1
