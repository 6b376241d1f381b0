"""Ctrl-C and SIGTERM as requests to stop where it is best."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        What tells whether there was one.
    """
    interrupt = Interrupt()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: FrameType | None) -> None:
        interrupt.requested = True
        restore()
        if not quiet:
            print("\nstopping after this step; once more to stop at once", file=sys.stderr)

    for number in _SIGNALS:
        signal.signal(number, request)
    try:
        yield interrupt
    finally:
        restore()
