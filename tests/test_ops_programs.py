"""What whole programs are compiled with."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nstjax.errors import NstjaxError
from nstjax.ops import Program, compiler_options, programs, traced


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
    scaled = Program(lambda factor, x: factor * x, static_argnames=("factor",))
    x, y = jnp.ones(3), jnp.zeros(3)
    scaled(2, x)
    compilations.clear()
    assert scaled(2, y).tolist() == [0, 0, 0]
    assert not compilations


def test_a_program_can_be_compiled_before_it_is_called(compilations):
    """By shapes alone, in another thread."""
    scaled = Program(
        lambda factor, x, y: (factor * x, -y), static_argnames=("factor",), donate_argnames=("x",)
    )
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


class Pair(NamedTuple):
    """What a tree of arrays may be made of."""

    first: jax.Array
    second: dict[str, jax.Array]


def of_the_package(traces):
    """A function like the package's own, which notes each time it is traced."""

    # Neither is the order of the arguments that of their names, nor is the last one donated.
    def scaled(factor: float, shift: jax.Array, pair: Pair, limit: jax.Array) -> Pair:
        if factor < 0:
            raise NstjaxError("below 0")
        traces.append(factor)
        other = pair.second["a"]
        first = jnp.minimum(factor * pair.first + shift, limit)
        return Pair(first, {"a": -other, "sum": other.sum() + pair.first[0]})

    scaled.__module__ = "nstjax.somewhere"
    return scaled


@pytest.fixture
def anew(tmp_path, monkeypatch):
    """Makes the program as the next process would, given what was kept; and its traces."""
    monkeypatch.setattr(programs, "traces_folder", lambda: tmp_path)
    traces = []

    def make():
        how = {"static_argnames": ("factor",), "donate_argnames": ("pair",)}
        return Program(of_the_package(traces), **how)

    return make, traces


def arguments(size=3):
    pair = Pair(jnp.arange(1.0, size + 1), {"a": jnp.ones((2, 2))})
    return 2.0, jnp.float32(0.5), pair, jnp.full(size, 9.0)


def check(result):
    assert isinstance(result, Pair)
    assert result.first.tolist() == [2.5, 4.5, 6.5]
    assert float(result.second["sum"]) == 5


def test_what_one_process_traces_the_next_one_finds(anew):
    make, traces = anew
    check(make()(*arguments()))
    check(make()(*arguments()))
    assert traces == [2.0]


def test_what_is_found_is_compiled_once(anew, compilations):
    make, _ = anew
    make().compile(*arguments())
    program = make()
    factor, shift, pair, limit = arguments()
    program.compile(factor, shift, jax.eval_shape(lambda: pair), limit)
    first = program(*arguments())  # committed to a device, as programs' results may be
    again = arguments()[2]._replace(first=first.first)
    compilations.clear()
    program(factor, shift, again, limit)
    assert not compilations


def test_shapes_of_results_need_no_trace(anew):
    make, traces = anew
    make().compile(*arguments())
    found = make().shapes(*arguments())
    assert len(traces) == 1
    assert found == jax.eval_shape(lambda: make()(*arguments()))
    assert found.first.shape == (3,)


def test_memory_is_donated_all_the_same(anew):
    make, _ = anew
    for program in (make(), make()):
        factor, shift, pair, limit = arguments()
        program(factor, limit=limit, shift=shift, pair=pair)
        assert pair.first.is_deleted()
        assert pair.second["a"].is_deleted()
        assert not shift.is_deleted()
        assert not limit.is_deleted()


@pytest.mark.parametrize("change", ["factor", "shape", "type", "algorithm", "setting"])
def test_other_programs_are_traced(anew, monkeypatch, change):
    make, traces = anew
    make()(*arguments())
    factor, shift, pair, limit = arguments(size=4 if change == "shape" else 3)
    if change == "algorithm":
        monkeypatch.setenv("NSTJAX_CONV", "direct")
    if change == "type":
        shift = np.int32(1)
    with jax.default_matmul_precision("highest" if change == "setting" else None):
        make()(3.0 if change == "factor" else factor, shift, pair, limit)
    assert len(traces) == 2


def test_other_sources_are_traced(anew, monkeypatch):
    make, traces = anew
    for versions in (("1",), ("1",), ("2",)):
        monkeypatch.setattr(traced, "_VERSIONS", versions)
        make()(*arguments())
    assert len(traces) == 2


def test_versions_are_those_of_the_sources(monkeypatch, tmp_path):
    assert traced._versions() == traced._VERSIONS
    monkeypatch.setattr(traced, "_PACKAGE", tmp_path)
    assert traced._versions() is None
    found = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "module.py").write_text("1")
    for text in ("1", "1", "2"):
        (tmp_path / "a" / "module.py").write_text(text)
        found.append(traced._versions())
    assert found[0] == found[1] != found[2]


def test_a_library_that_does_not_say_its_version(monkeypatch):
    """Such as one that is installed without its metadata."""
    monkeypatch.setattr(traced, "_LIBRARIES", ("jax", "no-such-library"))
    assert traced._versions() is None


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "unreadable"])
def test_a_damaged_file_is_made_again(anew, tmp_path, damage):
    make, traces = anew
    make()(*arguments())
    (file,) = tmp_path.glob("*.bin")
    content = file.read_bytes()
    if damage == "unreadable":
        file.unlink()
        file.mkdir()
    else:
        changed = content[:100] + b"?" + content[101:]
        file.write_bytes({"cut": content[:-1], "changed": changed, "empty": b""}[damage])
    check(make()(*arguments()))
    assert len(traces) == 2
    if damage != "unreadable":
        assert len(file.read_bytes()) == len(content)
        check(make()(*arguments()))
        assert len(traces) == 2


def test_the_least_recently_used_go(anew, monkeypatch, tmp_path):
    make, _ = anew
    monkeypatch.setattr(traced, "_MOST_FILES", 2)
    for age, factor in ((30, 1.0), (20, 2.0)):
        before = set(tmp_path.iterdir())
        make()(factor, *arguments()[1:])
        (file,) = set(tmp_path.iterdir()) - before
        os.utime(file, (file.stat().st_mtime - age,) * 2)
    make()(1.0, *arguments()[1:])  # used again: now the newest
    make()(3.0, *arguments()[1:])
    assert len(list(tmp_path.iterdir())) == 2
    assert file not in tmp_path.iterdir()


def test_errors_are_those_of_the_function(anew):
    make, _ = anew
    with pytest.raises(NstjaxError, match="below 0"):
        make()(-1.0, *arguments()[1:])


def test_functions_from_elsewhere_are_not_kept(anew, tmp_path):
    Program(product)(jnp.ones((2, 2)), jnp.ones((2, 2)))
    assert not list(tmp_path.iterdir())


def test_static_arguments_that_do_not_tell_themselves_are_not_kept(anew, tmp_path):
    def constant(of: object, x: jax.Array) -> jax.Array:
        return x

    constant.__module__ = "nstjax.somewhere"
    assert Program(constant, static_argnames=("of",))(object(), jnp.ones(1)).tolist() == [1]
    assert not list(tmp_path.iterdir())


def test_a_program_in_a_trace_is_a_part_of_it(anew, tmp_path):
    make, _ = anew

    def total(x: jax.Array) -> jax.Array:
        shift, limit = jnp.float32(0), jnp.full(3, 9.0)
        return make()(2.0, shift, Pair(x, {"a": x}), limit).first.sum()

    assert jax.jit(jax.grad(total))(jnp.ones(3)).tolist() == [2, 2, 2]
    outside = arguments()  # no argument is traced
    check(jax.jit(lambda: make()(*outside))())
    assert not list(tmp_path.iterdir())


def test_a_program_can_be_differentiated_and_mapped(anew, tmp_path):
    """Outside of `jax.jit`, where nothing but its arguments is traced."""
    make, _ = anew
    shift, limit = jnp.float32(0), jnp.full(3, 9.0)

    def total(x: jax.Array) -> jax.Array:
        return make()(2.0, shift, limit=limit, pair=Pair(x, {"a": x})).first.sum()

    assert jax.grad(total)(jnp.ones(3)).tolist() == [2, 2, 2]
    assert jax.vmap(total)(jnp.ones((2, 3))).tolist() == [6, 6]
    assert not list(tmp_path.iterdir())


def test_without_the_settings_nothing_is_kept(monkeypatch):
    settings = {"jax_compilation_cache_dir": "folder", "jax_enable_compilation_cache": True}
    monkeypatch.setattr(traced, "_settings", lambda: settings)
    assert traced.traces_folder() == Path("folder/traced")
    monkeypatch.setattr(traced, "_settings", dict)
    assert traced.traces_folder() is None


def test_what_cannot_be_kept_is_tried_once(anew, monkeypatch):
    make, traces = anew

    def fail(*_):
        raise ValueError

    monkeypatch.setattr(programs.export, "export", fail)
    program = make()
    for _ in range(3):
        check(program(*arguments()))
    assert len(traces) == 1


def test_traces_are_kept_where_jax_keeps_what_it_compiles(tmp_path):
    code = "from nstjax.ops.traced import traces_folder; print(traces_folder())"

    def folder(**variables):
        environment = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
        environment |= {"JAX_PLATFORMS": "cpu", **variables}
        command = [sys.executable, "-c", code]
        return subprocess.check_output(command, env=environment, text=True).strip()

    place = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    assert folder(**place) == str(tmp_path / "traced")
    assert folder(**place, JAX_ENABLE_COMPILATION_CACHE="0") == "None"
    assert folder(**place, JAX_DISABLE_JIT="1") == "None"
    assert folder(**place, JAX_NUM_CPU_DEVICES="2") == "None"
    assert folder(JAX_COMPILATION_CACHE_DIR="gs://bucket") == "None"
    assert folder() == "None"
