"""The feed-forward route: a network trained once per style, then one pass per picture."""

from nstjax.fast.data import Dataset, open_dataset
from nstjax.fast.loop import TrainingCallback, TrainingProgress
from nstjax.fast.recipes import DEFAULT_TRAINING_RECIPE, TRAINING_RECIPES, get_training_recipe
from nstjax.fast.settings import Architecture, TrainingRecipe
from nstjax.fast.stylize import Style, load_style, paint_pixels, painted_shape, stylize_fast
from nstjax.fast.train import TrainingResult, train

__all__ = [
    "DEFAULT_TRAINING_RECIPE",
    "TRAINING_RECIPES",
    "Architecture",
    "Dataset",
    "Style",
    "TrainingCallback",
    "TrainingProgress",
    "TrainingRecipe",
    "TrainingResult",
    "get_training_recipe",
    "load_style",
    "open_dataset",
    "paint_pixels",
    "painted_shape",
    "stylize_fast",
    "train",
]
