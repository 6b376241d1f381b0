"""The losses: cases worked out by hand, and values and gradients made by PyTorch in float64."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.errors import NstjaxError
from nstjax.losses import TV_FORMS, content_loss, gram_matrix, style_loss, total_variation

GOLDEN = json.loads((Path(__file__).parent / "golden" / "recipe_terms.json").read_text())


def golden_arrays(names):
    made = [
        inputs.picture(*GOLDEN["inputs"][name][1:3])
        if name == "picture"
        else inputs.features(name, tuple(GOLDEN["inputs"][name]))
        for name in names
    ]
    return [jnp.asarray(array) for array in made]


def style_of(divisor, **options):
    def loss(features, target):
        grams = (gram_matrix(array, divisor=divisor) for array in (features, target))
        return style_loss(*grams, **options)

    return loss


GOLDEN_FUNCTIONS = {
    "gram_1": lambda x: gram_matrix(x, divisor="1")[0],
    "gram_hw": lambda x: gram_matrix(x, divisor="hw")[0],
    "gram_chw": lambda x: gram_matrix(x, divisor="chw")[0],
    "content_mean": partial(content_loss, reduction="mean"),
    "content_sum": partial(content_loss, reduction="sum"),
    "content_half_sum": partial(content_loss, reduction="half_sum"),
    "style_mean_1": style_of("1"),
    "style_mean_hw": style_of("hw"),
    "style_mean_chw": style_of("chw"),
    "style_gatys": style_of("1", reduction="gatys", positions=30),
    "tv_sum_abs": partial(total_variation, form="sum"),
    "tv_mean_abs": partial(total_variation, form="mean"),
    "tv_mean_squares": partial(total_variation, form="mean_squared"),
    "tv_half_sum_squares": partial(total_variation, form="half_squared"),
    "tv_keras_io": partial(total_variation, form="power"),
}


@pytest.mark.parametrize("name", GOLDEN["entries"])
def test_golden_values_and_gradients(name):
    entry = GOLDEN["entries"][name]
    first, *others = golden_arrays(entry["arguments"])
    function = GOLDEN_FUNCTIONS[name]
    np.testing.assert_allclose(function(first, *others), entry["value"], rtol=2e-6)
    gradient = jax.grad(lambda x: function(x, *others).sum())(first)
    expected = np.array(entry["gradient"])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("divisor", "value"), [("1", 12.0), ("hw", 1.0), ("chw", 0.2)])
def test_gram_of_ones(divisor, value):
    gram = gram_matrix(jnp.ones((2, 3, 4, 5)), divisor=divisor)
    np.testing.assert_allclose(gram, np.full((2, 5, 5), value), rtol=1e-6)


def test_gram_by_hand():
    features = jnp.array([[[1.0, 2.0], [3.0, -1.0]]])[None]  # two positions, two channels
    expected = [[[1 + 9, 2 - 3], [2 - 3, 4 + 1]]]
    np.testing.assert_array_equal(gram_matrix(features, divisor="1"), expected)


@pytest.mark.parametrize(("reduction", "value"), [("mean", 4.0), ("sum", 96.0), ("half_sum", 48.0)])
def test_content_by_hand(reduction, value):
    features, target = jnp.full((1, 2, 3, 4), 3.0), jnp.full((1, 2, 3, 4), 1.0)
    assert content_loss(features, target, reduction=reduction) == value


@pytest.mark.parametrize(
    ("reduction", "positions", "value"),
    [("mean", None, 9.0), ("gatys", 5, 36 / (4 * 4 * 25)), ("keras", 5, 36 / (4 * 9 * 25))],
)
def test_style_by_hand(reduction, positions, value):
    gram, target = jnp.full((1, 2, 2), 4.0), jnp.full((1, 2, 2), 1.0)
    loss = style_loss(gram, target, reduction=reduction, positions=positions)
    np.testing.assert_allclose(loss, value, rtol=1e-6)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("sum", 4 * 3 + 3 * 4),  # every neighbour differs by 1: 3·4 pairs each way
        ("mean", 2.0),
        ("mean_squared", 2.0),
        ("half_squared", 0.5 * 3 * 3 * 2),
        ("power", 3 * 3 * 2**1.25),
    ],
)
def test_total_variation_of_a_checkerboard(form, value):
    board = jnp.asarray(np.indices((4, 4)).sum(axis=0) % 2, jnp.float32)[None, :, :, None]
    np.testing.assert_allclose(total_variation(board, form=form), value, rtol=1e-6)
    np.testing.assert_allclose(
        total_variation(jnp.tile(board, (1, 1, 1, 3)), form=form),
        value if form.startswith("mean") else 3 * value,
        rtol=1e-6,
    )


def test_nine_points_by_hand():
    """One pixel of three by three, in the middle and in a corner."""
    middle, corner = (jnp.zeros((1, 3, 3, 1)).at[0, i, i].set(1.0) for i in (1, 0))
    # Two of nine differences each way, two of sixteen along each diagonal.
    expected = 2 / 3 * (2 / 9 + 2 / 9) + 1 / 6 * (2 / 16 + 2 / 16)
    np.testing.assert_allclose(total_variation(middle, form="nine_point"), expected, rtol=1e-6)
    # With the border the corner is a square of four pixels: three differences along the diagonal
    # that leaves it, two along the other.
    expected = 2 / 3 * (1 / 9 + 1 / 9) + 1 / 6 * (3 / 16 + 2 / 16)
    np.testing.assert_allclose(total_variation(corner, form="nine_point"), expected, rtol=1e-6)


@pytest.mark.parametrize("form", TV_FORMS)
def test_total_variation_of_one_colour(form):
    flat = jnp.full((1, 5, 6, 3), 0.3)
    value, gradient = jax.value_and_grad(partial(total_variation, form=form))(flat)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros(flat.shape))


@pytest.mark.parametrize("shape", [(1, 1, 5, 3), (1, 5, 1, 3), (1, 1, 1, 3)])
@pytest.mark.parametrize("form", ["sum", "half_squared", "power"])
def test_total_variation_of_a_line(rng, shape, form):
    pixels = rng.random(shape, dtype=np.float32)
    expected = np.abs(np.diff(pixels, axis=1)).sum() + np.abs(np.diff(pixels, axis=2)).sum()
    value = total_variation(jnp.asarray(pixels), form=form)
    np.testing.assert_allclose(value, expected if form == "sum" else 0, rtol=1e-6)


def test_power_has_no_gradient_between_equal_neighbours():
    image = jnp.zeros((1, 4, 4, 1)).at[0, 0, 0, 0].set(1.0)
    gradient = jax.grad(partial(total_variation, form="power"))(image)
    assert np.isfinite(gradient).all()
    # d/dx (2 x²)^1.25 at x = 1
    np.testing.assert_allclose(gradient[0, 0, 0, 0], 2.5 * 2**1.25, rtol=1e-6)


def test_bfloat16_accumulates_in_float32():
    ones = jnp.ones((1, 64, 64, 2), jnp.bfloat16)  # 4096 + 1 has no bfloat16
    np.testing.assert_array_equal(gram_matrix(ones, divisor="1"), np.full((1, 2, 2), 4096.0))
    ramp = jnp.asarray(np.arange(4096).reshape(1, 64, 64, 1) / 64, jnp.bfloat16)
    exact = np.asarray(ramp, np.float64)
    gram = gram_matrix(ramp, divisor="1")
    loss = content_loss(ramp, jnp.zeros_like(ramp), reduction="sum")
    roughness = total_variation(ramp)
    assert gram.dtype == loss.dtype == roughness.dtype == jnp.float32
    np.testing.assert_allclose(gram[0, 0, 0], (exact**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(loss, (exact**2).sum(), rtol=1e-5)
    expected = np.abs(np.diff(exact, axis=1)).sum() + np.abs(np.diff(exact, axis=2)).sum()
    np.testing.assert_allclose(roughness, expected, rtol=1e-5)


def test_float64_stays_float64(rng):
    with jax.enable_x64(True):
        x = jnp.asarray(rng.random((1, 4, 4, 2)))
        assert gram_matrix(x).dtype == jnp.float64
        assert content_loss(x, 2 * x).dtype == jnp.float64
        assert total_variation(x).dtype == jnp.float64


BATCHED = {
    "content": [partial(content_loss, reduction=r) for r in ("mean", "sum", "half_sum")],
    "style": [
        style_of(divisor, reduction=r, positions=30)
        for divisor in ("1", "hw", "chw")
        for r in ("mean", "gatys", "keras")
    ],
    "tv": [lambda x, _, form=form: total_variation(x, form=form) for form in TV_FORMS],
}


@pytest.mark.parametrize("kind", BATCHED)
def test_a_batch_gives_the_mean_of_its_pictures(rng, kind):
    x, target = (jnp.asarray(rng.random((3, 6, 5, 4), dtype=np.float32)) for _ in range(2))
    for loss in BATCHED[kind]:
        each = [loss(x[i : i + 1], target[i : i + 1]) for i in range(3)]
        np.testing.assert_allclose(loss(x, target), np.mean(each), rtol=1e-5)


def test_one_style_serves_a_batch(rng):
    grams = jnp.asarray(rng.random((3, 4, 4), dtype=np.float32))
    repeated = style_loss(grams, jnp.tile(grams[:1], (3, 1, 1)))
    np.testing.assert_allclose(style_loss(grams, grams[:1]), repeated, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: gram_matrix(x, divisor="wh"),
            r"unknown Gram divisor 'wh': did you mean 'hw'\? \(accepted: 1, hw, chw\)",
        ),
        (
            lambda x: content_loss(x, x, reduction="halfsum"),
            r"unknown content reduction 'halfsum': did you mean 'half_sum'\?",
        ),
        (
            lambda x: style_loss(x[0], x[0], reduction="gaty"),
            r"unknown style reduction 'gaty': did you mean 'gatys'\?",
        ),
        (
            lambda x: total_variation(x, form="squared"),
            "unknown total variation form 'squared': did you mean",
        ),
        (
            lambda x: style_loss(x[0], x[0], reduction="gatys"),
            "divides by positions: pass positions",
        ),
    ],
)
def test_errors_for_people(call, message):
    with pytest.raises(NstjaxError, match=message):
        call(jnp.ones((1, 2, 2, 2)))
