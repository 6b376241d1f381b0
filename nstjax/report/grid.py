"""Grids of pictures with names beside them."""

import os
from collections.abc import Sequence

from nstjax.errors import NstjaxError
from nstjax.report.sheet import (
    CAPTION,
    GAP,
    Image,
    Panel,
    check_report,
    drawing,
    fit,
    make_sheet,
    save_sheet,
    write_text,
)

Grid = Sequence[Sequence[Image | None]]


def contact_sheet(
    path: str | os.PathLike[str],
    pictures: Grid,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    size: int = 320,
) -> None:
    """Saves a grid of pictures, such as of photographs in several styles.

    The same arguments give the same bytes.

    Args:
        path: where to: PNG, JPEG, PDF or SVG.
        pictures: row by row, each (1, H, W, 3) in [0, 1]; None leaves a place empty.
        row_labels: names to the left of the rows: none, or one for each.
        column_labels: names above the columns: none, or one for each.
        captions: what to write under the pictures, row by row: none, or one for each place.
        size: the longest side of each picture in pixels.

    Raises:
        NstjaxError: no picture at all, rows of different lengths, labels that do not fit the grid,
            an unknown suffix, or a file that cannot be written.

    Example:
        contact_sheet("sheet.png", [[photo, result]], column_labels=["photograph", "stylised"])
    """
    path = check_report(path)
    _check_grid(pictures, row_labels, column_labels, captions)
    grid = [[None if image is None else fit(image, size, size) for image in r] for r in pictures]
    heights = [_longest(row, axis=1) for row in grid]
    widths = [_longest(column, axis=2) for column in zip(*grid, strict=True)]
    under = CAPTION if captions else 0
    tops = _starts([height + under for height in heights], GAP + (CAPTION if column_labels else 0))
    lefts = _starts(widths, GAP + (CAPTION if row_labels else 0))
    panels = [
        # In the middle of its row and of its column.
        Panel(
            image,
            top=tops[r] + (heights[r] - image.shape[1]) // 2,
            left=lefts[c] + (widths[c] - image.shape[2]) // 2,
        )
        for r, row in enumerate(grid)
        for c, image in enumerate(row)
        if image is not None
    ]
    with drawing():
        figure = make_sheet(lefts[-1], tops[-1], panels)
        for c, label in enumerate(column_labels):
            x, y = lefts[c] + widths[c] // 2, tops[0] - 10
            write_text(figure, x, y, label, widths[c], ha="center")
        for r, label in enumerate(row_labels):
            x, y = lefts[0] - 10, tops[r] + heights[r] // 2
            write_text(figure, x, y, label, heights[r], rotation=90, ha="right", va="center")
        for r, row in enumerate(captions):
            for c, caption in enumerate(row):
                x, y = lefts[c] + widths[c] // 2, tops[r] + heights[r] + GAP
                write_text(figure, x, y, caption, widths[c], ha="center")
        save_sheet(path, figure)


def _check_grid(
    pictures: Grid,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    captions: Sequence[Sequence[str]],
) -> None:
    """Raises an error for people unless the pictures and what is written make a grid."""
    if all(image is None for row in pictures for image in row):
        raise NstjaxError("a contact sheet got no pictures: give at least one")
    lengths = [len(row) for row in pictures]
    if len(set(lengths)) > 1:
        raise NstjaxError(
            f"a contact sheet got rows of {', '.join(map(str, lengths))} pictures: "
            "give rows of one length, with None for an empty place"
        )
    for what, labels, count in (
        ("row", row_labels, len(lengths)),
        ("column", column_labels, lengths[0]),
    ):
        if len(labels) not in (0, count):
            raise NstjaxError(
                f"a contact sheet got {len(labels)} {what} labels for {count} {what}s: "
                "give one for each, or none"
            )
    if captions and [len(row) for row in captions] != lengths:
        raise NstjaxError(
            f"a contact sheet got rows of {', '.join(str(len(row)) for row in captions)} captions "
            f"for rows of {', '.join(map(str, lengths))} pictures: give one for each place, or none"
        )


def _longest(images: Sequence[Image | None], axis: int) -> int:
    return max(0 if image is None else image.shape[axis] for image in images)


def _starts(lengths: Sequence[int], first: int) -> list[int]:
    """Where each of several lengths begins with gaps between them, and where the sheet ends."""
    return [first + sum(lengths[:i]) + i * GAP for i in range(len(lengths) + 1)]
