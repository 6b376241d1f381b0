"""Where the files of a run go."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nstjax.errors import NstjaxError
from nstjax.files import check_writable, shortened
from nstjax.images import check_output, is_url

_SUFFIX, _RESUME = ".png", ".resume"
# Bytes of stems that are made of other names. File systems usually take 255; a number, the suffix,
# and the names of files beside a picture need some of them.
_LONGEST, _LONGEST_OF_SEVERAL = 200, 120
# Characters that an address can contain, and file names on some systems cannot.
_UNFIT = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What one run writes.

    Attributes:
        picture: the stylised picture.
        bits: per channel.
        save_every: also keep the picture every this many steps; None for never.
        history: a file with one JSON object a step.
        report: a sheet about the run.
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

    def kept_path(self, step: int) -> Path:
        """Returns where the picture after a step is kept: beside the final one."""
        return self.picture.with_stem(f"{self.picture.stem}-step{step:05d}")


def output_paths(
    output: str | None,
    contents: list[Path | str],
    styles: Sequence[str],
    *,
    bits: int,
    other_inputs: Iterable[str] = (),
) -> list[Path]:
    """Decides where each stylised picture goes.

    Without `output` it goes into the current folder as PHOTO-PAINTING.png, with the names of all
    paintings. The name is numbered if it exists or belongs to a run that can be resumed. A run that
    is resumed keeps its own name: see `nstjax.cli.earlier_pictures.find_begun`.

    Args:
        output: a file, or a folder: one that exists, or a name that ends in a separator.
        contents: the photographs.
        styles: the paintings.
        bits: per channel, which the format must be able to hold.
        other_inputs: further files that are read.

    Returns:
        A path for each of `contents`. In a folder they are all different, and none is an input;
        for a file that was named see `nstjax.cli.overwriting.refuse_overwriting`.

    Raises:
        NstjaxError: if a path cannot be written, or is one file for several pictures.
    """
    if output is None:
        return _free([default_path(None, name, styles) for name in contents], is_taken, bits)
    folder = Path(output)
    if is_folder(output):
        names = [default_path(output, name, styles) for name in contents]
        inputs = {os.path.realpath(path) for path in (*contents, *styles, *other_inputs)}
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
    return [_checked(folder, bits)]


def painted_before(output: str | None, content: Path | str, styles: Sequence[str]) -> list[Path]:
    """Lists what earlier runs may have made, or begun, of a photograph with these paintings.

    Args:
        output: as for `output_paths`.
        content: the photograph.
        styles: the paintings.

    Returns:
        The pictures of its name. They may be those of another photograph with the same name.
    """
    if output is not None and not is_folder(output):
        return [Path(output)]
    return _there(default_path(output, content, styles))


def is_folder(output: str) -> bool:
    """Returns whether `--output` names a folder: one that exists, or one to be made."""
    return os.path.isdir(output) or output.endswith(("/", os.sep))


def _there(path: Path) -> list[Path]:
    """Lists the finished and the begun pictures of a name, in the order of their numbers."""
    pattern = (
        rf"({re.escape(path.stem)}(?:-([0-9]+))?{re.escape(path.suffix)})(?:{re.escape(_RESUME)})?"
    )
    found: set[tuple[int, str]] = set()
    with suppress(OSError):  # if there is no such folder
        for name in os.listdir(path.parent):
            if match := re.fullmatch(pattern, name, re.DOTALL):
                found.add((int(match[2] or 1), match[1]))
    return [path.with_name(name) for _, name in sorted(found)]


def numbered(name: Path) -> Iterator[Path]:
    """Yields a name, and then the name with the numbers from 2 on."""
    yield name
    for number in count(2):
        yield name.with_stem(f"{name.stem}-{number}")


def is_taken(path: Path) -> bool:
    """Returns whether there is such a picture, or a run that makes one can be resumed."""
    return os.path.exists(path) or os.path.exists(resume_file(path))


def default_path(output: str | None, content: Path | str, styles: Sequence[str]) -> Path:
    """Returns where a picture goes without a name of its own, if that place is not taken.

    Args:
        output: a folder; None for the current one.
        content: the photograph.
        styles: the paintings.

    Returns:
        In a folder PHOTO.png, and otherwise PHOTO-PAINTING.png.
    """
    if output is not None:
        return Path(output) / f"{shortened(_stem(content), _LONGEST)}{_SUFFIX}"
    stems = [shortened(_stem(content), _LONGEST_OF_SEVERAL), *map(_stem, styles)]
    return Path(f"{shortened('-'.join(stems), _LONGEST)}{_SUFFIX}")


def replay_path(picture: Path, output: str | None, *, bits: int) -> Path:
    """Decides where the copy of a picture that is made again goes.

    Without `output` it goes into the current folder as PICTURE-replay.SUFFIX, numbered if that
    exists.

    Args:
        picture: the one to be made again.
        output: a file, or a folder: one that exists, or a name that ends in a separator.
        bits: per channel, which the format must be able to hold.

    Returns:
        The path.

    Raises:
        NstjaxError: if it cannot be written.
    """
    name = f"{shortened(picture.stem, _LONGEST)}-replay{picture.suffix}"
    if output is None or is_folder(output):
        return _free([Path(output or "") / name], os.path.exists, bits)[0]
    return _checked(Path(output), bits)


def resume_file(picture: Path) -> Path:
    """Returns where the run of a picture keeps its snapshot: beside the picture."""
    return picture.with_name(f"{picture.name}{_RESUME}")


def set_aside(picture: Path) -> tuple[Path, Path] | None:
    """Renames the snapshot that another run of the same picture left.

    Args:
        picture: where the picture goes.

    Returns:
        The old and the new name of the snapshot; None if there is none.

    Raises:
        NstjaxError: if the system refuses.
    """
    there = resume_file(picture)
    if not there.exists():
        return None
    kept, number = _old_resume_file(picture), 1
    while kept.exists():  # a third run's, which must not be lost either
        number += 1
        kept = there.with_name(f"{there.name}.old-{number}")
    try:
        there.rename(kept)
    except OSError as error:
        raise NstjaxError(
            f"cannot rename {there} to {kept} ({error.strerror}), and the run would overwrite it: "
            "choose another --output, or add --resume to go on from it"
        ) from error
    return there, kept


def _old_resume_file(picture: Path) -> Path:
    return picture.with_name(f"{resume_file(picture).name}.old")


def per_picture(path: str | None, picture: Path, *, several: bool) -> Path | None:
    """Returns the path of one of several pictures' files, which gets the picture's name."""
    if path is None or not several:
        return None if path is None else Path(path)
    return Path(path).with_stem(f"{Path(path).stem}-{picture.stem}")


def _stem(source: Path | str) -> str:
    if not is_url(source):
        return Path(source).stem or "picture"
    try:
        path = urlsplit(str(source)).path
    except ValueError:  # a malformed address; loading it reports that
        path = ""
    return _UNFIT.sub("_", unquote(Path(path).stem)) or "picture"


def _checked(path: Path, bits: int) -> Path:
    """Returns a picture's path after checking that it and the files beside it can be written."""
    check_output(path, bits=bits)
    check_writable(_old_resume_file(path))  # the longest of the names
    return path


def _free(names: list[Path], taken: Callable[[Path], bool], bits: int) -> list[Path]:
    """Numbers the names that are taken or given twice."""
    free: list[Path] = []
    for name in names:
        path = next(path for path in numbered(name) if path not in free and not taken(path))
        free.append(_checked(path, bits))
    return free
