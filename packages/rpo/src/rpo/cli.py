"""Command line: `python -m rpo COMMAND`, also installed as `rpo`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rpo.commands import compare, evaluate, plot, record, train
from rpo.interruption import exit_interrupted
from rpo.versions import versions


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the command line."""

    run: Callable[[Sequence[str]], None]
    """Does it, given the arguments after its name; ends the program with a message where the user is mistaken."""
    summary: str
    """What it does, in a line of the usage."""


COMMANDS = {
    "train": Command(
        run=train.run,
        summary="train an algorithm, or go on with a run; evaluate it and draw its learning curve",
    ),
    "evaluate": Command(
        run=evaluate.run,
        summary="evaluate what runs have trained, deterministic and stochastic",
    ),
    "compare": Command(
        run=compare.run,
        summary="compare runs by algorithm and task over their seeds: table and picture",
    ),
    "plot": Command(
        run=plot.run,
        summary="draw how runs trained: returns over steps and time, divergence, clipping, gradients",
    ),
    "record": Command(
        run=record.run,
        summary="write a video and a replay for the browser of a run's trained policy",
    ),
}


def usage() -> str:
    """Return the lines that say which commands there are."""
    width = max(map(len, COMMANDS))
    commands = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    hint = "rpo COMMAND --help lists the options of a command."
    return "\n".join(["usage: rpo COMMAND [OPTIONS]", "       rpo --version", "", "commands:", *commands, "", hint])


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake of the user ends it with one message."""
    if args is None:
        search_working_folder()
        args = sys.argv[1:]
    if not args or args[0] in ("-h", "--help"):
        print(usage())
        return
    if args[0] == "--version":
        print("\n".join(f"{name} {version}" for name, version in versions().items()))
        return
    if args[0] not in COMMANDS:
        sys.exit(f"rpo: there is no command {args[0]!r}.\n\n{usage()}")
    try:
        COMMANDS[args[0]].run(list(args[1:]))
    except KeyboardInterrupt:
        exit_interrupted(".")


def search_working_folder() -> None:
    """Let modules beside the user be imported, which register environments: `python -m rpo` does that for itself."""
    folder = str(Path.cwd())
    if not sys.flags.safe_path and folder not in sys.path:
        sys.path.insert(0, folder)
