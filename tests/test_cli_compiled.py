"""Programs are compiled once, whatever happens to the folder that keeps them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import SHALLOW

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


def test_a_run_is_the_same_with_what_others_kept(folder, tmp_path):
    """Several chunks of steps: traced and compiled here, found, and without any cache."""
    script = Path(__file__).parents[1] / "stylize.py"
    command = [sys.executable, script, "photo.jpg", "--style", "painting.png", "--steps", "8"]
    command += ["--optimizer", "lbfgs", "--history", "run.jsonl", "--quiet", *SHALLOW]
    plain = {name: value for name, value in os.environ.items() if "COMPILATION" not in name}
    plain |= {"NSTJAX_CACHE": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}

    def totals(**changes):
        subprocess.run(command, check=True, env=plain | changes, capture_output=True)
        return [json.loads(line)["total"] for line in Path("run.jsonl").read_text().splitlines()]

    without = totals(JAX_COMPILATION_CACHE_DIR="")
    assert not list((tmp_path / "cache").rglob("*.bin"))
    made = totals()
    traces = {path: path.stat().st_mtime for path in (tmp_path / "cache").rglob("*.bin")}
    assert traces
    np.testing.assert_allclose(made, without, rtol=1e-4)
    assert totals() == made
    assert set((tmp_path / "cache").rglob("*.bin")) == set(traces)
