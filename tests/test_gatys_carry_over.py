"""Adam's moments on their way to another size."""

from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden import inputs

from nstjax.gatys.carry_over import NOTHING, cubic, interpolate, linear, resize_adam_state
from nstjax.gatys.chunk import evaluate_picture
from nstjax.gatys.history import Recorder
from nstjax.gatys.loop import optimize
from nstjax.gatys.memory import Tiling
from nstjax.gatys.stages import Stage
from nstjax.gatys.steps import rates_of
from nstjax.objective import prepare
from nstjax.settings import override

# PyTorch 2.13, float64: torch.nn.functional.interpolate(x, size, mode=…), to six digits.
X = [[0, 1, -2, 4, 3], [2, -1, 0.5, 0, 1], [1, 1, 3, -2, 0]]
BICUBIC = [
    [-0.244872, 0.951963, 0.124712, -2.179443, 2.560623, 4.485722, 3.053537],
    [1.537793, 0.31221, -0.854217, -0.675537, 1.018363, 1.977513, 1.843904],
    [2.045022, 0.262858, -0.059102, 1.675537, -0.489615, -0.794424, 0.544301],
    [0.911272, 0.839474, 1.937047, 3.179443, -0.876563, -1.832453, 0.091307],
]
BICUBIC_SMALLER = [[0.595595, -1.521484, 3.025571], [0.925022, 2.521484, -0.658022]]
BILINEAR = [
    [0.0, 0.571429, 0.142857, -2.0, 2.285714, 3.571429, 3.0],
    [1.25, 0.392857, -0.303571, -0.4375, 0.946429, 1.607143, 1.75],
    [1.625, 0.553571, 0.232143, 1.4375, -0.125, -0.160714, 0.625],
    [1.0, 1.0, 1.571429, 3.0, -0.571429, -1.142857, 0.0],
]
BILINEAR_SMALLER = [[0.5, -1.375, 2.666667], [1.0, 2.375, -0.333333]]


def run_on(recipe, objective, start, steps, *, begun=0, **options):
    """Optimises one size, in the recipe's tile."""
    shape = start.shape[1:3]
    tiling = Tiling(recipe, [Stage(shape, (shape,), steps)])
    recorder = Recorder(recipe, steps, None)
    options |= {"steps": steps, "rates": rates_of(recipe, begun=begun), "recorder": recorder}
    return optimize(tiling, lambda: objective, start, **options)


def three_channels(values):
    """Different ones, so that none can be taken for another."""
    return np.stack([values, np.negative(values), np.multiply(values, 10)], 2)[None].astype(
        np.float32
    )


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [(cubic, BICUBIC), (cubic, BICUBIC_SMALLER), (linear, BILINEAR), (linear, BILINEAR_SMALLER)],
)
def test_interpolation_is_pytorchs(kernel, expected):
    found = interpolate(three_channels(X), len(expected), len(expected[0]), kernel)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, three_channels(expected), atol=2e-5)


def test_second_moments_stay_positive_and_the_count_is_kept():
    adam = optax.ScaleByAdamState(
        count=jnp.int32(7), mu=jnp.asarray(three_channels(X)), nu=jnp.asarray(three_channels(X))
    )
    carried, rest = cast(Any, resize_adam_state((adam, optax.ScaleState()), 4, 7))
    assert carried.count == 7
    np.testing.assert_allclose(carried.mu, three_channels(BICUBIC), atol=2e-5)
    np.testing.assert_allclose(carried.nu, np.maximum(three_channels(BILINEAR), 0), atol=2e-5)
    assert rest == optax.ScaleState()


@pytest.mark.parametrize("inside", [True, False], ids=["keras", "optax"])
def test_adams_first_step_at_the_next_size(shallow_recipe, shallow_vgg19, inside):
    """The bias corrections, the decaying rate, and the moments go on where they were."""
    rates = {"learning_rate": 0.02, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-3}
    decay = {"decay_rate": 0.5, "decay_steps": 2}
    recipe = override(shallow_recipe, epsilon_inside=inside, **rates, **decay)
    small, large = inputs.picture(16, 24), inputs.picture(24, 32)
    before = carried = NOTHING
    start = image = None
    objective = cast(Any, None)
    for picture, steps, begun in ((small, 3, 0), (large, 1, 3)):
        start = 0.8 * jnp.asarray(picture) + 0.1
        before = carried
        objective = prepare(
            recipe, "caffe", shallow_vgg19.params, picture[:, ::-1], inputs.picture(20, 28)
        )
        image, carried = run_on(recipe, objective, start, steps, carried=before, begun=begun)
    adam, *_ = cast(Any, before.opt_state)
    assert adam.count == 3
    gradient = np.float64(evaluate_picture(*objective, start)[1])
    m = 0.9 * np.float64(interpolate(np.asarray(adam.mu), 24, 32, cubic)) + 0.1 * gradient
    v = np.maximum(np.float64(interpolate(np.asarray(adam.nu), 24, 32, linear)), 0)
    v = 0.99 * v + 0.01 * gradient**2
    m = m / (1 - 0.9**4)
    if inside:
        scaled = m * np.sqrt(1 - 0.99**4) / (np.sqrt(v) + 1e-3)
    else:
        scaled = m / (np.sqrt(v / (1 - 0.99**4)) + 1e-3)
    expected = np.clip(np.float64(start) - 0.02 * 0.5 ** (3 / 2) * scaled, 0, 1)
    np.testing.assert_allclose(image, expected, atol=2e-6)
    # A fresh Adam's would be somewhere else.
    fresh, _ = run_on(recipe, objective, start, 1)
    assert np.abs(np.asarray(fresh) - expected).max() > 1e-3


def test_others_start_afresh(shallow_recipe, shallow_vgg19):
    for optimizer in ("sgd", "lbfgs", "lbfgs-b"):
        recipe = override(shallow_recipe, optimizer=optimizer, learning_rate=1e-3)
        objective = prepare(
            recipe, "caffe", shallow_vgg19.params, inputs.picture(24, 32), inputs.picture(20, 28)
        )
        assert run_on(recipe, objective, jnp.asarray(inputs.picture(24, 32)), 1)[1] == NOTHING
