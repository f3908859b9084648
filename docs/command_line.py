"""The page of the command line is made from what the commands say about themselves: `rpo COMMAND --help`."""

import contextlib
import io
import os
import re
from collections.abc import Callable
from unittest import mock

from rpo.cli import COMMANDS, main

WIDTH = 100
"""Of the terminal that is shown, in characters."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def sections() -> str:
    """Return the usage, and a section with the help of every command."""
    parts = [_shown("rpo --help", lambda: main(["--help"]))]
    for name in COMMANDS:
        parts += [f"## rpo {name}", _shown(f"rpo {name} --help", lambda name=name: main([name, "--help"]))]
    return "\n\n".join(parts) + "\n"


def _shown(command: str, call: Callable[[], None]) -> str:
    """Return a command and what it prints as a block of text."""
    terminal = {"COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    printed = io.StringIO()
    with mock.patch.dict(os.environ, terminal), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        call()
    lines = [line.rstrip() for line in COLOURS.sub("", printed.getvalue()).strip().splitlines()]
    return "\n".join(["```text", f"$ {command}", *lines, "```"])
