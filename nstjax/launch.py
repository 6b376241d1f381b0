"""Launches the command line, for a training in huge pages of memory where Linux has them to give.

A training step's intermediate results are 640 MB, which glibc takes from the system anew each time,
in 160,000 pages of 4 KiB: with huge pages a step on a CPU takes a tenth less (sides "nstjax" and
"nstjax, small pages" of `benchmarks/peers.py`). They are dear to get the first time, so that what
takes seconds to minutes, as a picture does, gains nothing.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Its words: https://docs.kernel.org/admin-guide/mm/transhuge.html
_WHO_GETS_THEM = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Read by glibc before Python runs; in its manual under "Memory Allocation Tunables".
_VARIABLE, _SETTING = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_AGAIN = "NSTJAX_BEGUN_AGAIN"  # once is enough, whatever becomes of the other variable on the way


def launch(*command: str) -> int:
    """Runs `nstjax` as all that this process is for.

    Args:
        command: words to put before the process's own.

    Returns:
        The exit code, as `nstjax.cli.main`.
    """
    words = [*command, *sys.argv[1:]]
    if words[:1] == ["train"]:
        use_huge_pages()
    from nstjax.cli import main  # only now, as the program may just have begun again

    return main(words)


def use_huge_pages() -> None:
    """Begins this program again in huge pages, where they are to be had and not in use yet.

    In its own process alone: what else a process does would be lost. Where a debugger holds it, or
    the program is not one that can be begun again, nothing happens; nor with
    `GLIBC_TUNABLES=glibc.malloc.hugetlb=0` in the environment.
    """
    variables = with_huge_pages(os.environ)
    if variables == os.environ or _AGAIN in os.environ or not _can_begin_again():
        return
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**variables, _AGAIN: "1"})
    except OSError:
        return  # the program goes on as it is


def _can_begin_again() -> bool:
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    debugged = sys.gettrace() or (monitoring and monitoring.get_tool(monitoring.DEBUGGER_ID))
    is_file = sys.argv[0] not in ("", "-")  # a program that was typed in has been read
    return bool(sys.executable and is_file and not debugged)


def with_huge_pages(variables: Mapping[str, str]) -> dict[str, str]:
    """Adds to environment variables what gives a program huge pages.

    Args:
        variables: by name.

    Returns:
        All of them: the same ones where they say something about huge pages, where every program
        has some or none can, and where the C library does not know how to ask.
    """
    tunables = variables.get(_VARIABLE, "")
    if _SETTING in tunables or not _to_be_had():
        return dict(variables)
    return {**variables, _VARIABLE: f"{tunables}:{_SETTING}=1".lstrip(":")}


def _to_be_had() -> bool:
    try:
        library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        who = _WHO_GETS_THEM.read_text()
    except (AttributeError, OSError, ValueError):  # not Linux, or not glibc
        return False
    number = tuple(int(part) for part in version.split(".")[:2])
    return library == "glibc" and number >= (2, 35) and "[madvise]" in who
