"""Programs are compiled once, whatever happens to the folder that keeps them."""

import os
import subprocess
import sys

import pytest

# Runs a program, and says how many were found compiled.
CODE = """
from nstjax.cli.compiled import keep_compiled
keep_compiled()
import jax
from jax._src import monitoring
hits = []
monitoring.register_event_listener(lambda name, **_: "cache_hits" in name and hits.append(name))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: x * 2 + 1)(3.0).block_until_ready()
print(len(hits))
"""


def hits(cache, **changes):
    """How many programs a new process found compiled, and what it complained about."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMP")}
    env |= {"NSTJAX_CACHE": str(cache), "JAX_PLATFORMS": "cpu", **changes}
    command = [sys.executable, "-c", CODE]
    run = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    return int(run.stdout)


def test_what_one_process_compiles_the_next_one_finds(tmp_path):
    assert hits(tmp_path) == 0
    assert hits(tmp_path) > 0
    assert hits(tmp_path, JAX_COMPILATION_CACHE_DIR="") == 0


def test_a_cache_without_a_limit_is_kept(tmp_path):
    unlimited = {"JAX_COMPILATION_CACHE_MAX_SIZE": "-1"}
    assert hits(tmp_path, **unlimited) == 0
    assert hits(tmp_path, **unlimited) > 0


@pytest.mark.parametrize("finished", [True, False])
def test_a_damaged_program_is_compiled_again(tmp_path, finished):
    hits(tmp_path)
    for program in (tmp_path / "compiled").glob("*-cache"):
        program.write_bytes(program.read_bytes()[:20])
        if not finished:  # as a full disk leaves it
            program.with_name(program.name.replace("-cache", "-atime")).unlink()
    assert hits(tmp_path) == 0
    assert (hits(tmp_path) > 0) == (not finished)


def test_without_a_cache_nothing_is_kept(tmp_path):
    (tmp_path / "file").write_text("")
    assert hits(tmp_path / "file") == 0
