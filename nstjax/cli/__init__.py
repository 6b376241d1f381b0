"""The command line: parses, calls the package, and prints. Nothing else prints."""

from nstjax.cli.main import main

__all__ = ["main"]
