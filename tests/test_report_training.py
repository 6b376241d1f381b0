"""A training's losses: as a plot, and as TensorBoard reads them."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.report import TensorBoardLog, save_training_plot
from nstjax.report.training import smoothed

STYLE = (0xD5, 0x5E, 0x00)  # the line's colour


def log(steps: int, first: int = 1) -> list[dict[str, float]]:
    """Falling losses, the style's from 900 to 1 and the content's always 100."""
    entries = []
    for step in range(first, first + steps):
        style = 900.0 ** (1 - (step - first) / max(1, steps - 1))
        terms = {"content": 100.0, "style": style, "tv": 0.0}
        entries.append({"step": step, "total": 100 + style, **terms, "style_raw": 1e9})
    return entries


def places_of(path, colour) -> np.ndarray:
    """Rows and columns of the pixels of one colour."""
    with Image.open(path) as image:
        return np.argwhere((np.asarray(image.convert("RGB")) == colour).all(axis=2))


def test_the_plot_shows_each_weighted_term(tmp_path):
    path = tmp_path / "new" / "losses.png"
    save_training_plot(path, log(50), title="starry")
    line = places_of(path, STYLE)
    line = line[line[:, 0] > 110]  # below the legend
    left, right = line[line[:, 1].argmin()], line[line[:, 1].argmax()]
    assert right[1] - left[1] > 1300
    assert right[0] - left[0] > 350  # it falls
    # On a logarithmic axis this fall is straight.
    middle = line[np.abs(line[:, 1] - (left[1] + right[1]) / 2) < 2, 0].mean()
    assert middle == pytest.approx((left[0] + right[0]) / 2, abs=6)
    assert len(places_of(path, (0x00, 0x72, 0xB2))) > 1000  # the content
    assert len(places_of(path, (0x00, 0x9E, 0x73))) == 0  # no smoothness, so no line
    with Image.open(path) as image:
        assert image.width == 1600
        assert (np.asarray(image.convert("L"))[30:60, 110:190] < 128).any()  # the title


def test_a_long_training_is_smoothed():
    rng = np.random.default_rng(0)
    entries = log(9000, first=5)
    for entry in entries:
        entry["content"] += 50 * rng.standard_normal()
    points = smoothed(entries)
    assert len(points) == 150
    assert [points[0]["step"], points[-1]["step"]] == [34.5, 8974.5]
    contents = np.array([point["content"] for point in points])
    assert contents.mean() == pytest.approx(100, abs=2)
    assert contents.std() < 50 / 5
    assert points[0].keys() == {"step", "total", "content", "style", "tv"}


def test_a_short_one_is_not():
    entries = log(3)
    assert smoothed(entries) == [{k: e[k] for k in smoothed(entries)[0]} for e in entries]


def test_one_step_makes_a_plot(tmp_path):
    save_training_plot(tmp_path / "one.png", log(1), title="")
    assert len(places_of(tmp_path / "one.png", STYLE)) > 20


@pytest.mark.parametrize(("name", "steps", "words"), [("a.png", 0, "no steps"), ("a.x", 1, "a.x")])
def test_no_plot(tmp_path, name, steps, words):
    with pytest.raises(NstjaxError, match=words):
        save_training_plot(tmp_path / name, log(steps), title="")
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboard_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with TensorBoardLog(tmp_path / "run", first_step=1) as events:
        events.add(1, {"total": 1.0})
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def scalars():
    """Reads a folder as TensorBoard does: step and value by tag."""
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import (  # pyright: ignore[reportMissingImports]
        EventAccumulator,
    )

    def read(folder):
        found = EventAccumulator(str(folder)).Reload()
        return {
            tag: [(event.step, event.value) for event in found.Scalars(tag)]
            for tag in found.Tags()["scalars"]
        }

    return read


def test_writing_does_not_load_tensorflow(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    code = """
import pathlib, sys
from nstjax.report.tensorboard import TensorBoardLog
with TensorBoardLog(pathlib.Path(sys.argv[1]), first_step=1) as events:
    events.add(1, {"total": 2.0})
assert "tensorboard" in sys.modules and "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert len(list(tmp_path.iterdir())) == 1


def test_tensorboard_reads_what_was_written(tmp_path, scalars):
    with TensorBoardLog(tmp_path, first_step=1) as events:
        for step in range(1, 5):
            events.add(step, {"total": 2.0 * step, "style": 0.5})
            assert scalars(tmp_path)["total"][-1] == (step, 2.0 * step)  # at once
    # Another process goes on from step 2; what came after it there is not shown.
    with TensorBoardLog(tmp_path, first_step=3) as events:
        events.add(3, {"total": 30.0, "style": 0.25})
    assert scalars(tmp_path)["total"] == [(1, 2.0), (2, 4.0), (3, 30.0)]
    assert scalars(tmp_path)["style"] == [(1, 0.5), (2, 0.5), (3, 0.25)]


def test_a_full_disk_ends_the_file_alone(tmp_path, scalars, monkeypatch):
    with TensorBoardLog(tmp_path, first_step=1) as events:
        events.add(1, {"total": 1.0})
        with monkeypatch.context() as patch:
            patch.setattr(events._records, "write", full)
            events.add(2, {"total": 2.0})
        events.add(3, {"total": 3.0})
    assert scalars(tmp_path)["total"] == [(1, 1.0)]


def full(data: bytes) -> None:
    raise OSError(28, "No space left on device")
