"""Ctrl-C and SIGTERM as requests to stop at the next good moment."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interrupt:
    """Whether Ctrl-C was pressed, or SIGTERM received."""

    requested: bool = False


@contextmanager
def stop_on_interrupt(*, quiet: bool = False) -> Iterator[Interrupt]:
    """Turns the first Ctrl-C or SIGTERM into a request to stop; the second acts as usual.

    Args:
        quiet: whether to say nothing.

    Yields:
        Whether there was one, to be asked after each step.
    """
    interrupt = Interrupt()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        interrupt.requested = True
        restore()
        if not quiet and sys.stderr is not None:
            # Not by print, which must not interrupt itself and would end the run then.
            with suppress(OSError):
                os.write(2, b"\nstopping after this step; once more to stop at once\n")

    for number in _SIGNALS:
        signal.signal(number, request)
    try:
        yield interrupt
    finally:
        restore()
