"""Every setting of a run in one frozen dataclass, validated when it is made."""

import dataclasses
import math
import numbers
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from nstjax.errors import NstjaxError, unknown_choice
from nstjax.fields import check_settings, setting
from nstjax.images import is_url
from nstjax.losses import (
    CONTENT_REDUCTIONS,
    GRAM_DIVISORS,
    STYLE_LOSSES,
    STYLE_REDUCTIONS,
    TV_FORMS,
)
from nstjax.memory import parse_limit, parse_tile
from nstjax.parse import LayerWeights, Schedule, parse_layers, parse_schedule, settings_in
from nstjax.vgg.layers import CONVOLUTIONS, canonical_layer, minimum_size
from nstjax.vgg.network import FIRST_PADDINGS, POOLING

AnyRecipe = TypeVar("AnyRecipe", bound="ObjectiveSettings")

OPTIMIZERS = ("adam", "sgd", "lbfgs", "lbfgs-b")
DECAYS = ("exponential", "cosine")
INITS = ("content", "noise", "style")
PRECISIONS = ("float32", "bfloat16")
SIDES = ("longest", "shortest", "height")
STYLE_FITS = ("aspect", "stretch", "width")

_ONE_SIZE: Schedule = ((1.0, 1.0),)
MOST_PIXELS = 20_000  # a side; systems end a process that takes too much memory without a word
MEMORY_LIMIT_HELP = "the most memory to take, as in 4GB (default: what is free)"
TILE_HELP = (
    "auto, off, or an even number of rows to compute at a time: less memory, the same picture"
)


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """The settings that decide an objective. Validated on construction.

    The objective is `content_weight · content + style_weight · style + tv_weight · tv`, where
    content and style are sums over their layers with each layer's own weight.

    Fields without a help text are the parts of a published system's arithmetic that only make
    sense together with it; they can be changed in Python with `override`.

    Raises:
        NstjaxError: if a value is out of range or a name unknown.
    """

    name: str
    source: str
    network: str = setting("vgg19", help="the loss network", choices=CONVOLUTIONS)
    pooling: str = setting("max", help="the loss network's pooling", choices=POOLING)
    rescale_filters: bool = setting(False)  # to a mean activation of 1 each, as in the paper
    # Activations as of a network whose input has unit spread, which weights for torchvision's have.
    unit_input: bool = setting(False)
    # What lies around the picture: the network's own zeros, or the picture's border.
    first_padding: str = setting("zeros", choices=FIRST_PADDINGS)
    # What white becomes before the Caffe mean is subtracted.
    input_range: float = setting(255.0, above=0)

    content_layers: LayerWeights = setting(help="LAYER[:WEIGHT],… of the content loss")
    content_weight: float = setting(help="weight of the content loss", least=0)
    content_reduction: str = setting("mean", choices=CONTENT_REDUCTIONS)

    style_layers: LayerWeights = setting(help="LAYER[:WEIGHT],… of the style loss")
    style_weight: float = setting(help="weight of the style loss", least=0)
    style_loss: str = setting(
        "gram", help="what the style loss compares of activations", choices=STYLE_LOSSES
    )
    # The next two are of Gram matrices.
    gram_divisor: str = setting("hw", choices=GRAM_DIVISORS)
    style_reduction: str = setting("mean", choices=STYLE_REDUCTIONS)

    tv_weight: float = setting(0.0, help="weight of the total variation", least=0)
    tv_form: str = setting("sum", choices=TV_FORMS)
    # White, where the optimiser and the total variation see the picture.
    pixel_range: float = setting(1.0, above=0)

    precision: str = setting("float32", help="what VGG computes in", choices=PRECISIONS)
    tile: str | int | None = setting(None, help=TILE_HELP, check=parse_tile)

    def __post_init__(self) -> None:
        check_settings(self)
        for layers in ("content_layers", "style_layers"):
            object.__setattr__(self, layers, self._checked_layers(layers))

    def _checked_layers(self, setting: str) -> LayerWeights:
        layers: dict[str, float] = {}
        words = setting.replace("_", " ")
        try:
            pairs = [(str(name), float(weight)) for name, weight in getattr(self, setting)]
        except (TypeError, ValueError) as error:
            raise NstjaxError(
                f"{words} is {getattr(self, setting)!r}: give pairs of a name and a weight, or text"
            ) from error
        for name, weight in pairs:
            layer = canonical_layer(name, self.network)
            if "conv" not in layer and "pool" not in layer:
                raise NstjaxError(f"layer {name} belongs to the classifier: use a convolution")
            if not (weight >= 0 and math.isfinite(weight)):
                raise NstjaxError(f"the weight of layer {name} is {weight}: it must be at least 0")
            if layer in layers:
                raise NstjaxError(f"{words} names layer {layer} twice")
            layers[layer] = weight
        if not layers:
            raise NstjaxError(f"{words} names no layer: name at least one")
        return tuple(layers.items())


@dataclass(frozen=True, kw_only=True)
class Recipe(ObjectiveSettings):
    """All settings of a run on the pixel route. Validated on construction."""

    strength: float | None = setting(
        None,
        help="in place of the terms' weights, for any style and size: 0, the photograph, to 1, "
        "style alone; 0.5 leaves a tenth of the photograph's style loss",
        least=0,
        most=1,
    )

    init: str = setting("content", help="the start: content, noise, style, or a picture file")
    noise_ratio: float = setting(
        0.0, help="share of noise blended into the start, 0 to 1", least=0, most=1
    )
    # Around the mean colour; None: uniform over [0, 1].
    noise_std: float | None = setting(None, least=0)

    optimizer: str = setting(help="the optimiser", choices=OPTIMIZERS)
    learning_rate: float = setting(1.0, help="step size of adam and sgd", above=0)
    beta1: float = setting(0.9, least=0, below=1)
    beta2: float = setting(0.999, least=0, below=1)
    epsilon: float = setting(1e-8, least=0)
    # Keras and TensorFlow 1 add epsilon before the bias correction.
    epsilon_inside: bool = setting(False)
    # How the learning rate falls: by `decay_rate` per `decay_steps`, continuous; or also by half a
    # cosine, to 0 at the run's last step.
    decay: str = setting("exponential", choices=DECAYS)
    decay_rate: float = setting(1.0, above=0, most=1)
    decay_steps: int = setting(1, least=1)
    # Pairs of steps that L-BFGS remembers; lbfgs fewer where memory is short.
    history_size: int = setting(10, least=1)
    # At most, on average, for lbfgs-b.
    evaluations_per_step: float = setting(20.0, least=1)
    clip: bool = setting(True)  # to [0, 1] in each step; lbfgs-b always does
    tolerance: float = setting(
        0.0,
        help="stop when ten steps lower the objective by less than this share",
        least=0,
        most=1,
    )

    # The result is a moving average of the pictures, see `nstjax.gatys.steps.averaged`.
    average: float = setting(
        0.0,
        help="the result is a moving average of a size's pictures, which keeps this share a step",
        least=0,
        below=1,
    )

    steps: int = setting(
        help="optimisation steps; with --min-size, at each size", least=0, most=10**7
    )
    size: int = setting(
        512,
        help="the picture's longest side in pixels (keras: its height; gatys-code: its shortest)",
        least=1,
        most=MOST_PIXELS,
    )
    upscale: bool = setting(False)  # whether `size` may enlarge the content picture
    side: str = setting("longest", choices=SIDES)  # of content and style images, that `size` means
    # Sizes in units of the last one, which is `size`; steps in units of their sum, `steps`.
    schedule: Schedule = setting(
        _ONE_SIZE,
        help="coarse to fine at given sizes: SIZE[:STEPS],…; --size and --steps scale all of them",
    )
    min_size: int | None = setting(
        None,
        help="coarse to fine: from about this size to --size in factors of √2",
        least=1,
        most=MOST_PIXELS,
    )
    initial_steps: int | None = setting(
        None,
        help="steps at the first size of --min-size (default: --steps)",
        least=0,
        most=10**7,
    )
    style_size: int | None = setting(
        None, help="the style image's longest side (default: --size)", least=1, most=MOST_PIXELS
    )
    style_scale: float = setting(
        1.0, help="factor on the style image's size: strokes grow with it", least=0.05, most=20
    )
    style_upscale: bool = setting(True)  # whether `size` and the rest may enlarge the style image
    # Its own aspect; stretched to the content's size; or its own, at the content's width.
    style_fit: str = setting("aspect", choices=STYLE_FITS)

    seed: int = setting(0, help="seed of the noise", least=0, most=2**32 - 1)

    tile: str | int | None = setting("auto", help=TILE_HELP, check=parse_tile)
    memory_limit: str | None = setting(
        None,
        help=MEMORY_LIMIT_HELP,
        check=parse_limit,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", self._checked_schedule())
        if self.min_size is not None:
            self._check_min_size(self.min_size)
        elif self.initial_steps is not None:
            raise NstjaxError(
                f"initial steps is {self.initial_steps} and there is no min size, whose first size "
                "they are for: give --min-size too, or write --schedule SIZE:STEPS,…"
            )
        if self.style_size is not None and self.style_fit != "aspect":
            raise NstjaxError(
                f"style size is {self.style_size}, and recipe {self.name} gives the style image "
                "the content's size: use --style-scale"
            )
        if self.average and self.optimizer == "lbfgs-b":
            raise NstjaxError(
                f"average is {self.average}, and SciPy's lbfgs-b has none: use --average 0, or "
                "--optimizer lbfgs"
            )

    def _checked_schedule(self) -> Schedule:
        try:
            pairs = tuple((float(size), float(steps)) for size, steps in self.schedule)
        except (TypeError, ValueError, OverflowError):
            pairs = ()
        if not pairs or not all(0 < number < math.inf for pair in pairs for number in pair):
            raise NstjaxError(
                f"schedule is {self.schedule}: it must be pairs of a size and of steps, both "
                "greater than 0"
            )
        return pairs

    def _check_min_size(self, min_size: int) -> None:
        if self.schedule != _ONE_SIZE:
            raise NstjaxError("schedule and min size both say the sizes: give one of them")
        if min_size > self.size:
            raise NstjaxError(
                f"min size is {min_size} and size is {self.size}: the first size cannot be greater "
                "than the last; give a smaller --min-size or a greater --size"
            )
        self.check_large_enough("min size", min_size, "--min-size")

    def check_large_enough(self, setting: str, size: float | int, give: str) -> None:
        """Raises an error for people if a size of a picture is too small for a layer.

        Args:
            setting: what it comes from.
            size: of the longest side, in pixels.
            give: how the message asks for a larger one.
        """
        layers = self.content_layers + self.style_layers
        needed, deepest = max((minimum_size(layer), layer) for layer, _ in layers)
        if size < needed <= self.size:
            raise NstjaxError(
                f"{setting} is {size:g} and layer {deepest} needs {needed} pixels a side: "
                f"give {give} {needed} or more"
            )


def override(recipe: AnyRecipe, **settings: Any) -> AnyRecipe:
    """Changes settings of a recipe.

    A size that is asked for is met exactly, so `size` lets the picture be enlarged unless
    `upscale=False` says otherwise; a recipe's own size never enlarges. `schedule` and `min_size`
    replace each other, and a recipe's own `min_size` gives way to a smaller `size`. A training's
    `steps` replace its recipe's `epochs`, which would count instead.

    Args:
        recipe: where the other settings come from.
        settings: new values by field name; layers also as text, see `parse_layers`, and so the
            schedule, see `parse_schedule`. If a schedule is in pixels, which it is unless its last
            size is 1, that size and the sum of its steps are `size` and `steps` unless these are
            given, too.

    Returns:
        The changed recipe.

    Raises:
        NstjaxError: if there is no such setting, or a value is not valid.

    Example:
        >>> from nstjax.recipes import get_recipe
        >>> override(get_recipe("tensorflow"), steps=10).steps
        10
    """
    names = [f.name for f in dataclasses.fields(recipe) if f.name not in ("name", "source")]
    for name in settings:
        if name not in names:
            raise unknown_choice("setting", name, names)
    for name in ("content_layers", "style_layers"):
        if isinstance(settings.get(name), str):
            settings[name] = parse_layers(settings[name])
    if isinstance(recipe, Recipe):
        _check_strength(settings, settings.get("strength", recipe.strength))
        settings = _with_sizes(recipe, settings)
        changed = dataclasses.replace(recipe, **settings)
        if "schedule" in settings and changed.schedule[-1][0] != 1:
            # A size that is a share of the last is left out instead.
            sizes = [size for size, _ in changed.schedule]
            smallest = min(sizes) * changed.size / sizes[-1]
            changed.check_large_enough("a size of the schedule", smallest, "sizes of")
        return changed
    if "epochs" in names and "steps" in settings:
        settings = {"epochs": None} | settings
    return dataclasses.replace(recipe, **settings)


def _check_strength(settings: dict[str, Any], strength: float | None) -> None:
    given = {name for name in ("content_weight", "style_weight") if name in settings}
    given |= {"tv_weight"} if settings.get("tv_weight") else set()  # 0 leaves out the term
    if given and strength is not None:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise NstjaxError(
            f"strength is {strength}, which decides the terms' weights: leave out "
            f"{options}, or --strength"
        )


def _with_sizes(recipe: Recipe, settings: dict[str, Any]) -> dict[str, Any]:
    """Adds what the sizes that are given say about other settings."""
    schedule = settings.get("schedule")
    if isinstance(schedule, str):
        schedule, said = parse_schedule(schedule)
        settings = said | settings | {"schedule": schedule}
    elif schedule is not None:
        # The recipe reports what is no schedule.
        with suppress(TypeError, ValueError, LookupError, OverflowError):
            settings = settings_in(schedule) | settings
    if "schedule" in settings:
        settings = {"min_size": None} | settings
    elif settings.get("min_size") is not None:
        settings = {"schedule": _ONE_SIZE} | settings
    size = settings.get("size")
    if isinstance(size, numbers.Integral) and recipe.min_size is not None:
        settings = {"min_size": min(recipe.min_size, size)} | settings
    if settings.get("min_size", recipe.min_size) is None:
        settings = {"initial_steps": None} | settings
    return {"upscale": True} | settings if "size" in settings else settings


def check_init(init: str) -> None:
    """Raises an error for people if a start is neither a known name nor a file or an address."""
    if init not in INITS and not os.path.exists(init) and not is_url(init):
        raise unknown_choice("init, nor a picture file,", init, INITS)
