"""COCO's zip files of photographs: at hand, or downloaded, going on where a download broke off."""

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nstjax.assets import is_offline
from nstjax.assets.download import RETRY_WAITS_S, TIMEOUT_S
from nstjax.errors import NstjaxError

if TYPE_CHECKING:
    from tqdm import tqdm

_CHUNK_BYTES = 1 << 16  # the most that is lost where a connection breaks off


@dataclass(frozen=True)
class Archive:
    """A zip file of training photographs, as COCO publishes it and tfds registers it.

    Attributes:
        url: where it is.
        size: its length in bytes.
        sha256: its SHA-256 digest, in hexadecimal.
    """

    url: str
    size: int
    sha256: str

    @property
    def filename(self) -> str:
        """The name it is published under."""
        return self.url.rpartition("/")[2]


ARCHIVES = {
    "2014": Archive(
        "http://images.cocodataset.org/zips/train2014.zip",
        13_510_573_713,
        "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775",
    ),
    "2017": Archive(
        "http://images.cocodataset.org/zips/train2017.zip",
        19_336_861_798,
        "69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929",
    ),
}
"""By year. Sizes and digests are those of `tensorflow_datasets/url_checksums/coco.txt`."""


def find_archive(year: str, root: Path, *, manual_dir: Path | None, progress: bool) -> Path:
    """Finds COCO's zip file, downloading it as the last resort.

    Args:
        year: a key of `ARCHIVES`.
        root: tfds' data folder, in which the download goes where tfds looks for files got by hand.
        manual_dir: the folder it is in, where it is at hand.
        progress: show a progress bar on stderr.

    Returns:
        The file, which is the published one where it was downloaded here.

    Raises:
        NstjaxError: it is not where it should be, cannot be downloaded, is another file than the
            published one, or does not fit on the disk.
        OSError: the disk cannot be written.
    """
    archive = ARCHIVES[year]
    if manual_dir is not None:
        path = manual_dir / archive.filename
        if not path.is_file():
            raise NstjaxError(
                f"{path} does not exist: put COCO's {archive.filename} there, from {archive.url}"
            )
        return path
    path = root / "downloads" / "manual" / archive.filename
    if path.is_file():
        return path
    by_hand = f"download {archive.url} yourself and name its folder with --manual-dir"
    if is_offline():
        raise NstjaxError(
            f"coco/{year} is not prepared in {root} and NSTJAX_OFFLINE forbids downloading it: "
            f"{by_hand}, or name the right folder with --data-dir"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    # The pictures take as much room again, and the download should not be in vain.
    check_space(root, 2 * archive.size - _length(part), f"to download and prepare coco/{year}")
    _download(archive, part, by_hand=by_hand, progress=progress)
    if fault := _fault(archive, part):
        part.unlink()
        raise NstjaxError(
            f"{archive.filename} as downloaded is not the published file ({fault}): try again, "
            f"or {by_hand}"
        )
    part.rename(path)
    return path


def _download(archive: Archive, part: Path, *, by_hand: str, progress: bool) -> None:
    """Completes a file. tfds' own download would start again from its first byte."""
    import requests
    from tqdm import tqdm

    waits = iter(RETRY_WAITS_S)
    with tqdm(
        desc=archive.filename, total=archive.size, unit="B", unit_scale=True, disable=not progress
    ) as bar:
        while (before := _length(part)) < archive.size:
            bar.update(before - bar.n)
            reason = "the connection broke off"
            try:
                _append(archive.url, part, bar)
            except requests.HTTPError as error:
                reason = str(error)  # the status and the address
            except requests.exceptions.ChunkedEncodingError:
                pass
            except requests.RequestException as error:
                reason = f"no connection: {type(error).__name__}"
            if _length(part) > before:
                waits = iter(RETRY_WAITS_S)
            elif (wait := next(waits, None)) is None:
                raise NstjaxError(
                    f"cannot download {archive.filename} ({reason}): run this again to go on "
                    f"from {before:,} bytes, or {by_hand}"
                )
            else:
                time.sleep(wait)


def _append(url: str, part: Path, bar: "tqdm") -> None:
    import requests

    begin = _length(part)
    headers = {"Range": f"bytes={begin}-"} if begin else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        response.raise_for_status()
        # A server that knows no ranges sends all of it.
        with part.open("ab" if response.status_code == 206 else "wb") as file:
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                bar.update(file.tell() - bar.n)


def _fault(archive: Archive, path: Path) -> str | None:
    """Says how the file differs from the published one."""
    if (size := _length(path)) != archive.size:
        return f"{size:,} bytes instead of {archive.size:,}"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return None if found == archive.sha256 else f"SHA-256 {found} instead of {archive.sha256}"


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def check_space(root: Path, needed: int, purpose: str) -> None:
    """Refuses what does not fit on the disk.

    Args:
        root: an existing folder on it.
        needed: bytes.
        purpose: what they are for, to end "needs 1 GB" with.

    Raises:
        NstjaxError: there is less room.
    """
    free = shutil.disk_usage(root).free
    if free < needed:
        raise NstjaxError(
            f"{root} has {free / 1e9:.1f} GB free and needs {needed / 1e9:.1f} GB {purpose}: "
            "free some space there, or choose another place with --data-dir"
        )
