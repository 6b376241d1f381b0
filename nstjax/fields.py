"""Fields of a dataclass that declare what they accept, and are checked when it is made."""

import dataclasses
import math
import numbers
import operator
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any, get_args

import numpy as np

from nstjax.errors import NstjaxError, unknown_choice

_REQUIRED = dataclasses.MISSING
# What a value may be, given its field's annotation: NumPy's numbers too, which become Python's.
_KINDS = {
    bool: (bool | np.bool_, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "text"),
}
_KEEPS: dict[str, Callable[[Any, Any], bool]] = {
    "at least": operator.ge,
    "greater than": operator.gt,
    "at most": operator.le,
    "less than": operator.lt,
}
_LEAST_FLOAT = float(np.finfo(np.float32).tiny)  # a smaller number is computed with as 0


def setting(
    default: Any = _REQUIRED,
    *,
    help: str = "",
    choices: Iterable[str] = (),
    least: int | float | None = None,
    most: int | float | None = None,
    above: int | float | None = None,
    below: int | float | None = None,
    check: Callable[[Any], Any] | None = None,
) -> Any:
    """Declares a field with what it accepts; the command line offers it if it has a help text.

    Args:
        default: its value if none is given; without one it is required.
        help: what the command line says of it.
        choices: the accepted values.
        least: the least accepted value.
        most: the greatest.
        above: what a value must be greater than, also in float32.
        below: what it must be less than, also in float32.
        check: in place of these, turns a value into what is kept, or raises an error.

    Returns:
        The field, whose annotation names its kind: bool, int, float, str, or one of them or None.
    """
    bounds = {"at least": least, "greater than": above, "at most": most, "less than": below}
    bounds = {words: bound for words, bound in bounds.items() if bound is not None}
    metadata = {"help": help, "choices": tuple(choices), "bounds": bounds, "check": check}
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


def checked_number(words: str, value: Any, kind: type, *, least: int | float) -> Any:
    """Checks a number that is no setting by the rules of those that are.

    Args:
        words: what it is called.
        value: what was given for it.
        kind: int or float; NumPy's numbers become Python's.
        least: the least accepted value.

    Returns:
        The number.

    Raises:
        NstjaxError: if it is of another kind, less than that, infinite or NaN.

    Example:
        >>> checked_number("callback_every", np.int64(5), int, least=0)
        5
    """
    value = _of_kind(words, value, (kind,))
    _check_bounds(words, value, {"at least": least})
    return value


def _checked(declared: dataclasses.Field, given: Any) -> Any:
    words = declared.name.replace("_", " ")
    accepted = declared.metadata
    types = get_args(declared.type) or (declared.type,)
    if given is None and type(None) in types:
        return None
    value = _of_kind(words, given, types)
    if accepted["choices"] and value not in accepted["choices"]:
        raise unknown_choice(words, value, accepted["choices"])
    _check_bounds(words, value, accepted["bounds"])
    return value


def _of_kind(words: str, value: Any, types: tuple[Any, ...]) -> Any:
    """Turns a value into Python's own kind; raises an error if it is not of these."""
    for kind, (accepted_kind, description) in _KINDS.items():
        if kind in types:
            is_other = kind is not bool and isinstance(value, bool | np.bool_)  # Python's are ints
            if is_other or not isinstance(value, accepted_kind):
                raise NstjaxError(f"{words} is {value!r}: it must be {description}")
            value = kind(value)
    return value


def _check_bounds(words: str, value: Any, bounds: dict[str, int | float]) -> None:
    if not bounds:
        return
    if not all(_KEEPS[name](value, bound) for name, bound in bounds.items()) or value == math.inf:
        raise NstjaxError(f"{words} is {value}: it must be {_worded(bounds)}")
    if isinstance(value, float):
        single = _in_float32(value)
        exclusive = bounds.keys() & {"greater than", "less than"}
        kept = all(_KEEPS[name](single, bounds[name]) for name in exclusive)
        if not kept or math.isinf(single):
            raise NstjaxError(f"{words} is {value}: it must be {_worded(bounds)} in float32, too")


def _in_float32(value: float) -> float:
    """A number as the programs compute with it."""
    with np.errstate(over="ignore"):
        single = float(np.float32(value))
    return single if abs(single) >= _LEAST_FLOAT else 0.0


def _worded(bounds: dict[str, int | float]) -> str:
    if bounds.keys() == {"at least", "at most"}:
        return f"{bounds['at least']} to {bounds['at most']}"
    return " and ".join(f"{words} {bound}" for words, bound in bounds.items())
