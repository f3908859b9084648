"""A disk that is full, as far as this process can tell."""

import contextlib
import resource


@contextlib.contextmanager
def disk_with_room_for(size):
    """Let the kernel refuse what would make any file of this process larger, in the middle of a write if need be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
