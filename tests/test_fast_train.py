"""Training from end to end: what it leaves, what it reports, and what it does about trouble."""

import collections
import importlib
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from training import (
    EVERY,
    PHOTOGRAPHS,
    RECIPE,
    STEPS,
    STYLE,
    bits,
    newest,
    run,
    save_photographs,
    saved_steps,
    shallow_weights,
)

from nstjax.errors import NstjaxError
from nstjax.fast.data import Dataset, open_dataset
from nstjax.fast.log import read_log
from nstjax.fast.loop import TrainingProgress
from nstjax.fast.recipes import get_training_recipe
from nstjax.fast.sources import Record
from nstjax.fast.stylize import load_style, paint_pixels, stylize_fast
from nstjax.fast.train import TrainingResult, resolve, run_config
from nstjax.images import load_image, save_image
from nstjax.settings import override

pytestmark = pytest.mark.usefixtures("quick_compilation")

# By its name: as an attribute, the package offers the function that is called like it.
train_module = importlib.import_module("nstjax.fast.train")
LONGER = 30  # steps


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    return save_photographs(tmp_path_factory.mktemp("data") / "photographs")


class Whole:
    """A run that nothing troubled, and what it reported."""

    def __init__(self, folder: Path, photographs: Path):
        self.folder = folder
        self.reported: list[TrainingProgress] = []
        self.pixels = np.random.default_rng(0).random((2, 64, 32, 3), np.float32)
        self.result: TrainingResult = run(folder, photographs, callback=self.keep)

    def keep(self, progress: TrainingProgress) -> None:
        self.reported.append(progress)
        if progress.step == STEPS:
            self.painted = progress.paint(self.pixels)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, photographs) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole"), photographs)


def test_what_a_run_leaves(whole):
    folder = whole.folder / "mine"
    assert {path.name for path in folder.iterdir()} == {
        "checkpoints",
        "metrics.jsonl",
        "mine.safetensors",
    }
    assert saved_steps(whole.folder) == [EVERY, 2 * EVERY, STEPS]
    assert whole.result.path == folder / "mine.safetensors"
    assert (whole.result.step, whole.result.stopped) == (STEPS, "")
    style = load_style(folder)
    assert style.name == "mine"
    assert style.architecture == RECIPE.architecture
    half = jax.tree.map(lambda a: a.astype(np.float16), newest(whole.folder).state.average)
    assert bits(style.params) == bits(jax.tree.map(lambda a: a.astype(np.float32), half))
    assert style.provenance["steps"] == STEPS
    assert style.provenance["recipe"] == RECIPE.name
    assert style.provenance["style_image"].startswith("mine.png ")
    assert f", {PHOTOGRAPHS} pictures " in style.provenance["dataset"]
    assert style.provenance["metrics"] == whole.result.metrics


def test_what_a_run_reports(whole):
    log = read_log(whole.folder / "mine" / "metrics.jsonl")
    assert len(log) == len(whole.reported) == STEPS
    for step, (entry, progress) in enumerate(zip(log, whole.reported, strict=True), start=1):
        assert progress.step == entry["step"] == step
        assert progress.steps == STEPS
        timed = {"images_per_second": progress.images_per_second, "waiting": progress.waiting}
        assert entry == {"step": step, **progress.metrics, **timed}
        assert 0 <= progress.waiting <= 1
        total = sum(progress.metrics[term] for term in ("content", "style", "tv"))
        assert progress.metrics["total"] == pytest.approx(total, rel=1e-5)
        assert progress.metrics["gradient_norm"] > 0
    assert whole.reported[-1].metrics == whole.result.metrics
    assert whole.reported[-1].images_per_second > 0


def test_a_progress_paints_as_the_style_does(whole):
    painted = paint_pixels(load_style(whole.folder / "mine"), whole.pixels)
    assert whole.painted.shape == painted.shape == whole.pixels.shape
    # The file is in half precision.
    np.testing.assert_allclose(whole.painted, painted, atol=0.02)
    assert whole.painted.std() > 0.01


def test_training_lowers_the_loss(tmp_path, photographs):
    run(tmp_path, photographs, steps=LONGER)
    totals = [entry["total"] for entry in read_log(tmp_path / "mine" / "metrics.jsonl")]
    assert np.mean(totals[-3:]) < np.mean(totals[:3]) / 3


def test_neither_epochs_nor_runs_nor_pictures_compile_again(
    tmp_path, photographs, whole, compilations
):
    """See also test_fast_parallel.py, where a process begins with nothing compiled."""
    run(tmp_path, photographs, steps=7)
    run(tmp_path, photographs, steps=9)
    assert len(compilations) == 0
    style = load_style(tmp_path / "mine")
    pictures = np.random.default_rng(1).random((2, 70, 80, 3), np.float32)
    first, _ = stylize_fast(pictures[0], style), compilations.clear()
    second = stylize_fast(pictures[1], style)
    assert len(compilations) == 0
    assert first.image.shape == second.image.shape
    assert (first.image != second.image).any()


def test_convolutions_may_change_from_one_run_to_the_next(tmp_path, photographs, monkeypatch):
    """The loss network's kernels are prepared for the algorithms that are allowed."""
    totals = []
    for convolutions in ("auto", "direct"):
        monkeypatch.setenv("NSTJAX_CONV", convolutions)
        totals.append(run(tmp_path / convolutions, photographs, steps=1).metrics["total"])
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_the_loss_network_is_held_once(tmp_path, photographs, monkeypatch):
    """It is most of what a training holds besides the steps' own arrays."""
    made, alive = [], []

    def objective_of(*arguments):
        structure, inputs = objective(*arguments)
        made.extend(weakref.ref(array) for array in jax.tree.leaves(inputs.params))
        return structure, inputs

    objective = train_module.objective_of
    monkeypatch.setattr(train_module, "objective_of", objective_of)
    run(
        tmp_path,
        photographs,
        steps=1,
        callback=lambda progress: alive.extend(array() for array in made),
    )
    assert alive
    assert all(array is None for array in alive)


@pytest.mark.parametrize("at", [6, 2 * EVERY, STEPS])
def test_a_loss_that_is_not_finite(tmp_path, whole, photographs, monkeypatch, at):
    """Between two checkpoints, just where one is due, and in the last step."""
    real = train_module.make_parallel_step
    steps = iter(range(1, STEPS + 1))

    def poisoned(*arguments):
        step = real(*arguments)

        def parallel_step(state, batch, *others):
            return step(state, batch * np.float32(np.nan if next(steps) == at else 1), *others)

        return parallel_step

    reported = []
    monkeypatch.setattr(train_module, "make_parallel_step", poisoned)
    result = run(tmp_path, photographs, callback=lambda progress: reported.append(progress.step))
    assert result.ended == "diverged"
    assert result.stopped == f"the loss was no longer finite in step {at}"
    assert reported == [*range(1, at)]
    good = (at - 1) // EVERY * EVERY
    assert newest(tmp_path).step == good
    assert load_style(tmp_path / "mine").provenance["steps"] == good
    assert len(read_log(tmp_path / "mine" / "metrics.jsonl")) == at - 1
    monkeypatch.undo()
    run(tmp_path, photographs)
    assert bits(newest(tmp_path).state) == bits(newest(whole.folder).state)


def test_no_space_for_a_checkpoint(tmp_path, whole, photographs, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    free = iter([10**12, 0, 10**12])  # at the second of three
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, next(free)))
    warned: list[str] = []
    result = run(tmp_path, photographs, warn=warned.append)
    [message] = warned
    assert f"no checkpoint of step {2 * EVERY}" in message
    assert f"training goes on, and that of step {EVERY} is kept" in message
    assert (result.step, result.stopped) == (STEPS, "")
    assert saved_steps(tmp_path) == [EVERY, STEPS]
    assert bits(newest(tmp_path).state) == bits(newest(whole.folder).state)


def test_neither_log_nor_style_can_be_written(tmp_path, whole, photographs):
    for name in ("metrics.jsonl", "mine.safetensors"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    warned: list[str] = []
    run(tmp_path, photographs, warn=warned.append)
    assert len(warned) == 1 + STEPS // EVERY
    assert "metrics.jsonl (" in warned[0]
    assert all("mine.safetensors (" in message for message in warned[1:])
    assert all("training goes on" in message for message in warned)
    assert bits(newest(tmp_path).state) == bits(newest(whole.folder).state)


class Repeated:
    """Many pictures out of a few, with one that is broken."""

    def __init__(self, photographs: Path, count: int, broken: int):
        self.paths = sorted(photographs.iterdir())
        self.count = count
        self.broken = broken

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Record:
        if index == self.broken:
            return Record("broken.jpg", b"\xff\xd8 and nothing more")
        path = self.paths[index % len(self.paths)]
        return Record(path.name, path)


def test_a_broken_photograph_is_named_once(tmp_path, photographs):
    epoch = 100 // RECIPE.batch_size
    dataset = Dataset("repeated", Repeated(photographs, 100, broken=41))
    warned: list[str] = []
    for epochs in (1, 2):
        run(tmp_path, dataset, steps=epochs * epoch, warn=warned.append)
        [message] = warned
    assert message.startswith("skipped: ")
    assert "broken.jpg" in message
    assert newest(tmp_path).step == 2 * epoch


def test_too_many_broken_photographs_end_it(tmp_path):
    folder = save_photographs(tmp_path / "photographs", 8)
    (folder / "05.jpg").write_bytes(b"\xff\xd8 and nothing more")
    with pytest.raises(NstjaxError, match=r"more than 1 % of the 8 pictures .*05\.jpg"):
        run(tmp_path, folder)


def test_what_was_learned_before_they_end_it_is_kept(tmp_path, photographs):
    # One of a hundred may be broken; the second one is only opened in the second epoch.
    pictures = Repeated(photographs, 100, broken=41)
    dataset = Dataset("repeated", pictures)

    def damage(progress):
        if progress.step == 100 // RECIPE.batch_size + 1:
            pictures.paths[0] = tmp_path / "gone.jpg"

    with pytest.raises(NstjaxError, match=r"more than 1 % of the 100 pictures"):
        run(tmp_path, dataset, steps=300, callback=damage, checkpoint_every=1000, warn=list)
    assert newest(tmp_path).step > 100 // RECIPE.batch_size


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, r"holds no pictures: give a folder with JPEG"),
        (1, r"has 1 pictures, fewer than a batch of 4: add pictures or"),
        (3, r"has 3 pictures, fewer than a batch of 4: add pictures or"),
    ],
)
def test_too_few_photographs(tmp_path, count, message):
    folder = save_photographs(tmp_path / "photographs", count)
    with pytest.raises(NstjaxError, match=message):
        run(tmp_path / "runs", folder)
    assert not (tmp_path / "runs").exists()


def test_one_batch_of_photographs_is_enough(tmp_path):
    folder = save_photographs(tmp_path / "photographs", 4)
    assert run(tmp_path / "runs", folder, steps=3).step == 3


def test_photographs_that_are_all_alike(tmp_path):
    folder = save_photographs(tmp_path / "photographs", 4)
    for path in folder.iterdir():
        shutil.copy(folder / "00.jpg", path) if path.name != "00.jpg" else None
    with pytest.raises(NstjaxError, match=r"are all alike, or like the style image"):
        run(tmp_path / "runs", folder, recipe=override(RECIPE, crop="squash"))


def test_what_does_not_fit_together(tmp_path, photographs):
    for changes, message in {
        ("preprocessing", "torchvision"): r"written for vgg19's torchvision weights",
        ("network", "vgg16"): r"network is vgg16 and these are the weights of vgg19",
    }.items():
        with pytest.raises(NstjaxError, match=message):
            run(tmp_path / "runs", photographs, recipe=override(RECIPE, **dict([changes])))
    speck = replace(STYLE, pixels=STYLE.pixels[:, :1, :1])
    with pytest.raises(NstjaxError, match=r"too small"):
        run(tmp_path / "runs", photographs, style=speck)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint_every": 0}, "checkpoint every is 0: it must be at least 1"),
        ({"checkpoint_every": True}, "checkpoint every is True: it must be a whole number"),
        ({"keep": -1}, "keep is -1: it must be at least 1"),
        ({"name": "a/b"}, "style 'a/b' makes no name of a folder"),
        ({"name": ""}, "style '' makes no name of a folder"),
        ({"style": "none.jpg"}, r"none\.jpg"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path, photographs, options, message):
    with pytest.raises(NstjaxError, match=message):
        run(tmp_path / "runs", photographs, **options)
    assert not (tmp_path / "runs").exists()


def test_a_style_image_is_whatever_can_be_loaded(tmp_path, photographs):
    path = tmp_path / "mine.png"
    save_image(path, STYLE.pixels)
    assert run(tmp_path, photographs, steps=1, style=path).step == 1
    found = newest(tmp_path).config["style_image"]
    # As if the caller had loaded it.
    result = run(tmp_path, photographs, steps=2, style=load_image(path))
    assert (result.step, newest(tmp_path).config["style_image"]) == (2, found)


def test_a_folder_that_cannot_be_written_does_not_end_it(tmp_path, photographs):
    (tmp_path / "runs").touch()
    warned: list[str] = []
    assert run(tmp_path / "runs", photographs, steps=1, warn=warned.append).step == 1
    assert len(warned) == 3  # checkpoints, log, and style


def test_an_address_keeps_its_secrets(photographs):
    style = replace(STYLE, name="https://me:key@example.org/mine.png?token=1")
    dataset = open_dataset(f"folder:{photographs}")
    found, expected = (run_config(RECIPE, s, dataset, shallow_weights()) for s in (style, STYLE))
    assert found == expected


def test_resolving():
    recipe = get_training_recipe("vgg19")
    assert recipe.epochs == 2
    resolved = resolve(recipe, 402)
    assert resolved.steps == 2 * 100
    assert resolve(override(recipe, epochs=0.001), 402).steps == 1
    assert resolved.epochs == 2  # for the run's record
    assert resolve(resolved, 402) == resolved
    # Steps that are asked for count, and a change of other settings leaves the epochs alone.
    assert resolve(override(recipe, steps=7), 402).steps == 7
    assert resolve(override(recipe, seed=1), 402).steps == 2 * 100
    assert resolve(override(recipe, steps=7, epochs=1.0), 402).steps == 100
    expected = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    assert resolved.precision == expected
    assert resolve(override(recipe, precision="bfloat16"), 402).precision == "bfloat16"
