"""The published settings, row by row, and the validation of every setting."""

import dataclasses
import math
from typing import get_type_hints

import numpy as np
import pytest

from nstjax.errors import NstjaxError
from nstjax.fields import _checked
from nstjax.recipes import DEFAULT_RECIPE, RECIPES, get_recipe
from nstjax.settings import Recipe, check_init, override

CONV1 = tuple((f"block{block}_conv1", 0.2) for block in range(1, 6))
CONV1_TIMES_5 = tuple((layer, 1.0) for layer, _ in CONV1)
TUTORIAL_ADAM = {
    "optimizer": "adam",
    "learning_rate": 0.02,
    "beta1": 0.99,
    "beta2": 0.999,
    "epsilon": 0.1,
    "epsilon_inside": True,
    "clip": True,
    "init": "content",
    "pixel_range": 1.0,
}
TUTORIAL = TUTORIAL_ADAM | {
    "network": "vgg19",
    "pooling": "max",
    "input_range": 255.0,
    "content_layers": (("block5_conv2", 1.0),),
    "content_weight": 1e4,
    "content_reduction": "mean",
    "style_layers": CONV1,
    "style_weight": 1e-2,
    "gram_divisor": "hw",
    "style_reduction": "mean",
    "tv_weight": 30.0,
    "tv_form": "sum",
    "steps": 1000,
    "size": 512,
    "side": "longest",
}
RELU4_2 = (("block4_conv2", 1.0),)

ROWS = {
    "tensorflow": TUTORIAL,
    "tensorflow-light-tv": TUTORIAL | {"tv_weight": 4e-4},
    "tensorflow-fast": TUTORIAL
    | {
        "learning_rate": 0.04,
        "beta1": 0.98,
        "beta2": 0.9,
        "epsilon": 1e-8,
        "epsilon_inside": False,
        "decay": "cosine",
        "steps": 800,
    },
    "tensorflow-deep": TUTORIAL
    | {"content_layers": (("block5_conv4", 1.0),), "tv_weight": 0.0, "steps": 3001},
    "keras": {
        "content_layers": (("block5_conv2", 1.0),),
        "content_weight": 2.5e-8,
        "content_reduction": "sum",
        "style_layers": CONV1,
        "style_weight": 1e-6,
        "gram_divisor": "1",
        "style_reduction": "keras",
        "tv_weight": 1e-6,
        "tv_form": "power",
        "pixel_range": 255.0,
        "optimizer": "sgd",
        "learning_rate": 100.0,
        "decay_rate": 0.96,
        "decay_steps": 100,
        "clip": False,
        "steps": 4000,
        "size": 400,
        "side": "height",
        "style_fit": "stretch",
        "init": "content",
    },
    "lbfgs-b": {
        "content_layers": (("block5_conv2", 1.0),),
        "content_weight": 0.5,
        "style_layers": CONV1_TIMES_5,
        "style_weight": 1.0,
        "gram_divisor": "hw",
        "tv_weight": 30.0,
        "tv_form": "mean",
        "optimizer": "lbfgs-b",
        "steps": 50,
        "evaluations_per_step": 70 / 50,
        "init": "content",
    },
    "lbfgs-b-adam": TUTORIAL_ADAM
    | {
        "content_weight": 1000.0,
        "style_layers": CONV1_TIMES_5,
        "style_weight": 0.1,
        "tv_weight": 30.0,
        "tv_form": "mean",
        "steps": 1500,
    },
    "gatys": {
        "pooling": "avg",
        "rescale_filters": True,
        "content_layers": RELU4_2,
        "content_weight": 1.0,
        "content_reduction": "half_sum",
        "style_layers": CONV1,
        "style_weight": 1e3,
        "gram_divisor": "1",
        "style_reduction": "gatys",
        "tv_weight": 0.0,
        "init": "noise",
        "optimizer": "lbfgs",
        "clip": False,
    },
    "gatys-code": {
        "pooling": "max",
        "rescale_filters": False,
        "content_layers": RELU4_2,
        "content_weight": 1.0,
        "content_reduction": "mean",
        "style_layers": tuple(
            (f"block{block}_conv1", 1 / channels**2)
            for block, channels in enumerate((64, 128, 256, 512, 512), start=1)
        ),
        "style_weight": 1e3,
        "gram_divisor": "hw",
        "tv_weight": 0.0,
        "optimizer": "lbfgs",
        "clip": False,
        "init": "content",
        "size": 800,
        "steps": 700,
    },
    "neural-style": {
        "input_range": 256.0,
        "content_layers": RELU4_2,
        "content_weight": 5.0,
        "style_layers": CONV1_TIMES_5,
        "style_weight": 100.0,
        "gram_divisor": "chw",
        "style_reduction": "mean",
        "tv_weight": 1e-3,
        "tv_form": "half_squared",
        "pixel_range": 256.0,
        "init": "noise",
        "noise_std": 0.001 / 256,
        "optimizer": "lbfgs",
        "learning_rate": 10.0,
        "steps": 1000,
        "size": 512,
        "clip": False,
    },
    "anishathalye": {
        "content_layers": RELU4_2,
        "content_weight": 5.0,
        "style_layers": CONV1,
        "style_weight": 500.0,
        "gram_divisor": "chw",
        "tv_weight": 100.0,
        "tv_form": "mean_squared",
        "pixel_range": 255.0,
        "init": "noise",
        "noise_std": 0.256 / 255,
        "optimizer": "adam",
        "learning_rate": 10.0,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "epsilon_inside": True,
        "clip": False,
        "steps": 1000,
    },
    "crowsonkb": {
        "pooling": "max",
        "first_padding": "replicate",
        "unit_input": True,
        "content_layers": RELU4_2,
        "content_weight": 0.015,
        "content_reduction": "mean",
        "style_layers": tuple(
            (f"block{block}_conv1", weight / 341)
            for block, weight in enumerate((256, 64, 16, 4, 1), start=1)
        ),
        "style_weight": 1.0,
        "style_loss": "wasserstein2",
        "tv_weight": 2.0,
        "tv_form": "nine_point",
        "pixel_range": 1.0,
        "optimizer": "adam",
        "learning_rate": 0.02,
        "beta1": 0.9,
        "beta2": 0.99,
        "epsilon": 1e-8,
        "epsilon_inside": False,
        "clip": True,
        "init": "content",
        "size": 512,
        "side": "longest",
        "upscale": True,
    },
}


ROWS[DEFAULT_RECIPE] = ROWS["neural-style"] | {
    "init": "content",
    "noise_std": None,
    "clip": True,
    "history_size": 10,
    "schedule": ((0.25, 0.4), (0.5, 0.35), (1.0, 0.25)),
    "steps": 150,
}


def test_every_recipe_has_a_row():
    assert set(RECIPES) == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_published_settings(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert recipe.source
    assert {setting: getattr(recipe, setting) for setting in ROWS[name]} == ROWS[name]


def test_stages_of_gatys_code():
    recipe = get_recipe("gatys-code")
    sizes = [round(share * recipe.size) for share, _ in recipe.schedule]
    steps = [round(share * recipe.steps) for _, share in recipe.schedule]
    assert (sizes, steps) == ([512, 800], [500, 200])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_can_be_made_again_from_its_values(name):
    recipe = get_recipe(name)
    assert Recipe(**dataclasses.asdict(recipe)) == recipe
    assert hash(recipe) == hash(override(recipe))


def test_unknown_recipe():
    message = r"unknown recipe 'tensorflw': did you mean 'tensorflow'\? \(accepted: nstjax, "
    with pytest.raises(NstjaxError, match=message):
        get_recipe("tensorflw")


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("network", "vgg9", r"unknown network 'vgg9': did you mean 'vgg1\d'"),
        ("pooling", "mx", r"unknown pooling 'mx': did you mean 'max'\? \(accepted: max, avg, avg-"),
        ("first_padding", "zero", "unknown first padding 'zero': did you mean 'zeros'"),
        ("style_loss", "wasserstein", "unknown style loss '.*': did you mean 'wasserstein2'"),
        ("content_reduction", "means", "unknown content reduction 'means': did you mean 'mean'"),
        ("gram_divisor", "wh", r"unknown gram divisor 'wh': .*\(accepted: 1, hw, chw\)"),
        ("style_reduction", "gattys", "unknown style reduction 'gattys': did you mean 'gatys'"),
        ("tv_form", "sums", "unknown tv form 'sums': did you mean 'sum'"),
        ("optimizer", "lbfgsb", "unknown optimizer 'lbfgsb': did you mean 'lbfgs"),
        ("side", "long", r"unknown side 'long': did you mean 'longest'\?"),
        ("style_fit", "wide", r"\(accepted: aspect, stretch, width\)"),
        ("precision", "float16", r"unknown precision 'float16': did you mean 'b?float"),
    ],
)
def test_names_suggest_the_nearest(setting, value, message):
    with pytest.raises(NstjaxError, match=message):
        override(get_recipe("tensorflow"), **{setting: value})


AT_LEAST_ZERO = ("content_weight", "style_weight", "tv_weight", "noise_std", "epsilon")
ABOVE_ZERO = (
    *("learning_rate", "input_range", "pixel_range", "decay_rate", "evaluations_per_step"),
    "style_scale",
)
COUNTS = ("history_size", "decay_steps", "size", "min_size", "style_size")
SHARES = ("noise_ratio", "tolerance", "beta1", "beta2", "average", "strength")
NUMBERS = (*AT_LEAST_ZERO, *ABOVE_ZERO, *SHARES)
BAD = [
    *((name, -1.0) for name in NUMBERS),
    *((name, 0.0) for name in ABOVE_ZERO),
    *((name, bad) for name in NUMBERS for bad in (math.nan, math.inf)),
    *((name, 1.5) for name in (*SHARES, "decay_rate")),
    *((name, 1.0) for name in ("beta1", "beta2", "average")),
    *((name, bad) for name in COUNTS for bad in (0, -1)),
    *((name, -1) for name in ("steps", "initial_steps", "seed")),
    *(("seed", 2**32), ("steps", 10**9), ("size", 10**9)),
]


def test_every_number_is_in_these_lists():
    kinds = get_type_hints(Recipe)
    numbers = {
        name for name, kind in kinds.items() if kind in (int, float, float | None, int | None)
    }
    assert numbers == {*NUMBERS, *COUNTS, "steps", "initial_steps", "seed"}


@pytest.mark.parametrize(("setting", "value"), BAD)
def test_numbers_out_of_range(setting, value):
    message = rf"^{setting.replace('_', ' ')} is {value}: it must be (at least |greater than )?\d"
    with pytest.raises(NstjaxError, match=message):
        override(get_recipe("tensorflow"), **{setting: value})


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("beta1", 0.999999999, "beta1 is 0.999999999: it must be at least 0 and less than 1 in fl"),
        ("beta2", 1 - 1e-9, "less than 1 in float32, too"),
        ("average", 1 - 1e-9, "less than 1 in float32, too"),
        ("input_range", 1e-40, "input range is 1e-40: it must be greater than 0 in float32, too"),
        ("decay_rate", 1e-300, "greater than 0 and at most 1 in float32, too"),
        ("decay_rate", 0.0, "decay rate is 0.0: it must be greater than 0 and at most 1$"),
        ("style_weight", 1e39, "style weight is 1e\\+39: it must be at least 0 in float32, too"),
    ],
)
def test_bounds_hold_in_what_the_programs_compute_in(setting, value, message):
    with pytest.raises(NstjaxError, match=message):
        override(get_recipe("tensorflow"), **{setting: value})
    nearest = {"beta1": 1 - 2**-24, "beta2": 1 - 2**-24, "average": 1 - 2**-24}
    nearest |= {"style_weight": 1e38}
    value = nearest.get(setting, 1e-37)
    assert getattr(override(get_recipe("tensorflow"), **{setting: value}), setting) == value


@pytest.mark.parametrize("setting", ["content_layers", "style_layers"])
@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            (("block4_conv5", 1.0),),
            "unknown layer of vgg19 'block4_conv5': did you mean 'block4_conv",
        ),
        ((("fc1", 1.0),), "layer fc1 belongs to the classifier: use a convolution"),
        ((("relu1_1", -1.0),), "the weight of layer relu1_1 is -1.0: it must be at least 0"),
        ((("relu1_1", math.nan),), "the weight of layer relu1_1 is nan"),
        ((("relu1_1", math.inf),), "the weight of layer relu1_1 is inf"),
        ((), "layers names no layer: name at least one"),
    ],
)
def test_layers_are_validated(setting, layers, message):
    with pytest.raises(NstjaxError, match=message):
        override(get_recipe("tensorflow"), **{setting: layers})


def test_layers_belong_to_the_network():
    with pytest.raises(NstjaxError, match="unknown layer of vgg16 'block5_conv4'"):
        override(get_recipe("tensorflow-deep"), network="vgg16")


def test_override():
    recipe = get_recipe("tensorflow")
    changed = override(recipe, steps=7, style_layers=(("relu3_1", 2.0),))
    assert (changed.steps, changed.style_layers) == (7, (("block3_conv1", 2.0),))
    assert recipe.steps == 1000
    assert dataclasses.replace(changed, steps=1000, style_layers=recipe.style_layers) == recipe
    with pytest.raises(NstjaxError, match=r"unknown setting 'stepz': did you mean 'steps'\?"):
        override(recipe, stepz=7)
    with pytest.raises(NstjaxError, match="unknown setting 'name'"):
        override(recipe, name="mine")


@pytest.mark.parametrize(
    ("settings", "upscale"),
    [
        ({}, False),
        ({"steps": 3}, False),
        ({"size": 1024}, True),
        ({"size": 512}, True),
        ({"size": 1024, "upscale": False}, False),
        ({"upscale": True}, True),
    ],
)
def test_a_size_that_is_asked_for_is_met(settings, upscale):
    assert not get_recipe("tensorflow").upscale
    assert override(get_recipe("tensorflow"), **settings).upscale == upscale


PYRAMID = override(get_recipe("tensorflow"), min_size=128, initial_steps=1000, steps=500)


@pytest.mark.parametrize(
    ("recipe", "settings", "expected"),
    [
        (
            "tensorflow",
            {"schedule": "128:1000, 256:500,512:500"},
            {"size": 512, "steps": 2000, "schedule": ((128, 1000), (256, 500), (512, 500))},
        ),
        ("tensorflow", {"schedule": "64,128"}, {"size": 128, "steps": 1000, "upscale": True}),
        ("tensorflow", {"schedule": "64:1,96:3", "size": 300}, {"size": 300, "steps": 4}),
        ("tensorflow", {"schedule": "64:1,96:3", "steps": 40}, {"size": 96, "steps": 40}),
        ("tensorflow", {"schedule": ((0.5, 2.0), (1.0, 1.0))}, {"size": 512, "steps": 1000}),
        (
            "tensorflow",
            {"schedule": ((128.0, 1000.0), (256.0, 500.0))},
            {"size": 256, "steps": 1500, "upscale": True},
        ),
        ("tensorflow", {"schedule": ((64.0, 0.5), (96.0, 0.5))}, {"size": 96, "steps": 1000}),
        (
            "tensorflow",
            {"schedule": ((64.0, 1.0), (96.0, 3.0)), "size": 300},
            {"size": 300, "steps": 4},
        ),
        ("tensorflow", {"schedule": ((64.0, 1.0), (96.5, 3.0))}, {"size": 512, "steps": 4}),
        ("nstjax", {"min_size": 64}, {"schedule": ((1, 1),), "min_size": 64, "steps": 150}),
        ("nstjax", {"size": 64}, {"schedule": ((0.25, 0.4), (0.5, 0.35), (1, 0.25)), "size": 64}),
        (PYRAMID, {"schedule": "64:9"}, {"min_size": None, "initial_steps": None, "steps": 9}),
        (PYRAMID, {"min_size": None}, {"min_size": None, "initial_steps": None}),
        (PYRAMID, {"size": 100}, {"min_size": 100, "initial_steps": 1000}),
        (PYRAMID, {"size": 1000}, {"min_size": 128, "initial_steps": 1000}),
        (PYRAMID, {"size": 8}, {"min_size": 8}),  # what is too small then is the size
    ],
)
def test_sizes_that_are_given(recipe, settings, expected):
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    changed = override(recipe, **settings)
    assert {name: getattr(changed, name) for name in expected} == expected
    assert Recipe(**dataclasses.asdict(changed)) == changed
    assert hash(changed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "128:x"}, "'128:x' is no schedule: write SIZE:STEPS,"),
        ({"schedule": "128:1,256"}, "no schedule"),
        ({"schedule": "0:1"}, "no schedule"),
        ({"schedule": "128:0"}, "no schedule"),
        ({"schedule": ""}, "no schedule"),
        ({"schedule": ()}, r"schedule is \(\): it must be pairs of a size and of steps"),
        ({"schedule": ((1.0, math.nan),)}, "schedule is .*greater than 0"),
        ({"schedule": "64:1,128:1", "min_size": 64}, "both say the sizes: give one of them"),
        ({"min_size": 600}, "min size is 600 and size is 512: .*smaller --min-size"),
        (
            {"min_size": 15},
            "min size is 15 and layer block5_conv2 needs 16 pixels a side: give --min-size 16",
        ),
        (
            {"schedule": ((8.0, 500.0), (256.0, 100.0))},
            "a size of the schedule is 8 and layer block5_conv2 needs 16 pixels a side: give size",
        ),
        (
            {"schedule": "8:500,256:100"},
            "a size of the schedule is 8 and layer block5_conv2 needs 16 pixels a side: give size",
        ),
        ({"schedule": "64:5,256:1", "size": 60}, "a size of the schedule is 15 and layer"),
        ({"style_size": 9, "style_fit": "width"}, "style size is 9, and .* use --style-scale"),
        ({"initial_steps": 5}, "initial steps is 5 and there is no min size.*--min-size"),
        ({"average": 0.9, "optimizer": "lbfgs-b"}, "average is 0.9, and SciPy's .*--average 0"),
    ],
)
def test_sizes_that_do_not_go_together(settings, message):
    with pytest.raises(NstjaxError, match=message):
        override(get_recipe("tensorflow"), **settings)


def test_recipes_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        get_recipe("tensorflow").steps = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_init(tmp_path):
    for init in ("content", "noise", "style", str(tmp_path)):
        check_init(init)
    message = r"unknown init, nor a picture file, 'nois': did you mean 'noise'\?"
    with pytest.raises(NstjaxError, match=message):
        check_init("nois")


# In the tests annotations are checked, too, so that a value of a wrong kind comes to nothing else.
FIELDS = {field.name: field for field in dataclasses.fields(Recipe)}
FLAGS = {name for name, kind in get_type_hints(Recipe).items() if kind is bool}


def test_numpys_numbers_become_pythons():
    checked = [
        _checked(FIELDS["steps"], np.int64(3)),
        _checked(FIELDS["style_size"], None),
        _checked(FIELDS["style_weight"], np.float32(0.5)),
        _checked(FIELDS["clip"], np.False_),
    ]
    assert list(map(repr, checked)) == ["3", "None", "0.5", "False"]


@pytest.mark.parametrize("setting", sorted(FLAGS))
@pytest.mark.parametrize("value", ["no", 1, 0.0, None])
def test_flags_are_true_or_false(setting, value):
    words = f"^{setting.replace('_', ' ')} is {value!r}: it must be True or False$"
    with pytest.raises(NstjaxError, match=words):
        _checked(FIELDS[setting], value)


@pytest.mark.parametrize("value", [True, np.False_])
@pytest.mark.parametrize("setting", ["steps", "strength", "content_weight", "min_size"])
def test_a_number_is_not_true_or_false(setting, value):
    message = f"{setting.replace('_', ' ')} is .*: it must be a (whole )?number"
    with pytest.raises(NstjaxError, match=message):
        _checked(FIELDS[setting], value)


def test_all_of_a_recipe_but_its_name_and_layers_is_checked():
    unchecked = {name for name, field in FIELDS.items() if not field.metadata}
    assert unchecked == {"name", "source"}
