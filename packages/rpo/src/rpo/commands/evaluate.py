"""`rpo evaluate`: returns of the policies that runs have trained."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from tyro.conf import arg

from rpo.arguments import SEEDS, checked_seed
from rpo.commands import mistakes
from rpo.commands.tables import table
from rpo.evaluation import POLICIES, Evaluation, evaluate
from rpo.making import make_vector_env
from rpo.persistence import PersistentModel
from rpo.resume import load_trained
from rpo.runs import RunFolder, RunSettings, write_json

EPISODES = 128
SEED_OFFSET = 1_000_000
"""Added to the run's seed, modulo the seeds there are, so that the evaluated episodes are not those of the training."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Evaluate what runs have trained over whole episodes, once deterministic and once stochastic.

    The returns are printed, and written to evaluation.json in the folder of the run.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, arg(metavar="RUN ...", help_behavior_hint="")]
    """Folders of runs; of one that is not finished, the newest checkpoint is evaluated."""
    episodes: int = EPISODES
    """Episodes for each seed, all in parallel."""
    seeds: Annotated[
        tuple[int, ...], arg(metavar="INT ...", help_behavior_hint="(default: one, the run's plus 1,000,000)")
    ] = ()
    """Seeds of the episodes."""
    device: str = "auto"
    """Device of the networks."""


def evaluation_seed(settings: RunSettings) -> int:
    """Return the seed of the episodes that a training reports."""
    return (settings.seed + SEED_OFFSET) % SEEDS


def evaluate_model(
    model: PersistentModel[Any], settings: RunSettings, *, episodes: int, seeds: Sequence[int] = ()
) -> dict[str, Any]:
    """Return the statistics of a model's episodes on its task, by policy; see `EvaluateOptions`."""
    seeds = list(seeds) or [evaluation_seed(settings)]
    results: dict[str, Any] = {"steps": model.num_timesteps, "seeds": seeds}
    with contextlib.closing(make_vector_env(settings.env, episodes, **settings.env_args)) as env:
        for policy in POLICIES:
            parts = [
                evaluate(model.policy, env, episodes=episodes, deterministic=policy == "deterministic", seed=seed)
                for seed in seeds
            ]
            whole = Evaluation(
                returns=np.concatenate([part.returns for part in parts]),
                lengths=np.concatenate([part.lengths for part in parts]),
            )
            results[policy] = {**whole.summary(), "by_seed": [part.summary() for part in parts]}
    return results


def evaluation_table(results: dict[str, Any]) -> str:
    """Return what `evaluate_model` found as a table: a row for each policy, and each seed where there are several."""
    rows = [("policy", "seed", "episodes", "return", "length")]
    for policy in POLICIES:
        parts = list(zip(map(str, results["seeds"]), results[policy]["by_seed"], strict=True))
        if len(parts) > 1:
            parts.append(("all", results[policy]))
        for seed, part in parts:
            score = f"{part['mean']:.1f} +- {part['std']:.1f}"
            rows.append((policy, seed, str(part["episodes"]), score, f"{part['mean_length']:.1f}"))
    return table(rows)


def evaluate_run(path: Path, options: EvaluateOptions) -> None:
    """Evaluate one run, print the table and write the file.

    Raises
    ------
    ValueError
        If there is no run.
    CheckpointError
        If it has nothing that can be evaluated.
    """
    folder = RunFolder(path)
    settings = folder.read_settings()
    model = load_trained(folder, options.device)
    print(f"{settings.title}, after {model.num_timesteps:,} of {settings.steps:,} steps", flush=True)
    results = evaluate_model(model, settings, episodes=options.episodes, seeds=options.seeds)
    write_json(folder.evaluation, results)
    print(evaluation_table(results))
    print(f"  {folder.evaluation}")


def run(args: Sequence[str]) -> None:
    """Evaluate as the arguments say; a mistake of the user ends the program with one message."""
    with mistakes.told_in_one_message():
        options = tyro.cli(EvaluateOptions, prog="rpo evaluate", args=list(args))
        if not options.runs:
            raise ValueError("rpo evaluate needs the folder of a run.")
        if options.episodes < 1:
            raise ValueError(f"--episodes must be >= 1. Got {options.episodes}.")
        for seed in options.seeds:
            checked_seed("--seeds", seed)
        if len(set(options.seeds)) < len(options.seeds):
            raise ValueError(f"--seeds must differ. Got {' '.join(map(str, options.seeds))}.")
        for path in options.runs:
            evaluate_run(path, options)
