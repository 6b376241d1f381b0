"""The losses of a training in one picture."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from nstjax.errors import NstjaxError
from nstjax.report.run import draw_losses
from nstjax.report.sheet import (
    check_report,
    drawing,
    make_sheet,
    place_axes,
    save_sheet,
    write_text,
)
from nstjax.structure import TERMS

_WIDTH, _HEIGHT = 1600, 640  # pixels
_LEFT, _TOP, _RIGHT, _BOTTOM = 110, 110, 40, 80  # of the axes
_POINTS = 150  # of a line


def save_training_plot(
    path: str | os.PathLike[str], log: Sequence[Mapping[str, float | int]], *, title: str
) -> None:
    """Saves a plot of a training's total and weighted terms against its steps.

    Of a long training each point is the mean of many steps: the loss of one batch says little.

    Args:
        path: where to: PNG, JPEG, PDF or SVG. 1600 pixels wide.
        log: as `nstjax.fast.log.read_log` returns it.
        title: one line over the plot.

    Raises:
        NstjaxError: an empty log, an unknown suffix, or a file that cannot be written.

    Example:
        >>> log = [{"step": i, "total": 1 / i, "content": 0.5 / i, "style": 0.5 / i, "tv": 0.0}
        ...        for i in range(1, 5)]
        >>> save_training_plot("losses.png", log, title="starry")
    """
    path = check_report(path)
    if not log:
        raise NstjaxError("a plot of a training got no steps: train for at least one")
    with drawing():
        figure = make_sheet(_WIDTH, _HEIGHT, [])
        write_text(figure, _LEFT, 56, title, _WIDTH - _LEFT - _RIGHT, size=24)
        width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        draw_losses(place_axes(figure, _LEFT, _TOP, width, height), smoothed(log))
        save_sheet(path, figure)


def smoothed(log: Sequence[Mapping[str, float | int]]) -> list[dict[str, float]]:
    """Averages the steps of a log in at most 150 groups of equal size.

    Args:
        log: as `nstjax.fast.log.read_log` returns it.

    Returns:
        Each group's means: `step`, `total`, and the weighted terms.
    """
    names = ("step", "total", *TERMS)
    table = np.array([[entry[name] for name in names] for entry in log], np.float64)
    groups = np.array_split(table, min(len(log), _POINTS))
    return [dict(zip(names, group.mean(axis=0).tolist(), strict=True)) for group in groups]
