"""The pictures that a run is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nstjax.gatys.stages import Shape
from nstjax.gatys.start import load_init
from nstjax.images import Picture, load_image
from nstjax.settings import Recipe
from nstjax.targets import checked_style_weights, several


@dataclass(frozen=True)
class Sources:
    """The pictures that a run is given, as they were read, in their own sizes.

    Attributes:
        content: the photograph.
        styles: the paintings, at least one.
        style_weights: one for each, relative to each other.
        init: the picture that `Recipe.init` names; None if it names none.
    """

    content: Picture
    styles: Sequence[Picture]
    style_weights: Sequence[float]
    init: Picture | None = None

    @property
    def shapes(self) -> list[Shape]:
        """Height and width in pixels: the photograph's first, then each painting's."""
        return [picture.pixels.shape[1:3] for picture in (self.content, *self.styles)]

    @property
    def nbytes(self) -> int:
        """The bytes that they take as long as the run lasts."""
        pictures = [self.content, *self.styles, *([] if self.init is None else [self.init])]
        arrays = [array for picture in pictures for array in (picture.pixels, picture.alpha)]
        return sum(array.nbytes for array in arrays if array is not None)


def load_sources(
    recipe: Recipe,
    content: Any,
    style: Any,
    *,
    style_weights: Sequence[float | int] | None = None,
    init: Picture | None = None,
) -> Sources:
    """Loads the pictures of a run that are not loaded yet.

    Args:
        recipe: the settings.
        content: the photograph: a path, an address, a Pillow image, an array, or a `Picture`.
        style: the painting, likewise, or a list of several.
        style_weights: of several paintings, relative to each other; equal if None.
        init: the picture that `recipe.init` names; None to load it, if it names one.

    Returns:
        The pictures.

    Raises:
        NstjaxError: if one cannot be read, or the weights do not go with the paintings.
    """
    shares = checked_style_weights(len(several(style)), style_weights)
    photograph, *paintings = (_load(source) for source in (content, *several(style)))
    named = load_init(recipe) if init is None else init
    return Sources(photograph, paintings, shares, named)


def _load(source: Any) -> Picture:
    return source if isinstance(source, Picture) else load_image(source)
