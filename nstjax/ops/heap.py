"""The C library's free memory, put in order after compilations.

A compilation leaves thousands of free pieces of as many sizes behind. glibc keeps the large ones
sorted and goes through them one by one to sort in another, while threads wait for it: all steps
that follow may take up to a fifth longer, see `benchmarks/peers.py` with the side "nstjax,
untidied". `malloc_trim` joins the pieces and returns their memory.
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
    """Has the heap tidied after each long compilation of this process, from now on.

    Once for all; does nothing where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return

    def tidy(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILED and duration_secs >= _LONG_COMPILATION:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(tidy)
