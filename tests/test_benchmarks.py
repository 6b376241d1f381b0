"""The benchmarks run and say what they should; how fast is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import picture
from PIL import Image

import nstjax
from nstjax.ops import conv3x3

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import gallery  # noqa: E402  # pyright: ignore[reportMissingImports]
import peers  # noqa: E402  # pyright: ignore[reportMissingImports]
import performance  # noqa: E402  # pyright: ignore[reportMissingImports]
from measuring import direct_gflop  # noqa: E402  # pyright: ignore[reportMissingImports]
from quality import seam_energy, ssim  # noqa: E402  # pyright: ignore[reportMissingImports]


def run_benchmark(name, arguments, folder, **variables):
    """Runs one without real weights, the same everywhere; its table's lines, and its JSON."""
    environment = {**os.environ, "NSTJAX_CACHE": str(folder), "PYTHONPATH": str(BENCHMARKS.parent)}
    environment.pop("NSTJAX_ASSETS", None)
    environment |= variables
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
    assert {"date", "commit"} <= data.keys()
    return run.stdout.splitlines(), data


# Those that no other test runs: they take minutes.
LONG = ("compare_routes", "designs", "layers", "memory", "network_against_optimizer")


@pytest.mark.parametrize("name", LONG)
def test_long_benchmarks_start(name):
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"usage: {name}.py" in run.stdout


def test_startup(tmp_path):
    arguments = ["--commands", "version", "pixels, 512, 1 step", "--rounds", "1"]
    table, data = run_benchmark("startup.py", arguments, tmp_path)
    (result,) = data["results"]  # there are no weights for the other one
    assert result["command"] == "version"
    assert 0 < result["warm_s"] < 60
    assert [line.count("|") for line in table] == [4, 4, 4]


def test_step(tmp_path):
    arguments = "--works pixels --sizes 32 --networks vgg16 --optimizers lbfgs --steps 2"
    table, data = run_benchmark("step.py", arguments.split(), tmp_path)
    assert data["recipes"] == {"pixels": "tensorflow", "train": "nstjax"}
    for result in data["results"]:
        assert 0 < result["min_s"] <= result["median_s"] <= result["max_s"]
        assert result["compile_s"] > 0
        assert result["peak_gflops"] > 0
        assert result["share"] == pytest.approx(
            result["gflop"] * result["evaluations"] / result["median_s"] / result["peak_gflops"]
        )
        assert 100 < result["peak_mib"] < 16_000
    (lbfgs,) = data["results"]
    assert lbfgs["evaluations"] >= 1
    header, *rows = table
    assert header.split()[:3] == ["work", "variant", "size"]
    assert [row.split()[:4] for row in rows] == [["pixels", "vgg16", "lbfgs", "32"]]
    assert {len(line) for line in (header, *rows)} == {len(header)}


@pytest.mark.long
def test_painting_and_training_steps(tmp_path):
    arguments = "--works paint train --sizes 32 --batches 2 --steps 2"
    _, data = run_benchmark("step.py", arguments.split(), tmp_path)
    johnson, subpixel, train = data["results"]
    assert johnson["gflop"] > subpixel["gflop"]
    assert train["batch"] == 2
    assert {result["evaluations"] for result in data["results"]} == {1}


def test_operations_counted(rng):
    """By hand: a convolution's, both its gradients', and a product's."""
    x, kernel = rng.random((2, 5, 6, 3)), rng.random((3, 3, 3, 7))

    def total(x, kernel):
        return jnp.sum(conv3x3(x, kernel) ** 2)

    convolution = 2e-9 * 2 * 5 * 6 * 3 * 3 * 3 * 7
    assert direct_gflop(total, x, kernel) == pytest.approx(convolution)
    both = jax.grad(total, argnums=(0, 1))
    assert direct_gflop(both, x, kernel) == pytest.approx(3 * convolution)
    product = direct_gflop(lambda a: (a @ a.T).sum(), rng.random((4, 5)))
    assert product == pytest.approx(2e-9 * 4 * 4 * 5)


@pytest.mark.parametrize(
    "work",
    [
        "paint-32x24",
        *(pytest.param(work, marks=pytest.mark.long) for work in ("pixels-32", "train-32")),
    ],
)
def test_peers(tmp_path, work):
    """This package's side alone: the others need not be there."""
    sides = ["nstjax"]
    if work.startswith("paint"):
        sides.append("nstjax, bfloat16")
    arguments = ["--works", work, "--rounds", "2", "--together", "--sides", *sides]
    table, data = run_benchmark("peers.py", arguments, tmp_path)
    assert [result["side"] for result in data["results"]] == sides
    for result in data["results"]:
        assert result["work"] == work
        assert len(result["seconds"]) == 2
        assert result["peak_mib"] > 100
    assert data["results"][0]["ratio"] == 1
    assert len(table) == 2 + len(sides)


@pytest.mark.parametrize(
    ("side", "value", "alike"),
    [
        ("torch", 1.01, True),
        ("torch", 1.03, False),
        ("torch", float("nan"), False),
        ("torch, bfloat16", 1.09, True),
        ("torch, bfloat16", 1.2, False),
        ("nstjax, subpixel", 5.0, True),  # whose work is another
    ],
)
def test_peers_must_agree(side, value, alike):
    sides = [
        peers.Side(name, None, {"value": found})
        for name, found in {"nstjax": 1.0, side: value}.items()
    ]
    if alike:
        peers.check_values("pixels-8", sides)
    else:
        with pytest.raises(SystemExit, match="not the same work"):
            peers.check_values("pixels-8", sides)


def test_sides_have_the_pages_of_memory_that_their_names_say(monkeypatch):
    asked = {**os.environ, "GLIBC_TUNABLES": "asked"}
    monkeypatch.setattr(peers, "with_huge_pages", lambda variables: asked)
    sides = ["nstjax", "nstjax, untidied", "torch, channels last, huge pages", "tensorflow"]
    found = [peers.environment(side, "train") for side in [*sides, "nstjax, small pages"]]
    assert found == [asked, asked, asked, os.environ, os.environ]
    assert peers.environment("nstjax", "paint") == os.environ


def test_peers_need_this_package():
    command = [sys.executable, BENCHMARKS / "peers.py", "--sides", "torch"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--sides needs one of this package" in run.stderr


def test_performance(tmp_path):
    """The section is made of the files there are, and nothing else of the README changes."""
    measured = [
        {"work": "pixels-8", "side": side, "seconds": times, "median_s": times[1], "peak_mib": 10.0}
        for side, times in {"nstjax": [1.0, 2.0, 3.0], "torch": [4.0, 4.0, 4.0]}.items()
    ]
    machine = {"cores": 2, "processor": "one", "device": "cpu"}
    about = {"machine": machine, "versions": {"jax": "1", "flax": "2"}, "date": "2026-01-02"}
    (tmp_path / "peers.json").write_text(json.dumps({**about, "results": measured}))
    elsewhere = {**about, "machine": {**machine, "device": "GPU"}}
    faster = [{**peer, "work": "pixels-16"} for peer in measured]
    (tmp_path / "peers_gpu.json").write_text(json.dumps({**elsewhere, "results": faster}))
    later = {**elsewhere, "date": "2026-01-05"}
    (tmp_path / "peers_gpu_2.json").write_text(json.dumps({**later, "results": []}))
    gallery = [
        {"recipe": "keras", "photo": photo, "painting": "b.jpg", "size": 64, "seconds": seconds}
        | {"peak_gb": 1.25, "gram": 0.1, "wasserstein": 0.2, "content": 0.3, "SSIM": 0.4}
        for photo, seconds in (("a.jpg", 10.0), ("c.jpg", 20.0))
    ]
    (tmp_path / "gallery.json").write_text(json.dumps({**about, "results": gallery}))
    reached = {"content": "a", "style": "b", "size": 64.0, "target": 12345.6, "ratio": 0.25}
    reached |= {"tensorflow_s": 40.0, "tensorflow_steps": 1000}
    reached |= {"nstjax_s": 10.0, "evaluations": 500.0}
    (tmp_path / "time_to_quality_a.json").write_text(json.dumps({**about, "results": [reached]}))
    of = {"width": 64, "height": 48, "peak_gb": 1.5, "limit": None}
    peaks = [
        {"route": "fast", "status": 0, "asked": "auto", "tile": None} | of,
        {"route": "pixels", "status": 0, "asked": "auto", "tile": 32} | of | {"limit": "2GB"},
        {"route": "pixels", "status": 2, "asked": "16", "tile": None} | of,
    ]
    (tmp_path / "memory.json").write_text(json.dumps({**about, "results": peaks}))
    reached = [
        {"style": "a", "noise": 50},
        {"style": "a", "noise": None},
        {"style": "b", "noise": 9},
    ]
    found = {**about, "settings": {"steps": 60}, "results": reached}
    (tmp_path / "network_against_optimizer.json").write_text(json.dumps(found))
    strength = {"pair": "a × b", "strength": 0.5, "distances": {"64": 0.1, "96": 0.11}}
    random = {**about, "weights": "random", "results": [strength]}
    (tmp_path / "strength.json").write_text(json.dumps(random))
    of = {"pair": "a × b", "recipe": "keras", "size": 64}
    compared = [
        {**of, "optimizer": "adam", "reached": {"5": 3.0, "9": 1.0}},
        {**of, "optimizer": "lbfgs", "reached": {"5": 2.0, "9": 1.5}},
        {**of, "size": 96, "optimizer": "adam", "reached": {"5": 5.0, "9": 4.0}},
    ]
    (tmp_path / "optimizers.json").write_text(json.dumps({**about, "results": compared}))
    readme = tmp_path / "README.md"
    readme.write_text(
        "# Title\n<!-- made by benchmarks/performance.py -->\nold\n"
        "<!-- end of what is made -->\nrest\n"
    )
    command = [sys.executable, BENCHMARKS / "performance.py", "--readme", readme]
    subprocess.run([*command, "--results", tmp_path], check=True)
    text = readme.read_text()
    assert text.startswith("# Title\n<!-- made")
    assert text.endswith("<!-- end of what is made -->\nrest\n")
    assert "old" not in text
    assert "| pixels-8 | 2 s | 4 s (torch) | **0.50** (0.25–0.75, 3 rounds) |" in text
    assert "\n*2 cores, one; jax 1; 2026-01-02: `benchmarks/peers.py`.*" in text
    both = "2026-01-02 to 2026-01-05"
    assert f"\n*GPU, 2 cores, one; jax 1; {both}: `benchmarks/peers.py`.*" in text
    assert text.count("| work | nstjax |") == 2
    assert "| `keras` | 15 s | 1.2 GB | 0.100 | 0.200 | 0.300 | 0.400 |" in text
    assert (
        "| a × b, 64 | 1.235e+04 | 40 s (1000 steps) | 10 s (500 evaluations) | **0.25** |" in text
    )
    assert "| one pass, `subpixel` | 64×48 | off | 1.50 GB |" in text
    assert "| pixel route, `tensorflow` | 64×48 | 32, limit 2GB | 1.50 GB |" in text
    assert "| pixel route, `tensorflow` | 64×48 | 16 | failed |" in text
    assert "| pair | strength | at 64 | at 96 | spread |" in text
    assert "| `a` | 2 | over 60 (50 to over 60) |" in text
    assert "| `b` | 1 | 9 |" in text
    assert "| a × b | 0.5 | 0.1000 | 0.1100 | 10.0% |" in text
    assert "2 cores, one; jax 1; random weights; 2026-01-02: `benchmarks/strength.py`" in text
    assert "| a × b, 64 | `keras` | adam | 3 | **1** |" in text
    assert "| a × b, 64 | `keras` | lbfgs | **2** | 1.5 |" in text
    assert "| a × b, 96 | `keras` | adam | **5** | **4** |" in text
    assert "Medians over 2 pairs at 64 pixels" in text


@pytest.mark.parametrize("readme", performance.READMES, ids=lambda path: path.parent.name)
def test_the_tables_are_those_of_the_files(readme):
    text = readme.read_text("utf-8")
    assert performance.filled(text, BENCHMARKS / "results") == text


def test_ssim_by_hand(rng):
    """Flat pictures, and one window written out."""
    low, high = np.full((11, 12), 0.2), np.full((11, 12), 0.6)
    assert ssim(low, low) == pytest.approx(1)
    assert ssim(low, high) == pytest.approx((2 * 0.12 + 1e-4) / (0.04 + 0.36 + 1e-4))
    first, second = rng.random((2, 11, 11))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    covariance = np.cov(first.ravel(), second.ravel(), aweights=window.ravel(), bias=True)
    a, b = (window * first).sum(), (window * second).sum()
    expected = (2 * a * b + 1e-4) * (2 * covariance[0, 1] + 9e-4)
    expected /= (a**2 + b**2 + 1e-4) * (np.trace(covariance) + 9e-4)
    assert ssim(first, second) == pytest.approx(expected)


def test_seams_by_hand():
    """A ramp has none; with a step of twice its slope added at one of two borders it has one."""
    ramp = np.broadcast_to(np.linspace(0, 0.3, 30)[None, :, None, None], (1, 30, 4, 3))
    assert seam_energy(ramp, 10) == pytest.approx(1)
    stepped = ramp + 2 * 0.3 / 29 * (np.arange(30) >= 20)[None, :, None, None]
    assert seam_energy(stepped, 10) == pytest.approx(2)


def test_quality(tmp_path):
    for name, seed in (("photo", 1), ("painting", 2)):
        picture(str(tmp_path / f"{name}.png"), 40, 32, seed=seed)
    photo, painting = (str(tmp_path / f"{name}.png") for name in ("photo", "painting"))
    arguments = [painting, "--content", photo, "--style", painting, "--sizes", "32", "40"]
    sheet = tmp_path / "sheet.png"
    table, data = run_benchmark(
        "quality.py", [*arguments, "--tile", "16", "--sheet", str(sheet)], tmp_path
    )
    photograph, perfect = data["results"]
    for size in (32, 40):
        assert photograph[f"gram {size}"] == photograph[f"wasserstein {size}"] == 1
        assert photograph[f"content {size}"] == 0
        assert perfect[f"gram {size}"] == 0
        assert perfect[f"wasserstein {size}"] < 1e-5
        assert perfect[f"content {size}"] > 0.01
    assert photograph["SSIM"] == pytest.approx(1)
    assert perfect["SSIM"] < 0.5
    assert len(table) == 4
    assert {line.count("|") for line in table} == {11}
    assert sheet.stat().st_size > 1000


def test_gallery(folder):
    """One picture, painted by the program itself, with random weights."""
    options = "photo.jpg:painting.png --recipes lbfgs-b --size 32 --steps 1 --sheet sheet.jpg"
    table, data = run_benchmark(
        "gallery.py", options.split(), folder, NSTJAX_ASSETS=os.environ["NSTJAX_ASSETS"]
    )
    (result,) = data["results"]
    assert (result["photo"], result["painting"]) == ("photo.jpg", "painting.png")
    assert (result["recipe"], result["size"], result["steps"]) == ("lbfgs-b", 32, 1)
    assert 0.1 < result["seconds"] < 600
    assert 0.1 < result["peak_gb"] < 16
    assert 0 < result["gram"] < 2
    assert 0 < result["SSIM"] < 1
    made = folder / "gallery" / "photo-painting-lbfgs-b.png"
    assert nstjax.images.read_settings(made)["recipe"] == "lbfgs-b"
    assert nstjax.load_image(made).pixels.shape == (1, 24, 32, 3)
    assert nstjax.load_image("sheet.jpg").pixels.shape[2] > 2 * 32
    assert table[2].startswith("| photo × painting | lbfgs-b | ")
    assert "| `lbfgs-b` | " in table[-3]


def test_gallery_goes_on_where_it_was_stopped(folder, monkeypatch, capsys):
    """Two pairs by two recipes, stopped at the fourth picture."""
    picture("other.jpg", 40, 30, seed=3)
    painted, stops = [], [3]

    def program(arguments):
        if len(painted) in stops:
            stops.clear()
            raise KeyboardInterrupt
        painted.append(arguments)
        picture(arguments[-1], 40, 30, seed=10 + len(painted))
        return 0, float(len(painted)), 1_500_000_000

    measures = dict.fromkeys(("gram 40", "wasserstein 40", "content 40", "SSIM", "variation"), 0.5)
    monkeypatch.setattr(gallery, "run_program", program)
    monkeypatch.setattr(gallery, "measure", lambda *_: measures)
    for name in ("NSTJAX_OFFLINE", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.setenv(name, "1")  # which puts back what the benchmark makes of it
    words = "photo.jpg:painting.png other.jpg:painting.png --recipes crowsonkb tensorflow --size 40"
    words = [*words.split(), "--steps", "7", "--sheet", "sheet.png", "--json", "out.json"]
    assert gallery.main(words) == 130
    assert "stopped: 1 of 2 rows are complete" in capsys.readouterr().out
    height = nstjax.load_image("sheet.png").pixels.shape[1]
    assert len(json.loads(Path("out.json").read_text())["results"]) == 2

    assert gallery.main(words) == 0
    assert len(painted) == 4
    assert [arguments.count("7") for arguments in painted] == [2, 1, 2, 1]  # --initial-steps too
    assert [arguments[1] for arguments in painted] == ["photo.jpg"] * 2 + ["other.jpg"] * 2
    results = json.loads(Path("out.json").read_text())["results"]
    assert [result["seconds"] for result in results] == [1, 2, 3, 4]
    assert nstjax.load_image("sheet.png").pixels.shape[1] > height + 30
    table = capsys.readouterr().out
    assert "| other × painting | tensorflow | 4 s | 1.5 GB |" in table
    assert "| `crowsonkb` | 2 s | 1.5 GB |" in table  # of one second and of three
    assert len(list((folder / "gallery").iterdir())) == 8

    with pytest.raises(SystemExit):
        gallery.main([*words, "--steps", "9"])
    assert "painted with other steps" in capsys.readouterr().err
    assert len(painted) == 4


def test_a_sheet_as_jpeg_keeps_to_its_size(monkeypatch, rng):
    noise = Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8))
    best = len(gallery.jpeg(noise))
    monkeypatch.setattr(gallery, "MOST_BYTES", best // 2)
    assert best // 4 < len(gallery.jpeg(noise)) <= best // 2
    monkeypatch.setattr(gallery, "MOST_BYTES", 1)
    assert len(gallery.jpeg(noise)) > 1


@pytest.mark.parametrize(("strength", "least", "most"), [("0", 0.98, 1.02), ("1", 0.0, 0.9)])
def test_strength(tmp_path, strength, least, most):
    """The photograph's own distance where it is left as it is, less where nothing holds it."""
    for name, seed in (("photo", 1), ("painting", 2)):
        picture(str(tmp_path / f"{name}.png"), 40, 32, seed=seed)
    options = f"--sizes 32 40 --steps 5 --recipe lbfgs-b --strength {strength}"
    pair = ":".join(str(tmp_path / f"{name}.png") for name in ("photo", "painting"))
    table, data = run_benchmark("strength.py", [pair, *options.split()], tmp_path)
    found = data["results"][0]["distances"]
    assert list(found) == ["32", "40"]
    assert all(least <= value <= most for value in found.values())
    spread = max(found.values()) / min(found.values()) - 1
    assert table[2].endswith(f"| {spread:.1%} |")


@pytest.mark.long
def test_optimizers(tmp_path):
    for name, seed in (("photo", 1), ("starry", 2)):
        picture(str(tmp_path / f"{name}.png"), 40, 32, seed=seed)
    pair = ":".join(str(tmp_path / f"{name}.png") for name in ("photo", "starry"))
    options = "--recipes lbfgs-b --size 32 --evaluations 5 30"
    table, data = run_benchmark("optimizers.py", [pair, *options.split()], tmp_path)
    reached = {result["optimizer"]: result["reached"] for result in data["results"]}
    assert list(reached) == ["adam", "adam, cosine", "lbfgs", "lbfgs-b", "lbfgs, trained start"]
    assert all(totals["30"] < totals["5"] for totals in reached.values())
    assert reached["lbfgs, trained start"]["5"] != reached["lbfgs"]["5"]
    assert reached["lbfgs-b"]["30"] < reached["adam"]["30"]
    assert len(table) == 2 + len(reached)


def test_time_to_quality(assets, tmp_path):
    """To a tenth of the start's objective, which the saved picture has."""
    content, style = assets / "content" / "tubingen.jpg", assets / "styles" / "starry.jpg"
    pictures = [nstjax.load_image(path, size=48).pixels for path in (content, style)]
    objective = nstjax.make_objective(
        nstjax.get_recipe("tensorflow"), nstjax.load_weights(), *pictures
    )
    target, out = 0.1 * float(objective(pictures[0])[0]), tmp_path / "out.png"
    words = ["--content", content, "--style", style, "--size", "48", "--output", out]
    run = subprocess.run(
        [sys.executable, BENCHMARKS / "time_to_quality.py", *words, "--target", str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert float(objective(nstjax.load_image(out).pixels)[0]) <= target
    assert found["objective"] <= target
    assert found["seconds"] > 0
