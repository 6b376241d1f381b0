"""Training data: photographs by name, in batches that depend on nothing but the seed.

A batch is float32, NHWC, RGB, in [0, 1], as everywhere. Threads prepare it ahead of its use.
"""

import contextlib
import copy
import os
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from nstjax.errors import NstjaxError, unknown_choice
from nstjax.fast.coco import open_coco
from nstjax.fast.coco_zip import ARCHIVES
from nstjax.fast.settings import CROPS
from nstjax.fast.sources import Folder, Record, Source, Subset, open_prepared
from nstjax.fields import checked_number
from nstjax.images import decode_square

# What a spec may be, as messages say it.
_SPECS = (*(f"coco/{year}" for year in ARCHIVES), "tfds:NAME[:SPLIT]", "folder:PATH")

# tfds' names may end in a version, and its splits may hold colons too: `coco/2017:1.1.0:train[:9]`.
_TFDS = re.compile(r"(?P<name>[^:\[\]]+(:\d+\.\d+\.\d+)?)(:(?P<split>.+))?")

_MOST_ZOOM = 1.25
_BUFFERED_PICTURES = 64


@dataclass(frozen=True)
class Dataset:
    """Photographs to train on, not yet decoded.

    Attributes:
        name: the spec it was opened with, for messages.
        source: the pictures' names and files, by number.
        held_out: the pictures that were kept out of training; None if there are none.
    """

    name: str
    source: Source
    held_out: "Dataset | None" = None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Record:
        return self.source[index]

    def picture(self, index: int, *, size: int) -> Float32[np.ndarray, "1 size size 3"]:
        """Decodes the largest square in the middle of a picture.

        Args:
            index: the picture's number.
            size: the side in pixels that the square is scaled to.

        Returns:
            The image, (1, size, size, 3).

        Raises:
            NstjaxError: the picture cannot be read.
        """
        name, data = self.source[index]
        return _unit(decode_square(data, name, size=size))[None]

    def select(self, *, limit: int | None = None, seed: int = 0, holdout: int = 0) -> "Dataset":
        """Selects pictures to train on.

        Which ones are held out does not depend on `limit`, and a smaller limit's pictures are
        among a larger one's.

        Args:
            limit: the most pictures to train on, chosen by the seed; None takes all.
            seed: chooses the pictures.
            holdout: how many pictures to keep out of training, in `held_out`.

        Returns:
            The selection.

        Raises:
            NstjaxError: a number is out of range, or no picture would be left.
        """
        check_selection(limit, holdout)
        if len(self) <= holdout:
            raise NstjaxError(
                f"{self.name} has {len(self)} pictures, of which {holdout} are to be held out: "
                "add pictures or hold out fewer"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        chosen = np.sort(order[holdout:][:limit])  # sorted to be read from start to end
        apart = Subset(self.source, order[:holdout])
        held_out = Dataset(f"{self.name}, held out", apart) if holdout else None
        return Dataset(self.name, Subset(self.source, chosen), held_out)


def open_dataset(
    spec: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    holdout: int = 0,
    progress: bool = False,
) -> Dataset:
    """Opens photographs to train on.

    Args:
        spec: `coco/2014` or `coco/2017`, downloaded (13 or 19 GB) and prepared (as much again)
            where that has not been done; `tfds:NAME[:SPLIT]`, anything that tfds prepared as
            `array_record`; or `folder:PATH`, a folder of pictures and the folders below it.
        data_dir: tfds' data folder; None is its own default.
        manual_dir: the folder with COCO's zip file, where that is at hand.
        limit: as in `Dataset.select`.
        seed: likewise.
        holdout: likewise.
        progress: show progress bars on stderr.

    Returns:
        The pictures.

    Raises:
        NstjaxError: the spec is unknown, or its pictures are not there or cannot be read.

    Example:
        >>> open_dataset("folder:photos", limit=400, holdout=4)  # doctest: +SKIP
    """
    check_selection(limit, holdout)  # before a download of hours
    source = _open_source(spec, _path(data_dir), _path(manual_dir), progress)
    return Dataset(spec, source).select(limit=limit, seed=seed, holdout=holdout)


def check_selection(limit: int | None, holdout: int) -> None:
    """Checks what `Dataset.select` takes, before there are pictures.

    Args:
        limit: as there.
        holdout: likewise.

    Raises:
        NstjaxError: a number is out of range.
    """
    if limit is not None:
        checked_number("limit", limit, int, least=1)
    checked_number("holdout", holdout, int, least=0)


def _open_source(
    spec: str, data_dir: Path | None, manual_dir: Path | None, progress: bool
) -> Source:
    kind, _, rest = spec.partition(":")
    if kind == "folder" and rest:
        return Folder(Path(rest).expanduser())
    if kind == "tfds" and (match := _TFDS.fullmatch(rest)):
        return open_prepared(match["name"], match["split"] or "train", data_dir=data_dir)
    if spec.startswith("coco/") and (year := spec.removeprefix("coco/")) in ARCHIVES:
        return open_coco(year, data_dir=data_dir, manual_dir=manual_dir, progress=progress)
    if not rest and Path(spec).expanduser().is_dir():
        raise NstjaxError(f"unknown dataset {spec!r}: for the folder give 'folder:{spec}'")
    raise unknown_choice("dataset", spec, _SPECS)


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path).expanduser().absolute()


class Batches:
    """Endless batches of a dataset's pictures, prepared ahead of their use.

    Each epoch shows every picture once, in an order of its own, except those that do not fill a
    batch. The batches depend on the dataset, `batch_size`, `image_size`, `crop` and `seed`, and on
    nothing else: no state but the position, no timing, no number of processes. A broken picture is
    replaced by the next one in the dataset that is whole.

    Args:
        dataset: the pictures.
        batch_size: pictures in a batch, over all processes.
        image_size: the side of the pictures in pixels, S.
        crop: `"random"` scales the shorter side to between S and 1.25 S, never enlarging more than
            needed, cuts a square out anywhere and flips every other one; `"squash"` scales both
            sides to S.
        seed: of order, crops and flips.
        process_index: which process this is.
        process_count: how many share each batch; in order, their parts make up the batch.

    Attributes:
        batches_per_epoch: how many batches an epoch has.
        broken: what was wrong with the pictures that were skipped so far, by their number.
        waited: the seconds that `next` has spent waiting for pictures so far.

    Raises:
        NstjaxError: the dataset is too small for a batch, or the processes cannot share one.

    Example:
        >>> from nstjax.images import save_image
        >>> for name in "abcde":
        ...     save_image(f"{name}.png", np.zeros((1, 30, 40, 3)))
        >>> dataset = open_dataset("folder:.", holdout=1)
        >>> with Batches(dataset, batch_size=2, image_size=16) as batches:
        ...     batches.batches_per_epoch, next(batches).shape
        (2, (2, 16, 16, 3))
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        image_size: int,
        crop: str = "random",
        seed: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ):
        import grain

        if crop not in CROPS:
            raise unknown_choice("crop", crop, CROPS)
        if len(dataset) < batch_size:
            raise NstjaxError(
                f"{dataset.name} has {len(dataset)} pictures, fewer than a batch of {batch_size}: "
                "add pictures or choose a smaller batch size"
            )
        if batch_size % process_count:
            raise NstjaxError(
                f"a batch of {batch_size} cannot be shared by {process_count} processes: choose a "
                f"multiple of {process_count}"
            )
        self._dataset = dataset
        self._batch_size = batch_size
        self._image_size = image_size
        self._crop = crop
        self._seed = seed
        share = batch_size // process_count
        self._share = slice(process_index * share, (process_index + 1) * share)
        self.batches_per_epoch = len(dataset) // batch_size
        self.broken: dict[int, str] = {}
        self.waited = 0.0
        batches = (
            grain.MapDataset.range(len(dataset))
            .shuffle(seed=seed)
            .batch(batch_size, drop_remainder=True)
            .repeat()
            .map_with_index(self._load)
        )
        options = grain.ReadOptions(
            num_threads=min(16, max(4, os.cpu_count() or 1)),
            prefetch_buffer_size=max(4, _BUFFERED_PICTURES // share),
        )
        self._iterator = iter(batches.to_iter_dataset(options))
        # Pillow warns of damaged metadata, which does not matter for training. The filter is the
        # whole process's: threads cannot have their own.
        self._closing = contextlib.ExitStack()
        self._closing.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")
        self._closing.callback(self._iterator.close)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> Float32[np.ndarray, "share size size 3"]:
        begin = time.perf_counter()
        pictures, broken = next(self._iterator)
        self.waited += time.perf_counter() - begin
        self.broken.update(broken)
        # A share of the dataset, not of the pictures so far: two broken ones may come early.
        if pictures is None or len(self.broken) > len(self._dataset) // 100:
            raise NstjaxError(
                f"more than 1 % of the {len(self._dataset)} pictures of {self._dataset.name} are "
                f"broken ({len(self.broken)} so far), the last one so: "
                f"{list(self.broken.values())[-1]}"
            )
        return pictures

    def get_state(self) -> dict[str, Any]:
        """Returns the position: what `set_state` needs for the same batches to follow, for JSON."""
        # A copy: what the iterator returns may be its own.
        return {
            "position": copy.deepcopy(self._iterator.get_state()),
            "broken": [[index, message] for index, message in self.broken.items()],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position, also to that of a run with another number of processes.

        Args:
            state: what `get_state` returned.

        Raises:
            NstjaxError: it is not a position.
        """
        try:
            self._iterator.set_state(state["position"])
            self.broken = {int(index): str(message) for index, message in state["broken"]}
        except (ValueError, LookupError, TypeError) as error:
            raise NstjaxError(
                f"the position in the data is unreadable ({error}): start the training anew"
            ) from error

    def close(self) -> None:
        """Ends the threads, and lets Pillow warn again. There are no batches after that."""
        self._closing.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _load(
        self, number: int, indices: np.ndarray
    ) -> tuple[Float32[np.ndarray, "share size size 3"] | None, list[tuple[int, str]]]:
        """Loads this process's part of a batch; also returns which pictures it skipped, and why."""
        pictures, broken = [], []
        first = number * self._batch_size
        for place in range(self._batch_size)[self._share]:
            picture = self._load_picture(first + place, int(indices[place]), broken)
            if picture is None:
                return None, broken
            pictures.append(picture)
        return _unit(np.stack(pictures)), broken

    def _load_picture(
        self, position: int, index: int, broken: list[tuple[int, str]]
    ) -> UInt8[np.ndarray, "size size 3"] | None:
        """Loads a picture, or the next one that is whole; None if too many in a row are not."""
        random = np.random.default_rng((self._seed, position))
        zoom, left, top, flip = random.uniform((1, 0, 0, 0), (_MOST_ZOOM, 1, 1, 1))
        squash = self._crop == "squash"
        for _ in range(len(self._dataset) // 100 + 1):
            try:
                name, data = self._dataset[index]
                picture = decode_square(
                    data,
                    name,
                    size=self._image_size,
                    zoom=1.0 if squash else float(zoom),
                    place=(float(left), float(top)),
                    squash=squash,
                )
                return picture[:, ::-1] if flip < 0.5 and not squash else picture
            except NstjaxError as error:
                broken.append((index, str(error)))
                index = (index + 1) % len(self._dataset)
        return None


def _unit(levels: UInt8[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    return levels / np.float32(255)
