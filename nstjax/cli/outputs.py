"""Where what a run makes goes, without ever overwriting a picture that was given."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nstjax.errors import NstjaxError
from nstjax.images import check_output

_SUFFIX = ".png"


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What one run writes.

    Attributes:
        picture: the stylised picture.
        bits: per channel.
        save_every: also keep the picture after every so many steps.
        history: one JSON object a step.
        report: a sheet of the run.
        resume: whether to go on from the snapshot of a run that did not end.
        snapshot_every: seconds between two of this run; 0: there are none.
    """

    picture: Path
    bits: int = 8
    save_every: int | None = None
    history: Path | None = None
    report: Path | None = None
    resume: bool = False
    snapshot_every: float = 0.0

    def snapshot(self, step: int) -> Path:
        """Returns where the picture after a step goes: beside the final one."""
        return self.picture.with_stem(f"{self.picture.stem}-step{step:05d}")


def output_paths(
    output: str | None,
    contents: list[Path | str],
    styles: Sequence[str],
    *,
    bits: int,
    other_inputs: Iterable[str] = (),
    resume: bool = False,
) -> list[Path]:
    """Decides where each stylised picture goes.

    Without `output`, into the current folder, as PHOTO-PAINTING.png, with the name of each of
    several paintings, numbered if that exists or is the output of a run that can be resumed.

    Args:
        output: a file, or a folder: one that exists, or a name that ends in a separator.
        contents: the photographs.
        styles: the paintings.
        bits: per channel, which the format must be able to hold.
        other_inputs: further files that must not be overwritten.
        resume: whether that run is the one that is wanted.

    Returns:
        A path for each of `contents`, all different and none of them an input.

    Raises:
        NstjaxError: if a path cannot be written, is an input, or is one file for several pictures.
    """
    inputs = {os.path.realpath(path) for path in (*contents, *styles, *other_inputs)}
    if output is None:
        names = [default_path(content, styles) for content in contents]

        def taken(path: Path) -> bool:
            begun = resume_file(path).exists()
            return not resume if begun else path.exists()

        return _free(names, taken, bits)
    folder = Path(output)
    if os.path.isdir(output) or output.endswith(("/", os.sep)):
        names = [folder / f"{_stem(content)}{_SUFFIX}" for content in contents]
        return _free(names, lambda path: os.path.realpath(path) in inputs, bits)
    if len(contents) > 1:
        raise NstjaxError(
            f"--output {output} is one file and there are {len(contents)} pictures: "
            f"name a folder, as in --output {folder.with_suffix('')}/"
        )
    if not folder.suffix:
        raise NstjaxError(
            f"--output {output} is no folder and has no suffix: name a file, as in "
            f"{output}{_SUFFIX}, or a folder to be made, as in {output}/"
        )
    if os.path.realpath(output) in inputs:
        raise NstjaxError(f"--output {output} would overwrite an input: choose another name")
    return [check_output(output, bits=bits)]


def numbered(path: Path) -> Iterator[Path]:
    """Yields the files that there are of a name: without a number, and from 2 on."""
    number, stem = 1, path.stem
    while path.exists():
        yield path
        number += 1
        path = path.with_stem(f"{stem}-{number}")


def default_path(content: Path | str, styles: Sequence[str]) -> Path:
    """Returns where a picture goes without `--output`, if the name is not taken."""
    return Path(f"{_stem(content)}-{'-'.join(map(_stem, styles))}{_SUFFIX}")


def replay_path(
    picture: Path, output: str | None, inputs: Iterable[str | None], *, bits: int
) -> Path:
    """Decides where a picture goes that is made again.

    Without `output`, into the current folder, as PICTURE-replay.SUFFIX, numbered if that exists.

    Args:
        picture: the one to be made again.
        output: a file, or a folder: one that exists, or a name that ends in a separator.
        inputs: files that must not be overwritten.
        bits: per channel, which the format must be able to hold.

    Returns:
        The path.

    Raises:
        NstjaxError: if it cannot be written, or is the picture or an input.
    """
    name = f"{picture.stem}-replay{picture.suffix}"
    if output is None or os.path.isdir(output) or output.endswith(("/", os.sep)):
        return _free([Path(output or "") / name], os.path.exists, bits)[0]
    taken = {os.path.realpath(path) for path in (picture, *inputs) if path is not None}
    if os.path.realpath(output) in taken:
        raise NstjaxError(
            f"--output {output} would overwrite the picture or an input: choose another name"
        )
    return check_output(output, bits=bits)


def resume_file(picture: Path) -> Path:
    """Returns where the run that makes a picture keeps what it can be resumed from: beside it."""
    return picture.with_name(f"{picture.name}.resume")


def per_picture(path: str | None, picture: Path, *, several: bool) -> Path | None:
    """Tells the files of several pictures apart by the pictures' names."""
    if path is None or not several:
        return None if path is None else Path(path)
    return Path(path).with_stem(f"{Path(path).stem}-{picture.stem}")


def _stem(source: Path | str) -> str:
    try:
        name = urlsplit(str(source)).path if "://" in str(source) else source
    except ValueError:  # a malformed address, which loading it tells of
        name = ""
    return Path(name).stem or "picture"


def _free(names: list[Path], taken: Callable[[Path], bool], bits: int) -> list[Path]:
    """Numbers the names that are taken or given twice."""
    free: list[Path] = []
    for name in names:
        path, number = name, 1
        while path in free or taken(path):
            number += 1
            path = name.with_stem(f"{name.stem}-{number}")
        free.append(check_output(path, bits=bits))
    return free
