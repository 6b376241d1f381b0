"""Stylising with a trained network, in one pass per picture."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from nstjax.assets import BUNDLED_STYLES
from nstjax.errors import NstjaxError, unknown_choice
from nstjax.fast.memory import TILES, estimate_bytes
from nstjax.fast.network import Params, auto_precision, check_params, check_side, paint_clipped
from nstjax.fast.settings import Architecture
from nstjax.fast.style_file import load_style_file
from nstjax.fields import checked_number
from nstjax.files import sha256_of
from nstjax.images import (
    MadePicture,
    Picture,
    describe_input,
    fit_size,
    load_image,
    resize_picture,
    short_name,
)
from nstjax.memory import (
    Plan,
    choose_tile,
    is_out_of_memory,
    parse_limit,
    parse_tile,
    smaller_tiles,
)
from nstjax.provenance import made_with
from nstjax.settings import MOST_PIXELS

_MOST = MOST_PIXELS**2  # pixels in all: a panorama's longer side may exceed MOST_PIXELS
# Pictures of nearly the same size share one compiled program: sides are rounded up to this.
_MULTIPLE = 32


@dataclass(frozen=True, eq=False)
class Style:
    """A trained style.

    Attributes:
        name: what it is called.
        architecture: of its network.
        params: the network's parameters.
        provenance: how it was trained, as its file says.
        file: the name of its file, without the folder.
        sha256: of its file.
    """

    name: str
    architecture: Architecture
    params: Params = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    file: str | None = None
    sha256: str | None = None


def load_style(source: str | Path) -> Style:
    """Loads a trained style.

    Args:
        source: the name of a bundled one, a `.safetensors` file, or the folder of a training,
            which holds the style as of its newest checkpoint.

    Returns:
        The style.

    Raises:
        NstjaxError: if there is none, or the file is no style, or not of the network it names.

    Example:
        >>> load_style("starry").architecture.upsampling
        'nearest'
    """
    path = Path(source)
    if path.is_dir():
        path = _in_folder(path)
    elif not path.suffix and not path.exists():
        if str(source) not in BUNDLED_STYLES:
            raise unknown_choice("style, nor a file or folder,", str(source), BUNDLED_STYLES)
        path = BUNDLED_STYLES[str(source)]
    file = load_style_file(path)
    try:
        architecture = Architecture(**file.config)
    except (TypeError, NstjaxError) as error:
        raise NstjaxError(
            f"{path} is of a network that this version does not know ({error}): update nstjax"
        ) from error
    if path not in BUNDLED_STYLES.values():  # the check takes 0.2 s, and those are right
        check_params(architecture, file.params, whose=f"in {path}")
    name = str(file.provenance.get("name", path.stem))
    return Style(name, architecture, file.params, file.provenance, path.name, sha256_of(path))


def stylize_fast(
    content: Any,
    style: Style | str | Path,
    *,
    size: int | None = None,
    tile: str | int | None = "auto",
    memory_limit: str | None = None,
    tell: Callable[[str], object] = lambda message: None,
) -> MadePicture:
    """Paints a photograph with a trained style, in one pass.

    Args:
        content: the photograph: a path, an http(s) URL, a Pillow image, an array, or a `Picture`.
        style: as `load_style` returns or takes it.
        size: the result's longest side in pixels; None keeps the photograph's.
        tile: how many rows to compute at a time, an even number, for less memory and the same
            picture but for rounding; `"off"`: all at once; `"auto"`: as many as fit.
        memory_limit: the most memory to take, as in `"4GB"`; None is what is free.
        tell: called with a message if memory turns out to be short and smaller tiles are tried.

    Returns:
        The picture, with its settings and the photograph's transparency.

    Raises:
        NstjaxError: if the picture or the style cannot be read, the picture is too small or too
            large, or the memory too small.

    Example:
        >>> stylize_fast(np.full((40, 50, 3), 0.5), "starry").image.shape
        (1, 40, 50, 3)
    """
    tile, memory_limit = parse_tile(tile), parse_limit(memory_limit)
    if not isinstance(style, Style):
        style = load_style(style)
    picture = content if isinstance(content, Picture) else load_image(content)
    inputs = {
        "content": describe_input(picture),
        "style": {"name": style.file, "sha256": style.sha256, "of": "file"},
    }
    shape = painted_shape(picture, size)
    estimate = partial(estimate_bytes, style.architecture, *shape)
    plan = choose_tile(estimate, tile, candidates=TILES, limit=memory_limit)
    picture = resize_picture(picture, *shape)
    image, plan = _paint_within(plan, style, picture.pixels, tell)
    settings = {
        "method": "fast",
        "style": style.name,
        "content": short_name(picture.name),
        "inputs": inputs,
        "size": max(image.shape[1:3]),
        "tile": plan.tile,
        "style_provenance": style.provenance,
        **made_with(),
    }
    return MadePicture(image=image, settings=settings, alpha=picture.alpha)


def painted_shape(picture: Picture, size: int | None) -> tuple[int, int]:
    """Returns the size of what `stylize_fast` makes of a picture.

    Args:
        picture: the photograph.
        size: the result's longest side in pixels; None keeps the photograph's.

    Returns:
        Height and width in pixels.

    Raises:
        NstjaxError: if that is more than this package allows, or `size` is no whole number from 1.
    """
    height, width = picture.pixels.shape[1:3]
    if size is not None:
        checked = checked_number("size", size, int, least=1)
        height, width = fit_size(height, width, checked, upscale=True)
    if height * width > _MOST:
        raise NstjaxError(
            f"the picture would have {width}×{height} pixels, more than {_MOST // 10**6} million: "
            "use a smaller --size"
        )
    return height, width


def _paint_within(
    plan: Plan,
    style: Style,
    pixels: Float[np.ndarray, "n h w 3"],
    tell: Callable[[str], object],
) -> tuple[Float[np.ndarray, "n h w 3"], Plan]:
    """Paints as planned, or in smaller tiles if memory turns out to be too short."""
    smaller = smaller_tiles(plan.tile, TILES)
    try:
        return paint_pixels(style, pixels, tile=plan.tile), plan
    except Exception as error:
        if not smaller or not is_out_of_memory(error):
            raise
    _, height, width, _ = pixels.shape
    estimate = estimate_bytes(style.architecture, height, width, smaller[0])
    plan = replace(plan, tile=smaller[0], estimate=estimate)
    tell(f"there was too little memory: going on {plan}")
    return _paint_within(plan, style, pixels, tell)


def paint_pixels(
    style: Style, pixels: Float[np.ndarray, "n h w 3"], *, tile: int | None = None
) -> Float[np.ndarray, "n h w 3"]:
    """Paints pictures of one size.

    Their borders are mirrored to the next multiple of 32 pixels, so that few sizes compile.

    Args:
        style: the trained style.
        pixels: RGB in [0, 1], shape (N, H, W, 3), from 16 pixels a side.
        tile: how many rows to compute at a time; None: all of them.

    Returns:
        The pictures, same shape, in [0, 1].

    Raises:
        NstjaxError: if a side is too short, or the style's parameters are not its network's.
    """
    height, width = pixels.shape[1:3]
    check_side(height, width)
    down, across = -height % _MULTIPLE, -width % _MULTIPLE
    if down or across:
        pixels = np.pad(pixels, ((0, 0), (0, down), (0, across), (0, 0)), mode="symmetric")
    painted = paint_clipped(style.architecture, auto_precision(), style.params, pixels, tile)
    return np.asarray(painted)[:, :height, :width]


def _in_folder(folder: Path) -> Path:
    """The trained style in a training's folder."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return files[0]
    found = f"several ({', '.join(file.name for file in files)})" if files else "none yet"
    raise NstjaxError(
        f"{folder} should hold one trained style and holds {found}: name a .safetensors file, or "
        "the folder of a training that has come to its first checkpoint"
    )
