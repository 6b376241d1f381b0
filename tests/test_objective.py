"""The objective: its sums, its gradients, and that numbers compile nothing."""

from dataclasses import replace
from functools import partial
from inspect import unwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.errors import NstjaxError
from nstjax.fast import get_training_recipe
from nstjax.losses import TV_FORMS
from nstjax.losses.comparison import Wasserstein2Form
from nstjax.objective import (
    Inputs,
    Targets,
    _check_pixels,
    evaluate,
    evaluate_with_gradient,
    make_objective,
    prepare,
    structure_of,
    weights_of,
)
from nstjax.recipes import get_recipe
from nstjax.settings import override
from nstjax.structure import TERMS
from nstjax.targets import content_targets, style_targets

IMAGE, CONTENT, STYLE = (inputs.picture(*size) for size in ((9, 11), (9, 11), (8, 10)))
CONTENT = CONTENT[:, ::-1]
SHALLOW = override(
    get_recipe("tensorflow"),
    content_layers=(("block2_conv2", 1.0),),
    style_layers=(("block1_conv1", 0.25), ("block2_conv1", 0.75)),
    content_weight=3.0,
    style_weight=1e-3,
    tv_weight=2.0,
)
FORMS = {
    "tensorflow": {},
    "gatys": {
        "pooling": "avg",
        "gram_divisor": "1",
        "style_reduction": "gatys",
        "content_reduction": "half_sum",
    },
    "keras": {
        "gram_divisor": "1",
        "style_reduction": "keras",
        "tv_form": "power",
        "pixel_range": 255.0,
    },
    "anishathalye": {"gram_divisor": "chw", "tv_form": "mean_squared", "input_range": 256.0},
}


def inputs_of(recipe, weights, dtype="float32"):
    structure = structure_of(recipe, weights.preprocessing)
    if recipe.style_loss == "wasserstein2":
        # Of a covariance near enough to the identity, and in enough steps, roots are exact, so that
        # their gradient is that of their value.
        structure = replace(structure, style=Wasserstein2Form(epsilon=300.0, steps=36))
    params = jax.tree.map(lambda array: jnp.asarray(array, dtype), weights.params)
    targets = Targets(
        content_targets(structure, params, jnp.asarray(CONTENT, dtype)),
        style_targets(structure, params, jnp.asarray(STYLE, dtype)),
    )
    return structure, Inputs(params, targets, weights_of(recipe))


def test_terms_add_up(shallow_vgg19):
    objective = make_objective(SHALLOW, shallow_vgg19, jnp.asarray(CONTENT), jnp.asarray(STYLE))
    total, terms = objective(jnp.asarray(IMAGE))
    assert set(terms) == {*TERMS, *(f"{name}_raw" for name in TERMS)}
    assert min(float(term) for term in terms.values()) > 0
    np.testing.assert_allclose(total, sum(terms[name] for name in TERMS), rtol=1e-6)
    for name, weight in (("content", 3.0), ("style", 1e-3), ("tv", 2.0)):
        np.testing.assert_allclose(terms[name], weight * terms[f"{name}_raw"], rtol=1e-6)


def test_objectives_of_one_structure_share_programs(shallow_vgg19, compilations):
    content, style, image = (jnp.asarray(picture) for picture in (CONTENT, STYLE, IMAGE))
    first, second = (
        make_objective(override(SHALLOW, style_weight=weight), shallow_vgg19, content, style)
        for weight in (1e-3, 2e-3)
    )
    step = jax.jit(lambda objective, image: jax.grad(objective, has_aux=True)(image))
    gradient, terms = step(first, image)
    first(image)
    compilations.clear()
    other, other_terms = step(second, image)
    second(image)
    assert not compilations
    np.testing.assert_allclose(other_terms["style"], 2 * terms["style"], rtol=1e-6)
    closed_over, _ = jax.jit(jax.grad(second, has_aux=True))(image)
    assert np.abs(other - gradient).max() > 0.01 * np.abs(gradient).max()
    np.testing.assert_allclose(other, closed_over, rtol=0, atol=1e-5 * np.abs(other).max())


def test_each_distance_is_zero_at_its_target(shallow_vgg19):
    """But for rounding: targets come from another compiled program."""
    content, style = jnp.asarray(CONTENT), jnp.asarray(STYLE)
    at_content = make_objective(SHALLOW, shallow_vgg19, content, style)(content)[1]
    at_style = make_objective(SHALLOW, shallow_vgg19, style, style)(style)[1]
    assert at_content["content"] < 1e-6 < 1e-2 < at_content["style"]
    assert at_style["style"] < 1e-6


def test_layers_add_up(shallow_vgg19):
    """The style of two layers is the weighted sum of the style of each."""

    def style_raw(layers):
        recipe = override(SHALLOW, style_layers=layers)
        objective = make_objective(recipe, shallow_vgg19, jnp.asarray(CONTENT), jnp.asarray(STYLE))
        return objective(jnp.asarray(IMAGE))[1]["style_raw"]

    first, second = style_raw((("block1_conv1", 1.0),)), style_raw((("relu2_1", 1.0),))
    np.testing.assert_allclose(
        style_raw(SHALLOW.style_layers), 0.25 * first + 0.75 * second, rtol=1e-5
    )


@pytest.mark.parametrize("settings", FORMS.values(), ids=FORMS)
def test_gradient_by_finite_differences(shallow_vgg19, rng, settings):
    with jax.enable_x64(True):
        structure, numbers = inputs_of(override(SHALLOW, **settings), shallow_vgg19, "float64")
        total = jax.jit(lambda image: evaluate(structure, numbers, image)[0])
        image = jnp.asarray(IMAGE, jnp.float64)
        gradient = jax.grad(total)(image)
        assert gradient.dtype == jnp.float64
        for _ in range(4):
            direction = rng.standard_normal(image.shape) * 1e-7
            slope = (total(image + direction) - total(image - direction)) / 2
            np.testing.assert_allclose(jnp.sum(gradient * direction), slope, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["max", "avg-scaled", "l2-scaled"])
def test_wasserstein_gradient_by_finite_differences(shallow_vgg19, rng, pooling):
    recipe = override(
        SHALLOW,
        style_loss="wasserstein2",
        first_padding="replicate",
        tv_form="nine_point",
        pooling=pooling,
    )
    with jax.enable_x64(True):
        structure, numbers = inputs_of(recipe, shallow_vgg19, "float64")
        total = jax.jit(lambda image: evaluate(structure, numbers, image)[0])
        image = jnp.asarray(IMAGE, jnp.float64)
        gradient = jax.grad(total)(image)
        for _ in range(3):
            direction = rng.standard_normal(image.shape) * 1e-7
            slope = (total(image + direction) - total(image - direction)) / 2
            np.testing.assert_allclose(jnp.sum(gradient * direction), slope, rtol=1e-4)


@pytest.mark.parametrize("form", TV_FORMS)
def test_the_gradient_is_that_of_the_objective(shallow_vgg19, form):
    """Of which the total variation's is made apart; for a batch, too."""
    recipe = override(SHALLOW, tv_form=form, tv_weight=0.3, pixel_range=255.0)
    contents = jnp.concatenate([CONTENT, IMAGE])
    structure, numbers = prepare(
        recipe, "caffe", shallow_vgg19.params, contents, jnp.asarray(STYLE)
    )
    objective = jax.value_and_grad(partial(evaluate, structure, numbers), has_aux=True)
    (expected, terms), slope = objective(contents[::-1])
    total, gradient, found = evaluate_with_gradient(structure, numbers, contents[::-1])
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-6 * float(jnp.abs(slope).max()))
    assert list(found) == list(TERMS)
    for name in TERMS:
        np.testing.assert_allclose(found[name], terms[name], rtol=1e-6)


def test_a_batch_gives_the_mean_of_its_pictures(shallow_vgg19):
    style, contents = jnp.asarray(STYLE), jnp.concatenate([CONTENT, IMAGE])
    images = contents[::-1]
    each = [
        make_objective(SHALLOW, shallow_vgg19, contents[i : i + 1], style)(images[i : i + 1])[0]
        for i in range(2)
    ]
    both = make_objective(SHALLOW, shallow_vgg19, contents, style)(images)[0]
    np.testing.assert_allclose(both, np.mean(each), rtol=1e-5)


@pytest.mark.parametrize("divisor", ["1", "hw", "chw"])
def test_the_size_of_the_style_image_does_not_matter(shallow_vgg19, divisor):
    """Tiling a picture leaves its style the same, but for the zeros around it."""
    recipe = override(SHALLOW, gram_divisor=divisor, style_layers=(("block1_conv1", 1.0),))
    structure, numbers = inputs_of(recipe, shallow_vgg19)
    flat = jnp.full((1, 64, 64, 3), 0.3)
    grams = [
        style_targets(structure, numbers.params, picture)["block1_conv1"]
        for picture in (flat, jnp.tile(flat, (1, 2, 3, 1)))
    ]
    np.testing.assert_allclose(*grams, rtol=0.1, atol=0.02 * float(jnp.max(grams[0])))


@pytest.mark.parametrize("style_loss", ["gram", "wasserstein2"])
def test_several_styles_are_averaged(shallow_vgg19, style_loss):
    recipe = override(SHALLOW, style_loss=style_loss)
    content, style = jnp.asarray(CONTENT), jnp.asarray(STYLE)
    other = jnp.asarray(inputs.picture(12, 9))

    def style_raw(styles, **options):
        objective = make_objective(recipe, shallow_vgg19, content, styles, **options)
        return objective(jnp.asarray(IMAGE))[1]["style_raw"]

    alone, others = style_raw(style), style_raw(other)
    tolerance = 1e-5 if style_loss == "gram" else 5e-5  # a matrix root grows what is rounded
    np.testing.assert_allclose(style_raw([style, style]), alone, rtol=tolerance)
    np.testing.assert_allclose(
        style_raw([style, other], style_weights=[3.0, 0.0]), alone, rtol=tolerance
    )
    thirds = style_raw([style, other], style_weights=[2.0, 1.0])
    # Roots of matrices of low rank make more of rounding.
    np.testing.assert_allclose(style_raw((style, other, style)), thirds, rtol=5e-5)
    assert len({float(alone), float(others), float(thirds)}) == 3


@pytest.mark.parametrize(
    ("styles", "weights", "message"),
    [
        (2, [1.0], "there are 2 style images and 1 weights of them: give one for each"),
        (2, [1.0, -1.0], r"are \[1.0, -1.0\]: they must be at least 0, and one above"),
        (2, [0.0, 0.0], "they must be at least 0, and one above"),
        (1, [float("nan")], "they must be at least 0"),
        (2, [1e308, 1e308], "they must be at least 0"),
        (0, None, "no style image is given"),
    ],
)
def test_weights_of_styles_that_do_not_fit(shallow_vgg19, styles, weights, message):
    content, style = jnp.asarray(CONTENT), jnp.asarray(STYLE)
    with pytest.raises(NstjaxError, match=message):
        make_objective(SHALLOW, shallow_vgg19, content, [style] * styles, style_weights=weights)


def test_one_of_several_styles_is_too_small(shallow_vgg19):
    content, style = jnp.asarray(CONTENT), jnp.asarray(STYLE)
    with pytest.raises(NstjaxError, match="a style image of 9×1 pixels is too small"):
        make_objective(SHALLOW, shallow_vgg19, content, [style, style[:, :1, :9]])


@pytest.mark.parametrize(
    ("pixels", "batch", "message"),
    [
        (STYLE[0], True, r"shape \(8, 10, 3\) of float32: pass floats of shape \(1, H, W, 3\)"),
        (STYLE[..., :1], True, r"shape \(1, 8, 10, 1\)"),
        (np.zeros((1, 8, 8, 3), np.uint8), True, "of uint8: pass floats"),
        (255 * STYLE, True, "scale them to 0..1"),
        (STYLE * np.nan, True, "NaN"),
        (np.concatenate([STYLE, STYLE]), False, "a batch of 2: pass a list of single pictures"),
    ],
)
def test_arrays_that_are_no_pictures(pixels, batch, message):
    with pytest.raises(NstjaxError, match=f"^the picture .*{message}"):
        _check_pixels(pixels, "the picture", batch=batch)


def test_arrays_that_are_pictures():
    for pixels in (STYLE, STYLE.astype(np.float64), jnp.asarray(STYLE, jnp.bfloat16)):
        _check_pixels(pixels, "the picture")


def test_a_recipe_for_training_is_refused(shallow_vgg19):
    with pytest.raises(NstjaxError, match="nstjax is a recipe for training"):
        # Outside of the type checks that tests run with.
        unwrap(make_objective)(get_training_recipe("nstjax"), shallow_vgg19, CONTENT, STYLE)


def test_unit_input_divides_the_content_by_the_square(shallow_vgg19):
    args = shallow_vgg19, jnp.asarray(CONTENT), jnp.asarray(STYLE)
    terms = make_objective(SHALLOW, *args)(jnp.asarray(IMAGE))[1]
    small = make_objective(override(SHALLOW, unit_input=True), *args)(jnp.asarray(IMAGE))[1]
    np.testing.assert_allclose(small["content"] * 57.63**2, terms["content"], rtol=1e-4)
    np.testing.assert_allclose(small["style"] * 57.63**4, terms["style"], rtol=1e-4)
    assert small["tv"] == terms["tv"]


def test_bfloat16_is_close(shallow_vgg19):
    args = shallow_vgg19, jnp.asarray(CONTENT), jnp.asarray(STYLE)
    total, terms = make_objective(SHALLOW, *args)(jnp.asarray(IMAGE))
    recipe = override(SHALLOW, precision="bfloat16")
    rough, rough_terms = make_objective(recipe, *args)(jnp.asarray(IMAGE))
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, total, rtol=0.05)
    assert rough_terms["tv"] == terms["tv"]


def test_changing_a_number_compiles_nothing(shallow_vgg19, compilations):
    program = jax.jit(evaluate, static_argnums=0)
    image = jnp.asarray(IMAGE)
    first = program(*inputs_of(SHALLOW, shallow_vgg19), image)[0]
    changed = override(
        SHALLOW,
        content_weight=1.0,
        style_weight=1.0,
        tv_weight=0.0,
        style_layers=(("block1_conv1", 1.0), ("block2_conv1", 0.0)),
        learning_rate=5.0,
        steps=7,
        seed=3,
    )
    arguments = inputs_of(changed, shallow_vgg19)
    before = len(compilations)
    second = program(*arguments, image)[0]
    assert before > 0
    assert len(compilations) == before
    assert first != second


@pytest.mark.parametrize(
    ("content", "style", "small"),
    [((1, 9), (9, 9), "a picture of 9×1"), ((9, 9), (9, 1), "a style image of 1×9")],
)
def test_pictures_that_are_too_small(shallow_vgg19, content, style, small):
    pictures = (jnp.zeros((1, *size, 3)) for size in (content, style))
    with pytest.raises(NstjaxError, match=f"{small} pixels is too small for layer block2"):
        make_objective(SHALLOW, shallow_vgg19, *pictures)
