"""One run on one sheet: its pictures, its losses, and what it did to edges."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from nstjax.images import resize_image
from nstjax.report.sheet import (
    CAPTION,
    GAP,
    Image,
    Panel,
    check_report,
    drawing,
    fit,
    make_sheet,
    place_axes,
    save_sheet,
    write_text,
)
from nstjax.structure import TERMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH = 1600  # pixels
_MARGIN = 32
_TITLE = 48
_COLUMNS = 4
_WIDEST, _TALLEST = 1090, 900  # of the result
_LOWEST = 320  # the least height for the pictures beside it, if it is flat
_CURVES = 300
_BESIDE_CURVES, _BELOW_CURVES = 64, 76  # for the axes' labels
_FLOOR = 1e-9  # of the largest total: smaller values are not drawn
_FEW = 30  # steps
# Okabe and Ito's colours, which the colour-blind can tell apart.
_LINES = {"total": "0.2", "content": "#0072b2", "style": "#d55e00", "tv": "#009e73"}


def save_report(
    path: str | os.PathLike[str],
    *,
    content: Image,
    styles: Sequence[Image],
    snapshots: Sequence[tuple[int, Image]],
    result: Image,
    history: Sequence[Mapping[str, float | int]],
    title: str,
) -> None:
    """Saves a sheet that shows one run: its pictures, its losses, and what it did to edges.

    The differences between horizontal neighbours, |dx|, and vertical ones, |dy|, are shown for the
    content image and for the result at the same size and with the same contrast.

    Args:
        path: where to: PNG, JPEG, PDF or SVG. 1600 pixels wide.
        content: the photograph, (1, H, W, 3) in [0, 1].
        styles: the paintings, likewise, of any size.
        snapshots: the step and the picture then, in order; of more than four, four are shown.
        result: the picture at the end.
        history: as `nstjax.gatys.StylizeResult.history`; values that a logarithmic axis cannot
            show are left out.
        title: one line over everything.

    Raises:
        NstjaxError: an unknown suffix, or a file that cannot be written.
    """
    path = check_report(path)
    panels = _main_panels(content, styles, result)
    captioned = [(f"step {step}", image) for step, image in _evenly(snapshots)]
    for row in captioned, _difference_pictures(content, result):
        panels += _row(row, _bottom(panels) + GAP + CAPTION)
    top = _bottom(panels) + GAP + CAPTION
    with drawing():
        figure = make_sheet(_WIDTH, top + _CURVES + _BELOW_CURVES, panels)
        write_text(figure, _MARGIN, _MARGIN + 24, title, _WIDTH - 2 * _MARGIN, size=24)
        left = _MARGIN + _BESIDE_CURVES
        axes = place_axes(figure, left, top, _WIDTH - left - _MARGIN, _CURVES)
        draw_losses(axes, history)
        save_sheet(path, figure)


def _main_panels(content: Image, styles: Sequence[Image], result: Image) -> list[Panel]:
    """The result, large, and to its left the pictures that it was made from."""
    top = _MARGIN + _TITLE + CAPTION
    inner = _WIDTH - 2 * _MARGIN
    large = fit(result, _TALLEST, _WIDEST)
    height, width = max(large.shape[1], _LOWEST), inner - large.shape[2] - GAP
    several = [f"style {number}" for number in range(1, len(styles) + 1)]
    captions = ["content", *(several if len(styles) > 1 else ["style"])]
    # In the number of columns that makes the smallest of them largest.
    grids = (
        _grid([content, *styles], top, columns, height, width)
        for columns in range(len(captions), 0, -1)
    )
    grid = max(grids, key=lambda panels: min(panel.image.size for panel in panels))
    named = [replace(panel, caption=text) for panel, text in zip(grid, captions, strict=True)]
    return [*named, Panel(large, _WIDTH - _MARGIN - large.shape[2], top, "result")]


def _grid(images: Sequence[Image], top: int, columns: int, height: int, width: int) -> list[Panel]:
    """Pictures in columns, row by row, in a box of this size."""
    rows = -(-len(images) // columns)
    room = (height - (rows - 1) * (GAP + CAPTION)) // rows, (width - (columns - 1) * GAP) // columns
    fitted = [fit(image, *(max(1, side) for side in room)) for image in images]
    widths = [max(image.shape[2] for image in fitted[i::columns]) + GAP for i in range(columns)]
    starts = range(0, len(images), columns)
    heights = [max(image.shape[1] for image in fitted[i : i + columns]) for i in starts]
    lefts = list(accumulate(widths, initial=_MARGIN))
    tops = list(accumulate((tall + GAP + CAPTION for tall in heights), initial=top))
    return [Panel(image, lefts[i % columns], tops[i // columns]) for i, image in enumerate(fitted)]


def _row(pictures: Sequence[tuple[str, Image]], top: int) -> list[Panel]:
    """Captioned pictures in columns of one width."""
    width = (_WIDTH - 2 * _MARGIN - (_COLUMNS - 1) * GAP) // _COLUMNS
    return [
        Panel(fit(image, width, width), _MARGIN + i * (width + GAP), top, caption)
        for i, (caption, image) in enumerate(pictures)
    ]


def _bottom(panels: Sequence[Panel]) -> int:
    return max(panel.bottom for panel in panels)


def _evenly(snapshots: Sequence[tuple[int, Image]]) -> list[tuple[int, Image]]:
    """As many as there are columns, evenly spaced, including the first and the last."""
    count = min(len(snapshots), _COLUMNS)
    return [snapshots[round(i)] for i in np.linspace(0, len(snapshots) - 1, count)]


def _difference_pictures(content: Image, result: Image) -> list[tuple[str, Image]]:
    before = _differences(resize_image(content, *result.shape[1:3]))
    after = _differences(result)
    # The few strongest edges would leave everything else blank.
    black = np.percentile([*before, *after], 99.5) or 1.0
    pictures = {
        "|dx| of the content": before[0],
        "|dx| of the result": after[0],
        "|dy| of the content": before[1],
        "|dy| of the result": after[1],
    }
    return [
        (caption, 1 - np.clip(differences / np.float32(black), 0, 1))
        for caption, differences in pictures.items()
    ]


def _differences(image: Image) -> tuple[Image, Image]:
    """|dx| and |dy| averaged over the colours, as grey pictures; 0 in the last column and row."""
    dx = np.abs(np.diff(image, axis=2, append=image[:, :, -1:]))
    dy = np.abs(np.diff(image, axis=1, append=image[:, -1:]))
    dx, dy = (np.repeat(d.mean(axis=3, keepdims=True), 3, axis=3) for d in (dx, dy))
    return dx, dy


def draw_losses(axes: "Axes", history: Sequence[Mapping[str, float | int]]) -> None:
    """Draws the total and the weighted terms against the steps."""
    steps = [entry["step"] for entry in history]
    # A content term starts near 0, which would flatten every curve.
    floor = _FLOOR * max((e["total"] for e in history if np.isfinite(e["total"])), default=0)
    for name in ("total", *TERMS):
        values = np.array([entry[name] for entry in history], np.float64)
        shown = np.isfinite(values) & (values > max(floor, 0))
        if not shown.any():
            continue
        axes.plot(
            steps,
            np.where(shown, values, np.nan),
            color=_LINES[name],
            linewidth=2,
            marker="o" if shown.sum() < _FEW else "",  # a single point makes no line
            label=name if name == "total" else f"{name}, weighted",
        )
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.locator_params(axis="x", integer=True)
    axes.grid(color="0.92")
    axes.margins(x=0.01)
    if axes.lines:
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(axes.lines), frameon=False)
