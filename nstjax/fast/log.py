"""The log of a training: one JSON object a step, in a file that survives being cut off."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from nstjax.files import write_whole

_EVERY_SECONDS = 2.0  # between writes


class MetricsLog:
    """Appends steps to a file. Of several processes, only the first one writes.

    A failure to write does not end the training: the first one is passed to `warn`.
    """

    def __init__(self, path: Path, step: int, *, warn: Callable[[str], object]) -> None:
        self._path = path
        self._warn = warn
        self._lines: list[str] = []
        self._written = time.monotonic()
        self._on = jax.process_index() == 0
        if self._on:
            self._cut(step)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Adds a step."""
        if self._on:
            self._lines.append(json.dumps(entry) + "\n")
            if time.monotonic() - self._written > _EVERY_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Writes what was added."""
        self._written = time.monotonic()
        if not self._lines:
            return
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.writelines(self._lines)
        except OSError as error:
            self._give_up(error.strerror)
        self._lines = []

    def _cut(self, step: int) -> None:
        """Removes the entries after a step, which will be made again."""
        try:
            kept = [entry for entry in read_log(self._path) if entry["step"] <= step]
            write_whole(self._path, "".join(json.dumps(e) + "\n" for e in kept).encode())
        except (OSError, ValueError) as error:
            self._give_up(str(error))

    def _give_up(self, reason: str | None) -> None:
        self._on = False
        self._warn(f"cannot write {self._path} ({reason}): training goes on without this log")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Reads a training's log.

    Args:
        path: of `metrics.jsonl`.

    Returns:
        One entry a step; none if there is no file. Lines that are no entries, such as a last one
        that was cut off, are left out.
    """
    entries = []
    if path.exists():
        for line in path.read_text("utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "step" in entry:
                entries.append(entry)
    return entries
