"""Fields of a dataclass that declare what they accept, and are checked when it is made."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any, get_args

from nstjax.errors import NstjaxError, unknown_choice

_REQUIRED = dataclasses.MISSING
TINY = 1e-30
"""The least of what must be greater than 0."""
# What a value may be, given its field's annotation: NumPy's numbers too, which become Python's.
_KINDS = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "text"),
}


def setting(
    default: Any = _REQUIRED,
    *,
    help: str = "",
    choices: Iterable[str] = (),
    least: int | float = -math.inf,
    most: int | float = math.inf,
    check: Callable[[Any], Any] | None = None,
) -> Any:
    """Declares a field with what it accepts; the command line offers it if it has a help text.

    Args:
        default: its value where none is given; without one it is required.
        help: what the command line says of it.
        choices: the accepted values.
        least: the least accepted value.
        most: the greatest.
        check: in place of these, turns a value into what is kept, or raises an error.

    Returns:
        The field, whose annotation names its kind: int, float, str, or one of them or None.
    """
    metadata = {"help": help, "choices": tuple(choices), "least": least, "most": most}
    metadata["check"] = check
    return field(default=default, metadata=metadata)


def check_settings(settings: Any) -> None:
    """Checks, and turns into Python's own kinds, the fields that were declared with `setting`.

    Args:
        settings: a frozen dataclass, from its `__post_init__`.

    Raises:
        NstjaxError: if a value is out of range or a name unknown.
    """
    for field_ in dataclasses.fields(settings):
        if field_.metadata:
            value = getattr(settings, field_.name)
            check = field_.metadata.get("check")
            checked = check(value) if check else _checked(field_, value)
            object.__setattr__(settings, field_.name, checked)


def _checked(declared: dataclasses.Field, given: Any) -> Any:
    value: Any = given
    words = declared.name.replace("_", " ")
    accepted = declared.metadata
    types = get_args(declared.type) or (declared.type,)
    if given is None and type(None) in types:
        return None
    for kind, (accepted_kind, description) in _KINDS.items():
        if kind in types and not isinstance(value, accepted_kind):
            raise NstjaxError(f"{words} is {value!r}: it must be {description}")
        value = kind(value) if kind in types else value
    if accepted["choices"] and value not in accepted["choices"]:
        raise unknown_choice(words, value, accepted["choices"])
    least, most = accepted["least"], accepted["most"]
    if least > -math.inf and not (least <= value <= most and math.isfinite(value)):
        if most != math.inf:
            bounds = f"{least} to {most}"
        else:
            bounds = "greater than 0" if least == TINY else f"at least {least}"
        raise NstjaxError(f"{words} is {value}: it must be {bounds}")
    return value
