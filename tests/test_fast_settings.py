"""The settings of the feed-forward route, and the published trainings against their formulas.

Of the formulas' arrays only the activations come from this package's VGG; weights, divisors and
ranges are those that the systems' own code states.
"""

import dataclasses
import math
from typing import get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.cli.settings_options import offered_fields
from nstjax.errors import NstjaxError
from nstjax.fast.recipes import DEFAULT_TRAINING_RECIPE, TRAINING_RECIPES, get_training_recipe
from nstjax.fast.settings import Architecture, TrainingRecipe
from nstjax.objective import Inputs, Targets, evaluate, structure_of, weights_of
from nstjax.settings import ObjectiveSettings, override
from nstjax.vgg import VGG

CONV1 = tuple((f"block{block}_conv1", 1.0) for block in range(1, 6))
JOHNSONS = (
    ("block1_conv2", 1.0),
    ("block2_conv2", 1.0),
    ("block3_conv3", 1.0),
    ("block4_conv3", 1.0),
)
RELU2_2, RELU4_2 = (("block2_conv2", 1.0),), (("block4_conv2", 1.0),)
SHARED = {
    "weighting": "absolute",
    "pooling": "max",
    "input_range": 255.0,
    "content_reduction": "mean",
    "style_reduction": "mean",
    "gram_divisor": "chw",
    "learning_rate": 1e-3,
    "decay": "constant",
    "warmup_steps": 0,
    "clip_norm": None,
    "batch_size": 4,
    "image_size": 256,
}

ROWS = {
    "vgg19": SHARED
    | {
        "network": "vgg19",
        "preprocessing": "caffe",
        "content_layers": RELU4_2,
        "content_weight": 10.0,
        "style_layers": CONV1,
        "style_weight": 100.0,
        "tv_weight": 0.004,
        "tv_form": "sum",
        "pixel_range": 255.0,
        "architecture": Architecture(
            upsampling="nearest", output="tanh", output_scale=0.5, norm_last=True, norm_epsilon=1e-3
        ),
        "epochs": 2.0,
        "crop": "squash",
    },
    "johnson": SHARED
    | {
        "network": "vgg16",
        "preprocessing": "caffe",
        "content_layers": RELU2_2,
        "content_weight": 1.0,
        "style_layers": JOHNSONS,
        "style_weight": 5.0,
        "tv_weight": 4e-6,
        "tv_form": "half_squared",
        "pixel_range": 255.0,
        "architecture": Architecture(
            upsampling="transpose",
            output="tanh",
            output_scale=150 / 255,
            norm_last=False,
            norm_epsilon=1e-5,
        ),
        "steps": 40_000,
        "epochs": None,
        "crop": "squash",
        "style_size": 256,
    },
    "pytorch-examples": SHARED
    | {
        "network": "vgg16",
        "preprocessing": "torchvision",
        "content_layers": RELU2_2,
        "content_weight": 1e5,
        "style_layers": JOHNSONS,
        "style_weight": 1e10,
        "tv_weight": 0.0,
        "architecture": Architecture(
            upsampling="nearest",
            output="linear",
            output_scale=1 / 255,
            norm_last=False,
            norm_epsilon=1e-5,
        ),
        "epochs": 2.0,
    },
    "lengstrom": SHARED
    | {
        "network": "vgg19",
        "preprocessing": "caffe",
        "content_layers": RELU4_2,
        "content_weight": 7.5,
        "style_layers": CONV1,
        "style_weight": 100.0,
        "tv_weight": 200.0,
        "tv_form": "mean_squared",
        "pixel_range": 255.0,
        "architecture": Architecture(
            upsampling="transpose",
            output="tanh",
            output_scale=150 / 255,
            norm_last=True,
            norm_epsilon=1e-3,
        ),
        "epochs": 2.0,
        "crop": "squash",
    },
}


def test_every_recipe_has_a_row():
    assert set(TRAINING_RECIPES) == {DEFAULT_TRAINING_RECIPE, *ROWS}


@pytest.mark.parametrize("name", ROWS)
def test_published_settings(name):
    recipe = get_training_recipe(name)
    assert recipe.name == name
    assert recipe.source
    assert {setting: getattr(recipe, setting) for setting in ROWS[name]} == ROWS[name]


def test_the_default_counts_in_photographs():
    recipe = get_training_recipe(DEFAULT_TRAINING_RECIPE)
    assert recipe.weighting == "relative"
    assert recipe.architecture.upsampling == "nearest"
    assert sum(weight for _, weight in recipe.content_layers) == pytest.approx(1)
    assert sum(weight for _, weight in recipe.style_layers) == pytest.approx(1)


@pytest.mark.parametrize("name", TRAINING_RECIPES)
def test_a_recipe_can_be_made_again_from_its_values(name):
    recipe = get_training_recipe(name)
    values = dataclasses.asdict(recipe)
    values["architecture"] = Architecture(**values["architecture"])
    assert TrainingRecipe(**values) == recipe
    assert hash(recipe) == hash(override(recipe))


PAINTED = 1.2 * inputs.batch(33, 41)[:, :, ::-1] - 0.1  # not clipped to [0, 1]
PHOTOGRAPHS = inputs.batch(33, 41)
STYLE = inputs.picture(33, 41)[..., ::-1]


def mean(x):
    return np.sum(x) / x.size


def gram(features, per):
    """Of each picture: C by C inner products over its positions, divided."""
    return (
        np.stack([f.reshape(-1, f.shape[-1]).T @ f.reshape(-1, f.shape[-1]) for f in features])
        / per
    )


def gram_chw(features):
    return gram(features, features[0].size)


def differences(x):
    return x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]


def style_of(features, style, layers):
    return sum(mean((gram_chw(features[name]) - gram_chw(style[name])) ** 2) for name, _ in layers)


def vgg19(f, p, s, x):
    down, along = differences(255 * x)
    return (
        10 * mean((f["block4_conv2"] - p["block4_conv2"]) ** 2),
        100 * style_of(f, s, CONV1),
        0.004 * (np.abs(down).sum() + np.abs(along).sum()) / len(x),
    )


def johnson(f, p, s, x):
    down, along = differences(255 * x)
    squares = down[:, :, :-1] ** 2 + along[:, :-1] ** 2
    return (
        mean((f["block2_conv2"] - p["block2_conv2"]) ** 2),
        5 * style_of(f, s, JOHNSONS),
        # Its gradient is summed over a batch of four, where the other terms' are averaged.
        4 * 1e-6 * 0.5 * squares.sum() / len(x),
    )


def pytorch_examples(f, p, s, x):
    content = mean((f["block2_conv2"] - p["block2_conv2"]) ** 2)
    return 1e5 * content, 1e10 * style_of(f, s, JOHNSONS), 0.0


def lengstrom(f, p, s, x):
    def l2_loss(x):  # TensorFlow's, halved
        return np.sum(x**2) / 2

    batch_size = len(x)
    content = f["block4_conv2"] - p["block4_conv2"]
    gaps = [gram_chw(f[name]) - gram_chw(s[name]) for name, _ in CONV1]
    down, along = differences(255 * x)
    roughness = l2_loss(along) / along[0].size + l2_loss(down) / down[0].size
    return (
        7.5 * 2 * l2_loss(content) / (content[0].size * batch_size),
        100 * sum(2 * l2_loss(gap) / gap[0].size for gap in gaps) / batch_size,
        200 * 2 * roughness / batch_size,
    )


def default(f, p, s, x):
    def gram_hw(features):
        return gram(features, features[0, ..., 0].size)

    gaps = [gram_hw(f[name]) - gram_hw(s[name]) for name, _ in CONV1]
    down, along = differences(x)
    recipe = TRAINING_RECIPES["nstjax"]
    return (
        recipe.content_weight * mean((f["block2_conv2"] - p["block2_conv2"]) ** 2),
        recipe.style_weight * sum(mean(gap**2) for gap in gaps) / 5,
        recipe.tv_weight * (np.abs(down).sum() + np.abs(along).sum()) / len(x),
    )


FORMULAS = {
    "vgg19": vgg19,
    "johnson": johnson,
    "pytorch-examples": pytorch_examples,
    "lengstrom": lengstrom,
    "nstjax": default,
}
LAYERS = {
    "vgg19": (*dict(CONV1), "block2_conv2", "block4_conv2"),
    "vgg16": tuple(dict(JOHNSONS)),
}


def preprocessed(images, kind):
    images = images.astype(np.float64)
    if kind == "caffe":
        return 255 * images[..., ::-1] - [103.939, 116.779, 123.68]
    return (images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def activations(random_vgg16, random_vgg19):
    """Activations of a batch, preprocessed here, in float64; and the parameters."""
    params = {"vgg16": random_vgg16.params, "vgg19": random_vgg19.params}
    programs = {name: jax.jit(VGG(name, LAYERS[name]).apply) for name in params}

    def compute(network, kind):
        pictures = np.concatenate([PAINTED, PHOTOGRAPHS, STYLE])
        network_input = jnp.asarray(preprocessed(pictures, kind), jnp.float32)
        features = programs[network]({"params": params[network]}, network_input)
        features = {name: np.asarray(value, np.float64) for name, value in features.items()}
        parts = [
            {name: f[part] for name, f in features.items()}
            for part in (slice(0, 2), slice(2, 4), slice(4, 5))
        ]
        return params[network], parts

    return compute


def test_every_recipe_has_a_formula():
    assert set(FORMULAS) == set(TRAINING_RECIPES)


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(activations, name):
    recipe = override(TRAINING_RECIPES[name], precision="float32")
    params, (painted, photographs, style) = activations(recipe.network, recipe.preprocessing)
    expected = FORMULAS[name](painted, photographs, style, PAINTED.astype(np.float64))
    divide = gram_chw if recipe.gram_divisor == "chw" else lambda f: gram(f, f[0, ..., 0].size)
    targets = Targets(
        {layer: jnp.float32(photographs[layer]) for layer, _ in recipe.content_layers},
        {layer: jnp.float32(divide(style[layer])) for layer, _ in recipe.style_layers},
    )
    structure = structure_of(recipe, recipe.preprocessing)
    numbers = Inputs(params, targets, weights_of(recipe))
    total, terms = jax.jit(evaluate, static_argnums=0)(structure, numbers, PAINTED)
    for term, value in zip(("content", "style", "tv"), expected, strict=True):
        weighted = numbers.weights.terms[term] * terms[term]
        np.testing.assert_allclose(weighted, value, rtol=1e-4, err_msg=term)
    np.testing.assert_allclose(total, sum(expected), rtol=1e-4)


def test_unknown_recipe():
    message = r"unknown training recipe 'lengstorm': did you mean 'lengstrom'\? \(accepted: nstjax"
    with pytest.raises(NstjaxError, match=message):
        get_training_recipe("lengstorm")
    with pytest.raises(NstjaxError, match=r"'zzz' \(accepted: nstjax, vgg19, johnson, pytorch-ex"):
        get_training_recipe("zzz")


DEFAULT = get_training_recipe("nstjax")


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("weighting", "relativ", r"unknown weighting 'relativ': did you mean 'relative'\?"),
        ("preprocessing", "cafe", r"did you mean 'caffe'\? \(accepted: caffe, torchvision\)"),
        ("crop", "randm", r"unknown crop 'randm': did you mean 'random'\? .*random, squash\)"),
        ("decay", "cosin", r"unknown decay 'cosin': did you mean 'cosine'\?"),
        ("precision", "float16", r"\(accepted: auto, float32, bfloat16\)"),
        ("network", "vgg9", r"unknown network 'vgg9': did you mean 'vgg1\d'"),
    ],
)
def test_names_suggest_the_nearest(setting, value, message):
    with pytest.raises(NstjaxError, match=message):
        override(DEFAULT, **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("upsampling", "neares", r"unknown upsampling 'neares': did you mean 'nearest'\?"),
        ("output", "tan", r"unknown output 'tan': did you mean 'tanh'\? .*tanh, sigmoid, linear\)"),
        ("output_scale", 0.0, "output scale is 0.0: it must be greater than 0"),
        ("output_scale", math.nan, "output scale is nan: it must be greater than 0"),
        ("norm_epsilon", 0.0, "norm epsilon is 0.0: it must be greater than 0"),
        ("norm_epsilon", math.inf, "norm epsilon is inf: it must be greater than 0"),
        ("width", 0.0, "width is 0.0: it must be 0.03125 to 8"),
        ("width", 8.5, "width is 8.5: it must be 0.03125 to 8"),
    ],
)
def test_architectures_are_validated(setting, value, message):
    with pytest.raises(NstjaxError, match=message):
        Architecture(**{setting: value})


ABOVE_ZERO = ("epochs", "learning_rate", "clip_norm")
SIDES = ("image_size", "style_size")  # from 16 pixels
BAD = [
    *((name, bad) for name in ABOVE_ZERO for bad in (0.0, -1.0, math.nan, math.inf)),
    *((name, bad) for name in SIDES for bad in (15, 10**6)),
    *((name, bad) for name in ("steps", "batch_size") for bad in (0, -1, 10**9)),
    *(("warmup_steps", -1), ("seed", -1), ("seed", 2**32)),
    *(("average", bad) for bad in (-0.1, 1.0, math.nan)),
]


def test_every_number_is_in_these_lists():
    own = get_type_hints(TrainingRecipe).keys() - get_type_hints(ObjectiveSettings).keys()
    kinds = {name: get_type_hints(TrainingRecipe)[name] for name in own}
    numbers = {name for name, kind in kinds.items() if kind in (int, float, float | None)}
    assert numbers == {name for name, _ in BAD}


@pytest.mark.parametrize(("setting", "value"), BAD)
def test_numbers_out_of_range(setting, value):
    message = rf"^{setting.replace('_', ' ')} is {value}: it must be (at least |greater than )?\d"
    with pytest.raises(NstjaxError, match=message):
        override(DEFAULT, **{setting: value})


def test_rows_at_a_time_are_given_or_off():
    assert DEFAULT.tile is None
    assert (override(DEFAULT, tile="64").tile, override(DEFAULT, tile="off").tile) == (64, None)
    with pytest.raises(NstjaxError, match=r"tile is auto, .*: it must be off, or an even number"):
        override(DEFAULT, tile="auto")
    with pytest.raises(NstjaxError, match="tile is 15"):
        override(DEFAULT, tile=15)
    [offered] = [field for field in offered_fields(TrainingRecipe) if field.name == "tile"]
    assert "auto" not in offered.metadata["help"]


def test_settings_may_be_left_out():
    recipe = override(DEFAULT, epochs=0.5, clip_norm=1.0)
    assert override(recipe, epochs=None, clip_norm=None) == DEFAULT


def test_layers_belong_to_the_network():
    with pytest.raises(NstjaxError, match="unknown layer of vgg16 'relu3_4'"):
        override(DEFAULT, network="vgg16", content_layers="relu3_4")


def test_settings_are_frozen():
    for settings, name in ((DEFAULT, "steps"), (Architecture(), "width")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(settings, name, 3)


def test_the_command_line_offers_what_has_a_help_text():
    assert [field.name for field in offered_fields(Architecture)] == [
        "design",
        "upsampling",
        "output",
        "width",
    ]
