"""What whole programs are compiled with."""

import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import pytest

from nstjax.ops import Program, compiler_options, programs


@pytest.fixture
def _asked_anew():
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def product(x, y):
    return x @ y


def test_products_on_cpus_are_eigens():
    matrix = jnp.ones((256, 256))
    default, ours = (
        f.lower(matrix, matrix).compile() for f in (jax.jit(product), Program(product))
    )
    assert "ynn" not in str(ours.as_text())
    # Once XLA's default is another, the option has had its day.
    assert "ynn" in str(default.as_text())


@pytest.mark.usefixtures("_asked_anew")
def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(programs, "_ON_CPU", {"xla_cpu_no_such_option": "1"})
    assert compiler_options() == {}
    assert Program(product)(jnp.ones((2, 2)), jnp.ones((2, 2))).tolist() == [[2, 2], [2, 2]]


@pytest.mark.usefixtures("_asked_anew")
def test_other_platforms_have_none(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options() == {}


def test_a_program_takes_jits_arguments_and_compiles_once(compilations):
    scaled = Program(lambda factor, x: factor * x, static_argnums=0)
    x, y = jnp.ones(3), jnp.zeros(3)
    scaled(2, x)
    compilations.clear()
    assert scaled(2, y).tolist() == [0, 0, 0]
    assert not compilations


def test_a_program_can_be_compiled_before_it_is_called(compilations):
    """By shapes alone, in another thread."""
    scaled = Program(lambda factor, x, y: (factor * x, -y), static_argnums=0, donate_argnums=1)
    x, y = jnp.ones((3, 5)), jnp.int32(2)
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    thread = threading.Thread(target=scaled.compile, args=(2, shape, y))
    thread.start()
    thread.join()
    assert compilations
    compilations.clear()
    assert scaled(2, x, y)[0].tolist() == [[2] * 5] * 3
    assert not compilations


def test_programs_do_not_start_jax():
    """So that `jax.distributed.initialize`, which must come first, can be called after imports."""
    code = "import nstjax.gatys, nstjax.fast; from jax._src import xla_bridge as b\n"
    code += "assert not b.backends_are_initialized()"
    subprocess.run([sys.executable, "-c", code], check=True)
