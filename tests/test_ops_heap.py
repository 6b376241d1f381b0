"""When the heap is tidied."""

import ctypes
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

from nstjax.ops import Program, heap, tidy_after_compilations


@pytest.fixture
def trims(monkeypatch):
    """The arguments that a C library's `malloc_trim` is given."""
    found = []
    library = SimpleNamespace(malloc_trim=found.append)
    monkeypatch.setattr(heap.sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    tidy_after_compilations.cache_clear()
    yield found
    tidy_after_compilations.cache_clear()


def test_the_heap_is_tidied_once_after_a_long_compilation(monkeypatch, trims):
    monkeypatch.setattr(heap, "_LONG_COMPILATION", 0)
    x, y, program = jnp.ones(7), jnp.ones(8), Program(lambda x: 7 * x)
    program(x)
    trims.clear()
    program(x)
    assert trims == []
    program(y)
    assert trims == [0]


def test_short_compilations_are_not_worth_it(monkeypatch, trims):
    monkeypatch.setattr(heap, "_LONG_COMPILATION", 60)
    Program(lambda x: 8 * x)(jnp.ones(7))
    assert trims == []


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_other_c_libraries_are_left_alone(monkeypatch, platform, trims):
    monkeypatch.setattr(heap.sys, "platform", platform)
    monkeypatch.setattr(heap, "_LONG_COMPILATION", 0)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert Program(lambda x: 9 * x)(jnp.ones(2)).tolist() == [9, 9]
    assert trims == []
