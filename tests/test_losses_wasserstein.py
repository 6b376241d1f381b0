"""The Wasserstein distance against SciPy's matrix root, and its gradient by finite differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs
from scipy.linalg import sqrtm

from nstjax.losses import feature_moments, gaussian, wasserstein2_loss
from nstjax.losses.comparison import GramForm, Wasserstein2Form, average

FEATURES = inputs.features("features", (1, 6, 5, 4)).astype(np.float64)
TARGET = inputs.features("wide_target", (1, 4, 7, 4)).astype(np.float64) ** 2


def distance(first, second, epsilon=1e-4):
    """By NumPy and SciPy, per channel."""
    flat = [features.reshape(-1, features.shape[-1]) for features in (first, second)]
    means = [x.mean(0) for x in flat]
    identity = np.eye(len(means[0]))
    a, b = (np.cov(x, rowvar=False, bias=True) + epsilon * identity for x in flat)
    root = sqrtm(b)
    spread = np.trace(a + b - 2 * sqrtm(root @ a @ root))
    return (((means[0] - means[1]) ** 2).sum() + spread) / len(means[0])


def loss(features, target, **options):
    moments = (feature_moments(jnp.asarray(x)) for x in (features, target))
    return wasserstein2_loss(next(moments), gaussian(next(moments), **options), **options)


def test_moments_are_numpys():
    moments = feature_moments(jnp.asarray(FEATURES, jnp.float32))
    flat = FEATURES.reshape(-1, 4)
    np.testing.assert_allclose(moments.mean[0], flat.mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.second[0], flat.T @ flat / 30, rtol=1e-6)


def test_moments_of_rows_add_up():
    whole = feature_moments(jnp.asarray(FEATURES, jnp.float32))
    parts = [
        feature_moments(jnp.asarray(rows, jnp.float32), positions=30)
        for rows in (FEATURES[:, :2], FEATURES[:, 2:])
    ]
    for found, expected in zip(jax.tree.map(jnp.add, *parts), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_bfloat16_is_summed_in_float32():
    moments = feature_moments(jnp.ones((1, 64, 65, 2), jnp.bfloat16), positions=1)
    assert moments.mean.dtype == moments.second.dtype == jnp.float32
    np.testing.assert_array_equal(moments.mean, np.full((1, 2), 64.0 * 65))  # has no bfloat16


@pytest.mark.parametrize("scale", [1.0, 100.0, 0.01])
def test_value_is_scipys(scale):
    first, second = scale * FEATURES, scale * TARGET
    expected = distance(first, second)
    with jax.enable_x64(True):
        np.testing.assert_allclose(loss(first, second, steps=30), expected, rtol=1e-10)
    rough = loss(*(np.float32(x) for x in (first, second)))
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, expected, rtol=1e-4)


def test_one_channel_by_hand():
    """Means of 2 and 5, deviations of 1 and 3: 9 + 4."""
    first, second = (np.array([[[[m - d], [m + d]]]]) for m, d in ((2.0, 1.0), (5.0, 3.0)))
    with jax.enable_x64(True):
        np.testing.assert_allclose(loss(first, second, epsilon=0.0, steps=30), 13, rtol=1e-12)


def test_no_distance_to_itself():
    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(partial(loss, steps=30))(FEATURES, FEATURES)
        assert abs(value) < 1e-12
        assert np.abs(gradient).max() < 1e-12


def test_the_gradient_is_the_finite_difference(rng):
    with jax.enable_x64(True):
        total = jax.jit(lambda features: loss(features, TARGET, steps=24))
        gradient = jax.grad(total)(jnp.asarray(FEATURES))
        for _ in range(3):
            direction = 1e-6 * rng.standard_normal(FEATURES.shape)
            slope = (total(FEATURES + direction) - total(FEATURES - direction)) / 2
            np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-6)


def test_few_positions_in_float32(rng):
    """Twenty positions of 64 channels: covariances of rank 19, all the rest is epsilon's."""
    first, second = (np.maximum(rng.standard_normal((1, 4, 5, 64)), 0) for _ in range(2))
    first, second = (np.float32(10 * x) for x in (first, second))
    value, gradient = jax.value_and_grad(loss)(first, second)
    np.testing.assert_allclose(value, distance(np.float64(first), np.float64(second)), rtol=5e-3)
    with jax.enable_x64(True):
        exact = jax.grad(loss)(np.float64(first), np.float64(second))
    largest = np.abs(exact).max()
    np.testing.assert_allclose(gradient, exact, rtol=0, atol=1e-3 * largest)


def test_a_batch_gives_the_mean_of_its_pictures(rng):
    x, targets = (jnp.asarray(rng.random((3, 6, 5, 4), dtype=np.float32)) for _ in range(2))
    for chosen in (targets, targets[:1]):
        each = [loss(x[i : i + 1], chosen[i % len(chosen)][None]) for i in range(3)]
        np.testing.assert_allclose(loss(x, chosen), np.mean(each), rtol=1e-5)


@pytest.mark.parametrize("form", [GramForm("1", "gatys"), GramForm("chw"), Wasserstein2Form()])
def test_the_mean_of_two_pictures_is_the_picture_of_both(form):
    """Side by side, one twice as wide as the other and so of twice its share."""
    narrow, wide = (jnp.asarray(TARGET[:, :, i], jnp.float32) for i in (slice(2), slice(2, 6)))
    both = jnp.concatenate([narrow, wide], axis=2)
    measures = [form.measure(x, x[0, ..., 0].size) for x in (narrow, wide, both)]
    mean = average(measures[:2], jnp.array([1 / 3, 2 / 3]))
    for found, expected in zip(jax.tree.leaves(mean), jax.tree.leaves(measures[2]), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
