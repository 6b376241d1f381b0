"""Options that a dataclass of settings declares: one for each field with a help text."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from nstjax.settings import ObjectiveSettings


def offered_fields(settings: type) -> list[dataclasses.Field]:
    """Returns the fields that the command line offers: those with a help text."""
    return [field for field in dataclasses.fields(settings) if field.metadata.get("help")]


def add_settings(group: argparse._ArgumentGroup, settings: type) -> None:
    """Declares an option for each field that is offered.

    Args:
        group: which gets the options.
        settings: the dataclass, whose fields are declared with `nstjax.fields.setting`.
    """
    hints = get_type_hints(settings)
    for field in offered_fields(settings):
        choices = field.metadata["choices"]
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_number_or_text(hints[field.name]),
            metavar="|".join(choices) or field.name.rsplit("_", 1)[-1].upper(),
            help=field.metadata["help"],
        )


def given_settings(options: argparse.Namespace, settings: type) -> dict[str, Any]:
    """Returns the settings that were given, by name.

    Args:
        options: as parsed.
        settings: the dataclass that `add_settings` got.
    """
    given = {field.name: getattr(options, field.name) for field in offered_fields(settings)}
    return {name: value for name, value in given.items() if value is not None}


def print_recipes(recipes: Mapping[str, ObjectiveSettings], default: str) -> None:
    """Prints the names of recipes and where they come from.

    Args:
        recipes: by name.
        default: the name of the one that is used if none is named.
    """
    width = max(map(len, recipes))
    for name, recipe in recipes.items():
        mark = "  (default)" if name == default else ""
        print(f"{name:{width}}  {recipe.source}{mark}")


def _number_or_text(hint: Any) -> type:
    for kind in (int, float):
        if hint is kind or (kind in get_args(hint) and str not in get_args(hint)):
            return kind
    return str
