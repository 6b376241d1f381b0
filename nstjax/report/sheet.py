"""A sheet with pictures and text, placed in pixels from the top left, by matplotlib."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float32

from nstjax.errors import unknown_choice
from nstjax.files import check_writable, write_whole
from nstjax.images import fit_size, resize_image, to_pillow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Image: TypeAlias = Float32[np.ndarray, "1 _ _ 3"]

# What `savefig` needs beyond the suffix: good JPEGs, and no date in the others.
_JPEG = {"pil_kwargs": {"quality": 95, "subsampling": 0}}
_FORMATS: dict[str, dict[str, Any]] = {
    ".png": {},
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".pdf": {"metadata": {"CreationDate": None}},
    ".svg": {"metadata": {"Date": None}},
}

_DPI = 72  # a point of text is a pixel
GAP = 20  # pixels, as all lengths here
CAPTION = 28  # between a picture and the one above it, in addition to the gap
_TEXT_SIZE = 16
_TEXT_LIFT = 8  # from a picture to its caption's foot

_STYLE: dict[Any, Any] = {
    "font.size": _TEXT_SIZE,
    "text.color": "0.2",
    "axes.edgecolor": "0.7",
    "axes.labelcolor": "0.2",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "xtick.color": "0.4",
    "ytick.color": "0.4",
    "svg.hashsalt": "nstjax",  # otherwise the identifiers in an SVG are random
}


@dataclass(frozen=True)
class Panel:
    """A picture on a sheet.

    Attributes:
        image: RGB in [0, 1], (1, H, W, 3), shown pixel by pixel.
        left: its left edge.
        top: its top edge.
        caption: what to write above it.
    """

    image: Image
    left: int
    top: int
    caption: str = ""

    @property
    def bottom(self) -> int:
        """Its bottom edge."""
        return self.top + self.image.shape[1]


def check_report(path: str | os.PathLike[str]) -> Path:
    """Checks, before a long run, that a sheet could be saved; creates the folder for it.

    Args:
        path: where the sheet is to go.

    Returns:
        The path.

    Raises:
        NstjaxError: an unknown suffix, a path that is a folder, or one that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise unknown_choice(f"file type of {path}", path.suffix.lower(), _FORMATS)
    check_writable(path)
    return path


def fit(image: Image, height: int, width: int) -> Image:
    """Resamples a picture to the largest size that fits into a box."""
    own_height, own_width = image.shape[1:3]
    scale = min(height / own_height, width / own_width)
    longest = max(1, round(scale * max(own_height, own_width)))
    return resize_image(image, *fit_size(own_height, own_width, longest, upscale=True))


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Gives matplotlib this module's style, whatever the user's own, and keeps it quiet."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it logs that it builds its font cache
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that the font lacks
            import matplotlib

            with matplotlib.rc_context():
                matplotlib.rcdefaults()
                matplotlib.rcParams.update(_STYLE)
                yield
    finally:
        logger.setLevel(level)


def make_sheet(width: int, height: int, panels: Sequence[Panel]) -> "Figure":
    """Makes a sheet with pictures on it; call this and everything below within `drawing`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    for panel in panels:
        panel_height, panel_width = panel.image.shape[1:3]
        axes = place_axes(figure, panel.left, panel.top, panel_width, panel_height)
        axes.set_axis_off()
        axes.imshow(to_pillow(panel.image), interpolation="nearest", aspect="auto")
        write_text(figure, panel.left, panel.top - _TEXT_LIFT, panel.caption, panel_width)
    return figure


def place_axes(figure: "Figure", left: int, top: int, width: int, height: int) -> "Axes":
    """Adds axes at a place on a sheet."""
    across, down = figure.get_size_inches() * _DPI
    return figure.add_axes(
        (left / across, 1 - (top + height) / down, width / across, height / down)
    )


def write_text(
    figure: "Figure",
    x: int,
    y: int,
    text: str,
    room: int,
    *,
    size: int = _TEXT_SIZE,
    **options: Any,
) -> None:
    """Writes one line with its baseline at `y`, cut off where it would exceed `room`."""
    across, down = figure.get_size_inches() * _DPI
    text = " ".join(text.encode("utf-8", "replace").decode().split())  # names may be invalid text
    # Dollar signs in a file's name do not mark a formula.
    line = figure.text(x / across, 1 - y / down, text, size=size, parse_math=False, **options)
    while text and (length := max(line.get_window_extent().size)) > room:
        text = text[: int(len(text) * room / length)]
        line.set_text(f"{text[:-1]}…" if text else "")


def save_sheet(path: Path, figure: "Figure") -> None:
    """Saves a sheet, whole or not at all, in the format that the path's suffix names."""
    suffix = path.suffix.lower()
    stream = io.BytesIO()
    figure.savefig(stream, format=suffix[1:], dpi=_DPI, **_FORMATS[suffix])
    write_whole(path, stream.getvalue())
