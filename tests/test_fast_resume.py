"""Training that is stopped, killed, damaged or changed, and goes on."""

import importlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training import (
    EVERY,
    RECIPE,
    STEPS,
    STYLE,
    bits,
    finish,
    newest,
    run,
    save_photographs,
    saved_steps,
    shallow_weights,
    start,
)

from nstjax.errors import NstjaxError
from nstjax.fast.changes import refuse_changes
from nstjax.fast.data import open_dataset
from nstjax.fast.log import read_log
from nstjax.fast.settings import Architecture
from nstjax.fast.stylize import load_style
from nstjax.fast.train import run_config
from nstjax.settings import override

# By its name: as an attribute, the package offers the function that is called like it.
train_module = importlib.import_module("nstjax.fast.train")

TO_BE_KILLED = """
import warnings
warnings.simplefilter("default")  # a compiled program may have been cut off while it was written
folder, photographs, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
run(folder, photographs, steps=steps, checkpoint_every=2, callback=tell_steps)
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    return save_photographs(tmp_path_factory.mktemp("data") / "photographs")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, photographs) -> Path:
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, photographs)
    return folder


@pytest.fixture(scope="module")
def _two_thirds(tmp_path_factory, photographs) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    run(folder, photographs, steps=2 * EVERY)
    return folder


@pytest.fixture
def begun(tmp_path, _two_thirds) -> Path:
    """A run with two checkpoints that is to go on for as many steps as half of those."""
    return shutil.copytree(_two_thirds, tmp_path / "begun")


def metrics_of(workdir: Path) -> list[dict]:
    """The log without what is timed."""
    timed = {"images_per_second", "waiting"}
    log = read_log(workdir / "mine" / "metrics.jsonl")
    return [{name: entry[name] for name in entry.keys() - timed} for entry in log]


def expect_same_bits(found: Path, expected: Path) -> None:
    assert newest(found).step == newest(expected).step
    assert bits(newest(found).state) == bits(newest(expected).state)
    assert metrics_of(found) == metrics_of(expected)
    assert [entry["step"] for entry in metrics_of(found)] == [*range(1, newest(found).step + 1)]
    assert bits(load_style(found / "mine").params) == bits(load_style(expected / "mine").params)


def test_a_run_that_was_ended_goes_on(begun, whole, photographs):
    assert saved_steps(begun) == [EVERY, 2 * EVERY]
    result = run(begun, photographs)
    assert (result.step, result.stopped, result.ended) == (STEPS, "", "done")
    expect_same_bits(begun, whole)


@pytest.mark.parametrize("asked_at", [1, EVERY, 6])
def test_a_run_that_is_asked_to_stop_saves_and_goes_on(tmp_path, whole, photographs, asked_at):
    reported = []

    def callback(progress) -> bool:
        reported.append(progress.step)
        return progress.step == asked_at

    result = run(tmp_path, photographs, callback=callback)
    assert (result.ended, result.stopped) == ("asked", "stopped on request")
    assert result.step in (asked_at, asked_at + 1)  # the devices are a step ahead
    assert saved_steps(tmp_path)[-1] == newest(tmp_path).step == result.step == reported[-1]
    assert load_style(tmp_path / "mine").provenance["steps"] == result.step
    run(tmp_path, photographs)
    expect_same_bits(tmp_path, whole)


@pytest.mark.parametrize("asked_at", [STEPS - 1, STEPS])
def test_a_stop_that_comes_with_the_end_is_none(tmp_path, photographs, asked_at):
    result = run(tmp_path, photographs, callback=lambda progress: progress.step == asked_at)
    assert (result.step, result.stopped) == (STEPS, "")


def test_an_error_in_the_callback_costs_the_steps_since_the_checkpoint(
    tmp_path, whole, photographs
):
    def callback(progress) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, photographs, callback=callback)
    assert saved_steps(tmp_path) == [EVERY]
    run(tmp_path, photographs)
    expect_same_bits(tmp_path, whole)


def test_a_run_that_has_had_its_steps_does_nothing(begun, photographs):
    log = (begun / "mine" / "metrics.jsonl").read_bytes()
    style = begun / "mine" / "mine.safetensors"
    written = style.stat().st_mtime_ns
    result = run(begun, photographs, steps=2 * EVERY, callback=pytest.fail)
    assert (result.step, result.metrics, result.stopped) == (2 * EVERY, {}, "")
    assert saved_steps(begun) == [EVERY, 2 * EVERY]
    assert (begun / "mine" / "metrics.jsonl").read_bytes() == log
    assert style.stat().st_mtime_ns == written
    params = load_style(begun / "mine").params
    style.unlink()
    assert run(begun, photographs, steps=2 * EVERY).path == style
    assert bits(load_style(begun / "mine").params) == bits(params)


def test_a_damaged_newest_checkpoint(begun, whole, photographs):
    files = [file for file in (begun / "mine/checkpoints/8").rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    warned: list[str] = []
    run(begun, photographs, warn=warned.append)
    [message] = warned
    assert "checkpoints/8 is damaged (" in message
    assert "going on from step 4" in message
    shutil.rmtree(begun / "mine/checkpoints/8.damaged")
    expect_same_bits(begun, whole)


@pytest.mark.parametrize(
    ("changes", "difference", "allow"),
    [
        ({"style_weight": 7.0}, "style_weight was 20.0 and is 7.0", "style_weight"),
        ({"seed": 3}, "seed was 0 and is 3", "seed"),
        (
            {"architecture": Architecture(width=0.25)},
            "architecture.width was 0.125 and is 0.25",
            "architecture.width",
        ),
        (
            {"style_layers": "block1_conv1"},
            "style_layers was [['block1_conv1', 0.5], ['block2_conv1', 0.5]] and is "
            "[['block1_conv1', 1.0]]",
            "style_layers",
        ),
    ],
)
def test_a_changed_setting_is_refused(begun, photographs, changes, difference, allow):
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    with pytest.raises(NstjaxError) as caught:
        run(begun, photographs, recipe=override(RECIPE, **changes))
    message = str(caught.value)
    assert f"had other settings: {difference};" in message
    assert f"(--allow-change {allow})" in message
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before


def test_another_painting_or_other_photographs_are_refused(begun, photographs, tmp_path):
    painting = replace(STYLE, pixels=1 - STYLE.pixels)
    with pytest.raises(
        NstjaxError, match=r"style_image was 'mine\.png \w+' and is 'mine\.png \w+'"
    ):
        run(begun, photographs, style=painting)
    fewer = save_photographs(tmp_path / "photographs", 8)
    with pytest.raises(
        NstjaxError, match=r"dataset was '.*, 12 pictures \w+' and is '.*, 8 pictures \w+'"
    ):
        run(begun, fewer)


def test_as_many_other_photographs_are_refused(begun, photographs, tmp_path):
    """Of a folder of the same name, and of the same folder."""
    more = shutil.copytree(photographs, tmp_path / "photographs")
    (more / "11.jpg").rename(more / "other.jpg")
    with pytest.raises(NstjaxError, match=r"dataset was .*\(--allow-change dataset\)"):
        run(begun, more)
    some = [open_dataset(f"folder:{photographs}", limit=8, seed=seed) for seed in range(2)]
    configs = [run_config(RECIPE, STYLE, dataset, shallow_weights()) for dataset in some]
    assert configs[0] != configs[1]
    with pytest.raises(NstjaxError, match="dataset was"):
        refuse_changes(*configs)


def test_photographs_that_have_moved_are_the_same(begun, photographs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copytree(photographs, tmp_path / "elsewhere" / "photographs")
    assert run(begun, moved, steps=9).step == 9


def test_a_run_whose_checkpoints_name_no_photographs_goes_on(tmp_path, photographs, monkeypatch):
    """As earlier versions saved them; from then on, they do."""

    def without_digest(*arguments):
        config = run_config(*arguments)
        return {**config, "dataset": config["dataset"].rpartition(" ")[0]}

    with monkeypatch.context() as patch:
        patch.setattr(train_module, "run_config", without_digest)
        run(tmp_path, photographs, steps=1)
        assert newest(tmp_path).config["dataset"].endswith("12 pictures")
    monkeypatch.setattr(train_module, "measure_losses", pytest.fail)
    assert run(tmp_path, photographs, steps=2).step == 2
    assert not newest(tmp_path).config["dataset"].endswith("pictures")


def test_an_allowed_change_is_made(begun, photographs):
    """And losses are measured again where others count."""
    losses = newest(begun).config["losses"]
    painting = replace(STYLE, pixels=1 - STYLE.pixels)
    result = run(begun, photographs, steps=9, style=painting, allow_change=["style-image"])
    assert result.step == 9
    measured = newest(begun).config["losses"]
    assert measured["content_layers"] == losses["content_layers"]
    assert measured["style_layers"] != losses["style_layers"]
    # From now on that is the painting.
    assert run(begun, photographs, steps=10, style=painting).step == 10
    assert newest(begun).config["losses"] == measured
    with pytest.raises(NstjaxError, match=r"unknown setting 'stile'"):
        run(begun, photographs, style=painting, allow_change=["stile"])


def test_another_network_is_no_setting_to_allow(begun, photographs):
    wider = override(RECIPE, architecture=Architecture(width=0.25))
    with pytest.raises(NstjaxError, match=r"of another network or optimiser: .* there and .*"):
        run(begun, photographs, recipe=wider, allow_change=["architecture.width"], init=None)


@pytest.mark.parametrize(
    ("changes", "allow"),
    [
        ({"tile": 16}, []),  # the way out of a shortage of memory: nothing need be allowed
        ({"learning_rate": 1e-4, "content_weight": 2.0}, ["learning-rate", "content-weight"]),
    ],
)
def test_changes_that_losses_do_not_depend_on(begun, photographs, monkeypatch, changes, allow):
    losses = newest(begun).config["losses"]
    monkeypatch.setattr(train_module, "measure_losses", pytest.fail)
    recipe = override(RECIPE, **changes)
    assert run(begun, photographs, steps=9, recipe=recipe, allow_change=allow).step == 9
    config = newest(begun).config
    assert config["losses"] == losses
    assert {name: config[name] for name in changes} == changes


def test_losses_of_photographs_are_measured_once(begun, whole, photographs, monkeypatch):
    losses = newest(begun).config["losses"]
    assert losses["terms"]["content"] == losses["terms"]["style"] == 1
    assert losses["terms"]["tv"] > 0
    assert set(losses["content_layers"]) == {"block2_conv1"}
    assert set(losses["style_layers"]) == {"block1_conv1", "block2_conv1"}
    monkeypatch.setattr(train_module, "measure_losses", pytest.fail)
    run(begun, photographs)
    assert newest(begun).config["losses"] == losses
    provenance = load_style(begun / "mine").provenance
    assert provenance["losses"] == losses
    expect_same_bits(begun, whole)


def kill_and_resume(folder: Path, photographs: Path, kills: int, *, steps: int) -> None:
    """Kills a training at random moments until it may end; every sixth is before its first step."""
    rng = np.random.default_rng(0)
    for kill in range(1, kills + 1):
        process = start(TO_BE_KILLED, folder, photographs, steps)
        assert process.stdout is not None
        if kill % 6:
            for _ in range(rng.integers(1, 6)):
                assert process.stdout.readline().strip().isdecimal()
            time.sleep(rng.uniform(0, 0.1))
        else:
            time.sleep(rng.uniform(0, 5))
        process.kill()
        err = process.communicate()[1]
        assert process.returncode == -9, err
    assert finish(start(TO_BE_KILLED, folder, photographs, steps)).split()[-1] == str(steps)


@pytest.mark.parametrize(
    ("kills", "steps"), [(2, 40), pytest.param(20, 400, marks=pytest.mark.long)]
)
@pytest.mark.skipif("sys.platform == 'win32'", reason="kill -9")
def test_killed_at_random_moments(tmp_path, photographs, kills, steps):
    run(tmp_path / "whole", photographs, steps=steps, checkpoint_every=2)
    kill_and_resume(tmp_path / "killed", photographs, kills, steps=steps)
    expect_same_bits(tmp_path / "killed", tmp_path / "whole")
    assert saved_steps(tmp_path / "killed") == [steps - 4, steps - 2, steps]
    about = [load_style(tmp_path / name / "mine").provenance for name in ("killed", "whole")]
    assert about[0]["seconds"] > 0
    for provenance in about:
        del provenance["seconds"]
    assert json.dumps(about[0], sort_keys=True) == json.dumps(about[1], sort_keys=True)
