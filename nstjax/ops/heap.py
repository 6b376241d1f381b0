"""The C library's free memory, put in order after compilations.

A compilation leaves thousands of free pieces of as many sizes behind. After that of a training step
a tenth of all later ones was seen to go by in glibc's search through its sorted lists of them, for
which other threads wait; after one `malloc_trim` nothing of the kind, and less memory is taken. How
much it is depends on how the pieces happen to lie: compare `benchmarks/peers.py`, side "nstjax,
untidied".
"""

import ctypes
import sys
from functools import cache

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
# Compilations of fewer seconds leave little behind, and to tidy takes a hundredth of a second.
_LONG_COMPILATION = 0.2


@cache
def tidy_after_compilations() -> None:
    """Has the heap tidied after each long compilation of this process, whoever's it is.

    From the first call on; does nothing where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return

    def tidy(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILED and duration_secs >= _LONG_COMPILATION:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(tidy)
