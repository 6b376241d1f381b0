"""Folders, files and addresses, in the order given."""

import pytest

from nstjax.errors import NstjaxError
from nstjax.images import find_images


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "c.webp", "notes.txt", ".hidden.png", "data.h5", "film.mpg"):
        (tmp_path / name).touch()
    (tmp_path / "inner.png").mkdir()
    (tmp_path / "inner.png" / "d.png").touch()
    return tmp_path


def test_folder_is_sorted_and_flat(folder):
    assert find_images([folder]) == [folder / name for name in ("a.JPG", "b.png", "c.webp")]


def test_order_is_kept_and_files_are_taken_as_given(folder):
    url = "https://example.org/a.png"
    entries = [url, folder / "notes.txt", str(folder / "inner.png"), folder / "b.png"]
    assert find_images(entries) == [
        url,
        folder / "notes.txt",
        folder / "inner.png" / "d.png",
        folder / "b.png",
    ]


def test_nothing_gives_nothing():
    assert find_images([]) == []


def test_missing_path(folder):
    with pytest.raises(NstjaxError, match=r"gone\.png does not exist"):
        find_images([folder, folder / "gone.png"])


def test_folder_without_pictures(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NstjaxError, match="holds no pictures"):
        find_images([tmp_path])


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_impossible_path(name):
    with pytest.raises(NstjaxError):
        find_images([name])
