"""When the heap is tidied."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from nstjax.ops import Program, heap, tidy_after_compilations


@pytest.fixture
def trims(monkeypatch):
    """The arguments that the C library's `malloc_trim` is given."""
    found, listeners = [], []
    libraries = SimpleNamespace(CDLL=lambda _: SimpleNamespace(malloc_trim=found.append))
    monkeypatch.setattr(heap, "ctypes", libraries)
    monkeypatch.setattr(heap, "sys", SimpleNamespace(platform="linux"))
    register = jax.monitoring.register_event_duration_secs_listener
    monkeypatch.setattr(jax.monitoring, "register_event_duration_secs_listener", listeners.append)

    def pass_on(event: str, duration_secs: float, **more: str | int) -> None:
        for listener in listeners:
            listener(event, duration_secs, **more)

    register(pass_on)
    tidy_after_compilations.cache_clear()
    yield found
    listeners.clear()
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


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch, platform, trims):
    monkeypatch.setattr(heap, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(heap, "_LONG_COMPILATION", 0)
    Program(lambda x: 9 * x)(jnp.ones(2))
    assert trims == []


def test_another_c_library_will_do(monkeypatch, trims):
    monkeypatch.setattr(heap, "ctypes", SimpleNamespace(CDLL=lambda _: object()))
    assert Program(lambda x: 10 * x)(jnp.ones(2)).tolist() == [10, 10]
    assert trims == []
