"""Neural style transfer in functional JAX: a photograph and a painting in, a picture out.

`stylize` does it all; the rooms behind it are for those who build on it: `images`, `assets`, `vgg`,
`losses`, `objective`, `gatys`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What `import nstjax` offers, and where it comes from. Imported on first use, so that a program
# loads only what it needs.
_EXPORTS = {
    "NstjaxError": "errors",
    "Picture": "images",
    "Progress": "gatys",
    "RECIPES": "recipes",
    "Recipe": "settings",
    "StylizeResult": "gatys",
    "Weights": "vgg",
    "classify": "vgg",
    "get_recipe": "recipes",
    "load_image": "images",
    "load_weights": "vgg",
    "make_objective": "objective",
    "override": "settings",
    "save_image": "images",
    "stylize": "gatys",
}

if TYPE_CHECKING:
    from nstjax.errors import NstjaxError as NstjaxError
    from nstjax.gatys import Progress as Progress
    from nstjax.gatys import StylizeResult as StylizeResult
    from nstjax.gatys import stylize as stylize
    from nstjax.images import Picture as Picture
    from nstjax.images import load_image as load_image
    from nstjax.images import save_image as save_image
    from nstjax.objective import make_objective as make_objective
    from nstjax.recipes import RECIPES as RECIPES
    from nstjax.recipes import get_recipe as get_recipe
    from nstjax.settings import Recipe as Recipe
    from nstjax.settings import override as override
    from nstjax.vgg import Weights as Weights
    from nstjax.vgg import classify as classify
    from nstjax.vgg import load_weights as load_weights

__all__ = sorted(_EXPORTS)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'nstjax' has no attribute {name!r}")
    return getattr(import_module(f"nstjax.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
