"""Writing files that are there completely or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

UNFINISHED = ".unfinished"
"""Ending of the names of files and folders that are not complete yet."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to, and move the file written there to `path` when the block ends well.

    The file is made by the block, with the permissions of any new file, and is on the disk before it is moved. If the
    block or the disk fails, `path` is what it was, and nothing is left beside it; a process killed inside the block
    leaves a file that `remove_unfinished` knows.
    """
    temporary = unfinished(path)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unfinished(path: Path) -> Path:
    """Return the name of this process for what will be `path` once it is complete."""
    return path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of a file that no process writes now; its name may have wildcards."""
    for left in path.parent.glob(f".{path.name}.*{UNFINISHED}"):
        left.unlink()
