"""The C library's free memory, tidied after compilations.

A compilation leaves behind thousands of free blocks of as many sizes. After compiling a training
step, a tenth of the time of all later steps was seen to go into glibc's search through its sorted
lists of them, for which other threads wait. After one `malloc_trim` this is gone, and the process
takes less memory. How much it matters depends on how the blocks happen to lie: compare
`benchmarks/peers.py`, side "nstjax, untidied".
"""

import ctypes
import sys
from functools import cache

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
# Shorter compilations leave little behind, and tidying takes a hundredth of a second.
_LONG_COMPILATION = 0.2


@cache
def tidy_after_compilations() -> None:
    """Tidies the heap after each long compilation of this process, from the first call on.

    Does nothing where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return

    def tidy(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILED and duration_secs >= _LONG_COMPILATION:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(tidy)
