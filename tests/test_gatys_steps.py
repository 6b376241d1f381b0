"""Each optimiser's step, against its update written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.gatys.chunk import evaluate_picture, run_chunk
from nstjax.gatys.steps import first_state, rates_of
from nstjax.gatys.stylize import stylize
from nstjax.settings import override
from nstjax.structure import TERMS, Inputs, Targets, structure_of, weights_of
from nstjax.targets import content_targets, style_targets

IMAGE, CONTENT, STYLE = (
    inputs.picture(24, 32),
    inputs.picture(24, 32)[:, ::-1],
    inputs.picture(20, 28),
)


def problem(recipe, weights):
    structure = structure_of(recipe, weights.preprocessing)
    targets = Targets(
        content_targets(structure, weights.params, jnp.asarray(CONTENT)),
        style_targets(structure, weights.params, jnp.asarray(STYLE)),
    )
    return structure, Inputs(weights.params, targets, weights_of(recipe))


def states_of(recipe, weights, count, **plan):
    """The state after each step, the evaluated start first, as NumPy arrays."""
    structure, numbers = problem(recipe, weights)
    rates = rates_of(recipe, **plan)
    state = first_state(recipe, jnp.asarray(IMAGE) * recipe.pixel_range, rates)
    states = []
    for _ in range(count + 1):
        state, records = run_chunk(structure, recipe.optimizer, numbers, rates, state, jnp.int32(1))
        states.append(jax.tree.map(lambda leaf: np.array(leaf, np.float64), state))
        assert float(records.total[0]) == float(state.total)
    return states


@pytest.mark.parametrize("inside", [True, False], ids=["keras", "optax"])
@pytest.mark.parametrize("white", [1.0, 255.0])
def test_adam(shallow_recipe, shallow_vgg19, inside, white):
    rate, beta1, beta2, epsilon = 0.3 * white, 0.9, 0.99, 0.3 / white
    recipe = override(
        shallow_recipe,
        learning_rate=rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        epsilon_inside=inside,
        pixel_range=white,
    )
    states = states_of(recipe, shallow_vgg19, 3)
    x, m, v = np.float64(IMAGE) * white, 0.0, 0.0
    np.testing.assert_allclose(states[0].image, x, rtol=1e-6)
    for t in (1, 2, 3):
        gradient = states[t - 1].gradient
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        if inside:  # Kingma and Ba's epsilon hat
            scale = np.sqrt(1 - beta2**t) / (1 - beta1**t)
            x = x - rate * scale * m / (np.sqrt(v) + epsilon)
        else:
            x = x - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)
        x = np.clip(x, 0, white)
        np.testing.assert_allclose(states[t].image, x, atol=2e-5 * white)
    assert (x == 0).any()  # that the clipping mattered


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("white", [1.0, 255.0])
def test_the_average(shallow_recipe, shallow_vgg19, optimizer, white):
    """Adam's bias-corrected moving average, of all pictures from the start on."""
    decay = 0.8
    settings = {"optimizer": optimizer, "average": decay, "pixel_range": white}
    recipe = override(shallow_recipe, learning_rate=0.02 * white, **settings)
    states = states_of(recipe, shallow_vgg19, 4)
    for count in range(1, 6):
        weights = (1 - decay) * decay ** np.arange(count - 1, -1, -1.0)
        pictures = np.stack([state.image for state in states[:count]])
        expected = np.tensordot(weights, pictures, 1) / (1 - decay**count)
        np.testing.assert_allclose(states[count - 1].average, expected, atol=1e-6 * white)
    assert np.abs(states[4].average - states[4].image).max() > 1e-3 * white
    plain = states_of(override(recipe, average=0.0), shallow_vgg19, 4)
    np.testing.assert_array_equal(plain[4].image, states[4].image)  # it only watches
    assert plain[4].average is None


def test_the_two_epsilons_differ(shallow_recipe, shallow_vgg19):
    """At the tutorial's 0.1 the first step is nearly a sign one way, and far from it the other."""
    images = [
        states_of(override(shallow_recipe, epsilon_inside=inside, tv_weight=0.0), shallow_vgg19, 1)[
            1
        ]
        for inside in (True, False)
    ]
    assert np.abs(images[0].image - images[1].image).max() > 1e-3


def test_sgd_with_decay(shallow_recipe, shallow_vgg19):
    recipe = override(
        shallow_recipe,
        optimizer="sgd",
        learning_rate=0.05,
        decay_rate=0.5,
        decay_steps=2,
        clip=False,
    )
    states = states_of(recipe, shallow_vgg19, 4)
    x = np.float64(IMAGE)
    for t in range(4):
        x = x - 0.05 * 0.5 ** (t / 2) * states[t].gradient  # continuous, not in stairs
        np.testing.assert_allclose(states[t + 1].image, x, atol=1e-5)
    assert x.min() < 0


@pytest.mark.parametrize("begun", [0, 2])
def test_sgd_with_cosine_decay(shallow_recipe, shallow_vgg19, begun):
    """From the whole rate to none after the run's last step, of which some are another size's."""
    recipe = override(
        shallow_recipe, optimizer="sgd", learning_rate=0.05, decay="cosine", steps=9, clip=False
    )
    states = states_of(recipe, shallow_vgg19, 5 - begun, begun=begun, steps=4)
    x = np.float64(IMAGE)
    for t, share in enumerate([1, 0.853553, 0.5, 0.146447, 0][begun:]):
        x = x - 0.05 * share * states[t].gradient
        np.testing.assert_allclose(states[t + 1].image, x, atol=1e-5)


def test_the_cosine_falls_over_all_sizes(monkeypatch, shallow_recipe, shallow_vgg19):
    """With their planned steps, also after a size that ended early."""
    found = []

    def watched(*arguments):
        rates = arguments[3]
        found.append((int(rates.begun), int(rates.cosine_steps)))
        return run_chunk(*arguments)

    monkeypatch.setattr("nstjax.gatys.loop.run_chunk", watched)
    recipe = override(
        shallow_recipe, optimizer="sgd", decay="cosine", learning_rate=1e-3, size=32, min_size=16
    )
    settings = {"steps": 12, "initial_steps": 30, "tolerance": 0.999}
    result = stylize(IMAGE, IMAGE, recipe=recipe, weights=shallow_vgg19, upscale=True, **settings)
    assert result.settings["steps_done"] < 54
    assert list(dict.fromkeys(found)) == [(0, 54), (30, 54), (42, 54)]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
def test_what_a_state_says_of_its_picture(shallow_recipe, shallow_vgg19, optimizer):
    """Total, terms and gradient are of the picture beside them; the gradient's unit is its own."""
    recipe = override(shallow_recipe, optimizer=optimizer, pixel_range=255.0, learning_rate=1e-3)
    structure, numbers = problem(recipe, shallow_vgg19)
    for step, state in enumerate(states_of(recipe, shallow_vgg19, 2)):
        picture = jnp.asarray(state.image / 255, jnp.float32)
        total, gradient, terms = evaluate_picture(structure, numbers, picture)
        np.testing.assert_allclose(state.total, total, rtol=1e-5)
        np.testing.assert_allclose(
            state.gradient, gradient / 255, atol=1e-4 * np.abs(state.gradient).max()
        )
        for name in TERMS:
            np.testing.assert_allclose(state.terms[name], terms[name], rtol=1e-4, atol=1e-6)
        assert state.step == step
        assert state.evaluations >= step + 1


def test_lbfgs_solves_a_quadratic(shallow_recipe, shallow_vgg19):
    """The mean squared differences alone: a quadratic form, 0 where the picture is flat."""
    recipe = override(
        shallow_recipe,
        optimizer="lbfgs",
        content_weight=0.0,
        style_weight=0.0,
        tv_weight=1.0,
        tv_form="mean_squared",
    )
    totals = [float(state.total) for state in states_of(recipe, shallow_vgg19, 25)]
    assert np.all(np.diff(totals) <= 1e-7)
    assert totals[-1] < 1e-2 * totals[0]


def test_a_chunk_stops_at_a_total_that_is_not_finite(shallow_recipe, shallow_vgg19):
    recipe = override(shallow_recipe, optimizer="sgd", learning_rate=1e30, clip=False)
    structure, numbers = problem(recipe, shallow_vgg19)
    rates = rates_of(recipe)
    state = first_state(recipe, jnp.asarray(IMAGE), rates)
    state, records = run_chunk(structure, "sgd", numbers, rates, state, jnp.int32(9))
    assert np.isfinite(records.total[0])
    assert not np.isfinite(records.total[1])
    assert not np.any(records.total[2:])
    assert state.step == 1
    np.testing.assert_array_equal(state.image, IMAGE)
