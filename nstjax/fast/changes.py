"""Differences between the settings of a run and of the run that it resumes."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from nstjax.errors import NstjaxError, unknown_choice


def changed_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], allowed: Iterable[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Compares the settings of two runs.

    Args:
        before: those of a checkpoint.
        now: those of this run.
        allowed: names of settings that may differ: a nested one with dots, or a whole group.

    Returns:
        What differs, by name, as pairs of before and now. A setting that is not there is None.

    Raises:
        NstjaxError: if a name in `allowed` is no setting.

    Example:
        >>> changed_settings({"seed": 0, "net": {"width": 1.0}}, {"seed": 0, "net": {"width": 2.0}})
        {'net.width': (1.0, 2.0)}
    """
    # By way of JSON, which has no tuples, as those of a checkpoint have gone through it.
    flat_before, flat_now = (_flat(json.loads(json.dumps(dict(s)))) for s in (before, now))
    names = list(dict.fromkeys([*flat_now, *flat_before]))
    groups = {name[:end] for name in names for end, mark in enumerate(name) if mark == "."}
    may_differ = {name.replace("-", "_") for name in allowed}
    for name in sorted(may_differ - groups - set(names)):
        raise unknown_choice("setting", name, names)
    passed_over = tuple(f"{name}." for name in may_differ)
    names = [name for name in names if not f"{name}.".startswith(passed_over)]
    pairs = {name: (flat_before.get(name), flat_now.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def refuse_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], allowed: Iterable[str] = ()
) -> None:
    """Refuses to go on with other settings.

    Args:
        before: those of a checkpoint.
        now: those of this run.
        allowed: names of settings that may differ, as in `changed_settings`.

    Raises:
        NstjaxError: if anything else differs.
    """
    changes = changed_settings(before, now, allowed)
    if changes:
        listed = ", ".join(f"{name} was {a!r} and is {b!r}" for name, (a, b) in changes.items())
        options = " ".join(f"--allow-change {name}" for name in changes)
        raise NstjaxError(
            f"the run to be resumed had other settings: {listed}; use those, allow the change "
            f"({options}), or start another run in another --workdir"
        )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
