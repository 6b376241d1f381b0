"""Every setting of a run in one frozen dataclass, validated when it is made."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nstjax.errors import NstjaxError, unknown_choice
from nstjax.losses import CONTENT_REDUCTIONS, GRAM_DIVISORS, STYLE_REDUCTIONS, TV_FORMS
from nstjax.vgg.layers import CONVOLUTIONS, canonical_layer
from nstjax.vgg.network import POOLING

LayerWeights = tuple[tuple[str, float], ...]

OPTIMIZERS = ("adam", "sgd", "lbfgs", "lbfgs-b")
INITS = ("content", "noise", "style")
PRECISIONS = ("float32", "bfloat16")
SIDES = ("longest", "shortest", "height")
STYLE_FITS = ("aspect", "stretch", "width")


def _setting(
    default: Any = dataclasses.MISSING, *, help: str, choices: tuple[str, ...] = ()
) -> Any:
    """A field that the command line shows with this help text, as `--its-name`."""
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All settings of a run on the pixel route. Validated on construction.

    The objective is `content_weight · content + style_weight · style + tv_weight · tv`, where
    content and style are sums over their layers with each layer's own weight.

    Fields without a help text are the parts of a published system's arithmetic that only make
    sense together with it; they can be changed in Python with `override`.

    Raises:
        NstjaxError: if a value is out of range or a name unknown.
    """

    name: str
    source: str
    network: str = _setting("vgg19", help="the loss network", choices=tuple(CONVOLUTIONS))
    pooling: str = _setting("max", help="the loss network's pooling", choices=tuple(POOLING))
    rescale_filters: bool = False  # to a mean activation of 1 each, as in the paper
    input_range: float = 255.0  # what white becomes before the Caffe mean is subtracted

    content_layers: LayerWeights = _setting(help="LAYER[:WEIGHT],… of the content loss")
    content_weight: float = _setting(help="weight of the content loss")
    content_reduction: str = "mean"

    style_layers: LayerWeights = _setting(help="LAYER[:WEIGHT],… of the style loss")
    style_weight: float = _setting(help="weight of the style loss")
    gram_divisor: str = "hw"
    style_reduction: str = "mean"

    tv_weight: float = _setting(0.0, help="weight of the total variation")
    tv_form: str = "sum"
    pixel_range: float = 1.0  # white, where the optimiser and the total variation see the picture

    init: str = _setting(
        "content", help="the start: content, noise, style, or a picture file", choices=()
    )
    noise_ratio: float = _setting(0.0, help="share of noise blended into the start, 0 to 1")
    noise_std: float | None = None  # around the mean colour; None: uniform over [0, 1]

    optimizer: str = _setting(help="the optimiser", choices=OPTIMIZERS)
    learning_rate: float = _setting(1.0, help="step size of adam and sgd")
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_inside: bool = False  # Keras and TensorFlow 1 add it before the bias correction
    decay_rate: float = 1.0  # of the learning rate, per `decay_steps`, continuous
    decay_steps: int = 1
    history_size: int = 10  # pairs that L-BFGS remembers
    evaluations_per_step: float = 20.0  # at most, on average, for lbfgs-b
    clip: bool = True  # to [0, 1] after each step of adam and sgd
    tolerance: float = _setting(
        0.0, help="stop when ten steps lower the objective by less than this share; 0: never"
    )

    steps: int = _setting(help="optimisation steps")
    size: int = _setting(512, help="the picture's longest side in pixels")
    upscale: bool = False  # whether `size` may enlarge the content picture
    side: str = "longest"  # the side of content and style images that `size` means
    schedule: tuple[tuple[float, float], ...] = ((1.0, 1.0),)  # shares of size and steps, by stage
    style_size: int | None = _setting(None, help="the style image's longest side (default: --size)")
    style_fit: str = "aspect"  # own aspect; stretched to the content's size; or to its width

    precision: str = _setting("float32", help="what VGG computes in", choices=PRECISIONS)
    seed: int = _setting(0, help="seed of the noise")

    def __post_init__(self) -> None:
        for setting, choices in _CHOICES.items():
            if getattr(self, setting) not in choices:
                raise unknown_choice(setting.replace("_", " "), getattr(self, setting), choices)
        for setting in ("content_layers", "style_layers"):
            object.__setattr__(self, setting, self._checked_layers(setting))
        for setting, (least, most) in _RANGES.items():
            value = getattr(self, setting)
            if value is not None and not (least <= value <= most and math.isfinite(value)):
                bounds = f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
                raise NstjaxError(f"{setting.replace('_', ' ')} is {value}: it must be {bounds}")

    def _checked_layers(self, setting: str) -> LayerWeights:
        layers: dict[str, float] = {}
        for name, weight in getattr(self, setting):
            layer = canonical_layer(name, self.network)
            if "conv" not in layer and "pool" not in layer:
                raise NstjaxError(f"layer {name} belongs to the classifier: use a convolution")
            if not (weight >= 0 and math.isfinite(weight)):
                raise NstjaxError(f"the weight of layer {name} is {weight}: it must be at least 0")
            layers[layer] = weight
        if not layers:
            raise NstjaxError(f"{setting.replace('_', ' ')} names no layer: name at least one")
        return tuple(layers.items())


_CHOICES = {
    "network": tuple(CONVOLUTIONS),
    "pooling": tuple(POOLING),
    "content_reduction": tuple(CONTENT_REDUCTIONS),
    "gram_divisor": tuple(GRAM_DIVISORS),
    "style_reduction": tuple(STYLE_REDUCTIONS),
    "tv_form": tuple(TV_FORMS),
    "optimizer": OPTIMIZERS,
    "side": SIDES,
    "style_fit": STYLE_FITS,
    "precision": PRECISIONS,
}

_ANY = (0.0, math.inf)
_POSITIVE = (1e-30, math.inf)
_COUNT = (1, math.inf)
_RANGES = {
    "content_weight": _ANY,
    "style_weight": _ANY,
    "tv_weight": _ANY,
    "noise_ratio": (0.0, 1.0),
    "noise_std": _ANY,
    "learning_rate": _POSITIVE,
    "beta1": (0.0, 1 - 1e-9),
    "beta2": (0.0, 1 - 1e-9),
    "epsilon": _ANY,
    "decay_rate": (1e-30, 1.0),
    "decay_steps": _COUNT,
    "history_size": _COUNT,
    "evaluations_per_step": _COUNT,
    "tolerance": (0.0, 1.0),
    "steps": (0, 10**7),
    "size": (1, 10**6),
    "style_size": (1, 10**6),
    "input_range": _POSITIVE,
    "pixel_range": _POSITIVE,
    "seed": (0, 2**32 - 1),
}


def parse_layers(text: str) -> LayerWeights:
    """Reads layers and weights from text.

    Args:
        text: `LAYER[:WEIGHT],…`. Layers without a weight get equal shares of 1.

    Returns:
        Pairs of a name, as it was written, and a weight.

    Raises:
        NstjaxError: if a weight is not a number.

    Example:
        >>> parse_layers("relu1_1:0.5,relu2_1")
        (('relu1_1', 0.5), ('relu2_1', 0.5))
    """
    parts = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    try:
        return tuple(
            (name, float(weight) if colon else 1 / len(parts)) for name, colon, weight in parts
        )
    except ValueError as error:
        raise NstjaxError(f"{text!r} is no list of layers: write LAYER:WEIGHT,…") from error


def override(recipe: Recipe, **settings: Any) -> Recipe:
    """Changes settings of a recipe.

    A size that is asked for is met exactly, so `size` lets the picture be enlarged unless
    `upscale=False` says otherwise; a recipe's own size never enlarges.

    Args:
        recipe: where the other settings come from.
        settings: new values by field name; layers also as text, see `parse_layers`.

    Returns:
        The changed recipe.

    Raises:
        NstjaxError: if there is no such setting, or a value is not valid.

    Example:
        >>> from nstjax.recipes import get_recipe
        >>> override(get_recipe("tensorflow"), steps=10).steps
        10
    """
    names = [f.name for f in dataclasses.fields(Recipe) if f.name not in ("name", "source")]
    for name in settings:
        if name not in names:
            raise unknown_choice("setting", name, names)
    for name in ("content_layers", "style_layers"):
        if isinstance(settings.get(name), str):
            settings[name] = parse_layers(settings[name])
    if "size" in settings:
        settings = {"upscale": True, **settings}
    return dataclasses.replace(recipe, **settings)


def check_init(init: str) -> None:
    """Raises an error for people if a start is neither a known name nor a file."""
    if init not in INITS and not Path(init).exists():
        raise unknown_choice("init, nor a picture file,", init, INITS)
