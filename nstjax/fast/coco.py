"""COCO's photographs: downloaded once, and prepared as a tfds dataset of images only.

tfds' own COCO needs TensorFlow and 40 GB for what training does not look at.
"""

import contextlib
import functools
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from nstjax.errors import NstjaxError
from nstjax.fast.coco_zip import ARCHIVES, check_space, find_archive
from nstjax.fast.sources import (
    NeedsTensorFlowError,
    Prepared,
    default_data_dir,
    find_prepared,
    open_prepared,
)

if TYPE_CHECKING:
    from tqdm import tqdm

NAME = "coco_images"
"""What the prepared dataset is called; `coco` is tfds' own, with annotations."""

_VERSION = "1.0.0"
_SHARD_BYTES = 64 << 20  # of which one is held in memory


def open_coco(
    year: str, *, data_dir: Path | None, manual_dir: Path | None, progress: bool
) -> Prepared:
    """Opens COCO's training photographs, downloading and preparing them where that is needed.

    The first of these that there is: what an earlier call prepared, tfds' own `coco`, the zip file
    in `manual_dir` or in tfds' folder `downloads/manual`, the published one. A download goes on
    where it broke off, and what interrupts the preparation, of a few minutes, leaves the zip file.

    Args:
        year: a key of `ARCHIVES`.
        data_dir: tfds' data folder; None is its own default.
        manual_dir: the folder with COCO's zip file, where that is at hand.
        progress: show progress bars on stderr.

    Returns:
        The pictures.

    Raises:
        NstjaxError: no connection, another zip file than COCO's, or a disk that is full or cannot
            be written.
    """
    refusal = None
    for name in (NAME, "coco"):
        try:
            builder = find_prepared(f"{name}/{year}", data_dir=data_dir)
            if builder is not None:
                return Prepared(builder, "train")
        except NeedsTensorFlowError as error:
            refusal = error
    if refusal is not None and manual_dir is None:
        raise NstjaxError(
            f"{refusal}, or name the folder of {ARCHIVES[year].filename} with --manual-dir to have "
            "its pictures prepared without"
        )
    root = data_dir or default_data_dir()
    try:
        (root / NAME).mkdir(parents=True, exist_ok=True)
        with _alone(root / NAME / f".{year}.lock"):
            # Another process may just have done it.
            if find_prepared(f"{NAME}/{year}", data_dir=root) is None:
                archive = find_archive(year, root, manual_dir=manual_dir, progress=progress)
                prepare(archive, year, root, progress=progress)
    except OSError as error:
        raise NstjaxError(
            f"cannot prepare coco/{year} in {root} ({error}): choose another place with --data-dir"
        ) from error
    return open_prepared(f"{NAME}/{year}", "train", data_dir=root)


def prepare(archive: Path, year: str, root: Path, *, progress: bool) -> None:
    """Prepares the photographs in a zip file of COCO's layout as `array_record`.

    The dataset appears whole or not at all.

    Args:
        archive: the zip file.
        year: a key of `ARCHIVES`.
        root: tfds' data folder.
        progress: show a progress bar on stderr.

    Raises:
        NstjaxError: the file is no zip file, is damaged, or holds no such photographs.
        OSError: the disk cannot be written.
    """
    import tensorflow_datasets as tfds
    from tqdm import tqdm

    folder = root / NAME / year
    for left in folder.glob("incomplete.*"):  # by a process that was killed
        shutil.rmtree(left)
    with contextlib.ExitStack() as stack:
        with _wording(archive, year):
            reading = stack.enter_context(zipfile.ZipFile(archive))
        members = _photographs(reading, archive, year)
        size = sum(member.file_size for member in members)
        # Each picture is stored with its name and a few lengths.
        check_space(root, size + 1024 * len(members), f"to prepare coco/{year}")
        bar = stack.enter_context(
            tqdm(desc=f"coco/{year}", total=len(members), unit=" pictures", disable=not progress)
        )
        builder = _builder_class()(config=year, data_dir=os.fspath(root))
        builder.shards = [
            functools.partial(_examples, reading, shard, archive, year, bar)
            for shard in _shards(members)
        ]
        builder.download_and_prepare(
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )


@functools.cache
def _builder_class() -> Any:
    """The tfds builder; made on request, as its base class takes a while to import."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.dataset_builder import ShardBasedBuilder

    # Shard by shard: the usual generator's shuffling needs TensorFlow beyond 1 GB.
    class CocoImages(ShardBasedBuilder, skip_registration=True):
        """COCO's training photographs, without annotations."""

        name = NAME
        VERSION = tfds.core.Version(_VERSION)
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=year) for year in ARCHIVES]  # noqa: RUF012
        pkg_dir_path = None
        shards: Sequence[Callable[[], Iterator[tuple[str, dict[str, Any]]]]] = ()

        def _info(self) -> tfds.core.DatasetInfo:
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "image/filename": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description="COCO's training photographs, without annotations.",
                features=tfds.features.FeaturesDict(features),
                homepage="https://cocodataset.org",
            )

        def _shard_iterators_per_split(self, dl_manager: Any) -> dict[str, Any]:
            del dl_manager
            return {"train": self.shards}

        # tfds prints here.
        def _log_download_bytes(self) -> None: ...
        def _log_download_done(self) -> None: ...

    return CocoImages


@contextlib.contextmanager
def _wording(archive: Path, year: str) -> Iterator[None]:
    """Words what can be wrong with a zip file when it is opened or read."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise NstjaxError(
            f"{archive} is not a whole zip file ({error}): complete it with "
            f"`curl -C - -o {archive} {ARCHIVES[year].url}`, or download it again"
        ) from error


def _photographs(reading: zipfile.ZipFile, archive: Path, year: str) -> list[zipfile.ZipInfo]:
    folder = f"train{year}/"
    found = [
        member
        for member in reading.infolist()
        if member.filename.startswith(folder) and member.filename.lower().endswith(".jpg")
    ]
    if not found:
        raise NstjaxError(
            f"{archive} holds no {folder}*.jpg: give {ARCHIVES[year].filename} as published at "
            f"{ARCHIVES[year].url}, or unpack it and use folder:PATH"
        )
    return sorted(found, key=lambda member: member.filename)


def _shards(members: Sequence[zipfile.ZipInfo]) -> list[list[zipfile.ZipInfo]]:
    shards: list[list[zipfile.ZipInfo]] = [[]]
    size = 0
    for member in members:
        if size >= _SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(member)
        size += member.file_size
    return shards


def _examples(
    reading: zipfile.ZipFile,
    members: Sequence[zipfile.ZipInfo],
    archive: Path,
    year: str,
    bar: "tqdm",
) -> Iterator[tuple[str, dict[str, Any]]]:
    for member in members:
        with _wording(archive, year):
            data = reading.read(member)  # which checks the CRC
        name = member.filename.rpartition("/")[2]
        yield name, {"image": data, "image/filename": name}
        bar.update()


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Waits until no other process of this machine prepares the same dataset."""
    lock = FileLock(file)
    with contextlib.suppress(OSError, NotImplementedError):  # some file systems have no locks
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
