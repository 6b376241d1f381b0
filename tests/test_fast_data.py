"""Folders of photographs, and the batches made of them."""

import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.fast.data import Batches, Dataset, open_dataset
from nstjax.fast.sources import Record


class Numbered:
    """Flat pictures, each as grey as its number says; some broken, some slow to come."""

    def __init__(self, folder: Path, count: int, broken=(), delays=None):
        self.paths = [folder / f"{index:03}.png" for index in range(count)]
        self.delays = delays
        for index, path in enumerate(self.paths):
            Image.new("RGB", (9, 8), (index,) * 3).save(path)
            if index in broken:
                path.write_bytes(path.read_bytes()[:40])

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index, /):
        if self.delays is not None:
            time.sleep(self.delays[index])
        return Record(self.paths[index].name, self.paths[index])


def numbered(folder: Path, count: int, **options) -> Dataset:
    return Dataset("numbered", Numbered(folder, count, **options))


def numbers(batch: np.ndarray) -> list[int]:
    return [round(float(picture.mean()) * 255) for picture in batch]


def take(batches: Batches, count: int) -> list[np.ndarray]:
    return [next(batches) for _ in range(count)]


def open_batches(dataset: Dataset, *, batch_size: int = 5, **options: Any) -> Batches:
    return Batches(dataset, batch_size=batch_size, image_size=8, **options)


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Thirty noisy pictures of several sizes and kinds in nested folders, and what is none."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(30):
        size = 20 + 3 * index, 60 - index
        name = f"{'abc'[index % 3]}/{index:02}.{'jpg' if index % 2 else 'PNG'}"
        path = folder / "deep" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    (folder / "notes.txt").write_text("none")
    (folder / ".hidden.png").write_text("none")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "a.png").write_text("none")
    return folder


def test_folder(photos):
    dataset = open_dataset(f"folder:{photos}")
    assert len(dataset) == 30
    assert dataset.name == f"folder:{photos}"
    assert dataset.held_out is None
    names = [dataset[index].name for index in range(30)]
    assert names == sorted(str(path) for path in photos.glob("deep/*/*"))


def names_of(dataset: Dataset | None) -> set[str]:
    assert dataset is not None
    return {dataset[index].name for index in range(len(dataset))}


def test_limit_and_holdout(photos):
    def opened(**options):
        dataset = open_dataset(f"folder:{photos}", holdout=4, **options)
        return names_of(dataset), names_of(dataset.held_out)

    few, held = opened(limit=5)
    more, same = opened(limit=20)
    everything, still = opened()
    assert held == same == still
    assert few < more < everything
    assert everything.isdisjoint(held)
    assert [len(names) for names in (held, few, more, everything)] == [4, 5, 20, 26]
    assert opened(limit=99)[0] == everything
    assert opened(limit=5) == (few, held)
    assert opened(limit=5, seed=1) != (few, held)


def test_picture(photos):
    held_out = open_dataset(f"folder:{photos}", holdout=2).held_out
    assert held_out is not None
    picture = held_out.picture(1, size=24)
    assert (picture.shape, picture.dtype) == ((1, 24, 24, 3), np.float32)
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.std() > 0.05


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("folder:{0}/none", {}, r"none does not exist: give folder:PATH"),
        ("folder:{0}/notes.txt", {}, r"notes\.txt is not a folder"),
        ("folder:{0}/empty", {}, r"empty holds no pictures: give a folder with JPEG"),
        ("folder:", {}, r"unknown dataset 'folder:': did you mean 'folder:PATH'\?"),
        ("coco", {}, r"did you mean 'coco/2017'\? \(accepted: coco/2014, coco/2017, tfds:NAME"),
        ("coco/2015", {}, r"unknown dataset 'coco/2015': did you mean 'coco/2017'\?"),
        ("tfds:", {}, r"unknown dataset 'tfds:' \(accepted: coco/2014, coco/2017, tfds:NAME"),
        ("", {}, r"unknown dataset ''"),
        ("{0}", {}, r"unknown dataset '.*photos0': for the folder give 'folder:.*photos0'"),
        ("folder:{0}", {"limit": 0}, r"limit is 0: it must be at least 1"),
        ("folder:{0}", {"holdout": -1}, r"holdout is -1: it must be at least 0"),
        ("folder:{0}", {"holdout": 30}, r"has 30 pictures, of which 30 are to be held out"),
    ],
)
def test_what_cannot_be_opened(photos, spec, options, message):
    (photos / "empty").mkdir(exist_ok=True)
    with pytest.raises(NstjaxError, match=message):
        open_dataset(spec.format(photos), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 9}, r"numbered has 8 pictures, fewer than a batch of 9: add pictures"),
        ({"process_count": 2}, r"a batch of 5 cannot be shared by 2 processes: .* multiple of 2"),
        ({"crop": "randon"}, r"unknown crop 'randon': did you mean 'random'\?"),
    ],
)
def test_what_cannot_be_made_into_batches(tmp_path, options, message):
    with pytest.raises(NstjaxError, match=message):
        open_batches(numbered(tmp_path, 8), **options)


def test_batches_are_images(photos):
    with Batches(open_dataset(f"folder:{photos}"), batch_size=4, image_size=32) as batches:
        for batch in take(batches, 3):
            assert (batch.shape, batch.dtype) == ((4, 32, 32, 3), np.float32)
            assert batch.min() >= 0
            assert batch.max() <= 1
            assert batch.std(axis=(1, 2, 3)).min() > 0.05


def test_an_epoch_shows_each_picture_once(tmp_path):
    with open_batches(numbered(tmp_path, 13)) as batches:
        assert batches.batches_per_epoch == 2
        epochs = [np.concatenate([numbers(b) for b in take(batches, 2)]) for _ in range(4)]
    # Three of thirteen are left over, not the same ones every time.
    assert all(len(set(epoch)) == 10 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len({frozenset(epoch) for epoch in epochs}) > 1


def test_batches_depend_on_the_seed_and_not_on_time(tmp_path):
    delays = np.random.default_rng(0).choice([0.0, 0.02], 23)
    with (
        open_batches(numbered(tmp_path, 23)) as fast,
        open_batches(numbered(tmp_path, 23, delays=delays)) as slow,
        open_batches(numbered(tmp_path, 23), seed=7) as other,
    ):
        first = take(fast, 8)
        np.testing.assert_array_equal(first, take(slow, 8))
        assert not np.array_equal(first, take(other, 8))


@pytest.mark.parametrize("stop", [0, 1, 6, 7, 13])
def test_resumes_to_the_bit(photos, stop):
    dataset = open_dataset(f"folder:{photos}")  # 7 batches an epoch
    with open_batches(dataset, batch_size=4) as batches:
        take(batches, stop)
        state = batches.get_state()
        expected = take(batches, 9)
    with open_batches(dataset, batch_size=4) as resumed:
        take(resumed, 2)  # wherever it is
        resumed.set_state(state)
        np.testing.assert_array_equal(take(resumed, 9), expected)
        resumed.set_state(state)
        assert resumed.get_state() == state


@pytest.mark.parametrize(
    "state", [{}, {"position": 3, "broken": []}, {"position": {"next_index": 0}}]
)
def test_unreadable_states(tmp_path, state):
    with (
        open_batches(numbered(tmp_path, 8)) as batches,
        pytest.raises(NstjaxError, match="the position in the data is unreadable"),
    ):
        batches.set_state(state)


def test_processes_share_each_batch(photos):
    dataset = open_dataset(f"folder:{photos}")
    with open_batches(dataset, batch_size=6) as alone:
        expected = take(alone, 7)
        state = alone.get_state()
        later = take(alone, 2)
    parts, later_parts = [], []
    for index in range(3):
        options = {"batch_size": 6, "process_index": index, "process_count": 3}
        with open_batches(dataset, **options) as batches:
            parts.append(take(batches, 7))
            batches.set_state(state)
            later_parts.append(take(batches, 2))
    assert parts[0][0].shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)
    np.testing.assert_array_equal(np.concatenate(later_parts, axis=1), later)


def gradient(tmp_path, height: int, width: int) -> Dataset:
    """Four pictures whose colours tell where in the picture they are, by row and by column."""
    rows = np.repeat(np.arange(height)[:, None], width, 1)
    columns = np.repeat(np.arange(width)[None], height, 0)
    for index in range(4):
        levels = np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)
        Image.fromarray(levels).save(tmp_path / f"{index}.png")
    return open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize(("height", "sides"), [(100, (80, 100)), (70, (64, 70)), (40, (40, 40))])
def test_random_crops(tmp_path, height, sides):
    with Batches(gradient(tmp_path, height, 200), batch_size=4, image_size=64) as batches:
        pictures = np.concatenate(take(batches, 15)) * 255
    assert len({picture.tobytes() for picture in pictures}) > 50  # no epoch repeats another
    corners = pictures[:, [0, -1]][:, :, [0, -1]]
    down = corners[:, 1, 0, 0] - corners[:, 0, 0, 0]
    across = corners[:, 0, 1, 1] - corners[:, 0, 0, 1]
    flipped = across < 0
    assert 15 < flipped.sum() < 45
    # From the first row to the last it is a row less than the side, give or take a filter's width.
    found = np.stack([down, np.abs(across)]) * 64 / 63
    assert found.min() > sides[0] - 3
    assert found.max() < sides[1] + 3
    if sides[0] < sides[1]:
        assert np.ptp(down) > 0.7 * (sides[1] - sides[0])
        assert np.ptp(corners[:, 0, 0, 0]) > 0.5 * (height - sides[0])
    assert np.ptp(corners[:, 0, :, 1].min(axis=1)) > 60


def test_squash_is_the_whole_picture_every_time(tmp_path):
    dataset = gradient(tmp_path, 50, 200)
    with Batches(dataset, batch_size=4, image_size=40, crop="squash") as batches:
        pictures = np.concatenate(take(batches, 5)) * 255
    assert (pictures == pictures[0]).all()
    assert abs(pictures[0, :, :, 0].mean() - 24.5) < 1
    np.testing.assert_allclose(pictures[0, 0, [0, -1], 1], [2, 197], atol=1)


def test_broken_pictures_are_skipped(tmp_path):
    dataset = numbered(tmp_path, 200, broken=(17, 18))
    with open_batches(dataset) as batches:
        half = take(batches, 20)
        state, broken = batches.get_state(), dict(batches.broken)
        rest = take(batches, 30)
        assert batches.broken == {
            number: f"0{number}.png is not a picture of a readable kind: replace or remove it"
            for number in (17, 18)
        }
        end = batches.get_state()
    epoch = np.concatenate([numbers(batch) for batch in half + rest[:20]])
    # Both places went to the next whole picture.
    assert sorted(epoch) == sorted([*range(17), 19, 19, *range(19, 200)])
    with open_batches(dataset) as resumed:
        resumed.set_state(state)
        assert resumed.broken == broken
        np.testing.assert_array_equal(take(resumed, 30), rest)
        assert resumed.get_state() == end


def test_processes_skip_the_same_broken_pictures(tmp_path):
    dataset = numbered(tmp_path, 200, broken=(17, 18))
    with open_batches(dataset, batch_size=20) as alone:
        expected = take(alone, 10)
    parts = []
    for index in range(2):
        options = {"batch_size": 20, "process_count": 2, "process_index": index}
        with open_batches(dataset, **options) as batches:
            parts.append(take(batches, 10))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


@pytest.mark.parametrize(
    ("count", "broken"), [(200, range(50, 53)), (30, [4]), (120, range(120)), (12, range(12))]
)
def test_too_many_broken_pictures_stop(tmp_path, count, broken):
    with (
        open_batches(numbered(tmp_path, count, broken=broken)) as batches,
        pytest.raises(NstjaxError, match=r"more than 1 % of the .* of numbered are broken "),
    ):
        take(batches, 40)


def test_a_file_that_is_gone_is_broken(tmp_path):
    dataset = numbered(tmp_path, 100)
    (tmp_path / "050.png").unlink()
    with open_batches(dataset) as batches:
        take(batches, 20)
        assert list(batches.broken) == [50]
        assert "050.png does not exist" in batches.broken[50]


def test_damaged_metadata_is_nobodys_business(tmp_path):
    for index in range(5):
        exif = b"Exif\0\0II*\0\xff\xff\xff\x7f"
        Image.new("RGB", (9, 8)).save(tmp_path / f"{index}.jpg", exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with open_batches(open_dataset(f"folder:{tmp_path}")) as batches:
            take(batches, 2)
            assert batches.broken == {}
            batches.close()
            warnings.warn_explicit("Corrupt EXIF data", UserWarning, "image.py", 1, "PIL.Image")
    assert [str(warning.message) for warning in caught] == ["Corrupt EXIF data"]


def test_waiting_is_told(tmp_path):
    with open_batches(numbered(tmp_path, 40, delays=np.full(40, 0.05))) as batches:
        next(batches)
        waited = batches.waited
        assert waited > 0.25  # five pictures, one after the other
        time.sleep(1)
        next(batches)
        assert batches.waited < waited + 0.2


def test_threads_end(tmp_path):
    def feeding() -> int:
        return sum(thread.name.startswith("grain") for thread in threading.enumerate())

    with open_batches(numbered(tmp_path, 8)) as batches:
        take(batches, 3)
        assert feeding() > 0
    deadline = time.monotonic() + 10
    while feeding() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert feeding() == 0
