"""Errors that are meant for people, and the helpers that word them."""

import difflib
from collections.abc import Iterable


class NstjaxError(ValueError):
    """What was wrong with which value, what is accepted, and what to do next, in one line.

    The command line prints the message and exits with 2; a library user can catch this one class.
    """


def unknown_choice(what: str, value: object, choices: Iterable[str]) -> NstjaxError:
    """Builds the error for a name that is not in a table, suggesting the nearest one that is.

    Args:
        what: what the name stands for, such as `"recipe"`.
        value: the name that was given.
        choices: every accepted name.

    Returns:
        The error, to be raised by the caller.

    Example:
        >>> str(unknown_choice("pooling", "maxx", ["max", "avg"]))
        "unknown pooling 'maxx': did you mean 'max'? (accepted: max, avg)"
    """
    names = list(choices)
    near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]!r}?" if near else ""
    return NstjaxError(f"unknown {what} {value!r}{hint} (accepted: {', '.join(names)})")
