"""Finds the command, runs it, and turns what went wrong into one line and an exit code."""

import argparse
import difflib
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import nstjax
from nstjax.cli.compiled import keep_compiled
from nstjax.cli.exits import BAD_INPUT, INTERRUPTED, fail, message_of
from nstjax.errors import NstjaxError, unknown_choice

# Each module has `add_arguments(parser)` and `run(options) -> exit code`.
COMMANDS = {
    "stylize": ("nstjax.cli.stylize", "paint photographs in the style of a painting"),
    "replay": ("nstjax.cli.replay", "make a picture again, and say what differs"),
    "train": ("nstjax.cli.train", "train a network that paints in the style of a painting"),
    "styles": ("nstjax.cli.styles", "list the trained styles, and the paintings known by name"),
    "classify": ("nstjax.cli.classify", "name what a picture shows, to check the network"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, with the nearest option suggested."""

    def error(self, message: str) -> NoReturn:
        """Raises the message as an error for people."""
        raise NstjaxError(f"{message} (see {self.prog} --help)")

    def parse_args(self, args=None, namespace=None):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Parses, with pictures also after and between options; refuses unknown options."""
        options, extra = self.parse_known_intermixed_args(args, namespace)
        if extra:
            near = difflib.get_close_matches(extra[0], self._option_string_actions, n=1)
            self.error(
                f"unknown option {extra[0]}" + (f": did you mean {near[0]}?" if near else "")
            )
        return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `nstjax COMMAND …`.

    Args:
        arguments: the words after the program's name; None takes the process's own.

    Returns:
        The exit code: 0 done, 2 bad input or usage, 130 interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whatever a file is called, it can be printed
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        return fail("interrupted", INTERRUPTED)
    except SystemExit as done:  # argparse after --help and --version
        return int(done.code or 0)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on: Python's own complaint would be the only output
        return BAD_INPUT
    except Exception as error:
        if (message := message_of(error)) is None:
            raise
        return fail(message)


def _run(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name in COMMANDS:
        keep_compiled()
        module, summary = COMMANDS[name]
        command = import_module(module)  # only the command that runs is imported
        parser = Parser(prog=f"nstjax {name}", description=summary.capitalize() + ".")
        command.add_arguments(parser)
        return command.run(parser.parse_args(rest))
    summaries = [f"  {command:10} {summary}" for command, (_, summary) in COMMANDS.items()]
    parser = Parser(
        prog="nstjax",
        description="Neural style transfer: a photograph and a painting in, a picture out.",
        epilog="\n".join(["commands:", *summaries, "", "nstjax COMMAND --help says more."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nstjax {nstjax.__version__}")
    parser.add_argument("command", metavar="COMMAND")
    raise unknown_choice("command", parser.parse_args([name]).command, COMMANDS)
