"""What signals end: a training between two windows, where it is saved without a loss, and other programs at once."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn, Self

NOTICE = b"\nstopping at the end of this window, with a checkpoint; Ctrl-C again stops at once\n"


class TrainingStopped(KeyboardInterrupt):
    """A training was saved and ended because of a signal.

    Parameters
    ----------
    number
        The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopSignals(contextlib.AbstractContextManager["StopSignals"]):
    """In its block SIGINT (Ctrl-C) and SIGTERM (of Slurm, say) ask for an end; a later SIGINT is a KeyboardInterrupt.

    A signal that is ignored stays so. Outside of the main thread, which alone gets signals, nothing changes.

    Attributes
    ----------
    received
        Number of the first signal; None as long as there was none.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in self.SIGNALS}
            # None is a handler that is not Python's, and could not be put back.
            self._before = {n: known for n, known in handlers.items() if known not in (signal.SIG_IGN, None)}
            for number in self._before:
                signal.signal(number, self._receive)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            with contextlib.suppress(OSError):
                os.write(2, NOTICE)  # the signal may have come inside of a `print`, which must not be entered again
        elif number == signal.SIGINT:
            raise KeyboardInterrupt

    def stop_if_received(self) -> None:
        """Raise TrainingStopped if there was a signal."""
        if self.received is not None:
            raise TrainingStopped(self.received)


def exit_interrupted(message: str, number: int = signal.SIGINT) -> NoReturn:
    """End the program with a message, with the status that shells give one that the signal has ended."""
    print(f"\nrpo: interrupted{message}", file=sys.stderr)
    sys.exit(128 + number)
