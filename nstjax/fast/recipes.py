"""The published trainings by name, and this package's own.

As on the pixel route, a recipe reproduces the arithmetic of its source. What all of them share is
the network of `nstjax.fast.network`: `johnson` and `lengstrom` pad theirs otherwise, `johnson`'s
picture is centred on the mean colour of VGG's training set, and `pytorch-examples` cuts its squares
from the middle. Where the text of `johnson` and its code name different content layers, relu2_2 and
relu3_3, it is the text's. All but our own export the last parameters, not an average.
"""

from nstjax.errors import unknown_choice
from nstjax.fast.settings import Architecture, TrainingRecipe
from nstjax.recipes import even

_DEFAULT = TrainingRecipe(
    name="nstjax",
    source="this package: losses counted in those of photographs, so that no style needs tuning",
    weighting="relative",
    content_layers=even("relu2_2"),
    content_weight=1.0,
    style_layers=even("relu1_1 relu2_1 relu3_1 relu4_1 relu5_1"),
    style_weight=5.0,
    tv_weight=0.02,
    # The tanh goes beyond black and white, where it would hardly let go of them again. And Adam
    # moves each of the last layer's weights by as much, all those of a colour in one direction:
    # without the small gain a step takes the picture from black to white.
    architecture=Architecture(design="subpixel", output_scale=150 / 255, output_gain=0.02),
    learning_rate=3e-3,
    decay="cosine",
)

_PUBLISHED = (
    TrainingRecipe(
        name="vgg19",
        source="the course project that this package grew from",
        content_layers=even("block4_conv2"),
        content_weight=10.0,
        style_layers=even(
            "block1_conv1 block2_conv1 block3_conv1 block4_conv1 block5_conv1", total=5.0
        ),
        style_weight=100.0,
        gram_divisor="chw",
        average=0.0,
        tv_weight=0.004,
        pixel_range=255.0,
        architecture=Architecture(norm_last=True, norm_epsilon=1e-3),
        epochs=2.0,
        crop="squash",
    ),
    TrainingRecipe(
        name="johnson",
        source="Johnson et al., 2016; weights of its code, jcjohnson/fast-neural-style",
        network="vgg16",
        content_layers=even("relu2_2"),
        content_weight=1.0,
        style_layers=even("relu1_2 relu2_2 relu3_3 relu4_3", total=4.0),
        style_weight=5.0,
        gram_divisor="chw",
        average=0.0,
        # The code weights the gradient of a batch's sum by 1e-6; here a batch of 4 is averaged.
        tv_weight=4e-6,
        tv_form="half_squared",
        pixel_range=255.0,
        architecture=Architecture(upsampling="transpose", output_scale=150 / 255),
        crop="squash",
        style_size=256,
    ),
    TrainingRecipe(
        name="pytorch-examples",
        source="pytorch/examples, fast_neural_style",
        network="vgg16",
        preprocessing="torchvision",
        content_layers=even("relu2_2"),
        content_weight=1e5,
        style_layers=even("relu1_2 relu2_2 relu3_3 relu4_3", total=4.0),
        style_weight=1e10,
        gram_divisor="chw",
        average=0.0,
        architecture=Architecture(output="linear", output_scale=1 / 255),
        epochs=2.0,
    ),
    TrainingRecipe(
        name="lengstrom",
        source="lengstrom/fast-style-transfer",
        content_layers=even("relu4_2"),
        content_weight=7.5,
        style_layers=even("relu1_1 relu2_1 relu3_1 relu4_1 relu5_1", total=5.0),
        style_weight=100.0,
        gram_divisor="chw",
        average=0.0,
        tv_weight=200.0,
        tv_form="mean_squared",
        pixel_range=255.0,
        architecture=Architecture(
            upsampling="transpose", output_scale=150 / 255, norm_last=True, norm_epsilon=1e-3
        ),
        epochs=2.0,
        crop="squash",
    ),
)

TRAINING_RECIPES = {recipe.name: recipe for recipe in (_DEFAULT, *_PUBLISHED)}
DEFAULT_TRAINING_RECIPE = _DEFAULT.name


def get_training_recipe(name: str) -> TrainingRecipe:
    """Looks up a training recipe.

    Args:
        name: one of `TRAINING_RECIPES`.

    Returns:
        The recipe.

    Raises:
        NstjaxError: if there is none of that name; the nearest is suggested.

    Example:
        >>> get_training_recipe("lengstrom").architecture.upsampling
        'transpose'
    """
    if name not in TRAINING_RECIPES:
        raise unknown_choice("training recipe", name, TRAINING_RECIPES)
    return TRAINING_RECIPES[name]
