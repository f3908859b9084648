"""`rpo train`: train an algorithm, or go on with a run, evaluate it and draw its learning curve."""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro

from rpo.algorithms import ALGORITHMS, algorithm_of
from rpo.checkpoint import CheckpointError
from rpo.commands import mistakes
from rpo.config import AlgorithmConfig
from rpo.env import DifferentiableVectorEnv
from rpo.evaluation import evaluate
from rpo.making import import_namespace, make_vector_env
from rpo.optimizers import NonFiniteError
from rpo.persistence import PersistentModel
from rpo.plotting import learning_curve
from rpo.presets import PRESETS, preset_named
from rpo.progress import ProgressDisplay, TrainingCheckpoints, checkpoint_files
from rpo.recording import record_episode
from rpo.runs import RunFolder, RunSettings, write_json

DEFAULT_ALGO = "rpo"
DEFAULT_ENV = "diffenvs/Ant-v0"
EVALUATION_EPISODES = 128
EVALUATION_SEED = 1_000_000
"""Added to the run's seed, so that the evaluated episodes are not those of the training."""

ConfigT = TypeVar("ConfigT", bound=AlgorithmConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(Generic[ConfigT]):
    """Train an algorithm on a differentiable environment, with the paper's settings unless told otherwise.

    The settings of the algorithm, from --horizon on, and their defaults are those for --algo, --env and --preset.
    """

    algo: Literal[tuple(ALGORITHMS)] = DEFAULT_ALGO  # type: ignore[valid-type]  # the names of the table
    """Algorithm."""
    env: str = DEFAULT_ENV
    """Environment id; the package that its namespace names is imported."""
    preset: Literal[tuple(PRESETS)] = "paper"  # type: ignore[valid-type]
    """Where the defaults come from: the paper's experiments, or smaller networks for a look on a laptop."""
    steps: int = 300_000
    """Environment steps to train for, over all resumptions."""
    seed: int = 0
    """Seed of networks, noise, minibatches and environments."""
    num_envs: int | None = None
    """Parallel environments; by default the preset's number for the task."""
    env_args: tuple[str, ...] = ()
    """Keywords of the environment, such as: observe_action=false action_cost=0."""
    resume: Path | None = None
    """Folder of a run to continue, or to report where it is finished; --steps and --checkpoint-every may differ."""
    checkpoint_every: int = 50_000
    """Environment steps between two checkpoints, of which the last three are kept."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    device: str = "auto"
    """Device of the networks; auto is the environment's."""
    config: Annotated[ConfigT, tyro.conf.arg(name="")]
    """Settings of the algorithm."""


@dataclasses.dataclass(frozen=True)
class _DefaultsFrom:
    """The options that decide the defaults of the others."""

    algo: str = DEFAULT_ALGO
    env: str = DEFAULT_ENV
    preset: str = "paper"
    resume: Path | None = None


def parse_env_args(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the keywords given as `name=value`; values are read as JSON, and as text where they are none.

    Raises
    ------
    ValueError
        If a pair has no name or no equals sign.
    """
    result = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"--env-args takes name=value. Got {pair!r}.")
        try:
            result[name] = json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
        except json.JSONDecodeError:
            result[name] = text
    return result


def parse_train(args: Sequence[str]) -> TrainOptions[Any]:
    """Return the options, with defaults from the task's preset or from the run to resume."""
    known, _ = tyro.cli(_DefaultsFrom, args=[a for a in args if a not in ("-h", "--help")], return_unknown_args=True)
    if known.resume is None:
        config_class = algorithm_of(known.algo).config_class
        config = config_class.for_env(known.env, known.preset)
        defaults = TrainOptions(algo=known.algo, env=known.env, preset=known.preset, config=config)
    else:
        defaults = _options_of(RunFolder(known.resume))
    return tyro.cli(TrainOptions[type(defaults.config)], prog="rpo train", args=list(args), default=defaults)


def _options_of(folder: RunFolder) -> TrainOptions[Any]:
    """Return the options that continue a run as it was."""
    if not folder.settings.exists():
        raise ValueError(f"There is no run to resume in {folder.path}: {folder.settings.name} is missing.")
    run = RunSettings.read(folder.settings)
    return TrainOptions(
        algo=run.algorithm.lower(),
        env=run.env,
        steps=run.steps,
        seed=run.seed,
        num_envs=run.num_envs,
        env_args=tuple(f"{name}={json.dumps(value)}" for name, value in run.env_args.items()),
        resume=folder.path,
        device=run.device,
        config=run.config,
    )


def settings_of(options: TrainOptions[Any]) -> RunSettings:
    """Return the settings of the run that the options ask for."""
    for name in ("steps", "checkpoint_every"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be >= 1. Got {getattr(options, name)}.")
    import_namespace(options.env)
    num_envs = preset_named(options.preset).num_envs(options.env) if options.num_envs is None else options.num_envs
    return RunSettings(
        algorithm=algorithm_of(options.algo).__name__,
        env=options.env,
        num_envs=num_envs,
        env_args=parse_env_args(options.env_args),
        steps=options.steps,
        seed=options.seed,
        config=options.config,
        device=options.device,
    )


def prepare_env(settings: RunSettings) -> DifferentiableVectorEnv:
    """Make the environment and take one step, which compiles what it simulates with, and say how long that took."""
    print("compiling simulation kernels (first run only)... ", end="", flush=True)
    start = time.perf_counter()
    env = make_vector_env(settings.env, settings.num_envs, **settings.env_args)
    raw, _ = env.reset(seed=settings.seed)
    env.step_grad(raw.new_zeros(env.num_envs, *(env.single_action_space.shape or ())))
    env.detach()
    print(f"{time.perf_counter() - start:.1f} s", flush=True)
    return env


def resume_model(folder: RunFolder, settings: RunSettings, env: DifferentiableVectorEnv) -> PersistentModel[Any]:
    """Return the model of the newest readable checkpoint of a run.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    algorithm, reasons = algorithm_of(settings.algorithm), []
    for path in checkpoint_files(folder.checkpoints):
        try:
            return algorithm.load_training(path, env, settings.device, seed=settings.seed)
        except CheckpointError as error:
            print(f"skipping a checkpoint: {error}", file=sys.stderr)
            reasons.append(str(error))
    raise CheckpointError(f"{folder.checkpoints} has no checkpoint to resume from. {' '.join(reasons)}".strip())


def prepare(options: TrainOptions[Any]) -> tuple[PersistentModel[Any], RunSettings, RunFolder]:
    """Make, or load, all that a training needs; what the user may have got wrong fails here."""
    settings = settings_of(options)
    folder = None if options.resume is None else RunFolder(options.resume)
    if folder and dataclasses.replace(RunSettings.read(folder.settings), steps=settings.steps) != settings:
        raise ValueError("A resumed run keeps its settings: only --steps and --checkpoint-every may differ.")
    print(f"{settings.title}: {settings.num_envs} environments, {settings.steps:,} steps")
    env = prepare_env(settings)
    if folder is None:
        algorithm = algorithm_of(settings.algorithm)
        model = algorithm(env, settings.config, seed=settings.seed, device=settings.device)
        folder = RunFolder.create(options.runs, settings)
    else:
        model = resume_model(folder, settings, env)
        settings.write(folder.settings)
        print(f"resuming at {model.num_timesteps:,} steps")
    print(f"run folder: {folder.path}")
    return model, settings, folder


def train(model: PersistentModel[Any], settings: RunSettings, folder: RunFolder, checkpoint_every: int) -> None:
    """Train up to the run's number of steps, if they are not done yet, and save the model."""
    model.set_logger(folder.make_logger(model.num_timesteps))
    checkpoints = TrainingCheckpoints(folder.checkpoints, checkpoint_every)
    try:
        with contextlib.closing(model.logger):
            model.learn(
                settings.steps - model.num_timesteps,
                callback=[checkpoints, ProgressDisplay(settings.steps)],
                reset_num_timesteps=False,  # a new model starts at 0, a resumed one where it was, be it at 0
            )
    except NonFiniteError:
        checkpoints.save()
        raise
    checkpoints.save()
    model.save(folder.model)


def report(model: PersistentModel[Any], settings: RunSettings, folder: RunFolder) -> None:
    """Evaluate the trained model, draw its learning curve, and print where everything is."""
    print(f"evaluating {EVALUATION_EPISODES} episodes, deterministic and stochastic", flush=True)
    env = make_vector_env(settings.env, EVALUATION_EPISODES, **settings.env_args)
    results = {}
    for name in ("deterministic", "stochastic"):
        evaluation = evaluate(
            model.policy,
            env,
            episodes=EVALUATION_EPISODES,
            deterministic=name == "deterministic",
            seed=settings.seed + EVALUATION_SEED,
        )
        results[name] = evaluation.summary()
        print(f"  {name:<13} return {results[name]['mean']:.1f} +- {results[name]['std']:.1f}", flush=True)
    env.close()
    write_json(folder.evaluation, results)
    try:
        learning_curve(folder.progress, folder.learning_curve, settings.title)
    except ImportError as error:
        print(f"no learning curve: {error}", file=sys.stderr)
    draw_replay(model, settings, folder)
    for part in (folder.model, folder.evaluation, folder.progress, folder.learning_curve, folder.replay):
        if part.exists():
            print(f"  {part}")


def draw_replay(model: PersistentModel[Any], settings: RunSettings, folder: RunFolder) -> None:
    """Write what an episode of the trained policy looks like, where the environment can show it."""
    env = make_vector_env(settings.env, 1, **settings.env_args)
    try:
        record_episode(model.policy, env, replay=folder.replay, seed=settings.seed + EVALUATION_SEED)
    except (ImportError, ValueError) as error:
        print(f"no replay: {error}", file=sys.stderr)
    finally:
        env.close()


def run(args: Sequence[str]) -> None:
    """Train as the arguments say; a mistake of the user, or an interruption, ends the program with one message."""
    try:
        with mistakes.told_in_one_message():
            options = parse_train(args)
            model, settings, folder = prepare(options)
    except KeyboardInterrupt:
        sys.exit("\nrpo: interrupted before the training began.")
    try:
        train(model, settings, folder, options.checkpoint_every)
        report(model, settings, folder)
    except NonFiniteError as error:
        sys.exit(f"\nrpo: {error} The training ends here; its state is in {checkpoint_files(folder.checkpoints)[0]}.")
    except KeyboardInterrupt:
        if not checkpoint_files(folder.checkpoints):
            sys.exit("\nrpo: interrupted before the training began.")
        sys.exit(f"\nrpo: interrupted. Continue with: rpo train --resume {folder.path}")
