"""The settings of the feed-forward route: of a network, and of its training."""

from dataclasses import dataclass
from typing import Any

from nstjax.errors import NstjaxError
from nstjax.fields import check_settings, setting
from nstjax.memory import parse_tile
from nstjax.settings import PRECISIONS, ObjectiveSettings
from nstjax.vgg import MEAN_COLOUR

DESIGNS = ("johnson", "subpixel")
UPSAMPLINGS = ("nearest", "transpose")
OUTPUTS = ("tanh", "sigmoid", "linear")
WEIGHTINGS = ("absolute", "relative")
CROPS = ("random", "squash")
DECAYS = ("constant", "cosine")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What decides a style network's shape; it travels with the weights. Validated.

    Raises:
        NstjaxError: if a value is out of range or a name unknown.
    """

    design: str = setting("johnson", help="the style network's layers", choices=DESIGNS)
    upsampling: str = setting(
        "nearest",
        help="how the network enlarges: pixels repeated, or transposed convolution",
        choices=UPSAMPLINGS,
    )
    output: str = setting("tanh", help="what ends the network", choices=OUTPUTS)
    # tanh: 0.5 + scale · tanh(x); linear: scale · x; sigmoid has none.
    output_scale: float = setting(0.5, above=0)
    # What the last convolution is multiplied by before that, where no norm follows it.
    output_gain: float = setting(1.0, above=0)
    norm_last: bool = setting(False)  # whether the last convolution, too, is normalised
    norm_epsilon: float = setting(1e-5, above=0)
    width: float = setting(1.0, help="multiplies the numbers of channels", least=1 / 32, most=8)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.design != "johnson" and self.upsampling != "nearest":
            raise NstjaxError(
                f"upsampling {self.upsampling!r} is for design 'johnson', not {self.design!r}: "
                "set one of the two otherwise"
            )


def _fixed_tile(tile: Any) -> str | int | None:
    """Reads a tile but `"auto"`, which goes by estimates of memory: trainings have none."""
    if tile == "auto":
        raise NstjaxError(
            "tile is auto, which trainings do not know: it must be off, or an even number of rows"
        )
    return parse_tile(tile)


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe(ObjectiveSettings):
    """All settings of a style network's training. Validated on construction.

    With `weighting="relative"` every layer's loss, and the total variation, is divided by what it
    is for photographs before training: the content loss by that between two photographs, the
    style loss by that between a photograph and the style image. Weights then mean shares, whatever
    the painting.

    Raises:
        NstjaxError: if a value is out of range or a name unknown.
    """

    architecture: Architecture = Architecture()
    weighting: str = setting("absolute", choices=WEIGHTINGS)
    preprocessing: str = setting(
        "caffe", choices=tuple(MEAN_COLOUR)
    )  # of the weights it is meant for

    steps: int = setting(40_000, help="training steps", least=1, most=10**8)
    epochs: float | None = setting(
        None, help="passes over the data, in place of --steps", above=0, most=10**6
    )
    batch_size: int = setting(4, help="pictures a step, over all devices", least=1, most=10**5)
    image_size: int = setting(256, help="side of the training pictures", least=16, most=10**4)
    crop: str = setting(
        "random", help="how photographs become square: cropped, or squashed", choices=CROPS
    )
    style_size: int = setting(512, help="the style image's longest side", least=16, most=20_000)

    learning_rate: float = setting(1e-3, help="Adam's step size", above=0)
    warmup_steps: int = setting(0, help="steps over which it grows from 0", least=0)
    decay: str = setting("constant", help="what it does after that", choices=DECAYS)
    clip_norm: float | None = setting(
        None, help="the greatest norm of a gradient; larger ones are scaled down", above=0
    )
    average: float = setting(
        0.999,
        help="share of the averaged parameters kept at each step; they are what is exported",
        least=0,
        below=1,
    )

    precision: str = setting(
        "auto",
        help="what the networks compute in; auto: bfloat16 on GPU and TPU, float32 on the CPU",
        choices=("auto", *PRECISIONS),
    )
    tile: str | int | None = setting(
        None,
        help="off, or an even number of rows that the loss network computes at a time: less "
        "memory, the same training but for rounding (default: off)",
        check=_fixed_tile,
    )
    seed: int = setting(0, help="seed of parameters and data", least=0, most=2**32 - 1)
