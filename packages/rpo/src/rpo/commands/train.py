"""`rpo train`: train an algorithm, or go on with a run, evaluate it and draw its learning curve."""

import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import tyro
from tyro.conf import arg

from rpo.algorithms import ALGORITHMS, algorithm_of
from rpo.arguments import checked_seed
from rpo.checkpoint import CheckpointError, trained_steps
from rpo.commands import mistakes
from rpo.commands.evaluate import EPISODES, evaluate_model, evaluation_seed, evaluation_table
from rpo.commands.numbers import Count
from rpo.config import AlgorithmConfig
from rpo.env import DifferentiableVectorEnv, EndlessEpisodeError, require_time_limit
from rpo.files import remove_unfinished
from rpo.interruption import StopSignals, TrainingStopped, exit_interrupted
from rpo.logs import read_progress
from rpo.making import import_namespace, make_vector_env, registered_id
from rpo.optimizers import NonFiniteError
from rpo.persistence import PersistentModel
from rpo.plotting import learning_curve
from rpo.presets import PRESETS, preset_named
from rpo.progress import ProgressDisplay
from rpo.recording import record_episode
from rpo.resume import TrainingCheckpoints, checkpoint_files, load_first, set_aside, steps_done, steps_of
from rpo.runs import RunFolder, RunSettings, write_json
from rpo.versions import versions

DEFAULT_ALGO = "rpo"
DEFAULT_ENV = "diffenvs/Ant-v0"
DEFAULT_PRESET = "paper"

ConfigT = TypeVar("ConfigT", bound=AlgorithmConfig)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainOptions(Generic[ConfigT]):
    """Train an algorithm on a differentiable environment, with the paper's settings unless told otherwise.

    The settings of the algorithm and their defaults are those for --algo, --env and --preset.
    """

    algo: Literal[tuple(ALGORITHMS)] = DEFAULT_ALGO  # type: ignore[valid-type]  # the names of the table
    """Algorithm."""
    env: str = DEFAULT_ENV
    """Environment id; the package that its namespace names is imported, or the module of `module:id`."""
    preset: Literal[tuple(PRESETS)] = DEFAULT_PRESET  # type: ignore[valid-type]
    """Where defaults come from: the paper, the paper but for HandReorient, or smaller networks for a first look."""
    steps: Count = 300_000
    """Environment steps to train for, over all resumptions; the last window is finished."""
    seed: int = 0
    """Seed of networks, noise, minibatches and environments."""
    num_envs: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: the preset's)")] = None
    """Parallel environments."""
    env_args: Annotated[tuple[str, ...], arg(metavar="NAME=VALUE ...", help_behavior_hint="(default: none)")] = ()
    """Keywords of the environment, such as: observe_action=false action_cost=0."""
    resume: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="")] = None
    """Folder of a run to continue; only --steps, --checkpoint-every and --keep-checkpoints may differ."""
    checkpoint_every: Count = 50_000
    """Environment steps between two checkpoints."""
    keep_checkpoints: int = 3
    """Checkpoints to keep, the last ones."""
    runs: Path = Path("runs")
    """Folder of all runs."""
    device: str = "auto"
    """Device of the networks; auto is the environment's."""
    config: tyro.conf.OmitArgPrefixes[ConfigT]


@dataclasses.dataclass(frozen=True)
class _DefaultsFrom:
    """The options that decide the defaults of the others; None for one that is not given."""

    algo: str = DEFAULT_ALGO
    env: str = DEFAULT_ENV
    preset: str | None = None
    resume: Path | None = None
    runs: Path | None = None


def parse_env_args(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the keywords given as `name=value`; values are read as JSON, and as text where they are none.

    Raises
    ------
    ValueError
        If a pair has no name or no equals sign, or is the number of environments.
    """
    result = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name.isidentifier() and equals):
            raise ValueError(f"--env-args takes name=value. Got {pair!r}.")
        if name == "num_envs":
            raise ValueError(f"The number of environments is no keyword of theirs: use --num-envs {text}.")
        try:
            result[name] = json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
        except json.JSONDecodeError:
            result[name] = text
    return result


def parse_train(args: Sequence[str]) -> TrainOptions[Any]:
    """Return the options, with defaults from the task's preset or from the run to resume.

    Raises
    ------
    ValueError
        If there is no run to resume, or options come with it that are for new runs.
    """
    known, _ = tyro.cli(_DefaultsFrom, args=[a for a in args if a not in ("-h", "--help")], return_unknown_args=True)
    if known.resume is None:
        preset = known.preset or DEFAULT_PRESET
        config = algorithm_of(known.algo).config_class.for_env(registered_id(known.env), preset)
        defaults = TrainOptions(algo=known.algo, env=known.env, preset=preset, config=config)
    else:
        for name in ("preset", "runs"):
            if getattr(known, name) is not None:
                raise ValueError(f"--{name} is for new runs: a resumed one keeps its settings and its folder.")
        defaults = _options_of(RunFolder(known.resume))
    return tyro.cli(TrainOptions[type(defaults.config)], prog="rpo train", args=list(args), default=defaults)


def _options_of(folder: RunFolder) -> TrainOptions[Any]:
    """Return the options that continue a run as it was."""
    run = folder.read_settings()
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
    for name in ("steps", "checkpoint_every", "keep_checkpoints"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be >= 1. Got {getattr(options, name)}.")
    env_args = parse_env_args(options.env_args)
    import_namespace(options.env)
    num_envs = options.num_envs
    if num_envs is None:
        num_envs = preset_named(options.preset).num_envs(registered_id(options.env))
    return RunSettings(
        algorithm=algorithm_of(options.algo).__name__,
        env=options.env,
        num_envs=num_envs,
        env_args=env_args,
        steps=options.steps,
        seed=checked_seed("--seed", options.seed),
        config=options.config,
        device=options.device,
        preset=options.preset,
        versions=versions(),
    )


def prepare_env(settings: RunSettings) -> DifferentiableVectorEnv:
    """Make the environment and take one step, which may compile what it simulates with, and say how long that took.

    Raises
    ------
    ValueError
        If it has no time limit: the evaluation at the end of the training may never end.
    """
    print("first step of the environments (on first use it may compile their simulation)", flush=True)
    start = time.perf_counter()
    env = make_vector_env(settings.env, settings.num_envs, **settings.env_args)
    require_time_limit(env)
    raw, _ = env.reset(seed=settings.seed)
    env.step_grad(raw.new_zeros(env.num_envs, *(env.single_action_space.shape or ())))
    env.detach()
    print(f"first step taken after {time.perf_counter() - start:.1f} s", flush=True)
    return env


def resume_model(folder: RunFolder, settings: RunSettings, env: DifferentiableVectorEnv) -> PersistentModel[Any]:
    """Return the model of the newest readable checkpoint of a run, or a new one where the run had no time for any.

    Raises
    ------
    CheckpointError
        If there are checkpoints and none can be read, or the log says that there were some.
    """
    algorithm: Any = algorithm_of(settings.algorithm)  # whose constructor takes its own configuration only
    for path in folder.written_by_the_training:
        remove_unfinished(path)
    files = checkpoint_files(folder.checkpoints)
    if not files and not (folder.progress.exists() and read_progress(folder.progress)):
        return algorithm(env, settings.config, seed=settings.seed, device=settings.device)
    model, refused = load_first(
        folder, files, lambda path: algorithm.load_training(path, env, settings.device, seed=settings.seed)
    )
    for path in refused:
        set_aside(path)
    return model


def resumed_folder(options: TrainOptions[Any], settings: RunSettings) -> RunFolder | None:
    """Return the folder of the run to resume, if one is to be.

    Raises
    ------
    ValueError
        If its settings are others than those that the options ask for, or these ask for fewer steps than are done.
    """
    if options.resume is None:
        return None
    folder = RunFolder(options.resume)
    began = folder.read_settings()
    if dataclasses.replace(began, steps=settings.steps) != settings:
        raise ValueError("A resumed run keeps its settings: only --steps and those of its checkpoints may differ.")
    if settings.steps < min(began.steps, done := steps_done(folder)):
        raise ValueError(f"--steps must be >= {done:,}, which {folder.path} has taken. Got {settings.steps:,}.")
    return folder


def is_finished(folder: RunFolder, settings: RunSettings) -> bool:
    """Say whether a run has been trained for so many steps: the model that it left and its evaluation are of them."""
    evaluation = folder.read_evaluation()
    if not folder.model.exists() or evaluation is None or evaluation.get("steps", 0) < settings.steps:
        return False
    try:
        return trained_steps(folder.model) >= settings.steps
    except CheckpointError:
        return False


def prepare(
    options: TrainOptions[Any], settings: RunSettings, folder: RunFolder | None, claims: contextlib.ExitStack
) -> tuple[PersistentModel[Any], RunFolder]:
    """Make, or load from the folder, all that a training needs; what the user may have got wrong fails here.

    Parameters
    ----------
    options, settings
        What the user asks for.
    folder
        Folder of the run to resume; None for a new run.
    claims
        Gets the claim on the run's folder, which lasts as long as it.
    """
    print(f"{settings.title}: {settings.num_envs} environments, {settings.steps:,} steps")
    env = prepare_env(settings)
    if folder is None:
        algorithm: Any = algorithm_of(settings.algorithm)
        model = algorithm(env, settings.config, seed=settings.seed, device=settings.device)
        folder = RunFolder.create(options.runs, settings)
        claims.enter_context(folder.claimed())
    else:
        claims.enter_context(folder.claimed())
        model = resume_model(folder, settings, env)
        dataclasses.replace(folder.read_settings(), steps=settings.steps).write(folder.settings)
        print(f"resuming at {model.num_timesteps:,} steps")
    print(f"run folder: {folder.path}")
    return model, folder


def train(model: PersistentModel[Any], settings: RunSettings, folder: RunFolder, options: TrainOptions[Any]) -> None:
    """Train up to the run's number of steps, if they are not done yet, and save the model.

    Raises
    ------
    TrainingStopped
        If a signal asks for an end: once the window under way is done, and in a checkpoint.
    """
    model.set_logger(folder.make_logger(model.num_timesteps))
    with StopSignals() as signals:
        every, keep = options.checkpoint_every, options.keep_checkpoints
        checkpoints = TrainingCheckpoints(folder.checkpoints, every, keep, signals)
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
    signals.stop_if_received()  # after the block: before its end there could be another signal


def report(model: PersistentModel[Any], settings: RunSettings, folder: RunFolder) -> None:
    """Evaluate the trained model, draw its learning curve, and print where everything is."""
    print(f"evaluating {EPISODES} episodes, deterministic and stochastic", flush=True)
    results = evaluate_model(model, settings, episodes=EPISODES)
    print(evaluation_table(results))
    try:
        learning_curve(folder.progress, folder.learning_curve, settings.title)
    except ImportError as error:
        print(f"no learning curve: {error}", file=sys.stderr)
    draw_replay(model, settings, folder)
    write_json(folder.evaluation, results)  # the last: it marks the run as finished
    for part in (folder.model, folder.evaluation, folder.progress, folder.learning_curve, folder.replay):
        if part.exists():
            print(f"  {part}")


def draw_replay(model: PersistentModel[Any], settings: RunSettings, folder: RunFolder) -> None:
    """Write what an episode of the trained policy looks like, where the environment can show it."""
    env = make_vector_env(settings.env, 1, **settings.env_args)
    try:
        record_episode(model.policy, env, replay=folder.replay, seed=evaluation_seed(settings))
    except (ImportError, ValueError) as error:
        print(f"no replay: {error}", file=sys.stderr)
    finally:
        env.close()


def run(args: Sequence[str]) -> None:
    """Train as the arguments say; a mistake of the user, or an interruption, ends the program with one message."""
    with contextlib.ExitStack() as claims:
        try:
            with mistakes.told_in_one_message():
                options = parse_train(args)
                settings = settings_of(options)
                folder = resumed_folder(options, settings)
                if folder is not None and is_finished(folder, settings):
                    print(f"{folder.path} is finished: its {settings.steps:,} steps are done and evaluated.")
                    print(f"Train on with more --steps, or evaluate it again: rpo evaluate {folder.path}")
                    return
                model, folder = prepare(options, settings, folder, claims)
        except KeyboardInterrupt:
            exit_interrupted(" before the training began.")
        train_and_report(model, settings, folder, options)


def train_and_report(
    model: PersistentModel[Any], settings: RunSettings, folder: RunFolder, options: TrainOptions[Any]
) -> None:
    """Train and report; what ends the run early ends the program with a message that says how to go on."""
    go_on = f"Continue with: rpo train --resume {folder.path}"
    try:
        train(model, settings, folder, options)
        report(model, settings, folder)
    except NonFiniteError as error:
        sys.exit(f"\nrpo: {error} The training ends here; its state is in {checkpoint_files(folder.checkpoints)[0]}.")
    except KeyboardInterrupt as interruption:
        number = interruption.number if isinstance(interruption, TrainingStopped) else signal.SIGINT
        exit_interrupted(f"; {newest_checkpoint(folder)} {go_on}", number)
    except EndlessEpisodeError as error:
        sys.exit(f"\nrpo: {error} The training is done; its model is {folder.model}.")
    except OSError as error:  # a disk that is full, above all
        sys.exit(f"\nrpo: {error}. The files of the run are as they were before. {go_on}")


def newest_checkpoint(folder: RunFolder) -> str:
    """Say of how many steps the newest checkpoint of a run is."""
    files = checkpoint_files(folder.checkpoints)
    return f"the newest checkpoint is of {steps_of(files[0]):,} steps." if files else "there is no checkpoint yet."
