"""The rule that no file of a run is written over an input or over another output."""

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from nstjax.cli.outputs import Outputs, resume_file
from nstjax.errors import NstjaxError


def refuse_overwriting(runs: Sequence[Outputs], inputs: Iterable[Path | str]) -> None:
    """Checks that runs overwrite neither what they read nor what they write.

    Args:
        runs: what each of them writes.
        inputs: the files that are read; addresses among them do no harm.

    Raises:
        NstjaxError: if two of these files are the same one, be it through a link.
    """
    taken = {os.path.realpath(path) for path in inputs}
    for what, path, choose in _files(runs):
        if os.path.realpath(path) in taken:
            raise _overwrites(what, path, choose)
        taken.add(os.path.realpath(path))
    for outputs in runs:
        for path in _kept_among(outputs, taken):
            raise _overwrites("a picture of --save-every,", path, "--output")


def _overwrites(what: str, path: Path | str, choose: str) -> NstjaxError:
    return NstjaxError(
        f"{what} {path} would overwrite an input or another output: choose another {choose}"
    )


def _files(runs: Sequence[Outputs]) -> list[tuple[str, Path, str]]:
    """Lists what runs write under fixed names, with the words for a message; pictures first."""
    pictures = [outputs.picture for outputs in runs]
    files = [("--output", path, "name") for path in pictures]
    files += [("the snapshot", resume_file(path), "--output") for path in pictures]
    files += [("--history", outputs.history, "name") for outputs in runs if outputs.history]
    files += [("--report", outputs.report, "name") for outputs in runs if outputs.report]
    return files


def _kept_among(outputs: Outputs, taken: Iterable[str]) -> list[str]:
    """Lists the taken files that a picture of `--save-every` might replace."""
    every = outputs.save_every
    if not every:
        return []
    folder, taken = os.path.realpath(outputs.picture.parent), set(taken)
    stem, suffix = re.escape(outputs.picture.stem), re.escape(outputs.picture.suffix)
    pattern = re.compile(rf"{stem}-step([0-9]+){suffix}", re.DOTALL)

    def is_kept(path: str) -> bool:
        match = pattern.fullmatch(os.path.basename(path))
        if match is None or os.path.dirname(path) != folder:
            return False
        step = int(match[1])
        return step > 0 and step % every == 0 and outputs.kept_path(step).name == match[0]

    there: list[str] = []
    with suppress(OSError):  # if there is no such folder
        there = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    links = [path for path in there if is_kept(path) and os.path.realpath(path) in taken]
    return links or [path for path in sorted(taken) if is_kept(path)]
