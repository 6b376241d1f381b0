"""Sheets: what is on them, whatever the run and the pictures were like."""

import math
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.images import load_image
from nstjax.report import check_report, contact_sheet, save_report
from nstjax.report.run import _differences, _evenly, draw_losses
from nstjax.report.sheet import CAPTION, GAP, drawing, fit, make_sheet, place_axes

QUADRANTS = np.array([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 0]]], np.float32)


def plain(colour, height=60, width=80):
    return np.full((1, height, width, 3), colour, np.float32)


def quadrants(height=60, width=80):
    """Red and green over blue and yellow."""
    return QUADRANTS.repeat(height // 2, axis=0).repeat(width // 2, axis=1)[None]


def entry(step, total=4.0, content=1.0, style=2.0, tv=1.0):
    return {"step": step, "total": total, "content": content, "style": style, "tv": tv}


def report(path, **changes):
    run = {
        "content": plain((0.5, 0, 0.5)),
        "styles": [plain((0, 0.5, 0.5))],
        "snapshots": [],
        "result": quadrants(),
        "history": [entry(0), entry(1, total=2.0)],
        "title": "A run",
    }
    save_report(path, **(run | changes))


def pixels_of(path):
    """Levels, shape (H, W, 3)."""
    return np.asarray(Image.open(path).convert("RGB"))


def box_of(sheet, colour):
    """Top, bottom, left and right of the pixels of exactly one colour; how many there are."""
    rows, columns = np.nonzero((sheet == np.round(np.array(colour) * 255)).all(axis=2))
    return (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1), len(rows)


def test_the_result_stands_large_beside_content_and_style(tmp_path):
    report(tmp_path / "run.png")
    sheet = pixels_of(tmp_path / "run.png")
    assert sheet.shape[1] == 1600
    boxes = {}
    corners = {"red": (0, 0), "green": (0, 1), "blue": (1, 0), "yellow": (1, 1)}
    for name, corner in corners.items():
        (top, bottom, left, right), count = box_of(sheet, QUADRANTS[corner])
        assert count > 200_000
        # Enlarging a picture blurs only its edges.
        assert count > 0.9 * (bottom - top) * (right - left)
        boxes[name] = top, bottom, left, right
    assert boxes["red"][0] == boxes["green"][0] < boxes["blue"][0]
    assert boxes["red"][2] == boxes["blue"][2] < boxes["green"][2]
    for colour in ((0.5, 0, 0.5), (0, 0.5, 0.5)):
        (top, bottom, left, right), count = box_of(sheet, colour)
        assert count == (bottom - top) * (right - left) > 100_000
        assert (right - left) / (bottom - top) == pytest.approx(80 / 60, abs=0.01)
        assert right < boxes["red"][2]


@pytest.mark.parametrize("result", [(60, 80), (80, 60), (20, 80)])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_several_styles_stand_beside_the_result(tmp_path, result, count):
    """Each whole, none over another, in reading order."""
    colours = [(0, 0.4, 1.0 - 0.2 * i) for i in range(count)]
    shapes = [(60, 80), (80, 60), (40, 120)]
    styles = [plain(colour, *shapes[i % 3]) for i, colour in enumerate(colours)]
    report(tmp_path / "run.png", styles=styles, result=plain((1.0, 0, 0), *result))
    sheet = pixels_of(tmp_path / "run.png")
    (_, bottom, left, _), _ = box_of(sheet, (1.0, 0, 0))
    places = []
    for colour, style in zip(colours, styles, strict=True):
        (top, foot, start, end), found = box_of(sheet, colour)
        assert found == (foot - top) * (end - start) > 3000
        assert (end - start) / (foot - top) == pytest.approx(
            style.shape[2] / style.shape[1], rel=0.02
        )
        assert 32 <= start < end < left
        assert foot <= max(bottom, top + 320)
        places.append((top, start))
    assert places == sorted(places)


def test_snapshots_stand_in_a_row_in_order(tmp_path):
    colours = [(red, 0, 1) for red in (0.2, 0.4, 0.6, 0.8)]
    report(tmp_path / "none.png")
    report(tmp_path / "four.png", snapshots=[(i, plain(c)) for i, c in enumerate(colours)])
    sheet = pixels_of(tmp_path / "four.png")
    boxes = [box_of(sheet, colour)[0] for colour in colours]
    assert len({box[0] for box in boxes}) == 1
    assert [box[2] for box in boxes] == sorted(box[2] for box in boxes)
    height = boxes[0][1] - boxes[0][0]
    assert sheet.shape[0] == pixels_of(tmp_path / "none.png").shape[0] + height + GAP + CAPTION


def test_of_many_snapshots_four_are_shown():
    picture = plain(0.5)
    shown = _evenly([(step, picture) for step in range(0, 101, 10)])
    assert [step for step, _ in shown] == [0, 30, 70, 100]
    assert [step for step, _ in _evenly([(3, picture)])] == [3]


def test_differences_by_hand():
    image = np.array([[0.0, 0.25, 0.25], [1.0, 0.25, 0.0]], np.float32)
    dx, dy = _differences(image[None, :, :, None].repeat(3, axis=3))
    np.testing.assert_array_equal(dx[0, :, :, 1], [[0.25, 0, 0], [0.75, 0.25, 0]])
    np.testing.assert_array_equal(dy[0, :, :, 1], [[1, 0, 0.25], [0, 0, 0]])
    assert dx.dtype == dy.dtype == np.float32


def test_before_and_after_have_one_contrast(tmp_path):
    """Stripes across half the range are half as dark as stripes across all of it."""
    stripes = plain(0, 90, 120)
    stripes[:, :, ::2] = 1
    report(tmp_path / "run.png", content=0.5 * stripes, result=stripes)
    sheet = pixels_of(tmp_path / "run.png").astype(float)
    # The four pictures fill their row above the curves; only |dx| has anything to show.
    row = sheet[-600:-450].mean(axis=(0, 2))
    means = [row[left + 40 : left + 330].mean() for left in (32, 421, 810, 1199)]
    assert means == pytest.approx([127.5, 0, 255, 255], abs=6)


def losses(history):
    with drawing():
        axes = place_axes(make_sheet(400, 300, []), 50, 50, 300, 200)
        draw_losses(axes, history)
        axes.figure.canvas.draw()
        return axes


def test_curves_show_the_history():
    axes = losses([entry(0), entry(5, total=3.0), entry(9, total=2.0)])
    assert axes.get_yscale() == "log"
    curves = {str(line.get_label()): line for line in axes.get_lines()}
    assert list(curves) == ["total", "content, weighted", "style, weighted", "tv, weighted"]
    np.testing.assert_array_equal(curves["total"].get_xdata(), [0, 5, 9])
    np.testing.assert_array_equal(curves["total"].get_ydata(), [4, 3, 2])


def test_what_a_logarithm_cannot_show_is_left_out():
    history = [
        entry(0, content=0.0, tv=0.0),
        entry(1, total=math.nan, content=-1.0, style=math.inf, tv=0.0),
        entry(2, total=1e-8, style=1e30, tv=0.0),
        entry(3, total=1e-9, tv=0.0),  # less than a billionth of the largest
    ]
    curves = {line.get_label(): line.get_ydata() for line in losses(history).get_lines()}
    assert list(curves) == ["total", "content, weighted", "style, weighted"]
    np.testing.assert_array_equal(curves["total"], [4, np.nan, 1e-8, np.nan])
    np.testing.assert_array_equal(curves["content, weighted"], [np.nan, np.nan, 1, 1])
    np.testing.assert_array_equal(curves["style, weighted"], [2, np.nan, 1e30, 2])


@pytest.mark.parametrize(
    "history", [[], [entry(0)], [entry(0, 0.0, 0.0, 0.0, 0.0)], [entry(0, *[math.nan] * 4)]]
)
def test_hardly_any_history(tmp_path, history):
    report(tmp_path / "run.png", history=history)
    assert pixels_of(tmp_path / "run.png").shape[1] == 1600
    visible = [line.get_marker() for line in losses(history).get_lines()]
    assert visible == ["o"] * (4 if history == [entry(0)] else 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (40, 400), (400, 40), (2000, 1500)])
def test_odd_shapes(tmp_path, shape):
    picture = plain(0.6, *shape)
    report(
        tmp_path / "run.png",
        content=picture,
        styles=[plain((0, 0.5, 0.5), *reversed(shape))],
        snapshots=[(1, picture)],
        result=plain((0.2, 0.8, 0), *shape),
    )
    sheet = pixels_of(tmp_path / "run.png")
    (top, bottom, left, right), count = box_of(sheet, (0.2, 0.8, 0))
    assert count == (bottom - top) * (right - left)
    assert 60 <= left < right == 1600 - 32
    assert sheet.shape[0] < 3000


@pytest.mark.parametrize(
    "title", ["", "cost $5_{ $x$ \\frac", "写真\n😀", "W" * 1000, "i" * 600 + "W" * 600]
)
def test_any_title(tmp_path, title, capfd):
    report(tmp_path / "run.png", title=title)
    sheet = pixels_of(tmp_path / "run.png")
    if title:
        assert (sheet[30:62, 32:1568] < 128).any()
    assert (sheet[:20] == 255).all()
    assert (sheet[:, 1580:] == 255).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("suffix", "magic"),
    [(".png", b"\x89PNG"), (".JPG", b"\xff\xd8"), (".jpeg", b"\xff\xd8"), (".pdf", b"%PDF")],
)
def test_formats(tmp_path, suffix, magic):
    report(tmp_path / f"run{suffix}")
    assert (tmp_path / f"run{suffix}").read_bytes().startswith(magic)


def test_svg(tmp_path):
    report(tmp_path / "run.svg")
    root = ET.parse(tmp_path / "run.svg").getroot()
    assert root.attrib["width"] == "1600pt"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}image"))) == 7


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".pdf", ".svg"])
def test_same_bytes_whenever_and_whatever_the_user_prefers(tmp_path, monkeypatch, suffix):
    import matplotlib

    contact_sheet(tmp_path / f"a{suffix}", [[quadrants()]], row_labels=["one"])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    with matplotlib.rc_context({"font.size": 40, "figure.facecolor": "red", "svg.hashsalt": "x"}):
        contact_sheet(tmp_path / f"b{suffix}", [[quadrants()]], row_labels=["one"])
        assert matplotlib.rcParams["font.size"] == 40
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_contact_sheet_places_pictures_to_the_pixel(tmp_path):
    rng = np.random.default_rng(0)
    wide, tall = (rng.random((1, *hw, 3), np.float32) for hw in ((30, 50), (50, 20)))
    contact_sheet(tmp_path / "grid.png", [[wide, None], [tall, wide]], size=50)
    sheet = load_image(tmp_path / "grid.png").pixels
    assert sheet.shape == (1, GAP + 30 + GAP + 50 + GAP, GAP + 50 + GAP + 50 + GAP, 3)
    expected = np.ones_like(sheet)
    expected[:, 20:50, 20:70] = wide
    expected[:, 70:120, 35:55] = tall
    expected[:, 80:110, 90:140] = wide
    np.testing.assert_allclose(sheet, expected, atol=0.501 / 255)


def test_contact_sheet_writes_its_labels_beside_the_pictures(tmp_path):
    picture = plain((0, 0, 1), 100, 100)
    grid = [[picture, picture], [picture, picture]]
    contact_sheet(tmp_path / "plain.png", grid, size=100)
    contact_sheet(
        tmp_path / "named.png", grid, row_labels=["x", "yes"], column_labels=["", "z"], size=100
    )
    before, after = (pixels_of(tmp_path / f"{name}.png") for name in ("plain", "named"))
    skip = CAPTION + GAP
    np.testing.assert_array_equal(before[GAP:, GAP:], after[skip:, skip:])
    ink = np.array((after < 255).any(axis=2))
    rows, columns = ink[skip:, :skip], ink[:skip, skip:]
    assert rows[:100].any()
    assert rows[120:220].any()
    assert rows[120:220].sum() > rows[:100].sum()
    assert not columns[:, :100].any()
    assert columns[:, 120:220].any()


def test_contact_sheet_writes_captions_under_the_pictures(tmp_path):
    picture = plain((0, 0, 1), 100, 100)
    grid = [[picture, picture], [picture, picture]]
    contact_sheet(tmp_path / "captions.png", grid, captions=[["", "y"], ["x", ""]], size=100)
    sheet = pixels_of(tmp_path / "captions.png")
    row = GAP + 100 + CAPTION
    assert sheet.shape[:2] == (2 * row + GAP, 3 * GAP + 200)
    ink = np.array((sheet < 255).any(axis=2))
    for top, captions in ((GAP, (False, True)), (GAP + row, (True, False))):
        assert ink[top : top + 100, GAP : GAP + 100].all()
        under = ink[top + 100 : top - GAP + row + GAP]
        assert (under[:, GAP : GAP + 100].any(), under[:, 2 * GAP + 100 :].any()) == captions


@pytest.mark.parametrize(
    ("pictures", "labels", "message"),
    [
        ([], {}, "no pictures"),
        ([[], []], {}, "no pictures"),
        ([[None]], {}, "no pictures"),
        ([[plain(0)], [plain(0), None]], {}, "rows of 1, 2 pictures"),
        ([[plain(0)]], {"row_labels": ["a", "b"]}, "2 row labels for 1 rows"),
        ([[plain(0)]], {"column_labels": ["a", "b"]}, "2 column labels for 1 columns"),
        ([[plain(0)]], {"captions": [["a", "b"]]}, "rows of 2 captions for rows of 1 pictures"),
    ],
)
def test_no_grid(tmp_path, pictures, labels, message):
    with pytest.raises(NstjaxError, match=message):
        contact_sheet(tmp_path / "grid.png", pictures, **labels)
    assert list(tmp_path.iterdir()) == []


def test_unknown_suffix(tmp_path):
    for name, suggestion in (("run.pgn", r"did you mean '\.png'"), ("run", r"accepted: \.png")):
        for make in (check_report, report, lambda path: contact_sheet(path, [[plain(0)]])):
            with pytest.raises(NstjaxError, match=suggestion):
                make(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    assert check_report(str(tmp_path / "RUN.PNG")) == tmp_path / "RUN.PNG"


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "run.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(NstjaxError, match=r"run\.png \(No space left"):
        report(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_fit_is_the_largest_in_the_box():
    assert fit(plain(0, 30, 40), 90, 90).shape == (1, 68, 90, 3)
    assert fit(plain(0, 30, 40), 90, 400).shape == (1, 90, 120, 3)
    assert fit(plain(0, 300, 4), 30, 30).shape == (1, 30, 1, 3)


def test_import_loads_no_matplotlib_and_drawing_no_pyplot(tmp_path):
    code = f"""
import sys, numpy as np, nstjax.report
assert "matplotlib" not in sys.modules
nstjax.report.contact_sheet({str(tmp_path / "a.png")!r}, [[np.zeros((1, 2, 2, 3), np.float32)]])
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
