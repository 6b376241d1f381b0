"""The cache folder, and files made in it."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from nstjax.assets import cache_dir, cached_file
from nstjax.assets.cache import replacing
from nstjax.errors import NstjaxError

CONTENT = b"content"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The path of a cache that does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NSTJAX_CACHE", str(folder))
    return folder


def test_cache_dir_is_created_where_the_environment_says(cache, monkeypatch, tmp_path):
    assert not cache.exists()
    assert cache_dir() == cache
    assert cache.is_dir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NSTJAX_CACHE", "relative")
    assert cache_dir() == tmp_path / "relative"


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is a Linux convention")
def test_cache_dir_is_the_systems_otherwise(tmp_path, monkeypatch):
    monkeypatch.delenv("NSTJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "nstjax"


def test_cache_that_cannot_be_created(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NSTJAX_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(NstjaxError, match=r"cannot create the cache folder .*set NSTJAX_CACHE"):
        cache_dir()
    assert cached_file("x", lambda path: path.write_bytes(CONTENT)) is None


def test_cached_file_is_made_once(cache):
    made = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_bytes(CONTENT)

    assert cached_file("x.safetensors", make) == cache / "x.safetensors"
    assert cached_file("x.safetensors", make) == cache / "x.safetensors"
    assert (cache / "x.safetensors").read_bytes() == CONTENT
    assert [path.name for path in made] == ["x.safetensors"]
    assert os.listdir(cache) == ["x.safetensors"]


def test_cached_file_replaces_an_empty_one(cache):
    cache_dir()
    (cache / "x").touch()
    path = cached_file("x", lambda path: path.write_bytes(CONTENT))
    assert path is not None
    assert path.read_bytes() == CONTENT


def test_cached_file_can_be_read_by_whoever_the_umask_allows(cache):
    previous = os.umask(0o022)
    try:
        path = cached_file("x", lambda path: path.write_bytes(CONTENT))
    finally:
        os.umask(previous)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o644


def test_cached_file_leaves_nothing_when_making_it_fails(cache):
    def stop(path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    def disk_full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    def refuse(path: Path) -> None:
        raise NstjaxError("not a weights file")

    with pytest.raises(KeyboardInterrupt):
        cached_file("x", stop)
    with pytest.raises(NstjaxError, match="not a weights file"):
        cached_file("x", refuse)
    assert cached_file("x", disk_full) is None
    assert os.listdir(cache) == []


def test_concurrent_makers_of_a_cached_file(cache):
    both_inside = Barrier(2)

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.write(CONTENT)
            both_inside.wait(timeout=20)
            file.write(CONTENT)

    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: cached_file("x", make), range(2)))
    assert paths == [cache / "x"] * 2
    assert (cache / "x").read_bytes() == 2 * CONTENT
    assert os.listdir(cache) == ["x"]


LEFT = (".x.nstjax-old", ".x.nstjax-recent", ".y.nstjax-old", ".x-users")


def test_what_a_killed_process_left_is_swept_when_it_is_old(cache):
    old, recent, other, users = (cache / name for name in LEFT)
    for folder in (old, recent, other, users):
        folder.mkdir(parents=True)
        (folder / "x").write_bytes(b"half")
    for folder in (old, other, users):
        os.utime(folder, (0, 0))
    with replacing(cache / "x") as temporary:
        temporary.write_bytes(CONTENT)
    assert sorted(os.listdir(cache)) == sorted([*LEFT[1:], "x"])
