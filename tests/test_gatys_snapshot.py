"""Runs that are interrupted, and go on: to the same bits, or with one message why not."""

import dataclasses
import json
import re
import weakref
from typing import SupportsIndex

import jax
import numpy as np
import pytest
from golden import inputs

from nstjax.errors import NstjaxError
from nstjax.gatys import stylize
from nstjax.gatys.snapshot import read_snapshot, restore_state
from nstjax.images import save_image
from nstjax.settings import override

CONTENT, STYLE = inputs.picture(24, 32)[:, ::-1], inputs.picture(24, 32)
STEPS = 12  # five, and seven at the full size
SETTINGS = {"schedule": ((0.75, 5.0), (1.0, 7.0)), "steps": STEPS, "tolerance": 1e-9}


@pytest.fixture
def run(shallow_recipe, shallow_vgg19, tmp_path):
    """Runs with a snapshot wherever the callback stops it."""

    def call(content=CONTENT, style=STYLE, *, stop=None, weights=shallow_vgg19, **settings):
        recipe = override(shallow_recipe, **(SETTINGS | settings.pop("settings", {})))
        options = {"snapshot": tmp_path / "run.resume", "callback_every": 1} | settings
        callback = options.pop("callback", None) or (lambda progress: progress.step == stop)
        return stylize(content, style, recipe=recipe, weights=weights, callback=callback, **options)

    return call


def rates(optimizer):
    return {"optimizer": optimizer, "learning_rate": 3e-3 if optimizer == "sgd" else 0.02}


def test_what_to_resume_from_must_be_said():
    with pytest.raises(NstjaxError, match="nothing to resume from: give snapshot=FILE"):
        stylize(CONTENT, STYLE, resume=True)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("stop", [0, 3, 5, 6, 9, STEPS])
def test_the_same_bits(run, optimizer, stop):
    """Stopped in either size, at the end of one, and at the very end."""
    settings = {"settings": rates(optimizer) | {"average": 0.9}}
    whole = run(snapshot=None, **settings)
    stopped = run(stop=stop, **settings)
    assert stopped.history[-1]["step"] == stop
    told, reports = [], []
    resumed = run(resume=True, tell=told.append, callback=reports.append, **settings)
    assert f"going on from step {stop} of" in told[0]
    np.testing.assert_array_equal(resumed.image, whole.image)
    assert resumed.stopped == whole.stopped == ""
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert np.all(np.diff([entry["seconds"] for entry in resumed.history]) >= 0)
    assert [entry["step"] for report in reports for entry in report.entries] == list(
        range(stop + 1, STEPS + 1)
    )
    assert {report.steps for report in reports} <= {STEPS}


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
def test_resuming_makes_no_other_state(run, monkeypatch, optimizer):
    """Nor a picture to start from: of large ones there is room for one state."""
    run(stop=3, settings=rates(optimizer))
    made = []

    def start_image(*_args):
        made.append("start")
        raise AssertionError

    def first_state(*_args):
        made.append("state")
        raise AssertionError

    monkeypatch.setattr("nstjax.gatys.run.start_image", start_image)
    monkeypatch.setattr("nstjax.gatys.loop.first_state", first_state)
    assert run(stop=4, resume=True, settings=rates(optimizer)).history[-1]["step"] == 4
    assert made == []


def test_the_arrays_of_a_state_go_one_by_one():
    arrays = [np.full((size, 2), size, np.float32) for size in range(1, 5)]
    shapes = {
        name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in zip("abcd", arrays, strict=True)
    }
    references, there = [weakref.ref(array) for array in arrays], []

    class Watched(list):
        def pop(self, index: SupportsIndex = -1) -> np.ndarray:
            there.append(sum(reference() is not None for reference in references))
            return super().pop(index)

    watched = Watched(arrays)
    del arrays
    state = restore_state(shapes, watched)
    assert there == [4, 3, 2, 1]
    assert watched == []
    assert [float(state[name].mean()) for name in "abcd"] == [1, 2, 3, 4]


@pytest.mark.parametrize("stop", [10, 13])
def test_a_size_that_its_tolerance_ends(run, stop):
    """After ten of twenty steps; stopped there, and within the next."""
    settings = {"schedule": ((0.75, 20.0), (1.0, 20.0)), "steps": 40, "tolerance": 0.99}
    whole = run(snapshot=None, settings=settings)
    assert whole.history[-1]["step"] == 30
    assert "fell by less than 0.99" in whole.stopped
    run(stop=stop, settings=settings)
    resumed = run(resume=True, settings=settings)
    np.testing.assert_array_equal(resumed.image, whole.image)
    assert [e["total"] for e in resumed.history] == [e["total"] for e in whole.history]


@pytest.mark.parametrize("every", [1e-9, 0.0])
def test_snapshots_change_nothing(run, tmp_path, every):
    """Nor do they stand in the way of the next chunk, which takes the state's memory."""
    whole = run(snapshot=None, settings={"average": 0.9})
    watched = run(snapshot_every=every, settings={"average": 0.9})
    np.testing.assert_array_equal(watched.image, whole.image)
    assert (tmp_path / "run.resume").exists() == (every > 0)


def test_interrupted_twice(run):
    whole = run(snapshot=None)
    for stop in (2, 4, 8):
        run(stop=stop, resume=True)
    np.testing.assert_array_equal(run(resume=True).image, whole.image)


def test_lbfgs_b_goes_on_from_the_start_of_its_size(run, tmp_path):
    """Whose state is SciPy's own; between two sizes there is none."""
    settings = {"settings": rates("lbfgs-b")}
    whole = run(snapshot=None, **settings)
    told = []
    run(stop=3, snapshot_every=1e-9, **settings)
    assert not (tmp_path / "run.resume").exists()
    run(stop=9, **settings)
    resumed = run(resume=True, tell=told.append, **settings)
    assert "going on from step 5 of" in told[0]
    np.testing.assert_array_equal(resumed.image, whole.image)
    assert [e["total"] for e in resumed.history] == [e["total"] for e in whole.history]


def test_without_a_snapshot_it_starts_from_the_beginning(run, tmp_path):
    told = []
    resumed = run(resume=True, tell=told.append)
    assert told == [f"there is no snapshot {tmp_path / 'run.resume'}: starting from the beginning"]
    np.testing.assert_array_equal(resumed.image, run(snapshot=None).image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"steps": 13}}, r"another run: steps was 12 and is 13; use the same"),
        ({"settings": {"seed": 1, "beta1": 0.5}}, "beta1 was 0.99 and is 0.5, seed was 0 and is 1"),
        ({"settings": {"optimizer": "lbfgs"}}, "optimizer was adam and is lbfgs; .* do not resume"),
        ({"content": CONTENT[:, ::-1]}, "the content image is another;"),
        ({"style": STYLE[:, ::-1]}, "the style image is another;"),
    ],
)
def test_of_another_run(run, tmp_path, change, message):
    run(stop=3)
    before = (tmp_path / "run.resume").read_bytes()
    with pytest.raises(NstjaxError, match=message):
        run(resume=True, **change)
    assert (tmp_path / "run.resume").read_bytes() == before


OTHER = inputs.picture(20, 28)
TWO = {"style": [STYLE, OTHER], "style_weights": [2, 1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": [STYLE, OTHER[:, ::-1]]}, "run: the style image 2 is another; use"),
        ({"style_weights": [1, 2]}, r"run: style weights was \[2.0, 1.0\] and is \[1.0, 2.0\];"),
        ({"style": STYLE, "style_weights": None}, "there is no style image 2"),
        ({"style": [STYLE, OTHER, OTHER], "style_weights": None}, "there was no style image 3"),
    ],
)
def test_of_other_styles(run, change, message):
    run(stop=3, **TWO)
    with pytest.raises(NstjaxError, match=message):
        run(resume=True, **TWO | change)


def test_several_styles_give_the_same_bits(run):
    whole = run(snapshot=None, **TWO)
    run(stop=7, **TWO)
    np.testing.assert_array_equal(run(resume=True, **TWO).image, whole.image)


def test_of_one_style_as_before_there_could_be_several(run, tmp_path):
    run(stop=3, style_weights=[4])
    identity = read_snapshot(tmp_path / "run.resume")[0]["identity"]
    assert [name for name in identity if "image" in name] == ["content image", "style image"]
    assert "style weights" not in identity
    assert run(resume=True).history[-1]["step"] == STEPS


def test_of_other_weights_or_another_start(run, tmp_path, shallow_vgg19):
    run(stop=3)
    other = dataclasses.replace(shallow_vgg19, sha256="1" * 64)
    with pytest.raises(NstjaxError, match="the weights are others;"):
        run(resume=True, weights=other)
    start = tmp_path / "start.png"
    for pixels in (CONTENT, STYLE):
        save_image(start, pixels)
        if pixels is CONTENT:
            run(stop=3, settings={"init": str(start)})
    with pytest.raises(NstjaxError, match="the init image is another;"):
        run(resume=True, settings={"init": str(start)})


def test_a_start_is_known_by_its_pixels(run, tmp_path):
    """Not by its name, which may hold a secret."""
    for name in ("one.png", "secret.png"):
        save_image(tmp_path / name, CONTENT)
    whole = run(snapshot=None, settings={"init": str(tmp_path / "one.png")})
    run(stop=3, settings={"init": str(tmp_path / "secret.png")})
    assert b"secret" not in (tmp_path / "run.resume").read_bytes()
    resumed = run(resume=True, settings={"init": str(tmp_path / "one.png")})
    np.testing.assert_array_equal(resumed.image, whole.image)
    with pytest.raises(NstjaxError, match="init was a picture and is noise, there is no init im"):
        run(resume=True, settings={"init": "noise"})


def test_damaged(run, tmp_path):
    """Wherever a byte is another, or the end is missing."""
    path = tmp_path / "run.resume"
    run(stop=3)
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    damaged = [b"", b"text", whole[: len(whole) // 2], whole[:-1]]
    damaged += [(tmp_path / "other.npz").read_bytes()]
    for place in (0, 200, 5000, len(whole) // 2):  # not where zip keeps the time of day
        damaged.append(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(NstjaxError, match=r"run\.resume cannot be read as a snapshot"):
            run(resume=True)
    path.unlink()
    path.mkdir()
    with pytest.raises(NstjaxError, match="cannot be read as a snapshot"):
        run(resume=True)


def test_nothing_in_it_is_run(run, tmp_path):
    np.savez(tmp_path / "run.resume.npz", about=np.array([{}], object))
    (tmp_path / "run.resume.npz").rename(tmp_path / "run.resume")
    with pytest.raises(NstjaxError, match="cannot be read as a snapshot"):
        run(resume=True)


def rewrite(path, **changes):
    """Changes what a snapshot says of itself."""
    with np.load(path) as file:
        arrays = dict(file)
    about = json.loads(arrays.pop("about").item()) | changes
    with path.open("wb") as stream:
        np.savez(stream, about=np.bytes_(json.dumps(about).encode()), **arrays)


def test_of_an_older_version(run, tmp_path):
    """Whose states were others: it says so before anything is computed."""
    run(stop=9, settings=rates("lbfgs"))
    rewrite(tmp_path / "run.resume", format="nstjax-snapshot-1")
    with pytest.raises(NstjaxError, match="it is damaged, or of another version"):
        run(resume=True, settings=rates("lbfgs"))


@pytest.mark.parametrize("change", [{"identity": None}, {"recorder": {"history": []}}])
def test_something_is_missing(run, tmp_path, change):
    """Nothing that decides a run has a default that would silently stand in for it."""
    run(stop=9)
    rewrite(tmp_path / "run.resume", **change)
    with pytest.raises(NstjaxError, match="it is damaged, or of another version"):
        run(resume=True)


def test_a_full_disk_does_not_end_the_run(run, tmp_path, monkeypatch):
    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    told = []
    result = run(snapshot_every=1e-9, tell=told.append)
    assert result.history[-1]["step"] == STEPS
    (message,) = told
    assert "No space left" in message
    assert "going on, to try again later" in message
    assert list(tmp_path.iterdir()) == []


ERRORS = {
    "disk": (OSError(28, "No space left on device"), r"cannot write .*run\.resume \(No space left"),
    "host": (MemoryError(), r"no snapshot could be written \(too little memory\)"),
    "device": (
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nand details"),
        r"no snapshot could be written \(RESOURCE_EXHAUSTED: Out of memory\)",
    ),
}


@pytest.mark.parametrize("error", ERRORS)
def test_the_next_snapshot_is_tried_again(run, monkeypatch, error):
    """What fails is told once, and ends nothing; the last one is written for all that."""
    whole = run(snapshot=None)
    failing, message = ERRORS[error]
    told = []

    def savez(*_args, **_arrays):
        raise failing

    def stop(progress):
        if progress.step == 9:
            patch.undo()
        return progress.step == 9

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", savez)
        run(snapshot_every=1e-9, callback=stop, tell=told.append)
    (only,) = told
    assert re.search(f"^{message}.*; going on, to try again later$", only)
    told.clear()
    np.testing.assert_array_equal(run(resume=True, tell=told.append).image, whole.image)
    assert "going on from step 9" in told[0]


def test_the_last_snapshot_fails(run, monkeypatch):
    def savez(*_args, **_arrays):
        raise MemoryError

    monkeypatch.setattr(np, "savez", savez)
    told = []
    assert run(stop=9, snapshot_every=1e-9, tell=told.append).history[-1]["step"] == 9
    assert [message.partition(";")[2] for message in told] == [
        " going on, to try again later",
        " going on without",
    ]


def test_what_a_snapshot_holds(run, tmp_path):
    run(stop=3, settings={"average": 0.9})
    about, arrays = read_snapshot(tmp_path / "run.resume")
    assert about["stage"] == 0
    assert [entry["step"] for entry in about["recorder"].history] == [0, 1, 2, 3]
    # Picture, gradient, two moments and the average.
    assert sum(array.shape == (1, 18, 24, 3) for array in arrays) == 5
