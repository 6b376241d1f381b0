"""COCO and other tfds datasets, prepared and read where TensorFlow must not even be imported."""

import hashlib
import io
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.fast import coco, coco_zip
from nstjax.fast.coco_zip import ARCHIVES, Archive
from nstjax.fast.data import Batches, Dataset, open_dataset
from nstjax.fast.sources import identity_of

COUNT = 12


@pytest.fixture(autouse=True)
def _no_tensorflow(tmp_path_factory, monkeypatch):
    """A TensorFlow that may not be imported, ahead of any other."""
    folder = tmp_path_factory.mktemp("stub")
    (folder / "tensorflow.py").write_text("raise AssertionError('TensorFlow was imported')")
    monkeypatch.syspath_prepend(folder)


def jpeg(index: int) -> bytes:
    stream = io.BytesIO()
    rng = np.random.default_rng(index)
    Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def name_in(year: str, index: int) -> str:
    number = f"{index:012}.jpg"
    return f"COCO_train2014_{number}" if year == "2014" else number


def zipped(year: str, count: int = COUNT, *, prefix: str | None = None) -> bytes:
    """A zip file of COCO's layout, not in the order of its names."""
    stream = io.BytesIO()
    folder = f"train{year}/" if prefix is None else prefix
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(folder or "empty/", b"")
        for index in reversed(range(count)):
            archive.writestr(folder + name_in(year, index), jpeg(index))
    return stream.getvalue()


@pytest.fixture
def manual_dir(tmp_path) -> Path:
    folder = tmp_path / "manual"
    folder.mkdir()
    for year in ARCHIVES:
        (folder / f"train{year}.zip").write_bytes(zipped(year))
    return folder


def opened(tmp_path: Path, spec: str = "coco/2014", **options) -> Dataset:
    return open_dataset(spec, data_dir=tmp_path / "data", **options)


def failure(tmp_path: Path, spec: str = "coco/2014", **options) -> str:
    with pytest.raises(NstjaxError) as caught:
        opened(tmp_path, spec, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("year", ["2014", "2017"])
def test_prepares_once_from_the_zip_file(tmp_path, manual_dir, monkeypatch, capfd, year):
    monkeypatch.setattr(coco, "_SHARD_BYTES", 2 * len(jpeg(0)))
    opened(tmp_path, f"coco/{year}", manual_dir=manual_dir)
    shutil.rmtree(manual_dir)
    dataset = opened(tmp_path, f"coco/{year}")
    records = [dataset[index] for index in range(len(dataset))]
    assert [record.data for record in records] == [jpeg(index) for index in range(COUNT)]
    assert records[3].name == f"{name_in(year, 3)} of coco_images/{year}/1.0.0 train"
    shards = list((tmp_path / "data/coco_images" / year / "1.0.0").glob("*.array_record*"))
    assert len(shards) > 2
    with Batches(dataset, batch_size=4, image_size=24) as batches:
        assert next(batches).shape == (4, 24, 24, 3)
    assert capfd.readouterr() == ("", "")


def test_progress_goes_to_stderr(tmp_path, manual_dir, capfd):
    opened(tmp_path, manual_dir=manual_dir, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert f"{COUNT}/{COUNT}" in err


def test_what_interrupts_the_preparation_leaves_nothing(tmp_path, manual_dir, monkeypatch):
    read = zipfile.ZipFile.read
    reads = []

    def interrupted(self, *args):
        reads.append(args)
        if len(reads) == 5:
            raise KeyboardInterrupt
        return read(self, *args)

    monkeypatch.setattr(zipfile.ZipFile, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, manual_dir=manual_dir)
    assert list((tmp_path / "data/coco_images/2014").iterdir()) == []
    assert len(opened(tmp_path, manual_dir=manual_dir)) == COUNT


def test_what_a_killed_process_left_is_swept(tmp_path, manual_dir):
    left = tmp_path / "data/coco_images/2014/incomplete.ABC_1.0.0"
    left.mkdir(parents=True)
    (left / "coco_images-train.array_record-00000-of-00001").write_bytes(b"half")
    assert len(opened(tmp_path, manual_dir=manual_dir)) == COUNT
    assert [path.name for path in left.parent.iterdir()] == ["1.0.0"]


def test_two_at_once_prepare_once(tmp_path, manual_dir, monkeypatch):
    prepared = []
    prepare = coco.prepare
    monkeypatch.setattr(
        coco, "prepare", lambda *args, **options: prepared.append(prepare(*args, **options))
    )
    lengths = []

    def work():
        lengths.append(len(opened(tmp_path, manual_dir=manual_dir)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lengths == [COUNT, COUNT]
    assert len(prepared) == 1


def damaged() -> bytes:
    data = bytearray(zipped("2014"))
    data[data.index(jpeg(7)) + 300] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zipped("2014")[:5000], "train2014.zip is not a whole zip file (File is not a zip file): "),
        (b"", "train2014.zip is not a whole zip file (File is not a zip file): complete it with"),
        (damaged(), f"not a whole zip file (Bad CRC-32 for file 'train2014/{name_in('2014', 7)}')"),
        (zipped("2017"), "train2014.zip holds no train2014/*.jpg: give train2014.zip as published"),
        (zipped("2014", prefix=""), "train2014.zip holds no train2014/*.jpg"),
        (zipped("2014", 0), "train2014.zip holds no train2014/*.jpg"),
    ],
)
def test_wrong_zip_files(tmp_path, manual_dir, content, message):
    (manual_dir / "train2014.zip").write_bytes(content)
    assert message in failure(tmp_path, manual_dir=manual_dir)
    assert not (tmp_path / "data/coco_images/2014/1.0.0").exists()


def test_no_zip_file(tmp_path):
    message = failure(tmp_path, manual_dir=tmp_path)
    assert message.startswith(f"{tmp_path}/train2014.zip does not exist: put COCO's")


def test_small_disks_are_refused(tmp_path, manual_dir, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 9000))  # pyright: ignore
    message = failure(tmp_path, manual_dir=manual_dir)
    assert "has 0.0 GB free and needs 0.0 GB to prepare coco/2014: free some space" in message
    assert not (tmp_path / "data/coco_images/2014").exists()


def test_a_place_that_cannot_be_written(tmp_path, manual_dir):
    (tmp_path / "data").write_text("a file")
    message = failure(tmp_path, manual_dir=manual_dir)
    assert message.startswith(f"cannot prepare coco/2014 in {tmp_path}/data (")
    assert message.endswith("): choose another place with --data-dir")


class Server(ThreadingHTTPServer):
    """Serves `content` from where it is asked for: so many requests, so many bytes each."""

    daemon_threads = True
    content = b""
    good = 10**9
    most = 10**9
    ranges = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    def handle_error(self, request, client_address):
        """Clients that hang up are part of these tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format, *args):
        """Keeps stderr for what is tested."""

    def do_GET(self):
        server = self.server
        asked = self.headers["Range"]
        server.asked.append(asked)
        if len(server.asked) > server.good:
            self.send_error(503)
            return
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        begin = begin if server.ranges else 0
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(server.content) - begin))
        self.end_headers()
        self.wfile.write(server.content[begin : begin + server.most])


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    """Publishes a small train2014.zip in place of COCO's."""
    with Server() as server:
        server.content = zipped("2014")
        archive = Archive(
            f"http://127.0.0.1:{server.server_port}/zips/train2014.zip",
            len(server.content),
            hashlib.sha256(server.content).hexdigest(),
        )
        monkeypatch.setitem(ARCHIVES, "2014", archive)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("NSTJAX_OFFLINE")
        monkeypatch.setattr(coco_zip, "RETRY_WAITS_S", (0.0, 0.0))
        monkeypatch.setattr(coco_zip, "_CHUNK_BYTES", 256)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_downloads_checks_and_prepares(tmp_path, server, capfd):
    assert len(opened(tmp_path)) == COUNT
    assert server.asked == [None]
    zip_file = tmp_path / "data/downloads/manual/train2014.zip"
    assert zip_file.read_bytes() == server.content
    assert os.listdir(zip_file.parent) == ["train2014.zip"]
    assert capfd.readouterr() == ("", "")


def test_a_download_goes_on_where_it_broke_off(tmp_path, server):
    server.most = 256 * (len(server.content) // 700)
    assert len(opened(tmp_path)) == COUNT
    assert server.asked == [None, f"bytes={server.most}-", f"bytes={2 * server.most}-"]


def test_a_download_goes_on_in_the_next_run(tmp_path, server):
    server.most, server.good = 512, 2
    message = failure(tmp_path)
    assert "train2014.zip (503 Server Error" in message
    assert "run this again to go on from 1,024 bytes, or download http://127" in message
    server.most, server.good = 10**9, 10**9
    server.asked.clear()
    assert len(opened(tmp_path)) == COUNT
    assert server.asked == ["bytes=1024-"]


def test_a_server_without_ranges_sends_everything_again(tmp_path, server):
    part = tmp_path / "data/downloads/manual/train2014.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"another file's beginning")
    server.ranges = False
    assert len(opened(tmp_path)) == COUNT
    assert server.asked == ["bytes=24-"]


@pytest.mark.parametrize("change", [lambda data: data[:-9] + b"something", lambda data: data * 2])
def test_another_file_is_refused(tmp_path, server, change):
    server.content = change(server.content)
    message = failure(tmp_path)
    assert "train2014.zip as downloaded is not the published file (" in message
    assert os.listdir(tmp_path / "data/downloads/manual") == []


def test_no_server(tmp_path, server, monkeypatch):
    archive = Archive("http://127.0.0.1:9/train2014.zip", 9, "")
    monkeypatch.setitem(ARCHIVES, "2014", archive)
    message = failure(tmp_path)
    assert message.startswith("cannot download train2014.zip (no connection: ConnectionError)")


def test_no_room_for_the_download(tmp_path, server, monkeypatch):
    monkeypatch.setitem(ARCHIVES, "2014", Archive("http://127.0.0.1:9/train2014.zip", 10**15, ""))
    message = failure(tmp_path)
    assert "needs 2000000.0 GB to download and prepare coco/2014" in message


def test_offline(tmp_path):
    message = failure(tmp_path)
    assert "is not prepared in" in message
    assert "NSTJAX_OFFLINE forbids downloading it: download http://images.coco" in message


def test_published_archives():
    """The registry of the tfds that is installed says the same."""
    from tensorflow_datasets.core.download.checksums import get_all_url_infos

    registered = get_all_url_infos()
    for archive in ARCHIVES.values():
        info = registered[archive.url]
        assert (archive.size, archive.sha256) == (info.size, info.checksum)


def prepare_official(
    data_dir: Path, *, name: str = "coco", config: str = "2014", pictures: bool = True
) -> Path:
    """Prepares a dataset with the features of tfds' own COCO; returns its folder."""
    import tensorflow_datasets as tfds

    image: dict[str, Any] = {"image": tfds.features.Image(encoding_format="jpeg")}
    features = (image if pictures else {}) | {
        "image/filename": tfds.features.Text(),
        "image/id": np.int64,
        "objects": tfds.features.Sequence(
            {
                "area": np.int64,
                "bbox": tfds.features.BBoxFeature(),
                "label": tfds.features.ClassLabel(num_classes=80),
                "is_crowd": np.bool_,
            }
        ),
    }
    objects = {
        "area": 7,
        "bbox": tfds.features.BBox(0.0, 0.0, 0.5, 1.0),
        "label": 3,
        "is_crowd": False,
    }

    class Official(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore
        VERSION = tfds.core.Version("1.1.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)]  # noqa: RUF012
        pkg_dir_path = None

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {"train": self._generate_examples(), "test": self._generate_examples(2)}

        def _generate_examples(self, count=COUNT):
            for index in range(count):
                example = {
                    "image/filename": name_in(config, index),
                    "image/id": index,
                    "objects": [objects] * index,
                }
                yield index, example | ({"image": jpeg(index)} if pictures else {})

    Official.name = name
    builder: Any = Official(config=config, data_dir=data_dir)
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(try_download_gcs=False),
    )
    return Path(builder.data_dir)


def test_reads_official_coco(tmp_path):
    prepare_official(tmp_path / "data")
    dataset = opened(tmp_path)
    records = {dataset[index] for index in range(len(dataset))}
    assert records == {
        (f"{name_in('2014', index)} of coco/2014/1.1.0 train", jpeg(index))
        for index in range(COUNT)
    }


@pytest.mark.parametrize(
    ("spec", "count"),
    [
        ("tfds:coco/2014", COUNT),
        ("tfds:coco/2014:1.1.0", COUNT),
        ("tfds:coco/2014:train", COUNT),
        ("tfds:coco/2014:1.1.0:test", 2),
        ("tfds:coco/2014:train[:5]", 5),
        ("tfds:coco/2014:1.1.0:train[:50%]+test", 8),
    ],
)
def test_any_prepared_dataset(official, spec, count):
    assert len(opened(official, spec)) == count


def test_prepared_datasets_are_known_by_name_and_split(official):
    specs = ["tfds:coco/2014", "tfds:coco/2014:1.1.0:train", "tfds:coco/2014:train[:5]"]
    found = [identity_of(opened(official, spec, limit=5).source) for spec in specs]
    assert found[0] == found[1] != found[2]


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    prepare_official(folder / "data")
    prepare_official(folder / "data", name="captions", config="plain", pictures=False)
    return folder


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("tfds:coco/2014:trian", "unknown split of coco/2014/1.1.0 'trian': did you mean 'train'?"),
        ("tfds:coco/2014:train[:x]", "'train[:x]' is not a split of coco/2014/1.1.0 (Error pars"),
        ("tfds:coco/2014:train+tets", "(Unknown split 'tets'"),
        ("tfds:coco/2014:2.0.0", "tfds dataset 'coco/2014:2.0.0' is not prepared in"),
        ("tfds:captions/plain", "holds no pictures (its features: image/filename, image/id, obj"),
        (
            "tfds:oxford_flower102",
            "is not prepared in {0}/data: did you mean 'oxford_flowers102'? or prepare it once "
            "with `tfds build oxford_flower102 --file_format=array_record --data_dir={0}/data`, in "
            "an environment with tensorflow",
        ),
        ("tfds:a/b/c", "tfds dataset 'a/b/c' in {0}/data cannot be opened ("),
    ],
)
def test_what_tfds_does_not_have(official, spec, message):
    assert message.format(official) in failure(official, spec)


def as_tfrecord(folder: Path) -> None:
    """Makes a prepared dataset look like what tfds writes unless it is told otherwise."""
    path = folder / "dataset_info.json"
    info = json.loads(path.read_text())
    assert info["fileFormat"] == "array_record"
    path.write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    for file in folder.glob("*array_record*"):
        file.rename(folder / file.name.replace("array_record", "tfrecord"))


def test_what_needs_tensorflow(tmp_path, manual_dir):
    folder = prepare_official(tmp_path / "data")
    as_tfrecord(folder)
    advice = (
        f"{folder} is prepared in a format that needs TensorFlow: convert it once with `tfds "
        f"convert_format --dataset_version_dir={folder} --out_file_format=array_record`, in an "
        "environment with tensorflow, apache-beam and mlcroissant"
    )
    assert failure(tmp_path, "tfds:coco/2014") == advice
    message = failure(tmp_path)
    assert (
        message
        == f"{advice}, or name the folder of train2014.zip with --manual-dir to have "
        + ("its pictures prepared without")
    )
    assert len(opened(tmp_path, manual_dir=manual_dir)) == COUNT
    assert len(opened(tmp_path)) == COUNT


def test_reads_what_was_converted(tmp_path):
    folder = prepare_official(tmp_path / "data")
    shards = {file: file.read_bytes() for file in folder.glob("*array_record*")}
    as_tfrecord(folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    info["alternativeFileFormats"] = ["array_record"]
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for file, content in shards.items():
        file.write_bytes(content)
    dataset = opened(tmp_path)
    assert {dataset[index].data for index in range(COUNT)} == {jpeg(n) for n in range(COUNT)}


def test_damaged_preparations(tmp_path):
    folder = prepare_official(tmp_path / "data")
    for damage in (lambda file: os.truncate(file, 3000), os.unlink):
        for file in folder.glob("*train*"):
            damage(file)
        dataset = opened(tmp_path)
        with pytest.raises(NstjaxError, match=r"picture 3 of coco/2014/1\.1\.0 train cannot be"):
            dataset[3]
        with (
            Batches(dataset, batch_size=4, image_size=24) as batches,
            pytest.raises(NstjaxError, match="more than 1 % of the 12 pictures of coco/2014 are"),
        ):
            next(batches)
    (folder / "dataset_info.json").write_text("{")
    assert "tfds dataset 'coco/2014' in" in failure(tmp_path)
