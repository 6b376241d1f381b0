"""How commands end: their exit codes, and the one line that says what went wrong."""

import sys

from nstjax.errors import NstjaxError
from nstjax.memory import is_out_of_memory

DONE, BAD_INPUT, INTERRUPTED = 0, 2, 130


def fail(message: str, code: int = BAD_INPUT) -> int:
    """Prints a message as one line on stderr.

    Args:
        message: what was wrong and what to do.
        code: the exit code.

    Returns:
        The code.
    """
    print(f"nstjax: {' '.join(message.split())}", file=sys.stderr)
    return code


def message_of(error: Exception) -> str | None:
    """Words an error for people.

    Args:
        error: what a command raised.

    Returns:
        The message; None for an error that only a bug can raise.
    """
    if isinstance(error, NstjaxError):
        return str(error)
    if is_out_of_memory(error):
        return (
            "there is too little memory for that: use a smaller --size, or end other programs that "
            "take some of it"
        )
    return None
