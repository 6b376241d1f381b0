"""Neural style transfer in functional JAX: a photograph and a painting in, a picture out.

`stylize` paints in the style of any painting, `stylize_fast` in one that `train` has learned. The
rooms behind them are for those who build on it: `images`, `assets`, `vgg`, `losses`, `objective`,
`gatys`, `fast`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What `import nstjax` offers, and where it comes from. Imported on first use, so that a program
# loads only what it needs.
_EXPORTS = {
    "MadePicture": "images",
    "NstjaxError": "errors",
    "Picture": "images",
    "Progress": "gatys",
    "RECIPES": "recipes",
    "Recipe": "settings",
    "Style": "fast",
    "StylizeResult": "gatys",
    "TRAINING_RECIPES": "fast",
    "TrainingProgress": "fast",
    "TrainingRecipe": "fast",
    "TrainingResult": "fast",
    "Weights": "vgg",
    "classify": "vgg",
    "get_recipe": "recipes",
    "get_training_recipe": "fast",
    "load_image": "images",
    "load_style": "fast",
    "load_weights": "vgg",
    "make_objective": "objective",
    "open_dataset": "fast",
    "override": "settings",
    "save_image": "images",
    "stylize": "gatys",
    "stylize_fast": "fast",
    "train": "fast",
}

if TYPE_CHECKING:
    from nstjax.errors import NstjaxError as NstjaxError
    from nstjax.fast import TRAINING_RECIPES as TRAINING_RECIPES
    from nstjax.fast import Style as Style
    from nstjax.fast import TrainingProgress as TrainingProgress
    from nstjax.fast import TrainingRecipe as TrainingRecipe
    from nstjax.fast import TrainingResult as TrainingResult
    from nstjax.fast import get_training_recipe as get_training_recipe
    from nstjax.fast import load_style as load_style
    from nstjax.fast import open_dataset as open_dataset
    from nstjax.fast import stylize_fast as stylize_fast
    from nstjax.fast import train as train
    from nstjax.gatys import Progress as Progress
    from nstjax.gatys import StylizeResult as StylizeResult
    from nstjax.gatys import stylize as stylize
    from nstjax.images import MadePicture as MadePicture
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
