"""Where photographs come from: folders, and datasets that tfds prepared. Nothing is decoded here.

TensorFlow is not used: tfds reads its `array_record` files without.
"""

import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from nstjax.errors import NstjaxError, unknown_choice
from nstjax.images.decode import picture_suffixes

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

# What the command `tfds` needs; this package needs none of it.
_TFDS_ENVIRONMENT = "in an environment with tensorflow, apache-beam and mlcroissant"

# What tfds datasets call the name that a picture's file had.
_FILENAMES = ("image/filename", "filename", "file_name")


class Record(NamedTuple):
    """A picture, not yet decoded.

    Attributes:
        name: for messages.
        data: the file's bytes, or its path.
    """

    name: str
    data: bytes | Path


@runtime_checkable
class Source(Protocol):
    """Pictures by their number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...


@runtime_checkable
class Identified(Protocol):
    """A source that knows which pictures it has, wherever they lie."""

    def identity(self) -> bytes:
        """Returns what tells these pictures from others'."""
        ...


def identity_of(source: Source) -> bytes:
    """Returns what tells a source's pictures from others'; nothing where the source cannot tell."""
    return source.identity() if isinstance(source, Identified) else b""


class Subset:
    """Some pictures of a source, in a given order."""

    def __init__(self, source: Source, indices: np.ndarray):
        self._source = source
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int, /) -> Record:
        return self._source[int(self._indices[index])]

    def identity(self) -> bytes:
        """Returns the source's, and which of its pictures these are."""
        return identity_of(self._source) + self._indices.astype("<i8").tobytes()


class Folder:
    """The pictures in a folder and the folders below it, by name.

    Hidden files and folders are left out, and links to folders are not followed.
    """

    def __init__(self, folder: Path):
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise NstjaxError(f"{folder} {what}: give folder:PATH with a folder of pictures")
        suffixes = picture_suffixes()
        self._paths: list[str] = []
        for parent, folders, files in os.walk(folder, onerror=_refuse):
            folders[:] = [name for name in folders if not name.startswith(".")]
            self._paths += [
                os.path.join(parent, name)
                for name in files
                if os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
            ]
        if not self._paths:
            raise NstjaxError(f"{folder} holds no pictures: give a folder with JPEG or PNG files")
        self._paths.sort()
        self._folder = folder

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int, /) -> Record:
        path = self._paths[index]
        return Record(path, Path(path))

    def identity(self) -> bytes:
        """Returns the files' names within the folder: reading the files would take minutes."""
        names = (Path(path).relative_to(self._folder).as_posix() for path in self._paths)
        return b"\0".join(map(os.fsencode, names))


def _refuse(error: OSError) -> None:
    raise NstjaxError(f"{error.filename} may not be read ({error.strerror}): check it") from error


class NeedsTensorFlowError(NstjaxError):
    """A dataset is prepared in a format that only TensorFlow reads."""


class Prepared:
    """The pictures of a split of a dataset that tfds prepared as `array_record`."""

    def __init__(self, builder: "tfds.core.DatasetBuilder", split: str):
        import tensorflow_datasets as tfds

        self._name = f"{builder.info.full_name} {split}"
        self._records = _open_split(builder, split)
        features = _features(builder)
        images = [name for name, kind in features.items() if type(kind) is tfds.features.Image]
        if not images:
            raise NstjaxError(
                f"{self._name} holds no pictures (its features: {', '.join(features)}): "
                "choose a dataset with a feature of type Image"
            )
        self._image = "image" if "image" in images else images[0]
        self._filename = next((name for name in _FILENAMES if name in features), None)
        wanted = [self._image] + ([self._filename] if self._filename else [])
        # Objects, masks and whatever else there is are not even parsed.
        self._features: Any = tfds.features.FeaturesDict({name: features[name] for name in wanted})
        self._decoders = {self._image: tfds.decode.SkipDecoding()}

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int, /) -> Record:
        name = f"picture {index} of {self._name}"
        try:
            record = self._records[index]
            example = self._features.deserialize_example_np(record, decoders=self._decoders)
            if not example[self._image]:  # where a file is cut short
                raise ValueError("an empty record")
        except Exception as error:  # damaged files make array_record raise various ones
            raise NstjaxError(
                f"{name} cannot be read ({_reason(error)}): prepare it anew"
            ) from error
        if self._filename and example[self._filename]:
            name = f"{os.fsdecode(example[self._filename])} of {self._name}"
        return Record(name, example[self._image])

    def identity(self) -> bytes:
        """Returns the dataset's name, version and split."""
        return self._name.encode()


def open_prepared(name: str, split: str, *, data_dir: Path | None) -> Prepared:
    """Opens a split of any dataset that tfds prepared.

    Args:
        name: tfds' name, perhaps with configuration and version: `"coco/2017:1.1.0"`.
        split: tfds' split, such as `"train"` or `"train[:10%]"`.
        data_dir: tfds' data folder; None is its own default.

    Returns:
        The pictures.

    Raises:
        NstjaxError: the dataset, or the split, is unknown or not prepared, needs TensorFlow, or
            holds no pictures.
    """
    builder = find_prepared(name, data_dir=data_dir)
    if builder is None:
        where = data_dir or default_data_dir()
        raise NstjaxError(
            f"tfds dataset {name!r} is not prepared in {where}: {_suggestion(name)}prepare it "
            f"once with `tfds build {name} --file_format=array_record --data_dir={where}`, "
            f"{_TFDS_ENVIRONMENT}"
        )
    return Prepared(builder, split)


def find_prepared(name: str, *, data_dir: Path | None) -> "tfds.core.DatasetBuilder | None":
    """Finds a dataset that tfds prepared, whatever the format.

    Args:
        name: as for `open_prepared`.
        data_dir: as for `open_prepared`.

    Returns:
        What reads it, or None where it is not prepared.

    Raises:
        NstjaxError: it is there and cannot be opened.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.read_only_builder import builder_from_files

    try:
        return builder_from_files(name, data_dir=None if data_dir is None else os.fspath(data_dir))
    except tfds.core.DatasetNotFoundError:
        return None
    except Exception as error:  # tfds raises various ones for names and files that it cannot parse
        where = data_dir or default_data_dir()
        raise NstjaxError(
            f"tfds dataset {name!r} in {where} cannot be opened ({_reason(error)}): check the "
            "name, or prepare the dataset anew"
        ) from error


def default_data_dir() -> Path:
    """Returns the folder that tfds keeps its datasets in: `$TFDS_DATA_DIR`, or in your home."""
    from tensorflow_datasets.core.constants import DATA_DIR

    return Path(DATA_DIR).expanduser()


def _open_split(builder: Any, split: str) -> Any:
    import tensorflow_datasets as tfds

    if (name := re.split(r"\W", split)[0]) not in builder.info.splits:
        raise unknown_choice(f"split of {builder.info.full_name}", name, builder.info.splits)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    try:
        return builder.as_data_source(split, deserialize_method=raw)
    except NotImplementedError as error:
        raise NeedsTensorFlowError(
            f"{builder.data_dir} is prepared in a format that needs TensorFlow: convert it once "
            f"with `tfds convert_format --dataset_version_dir={builder.data_dir} "
            f"--out_file_format=array_record`, {_TFDS_ENVIRONMENT}"
        ) from error
    except ValueError as error:
        raise NstjaxError(
            f"{split!r} is not a split of {builder.info.full_name} ({_reason(error)}): give one "
            "such as train or train[:10%]"
        ) from error
    except Exception as error:  # missing or damaged files
        raise NstjaxError(
            f"{builder.data_dir} cannot be read ({_reason(error)}): prepare the dataset anew"
        ) from error


def _features(builder: "tfds.core.DatasetBuilder") -> dict[str, Any]:
    import tensorflow_datasets as tfds

    features = builder.info.features
    # Read from a file, they come in any order.
    known = isinstance(features, tfds.features.FeaturesDict)
    return dict(sorted(features.items())) if known else {}


def _suggestion(name: str) -> str:
    import tensorflow_datasets as tfds

    base = re.split("[/:]", name)[0]
    known = tfds.list_builders(with_community_datasets=False)
    near = difflib.get_close_matches(base, known, n=1)
    return f"did you mean {near[0]!r}? or " if near and base not in known else ""


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
