"""What the user got wrong ends a command with one message instead of a traceback."""

import contextlib
import sys
from collections.abc import Iterator

import gymnasium


@contextlib.contextmanager
def told_in_one_message() -> Iterator[None]:
    """End the program with the message of an error in the block, which holds what depends on the user's input."""
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, gymnasium.error.Error) as error:
        sys.exit(f"rpo: {error}")
