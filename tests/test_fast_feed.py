"""The photographs of a run's steps: as many as steps are left, and an error that is kept."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from training import save_photographs, unexpected

from nstjax.fast.data import Batches, open_dataset
from nstjax.fast.feed import Feed

SHAPE = (4, 16, 16, 3)


@pytest.fixture
def batches(tmp_path) -> Iterator[Batches]:
    with open_batches(tmp_path) as batches:
        yield batches


@pytest.fixture
def no_batches(tmp_path) -> Iterator[Batches]:
    """Of photographs that have gone since the folder was read."""
    with open_batches(tmp_path, gone=True) as batches:
        yield batches


def open_batches(folder: Path, *, gone: bool = False) -> Batches:
    photographs = save_photographs(folder / "photographs", 8)
    dataset = open_dataset(f"folder:{photographs}")
    if gone:
        shutil.rmtree(photographs)
    return Batches(dataset, batch_size=4, image_size=16)


def test_as_many_batches_as_steps_are_left(batches):
    start = batches.get_state()
    feed = Feed(batches, steps=2, shape=SHAPE, warn=unexpected)
    (first, after_first), (second, after_second) = feed.next(), feed.next()
    assert feed.next() == (None, after_second)
    assert feed.error is None
    assert first.reshape(SHAPE).shape == second.reshape(SHAPE).shape
    assert len({str(position) for position in (start, after_first, after_second)}) == 3
    # From a position follows what followed.
    batches.set_state(after_first)
    np.testing.assert_array_equal(next(batches), second.reshape(SHAPE))
    assert Feed(batches, steps=0, shape=SHAPE, warn=unexpected).next() == (None, after_second)


def test_an_error_is_kept_and_ends_a_single_process(no_batches):
    start = no_batches.get_state()
    feed = Feed(no_batches, steps=9, shape=SHAPE, warn=unexpected)
    assert feed.next() == (None, start)
    assert "are broken" in str(feed.error)
    assert feed.next()[0] is None


def test_several_processes_go_on_with_what_stands_in(no_batches, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    feed = Feed(no_batches, steps=2, shape=SHAPE, warn=unexpected)
    for _ in range(2):
        batch, _ = feed.next()
        assert feed.error is not None
        assert not np.asarray(batch).any()
    assert feed.next()[0] is None
