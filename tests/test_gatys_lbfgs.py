"""L-BFGS and its line search, against optax' and on lines with known points."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize

from nstjax.gatys.lbfgs import direction, no_pairs, remember
from nstjax.gatys.line_search import MOST_EVALUATIONS, advance, begin, next_step
from nstjax.gatys.steps import first_state, rates_of, step_function
from nstjax.recipes import get_recipe
from nstjax.settings import override

RECIPE = override(get_recipe("nstjax"), history_size=4, clip=False)
BOUNDED = override(RECIPE, clip=True, pixel_range=1.0)


def rosenbrock(x):
    x = x.ravel()
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def valley(x):
    """A quadratic form whose curvatures span five orders of magnitude."""
    return jnp.sum(jnp.logspace(-2, 3, x.size).reshape(x.shape) * (x - 0.3) ** 2)


def quartic(x):
    return jnp.sum((x - 0.4) ** 4) + 0.1 * jnp.sum(jnp.abs(x) ** 1.5)


def states_of(function, start, count, recipe=RECIPE):
    """Our states, from the evaluated start on."""

    def evaluate(image):
        total, gradient = jax.value_and_grad(function)(image)
        return total, gradient, {"content": total, "style": 2 * total, "tv": 3 * total}

    # That of optax is no longer than 1, nor than the gradient, which is longer here.
    rates = rates_of(recipe)._replace(first_change=1 / jnp.sqrt(1.0 * start.size))
    step = jax.jit(step_function("lbfgs", evaluate, rates))
    state = first_state(recipe, start, rates_of(recipe))
    zero = jnp.zeros((), start.dtype)
    state = state._replace(total=zero, terms=dict.fromkeys(state.terms, zero))
    states = []
    for _ in range(count + 1):
        state = step(state)
        states.append(state)
    return states


def optax_states_of(function, start, count):
    """Pictures, values and the number of evaluations of `optax.lbfgs` with the same settings."""
    search = optax.scale_by_zoom_linesearch(
        max_linesearch_steps=MOST_EVALUATIONS, initial_guess_strategy="one"
    )
    solver = optax.lbfgs(memory_size=RECIPE.history_size, linesearch=search)

    @jax.jit
    def step(x, state):
        value, gradient = jax.value_and_grad(function)(x)
        updates, state = solver.update(
            gradient, state, x, value=value, grad=gradient, value_fn=function
        )
        return optax.apply_updates(x, updates), state

    x, state, evaluations = start, solver.init(start), 1
    found = [(x, function(x), evaluations)]
    for _ in range(count):
        x, state = step(x, state)
        evaluations += int(state[-1].info.num_linesearch_steps)
        found.append((x, function(x), evaluations))
    return found


@pytest.mark.parametrize(("function", "count"), [(rosenbrock, 25), (valley, 25), (quartic, 12)])
def test_the_steps_are_those_of_optax(function, count):
    with jax.enable_x64(True):
        start = jnp.asarray(np.random.default_rng(0).uniform(0, 1, (1, 3, 4, 3)))
        found, expected = states_of(function, start, count), optax_states_of(function, start, count)
        evaluations = 0
        for state, (x, value, evaluations) in zip(found, expected, strict=True):
            np.testing.assert_allclose(state.image, x, rtol=1e-6, atol=1e-9)
            np.testing.assert_allclose(state.total, value, rtol=1e-6)
            np.testing.assert_allclose(state.terms["tv"], 3 * value, rtol=1e-6)
            np.testing.assert_allclose(
                state.gradient, jax.grad(function)(state.image), rtol=1e-9, atol=1e-12
            )
            assert state.evaluations == evaluations
        assert evaluations > count + 2  # that some searches went on
        assert found[-1].total < 0.2 * found[0].total


def test_the_direction_is_that_of_the_dense_update():
    """Of BFGS' update of the inverse Hessian, written out; the oldest pairs are forgotten."""
    rng = np.random.default_rng(1)
    hessian = np.cov(rng.normal(size=(12, 40)))
    pairs = no_pairs(3, jnp.zeros((1, 2, 2, 3)))
    steps = rng.normal(size=(5, 12))
    for step in steps:
        changed = jnp.float32(hessian @ step).reshape(1, 2, 2, 3)
        pairs = remember(pairs, jnp.float32(step).reshape(1, 2, 2, 3), changed, jnp.bool_(True))
    last = hessian @ steps[-1]
    inverse = np.eye(12) * (steps[-1] @ last) / (last @ last)
    for step in steps[2:]:
        change, weight = hessian @ step, 1 / (step @ hessian @ step)
        keep = np.eye(12) - weight * np.outer(change, step)
        inverse = keep.T @ inverse @ keep + weight * np.outer(step, step)
    gradient = rng.normal(size=12)
    found = direction(pairs, jnp.float32(gradient).reshape(1, 2, 2, 3), jnp.float32(1))
    np.testing.assert_allclose(np.ravel(found), -inverse @ gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("slope", [-1.0, 0.0, np.inf, np.nan])
@pytest.mark.parametrize("good", [False, True])
def test_a_pair_that_says_nothing(size, slope, good):
    """Where the gradient falls along a step, as at a hilltop, or does not change."""
    picture, first, falls = jnp.ones((1, 2, 2, 3)), jnp.float32(0.1), jnp.bool_(True)
    gradient = jnp.arange(12.0).reshape(picture.shape)
    fresh = no_pairs(size, picture)
    pairs = fresh
    for change in (3 * picture, 2 * picture + gradient):
        pairs = remember(pairs, picture, change, falls)
    assert not np.allclose(direction(pairs, gradient, first), direction(fresh, gradient, first))
    after = remember(pairs, picture, slope * picture, jnp.bool_(good))
    expected = pairs if good and np.isfinite(slope) else fresh  # all as before, or afresh
    for _ in range(2):
        np.testing.assert_array_equal(
            direction(after, gradient, first), direction(expected, gradient, first)
        )
        after, expected = (
            remember(some, picture, 4 * picture, falls) for some in (after, expected)
        )


def box(rng, target):
    """A quadratic form with a dense matrix, whose least value lies out of the box in places."""
    matrix = np.cov(rng.normal(size=(target.size, 3 * target.size))) + 0.01 * np.eye(target.size)

    def function(x):
        away = x.ravel() - target
        return away @ (matrix @ away)

    return function


@pytest.mark.parametrize("case", ["quadratic", "rosenbrock"])
def test_within_bounds_it_finds_what_scipy_finds(case):
    rng = np.random.default_rng(3)
    function = box(rng, rng.uniform(-0.5, 1.5, 36)) if case == "quadratic" else rosenbrock
    scale, shift = (1.0, 0.0) if case == "quadratic" else (0.6, 0.1)  # the least is at 1
    with jax.enable_x64(True):
        start = jnp.asarray(rng.uniform(0, 1, (1, 3, 4, 3)))

        def bounded(x):
            return function(scale * x + shift)

        states = states_of(bounded, start, 120, BOUNDED)
        best = minimize(
            lambda flat: tuple(map(np.asarray, jax.value_and_grad(bounded)(flat))),
            np.ravel(start),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1)] * start.size,
            options={"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-10},
        )
        held = np.sum((best.x == 0) | (best.x == 1))
        assert (2 if case == "quadratic" else 0) < held < start.size
        np.testing.assert_allclose(np.ravel(states[-1].image), best.x, atol=1e-5)
        for before, after in pairwise(states):
            assert after.total <= before.total * (1 + 1e-6)
            assert 0 <= after.image.min() <= after.image.max() <= 1


def test_a_start_beyond_the_bounds_is_brought_to_them():
    start = jnp.linspace(-1.0, 2.0, 12).reshape(1, 2, 2, 3)
    first, *_ = states_of(lambda x: jnp.sum(x**2), start, 0, BOUNDED)
    np.testing.assert_array_equal(first.image, np.clip(start, 0, 1))
    assert first.opt_state.made == 0  # it was no step
    np.testing.assert_allclose(first.total, np.sum(np.clip(start, 0, 1) ** 2), rtol=1e-6)


@pytest.mark.parametrize("steepness", [1e-6, 1.0, 1e6])
def test_the_first_step_changes_pixels_by_as_much_as_it_is_told(steepness):
    gradient = jnp.float32(steepness * np.random.default_rng(2).normal(size=(1, 2, 2, 3)))
    found = direction(no_pairs(2, gradient), gradient, jnp.float32(0.5))
    assert float(jnp.sqrt(jnp.mean(found**2))) == pytest.approx(0.5)
    np.testing.assert_allclose(
        found / found[0, 0, 0, 0], gradient / gradient[0, 0, 0, 0], rtol=1e-4
    )
    assert float(jnp.vdot(found, gradient)) < 0


def test_where_there_is_no_gradient_there_is_no_step():
    gradient = jnp.zeros((1, 2, 2, 3))
    assert not np.any(direction(no_pairs(2, gradient), gradient, jnp.float32(0.5)))


def search_on(line, slope):
    """The points that a search looks at, and the search at its end."""
    search, points = begin(jnp.float32(line(0.0)), jnp.float32(slope(0.0))), []
    while not search.done:
        step = float(next_step(search))
        points.append(step)
        search = advance(search, jnp.float32(line(step)), jnp.float32(slope(step)))
        assert len(points) <= MOST_EVALUATIONS + 1
    return points, search


def test_a_good_first_step_is_taken():
    points, search = search_on(lambda t: (t - 1.2) ** 2, lambda t: 2 * (t - 1.2))
    assert points == [1.0]
    assert int(search.evaluations) == 1


def test_the_step_grows_until_the_slope_flattens():
    points, _ = search_on(lambda t: (t - 12) ** 2, lambda t: 2 * (t - 12))
    assert points == [1.0, 2.0]  # where it has fallen to a tenth less than at the start


def test_a_parabola_s_minimum_is_found_at_once():
    points, _ = search_on(lambda t: (t - 0.2) ** 2, lambda t: 2 * (t - 0.2))
    np.testing.assert_allclose(points, [1.0, 0.2], rtol=1e-5)


def test_a_step_out_of_the_domain_is_taken_back():
    """Beyond 0.1 there is no value: half the interval, again and again."""
    points, search = search_on(
        lambda t: -t if t < 0.1 else np.nan, lambda t: -1.0 if t < 0.1 else np.nan
    )
    assert points[:5] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    # The slope flattens nowhere: of those with a value the lowest is taken, evaluated once more.
    assert float(search.last.step) == float(search.best.step) == points[-1] < 0.1
    assert points[-1] > 0.0999
    assert points[-1] in points[:-1]


def test_no_value_anywhere_ends_at_the_start():
    points, search = search_on(lambda t: 0.0 if t == 0 else np.inf, lambda t: -1.0)
    assert len(points) == MOST_EVALUATIONS + 1
    assert points[-1] == float(search.last.step) == 0


def test_a_line_without_descent_ends_nearby():
    """As optax' does, with the last point, which has a value."""
    points, search = search_on(lambda t: t, lambda t: 1.0)
    assert len(points) == MOST_EVALUATIONS
    assert 0 < float(search.last.step) < 1e-4
