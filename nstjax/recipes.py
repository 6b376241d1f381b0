"""The published settings by name, and this package's own.

A recipe reproduces the arithmetic of its source, divisors included. Where text and code of a source
differ, the code counts; where this package departs from a source, a comment says so.
"""

import dataclasses

from nstjax.errors import unknown_choice
from nstjax.settings import LayerWeights, Recipe

_CONV1 = "block1_conv1 block2_conv1 block3_conv1 block4_conv1 block5_conv1"


def even(names: str, total: float = 1.0) -> LayerWeights:
    """Gives each of the named layers the same share of a total weight."""
    layers = names.split()
    return tuple((layer, total / len(layers)) for layer in layers)


_TENSORFLOW = Recipe(
    name="tensorflow",
    source="TensorFlow tutorial 'Neural style transfer'",
    content_layers=even("block5_conv2"),
    content_weight=1e4,
    style_layers=even(_CONV1),
    style_weight=1e-2,
    tv_weight=30.0,
    optimizer="adam",
    learning_rate=0.02,
    beta1=0.99,
    epsilon=0.1,
    epsilon_inside=True,
    steps=1000,
)

_LBFGS_B = Recipe(
    name="lbfgs-b",
    source="a report comparing Adam with SciPy's L-BFGS-B; maxiter 50, maxfun 70",
    content_layers=even("block5_conv2"),
    content_weight=0.5,
    style_layers=even(_CONV1, total=5.0),
    style_weight=1.0,
    tv_weight=30.0,
    tv_form="mean",
    optimizer="lbfgs-b",
    evaluations_per_step=1.4,
    steps=50,
)

_NEURAL_STYLE = Recipe(
    name="neural-style",
    source="jcjohnson/neural-style",
    input_range=256.0,  # its code multiplies by 256 where others multiply by 255
    content_layers=even("relu4_2"),
    content_weight=5.0,
    style_layers=even("relu1_1 relu2_1 relu3_1 relu4_1 relu5_1", total=5.0),
    style_weight=100.0,
    gram_divisor="chw",
    # The source adds this term's gradient and leaves its value out of the loss it reports; a
    # line search needs both.
    tv_weight=1e-3,
    tv_form="half_squared",
    pixel_range=256.0,
    init="noise",
    noise_std=0.001 / 256,
    optimizer="lbfgs",
    learning_rate=10.0,  # with --optimizer adam
    clip=False,
    history_size=100,
    steps=1000,
)

_PUBLISHED = (
    _TENSORFLOW,
    dataclasses.replace(
        _TENSORFLOW,
        name="tensorflow-light-tv",
        source="a course project's variant of the TensorFlow tutorial, 10 × 100 steps",
        tv_weight=4e-4,
    ),
    dataclasses.replace(
        _TENSORFLOW,
        name="tensorflow-deep",
        source="another course project's variant of the TensorFlow tutorial",
        content_layers=even("block5_conv4"),
        tv_weight=0.0,
        steps=3001,
    ),
    Recipe(
        name="keras",
        source="keras.io example 'Neural style transfer'",
        content_layers=even("block5_conv2"),
        content_weight=2.5e-8,
        content_reduction="sum",
        style_layers=even(_CONV1),
        style_weight=1e-6,
        gram_divisor="1",
        # With its rate of 100, pictures much smaller than 400 rows diverge: the weight of the style
        # grows as the square of their area shrinks.
        style_reduction="keras",
        tv_weight=1e-6,
        tv_form="power",
        pixel_range=255.0,
        optimizer="sgd",
        learning_rate=100.0,
        decay_rate=0.96,
        decay_steps=100,
        clip=False,
        steps=4000,
        size=400,
        side="height",
        style_fit="stretch",
    ),
    _LBFGS_B,
    Recipe(
        name="lbfgs-b-adam",
        source="the Adam run of the same report; its rate and momenta are the tutorial's",
        content_layers=even("block5_conv2"),
        content_weight=1000.0,
        style_layers=even(_CONV1, total=5.0),
        style_weight=0.1,
        tv_weight=30.0,
        tv_form="mean",
        optimizer="adam",
        learning_rate=0.02,
        beta1=0.99,
        epsilon=0.1,
        epsilon_inside=True,
        steps=1500,
    ),
    Recipe(
        name="gatys",
        source="Gatys, Ecker and Bethge, 'Image Style Transfer Using CNNs', 2016",
        pooling="avg",
        rescale_filters=True,
        content_layers=even("conv4_2"),
        content_weight=1.0,
        content_reduction="half_sum",
        style_layers=even("conv1_1 conv2_1 conv3_1 conv4_1 conv5_1"),
        style_weight=1e3,  # the paper names 1e-3 and 1e-4 for the ratio of content to style
        gram_divisor="1",
        style_reduction="gatys",
        init="noise",
        pixel_range=255.0,
        optimizer="lbfgs",
        clip=False,
        steps=500,
        style_fit="stretch",
    ),
    Recipe(
        name="gatys-code",
        source="leongatys/PytorchNeuralStyleTransfer",
        content_layers=even("relu4_2"),
        content_weight=1.0,
        style_layers=tuple(
            (f"relu{block}_1", 1 / channels**2)
            for block, channels in enumerate((64, 128, 256, 512, 512), start=1)
        ),
        style_weight=1e3,
        pixel_range=255.0,
        # The source counts evaluations, and takes one a step where the line search takes more.
        optimizer="lbfgs",
        clip=False,
        history_size=100,
        steps=700,
        size=800,
        side="shortest",
        schedule=((512 / 800, 500 / 700), (1.0, 200 / 700)),
    ),
    _NEURAL_STYLE,
    Recipe(
        name="anishathalye",
        source="anishathalye/neural-style",
        content_layers=even("relu4_2"),
        content_weight=5.0,
        style_layers=even("relu1_1 relu2_1 relu3_1 relu4_1 relu5_1"),  # its weights add up to 1
        style_weight=500.0,
        gram_divisor="chw",
        tv_weight=100.0,
        tv_form="mean_squared",
        pixel_range=255.0,
        init="noise",
        noise_std=0.256 / 255,
        optimizer="adam",
        learning_rate=10.0,
        epsilon_inside=True,
        clip=False,
        steps=1000,
        style_fit="width",
    ),
    Recipe(
        name="crowsonkb",
        source="crowsonkb/style-transfer-pytorch",
        # Two departures: between sizes the picture is enlarged by Lanczos' filter, where the source
        # takes PyTorch's bicubic one; and a style size that is given is that of the last size.
        # Its weights of the terms are for torchvision's network, whose input has unit spread.
        unit_input=True,
        first_padding="replicate",
        content_layers=even("relu4_2"),
        content_weight=0.015,
        style_layers=tuple((f"relu{block}_1", 4 ** (5 - block) / 341) for block in range(1, 6)),
        style_weight=1.0,
        style_loss="wasserstein2",
        tv_weight=2.0,
        tv_form="nine_point",
        optimizer="adam",
        learning_rate=0.02,
        beta2=0.99,
        average=0.99,
        steps=500,
        initial_steps=1000,
        min_size=128,
        upscale=True,
        style_upscale=False,
    ),
)

# The default, judged by eye over six pairs of three photographs and six paintings. It lowers the
# losses of `neural-style`, whose palette and strokes are the boldest of the published ones at one
# size, from the photograph in place of noise, which takes hundreds of steps to clear. L-BFGS is far
# ahead of Adam for so few evaluations; SciPy's L-BFGS-B is level with it, but keeps its state to
# itself, so that it cannot be resumed, and works on the host. From a quarter of the size on the
# picture gets strokes, and skies their swirls, of the painting's scale: from half of it on, 512
# pixels have a photograph's sky under fine strokes. The content term of block4_conv2 holds a tower
# at 128 pixels, for which `lbfgs-b`'s, of block5_conv2, is too coarse.
_DEFAULT = dataclasses.replace(
    _NEURAL_STYLE,
    name="nstjax",
    source="this package: the losses of neural-style, from the photograph, coarse to fine",
    init="content",
    noise_std=None,
    # Values beyond black and white lower the loss of a picture that nobody gets to see: of those
    # that are saved it was higher by a fiftieth to the double, over four pairs at 256 pixels.
    clip=True,
    history_size=10,  # for so few steps 100 pairs would only take memory
    schedule=((0.25, 0.4), (0.5, 0.35), (1.0, 0.25)),
    steps=150,
)

# Below what the tutorial's thousand steps reach, in 800, and level with it after some 550: of the
# numbers tried on one pair at 128 and 256 pixels the lowest. A second moment that forgets in ten
# steps follows the signs that the total variation's gradient consists of, and a rate that falls to
# 0 lets them settle.
_FAST = dataclasses.replace(
    _TENSORFLOW,
    name="tensorflow-fast",
    source="this package: the objective of the TensorFlow tutorial in fewer steps",
    learning_rate=0.04,
    beta1=0.98,
    beta2=0.9,
    epsilon=1e-8,
    epsilon_inside=False,
    decay="cosine",
    steps=800,
)

RECIPES = {recipe.name: recipe for recipe in (_DEFAULT, _FAST, *_PUBLISHED)}
DEFAULT_RECIPE = _DEFAULT.name


def get_recipe(name: str) -> Recipe:
    """Looks up a recipe.

    Args:
        name: one of `RECIPES`.

    Returns:
        The recipe.

    Raises:
        NstjaxError: if there is none of that name; the nearest is suggested.
    """
    if name not in RECIPES:
        raise unknown_choice("recipe", name, RECIPES)
    return RECIPES[name]
