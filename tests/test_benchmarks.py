"""The benchmarks run and say what they should; how fast is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run_benchmark(name, arguments, folder):
    """Runs one without real weights, the same everywhere; its table's lines, and its JSON."""
    environment = {**os.environ, "NSTJAX_CACHE": str(folder), "PYTHONPATH": str(BENCHMARKS.parent)}
    environment.pop("NSTJAX_ASSETS", None)
    file = folder / "out.json"
    run = subprocess.run(
        [sys.executable, BENCHMARKS / name, *arguments, "--json", file],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    data = json.loads(file.read_text())
    assert data["versions"]["jax"] == jax.__version__
    assert data["machine"]["cores"] == os.cpu_count()
    return run.stdout.splitlines(), data


def test_startup(tmp_path):
    arguments = ["--commands", "version", "pixels, 512, 1 step", "--rounds", "1"]
    table, data = run_benchmark("startup.py", arguments, tmp_path)
    (result,) = data["results"]  # there are no weights for the other one
    assert result["command"] == "version"
    assert 0 < result["warm_s"] < 60
    assert [line.count("|") for line in table] == [4, 4, 4]


def test_gatys_step(tmp_path):
    arguments = "--sizes 32 --networks vgg16 --optimizers adam lbfgs --steps 2"
    table, data = run_benchmark("gatys_step.py", arguments.split(), tmp_path)
    assert data["recipe"] == "tensorflow"
    adam, lbfgs = data["results"]
    for result, optimizer in ((adam, "adam"), (lbfgs, "lbfgs")):
        settings = {"network": "vgg16", "size": 32, "precision": "float32", "steps": 2}
        assert result.items() >= {**settings, "optimizer": optimizer, "weights": "random"}.items()
        assert 0 < result["min_s"] <= result["median_s"] <= result["max_s"]
        assert result["compile_s"] > 0
        # VGG16's convolutions alone take 56 MiB.
        assert 56 < result["peak_mib"] < 16_000
    assert adam["evaluations_per_step"] == 1
    assert lbfgs["evaluations_per_step"] >= 1
    header, *rows = table
    assert header.split()[:2] == ["network", "size"]
    assert [row.split()[:5] for row in rows] == [
        ["vgg16", "32", "float32", "adam", "random"],
        ["vgg16", "32", "float32", "lbfgs", "random"],
    ]
    assert {len(line) for line in (header, *rows)} == {len(header)}
