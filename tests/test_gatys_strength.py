"""The strength: terms in units of the photograph's, and a style loss that is where it should be."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.errors import NstjaxError
from nstjax.gatys import loop, memory, scipy_lbfgsb, stylize
from nstjax.gatys import run as gatys_run
from nstjax.gatys.stages import Stage, stages_of
from nstjax.gatys.strength import calibrated, rounds_of, steered, units_of
from nstjax.images import resize_image
from nstjax.objective import make_objective, network_params, prepare
from nstjax.recipes import get_recipe
from nstjax.settings import OPTIMIZERS, override

CONTENT, STYLE = inputs.picture(24, 32)[:, ::-1], inputs.picture(26, 30)
RATES = {"adam": 0.02, "sgd": 3e-3, "lbfgs": 1.0, "lbfgs-b": 1.0}
TERMS = ("content", "style", "tv")


@pytest.fixture
def run(shallow_recipe, shallow_vgg19):
    def call(content=CONTENT, style=STYLE, **settings):
        recipe = settings.pop("recipe", shallow_recipe)
        return stylize(content, style, recipe=recipe, weights=shallow_vgg19, **settings)

    return call


def distance(result):
    first, last = (result.history[i]["style_raw"] for i in (0, -1))
    return last / first


def weights_in(entry):
    return [entry[name] / entry[f"{name}_raw"] for name in TERMS]


@pytest.mark.parametrize("tv_form", ["sum", "mean", "half_squared"])
def test_units_by_hand(shallow_recipe, shallow_vgg19, tv_form):
    recipe = override(shallow_recipe, tv_form=tv_form, pixel_range=255.0)
    params = network_params(recipe, shallow_vgg19)
    structure, numbers = prepare(recipe, "caffe", params, CONTENT, STYLE)
    units = units_of(structure, numbers, jnp.asarray(CONTENT))
    features = np.asarray(numbers.targets.content["block2_conv1"], np.float64)
    assert units["content"] == pytest.approx(np.square(features).mean(), rel=1e-5)
    objective = make_objective(recipe, shallow_vgg19, CONTENT, STYLE)
    assert units["style"] == pytest.approx(float(objective(CONTENT)[1]["style_raw"]), rel=1e-5)
    edges, step = 3 * (23 * 32 + 24 * 31), 0.03 * 255
    rough = {"sum": edges * step, "mean": 2 * step, "half_squared": 3 * 23 * 31 * step**2}
    assert units["tv"] == pytest.approx(rough[tv_form], rel=1e-5)


@pytest.mark.parametrize(
    ("strength", "balance", "tv_weight", "expected"),
    [
        (0.5, 1.0, 30.0, {"content": 25.0, "style": 0.5, "tv": 2.0}),
        (0.5, 3.0, 30.0, {"content": 75.0, "style": 0.5, "tv": 2.0}),
        (0.5, 1.0, 0.0, {"content": 25.0, "style": 0.5, "tv": 0.0}),
        (0.0, 1.0, 30.0, {"content": 25.0, "style": 0.0, "tv": 0.0}),
        (1.0, 0.0, 30.0, {"content": 0.0, "style": 0.5, "tv": 2.0}),
    ],
)
def test_weights_by_hand(strength, balance, tv_weight, expected):
    """A style loss of 200 at a weight of a half makes 100 the scale of the objective."""
    recipe = dataclasses.replace(
        get_recipe("tensorflow"), strength=strength, style_weight=0.5, tv_weight=tv_weight
    )
    units = {"content": 4.0, "style": 200.0, "tv": 1.0}
    assert calibrated(recipe, units, balance) == pytest.approx(expected)


def test_a_photograph_of_one_colour(run):
    """It has no total variation of its own, and little that content could be measured by."""
    grey = np.full((1, 24, 32, 3), 0.4, np.float32)
    result = run(grey, strength=0.5, steps=60, optimizer="adam")
    assert all(math.isfinite(value) for entry in result.history for value in entry.values())
    assert distance(result) < 0.5


@pytest.mark.parametrize(
    ("at", "expected"),
    [(0.1, 1.0), (0.2, 0.25), (0.05, 4.0), (1.0, 0.25), (0.0, 4.0), (0.1 * 2**0.25, 0.5**0.5)],
)
def test_the_content_weight_follows_the_distance(at, expected):
    """A half means a tenth of the photograph's; no round changes the balance by more than 4."""
    recipe = override(get_recipe("tensorflow"), strength=0.5)
    assert steered(7.0, recipe, at) == pytest.approx(7 * expected)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(60, [10] * 6), (100, [16, 17, 17, 16, 17, 17]), (14, [7, 7]), (9, [9]), (0, [0])],
)
def test_rounds(steps, expected):
    stage = Stage((24, 32), ((26, 30),), steps)
    rounds = rounds_of([stage])
    assert [one.steps for one in rounds] == expected
    assert {one._replace(steps=0) for one in rounds} == {stage._replace(steps=0)}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_strength_of_0_leaves_the_photograph(run, optimizer):
    result = run(strength=0.0, optimizer=optimizer, learning_rate=RATES[optimizer])
    np.testing.assert_allclose(result.image, run(steps=0).image, atol=1e-6)


def test_a_strength_of_1_has_no_content(run):
    entry = run(strength=1.0).history[-1]
    assert entry["content"] == 0 < entry["content_raw"]
    assert entry["style"] > 0


@pytest.mark.parametrize("strength", [0.25, 0.5])
@pytest.mark.parametrize("size", [32, 48, 64])
def test_the_distance_is_what_the_strength_means(run, size, strength):
    pictures = inputs.picture(60, 80)[:, ::-1], inputs.picture(65, 75)
    result = run(*pictures, strength=strength, size=size, steps=90, optimizer="lbfgs-b")
    assert distance(result) == pytest.approx(0.01**strength, rel=0.1)


def test_the_recipe_weights_do_not_matter(run, shallow_recipe):
    other = override(shallow_recipe, content_weight=9.0, tv_weight=7.0)
    images = [run(recipe=one, strength=0.5, steps=12).image for one in (shallow_recipe, other)]
    np.testing.assert_array_equal(*images)


def test_the_history_reports_the_weights_that_ran(run):
    """Each entry adds up to the total that the optimiser saw, with each round's own weights."""
    result = run(strength=0.5, steps=12, optimizer="lbfgs")
    for entry in result.history:
        assert entry["total"] == pytest.approx(sum(entry[name] for name in TERMS), rel=1e-5)
    first, last = (weights_in(result.history[i]) for i in (1, -1))
    assert first[1:] == pytest.approx(last[1:])
    assert first[0] != pytest.approx(last[0], rel=1e-3)
    assert [entry["step"] for entry in result.history] == list(range(13))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("white", [1.0, 255.0])
def test_the_average_goes_on_over_the_rounds_of_a_size(
    run, monkeypatch, shallow_recipe, shallow_vgg19, optimizer, white
):
    """It has each picture of the size once, and is what the weights are adjusted by."""
    states, distances, shown, decay = [], [], {}, 0.8
    program, steer = loop.run_chunk, gatys_run.steered

    def watched(*arguments):
        state, records = program(*arguments)
        states.append((np.array(state.image) / white, np.array(state.average) / white))
        return state, records

    monkeypatch.setattr(loop, "run_chunk", watched)
    monkeypatch.setattr(
        gatys_run, "steered", lambda *given: distances.append(given[2]) or steer(*given)
    )
    settings = {"strength": 0.5, "steps": 25, "schedule": ((0.75, 10.0), (1.0, 15.0))}
    settings |= {"average": decay, "optimizer": optimizer, "pixel_range": white}
    rate = RATES[optimizer] * (white if optimizer == "adam" else 1)
    result = run(
        **settings,
        learning_rate=rate,
        callback=lambda progress: shown.update({progress.step: progress.image}),
        callback_every=1,
    )
    # Rounds of five steps, which evaluate their start first: two of the first size, then three.
    assert len(states) == 5 * 6
    for number in (1, 3, 4):
        np.testing.assert_allclose(states[6 * number], states[6 * number - 1], atol=1e-6)
    pictures = [state[0] for i, state in enumerate(states[12:]) if i not in (6, 12)]
    weights = (1 - decay) * decay ** np.arange(15, -1, -1.0) / (1 - decay**16)
    np.testing.assert_allclose(result.image, np.tensordot(weights, pictures, 1), atol=2e-6)
    # From the style, of what would have been saved after each round.
    recipe = override(shallow_recipe, pixel_range=white)
    style = resize_image(STYLE, *stages_of(recipe, CONTENT.shape[1:3], STYLE.shape[1:3])[-1].style)
    params = network_params(recipe, shallow_vgg19)
    objective = prepare(recipe, "caffe", params, CONTENT, style)
    first, *others = (
        units_of(*objective, jnp.asarray(picture))["style"]
        for picture in (CONTENT, shown[15], shown[20])
    )
    assert distances[1:] == pytest.approx([other / first for other in others], rel=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "average"),
    [*((optimizer, 0.0) for optimizer in OPTIMIZERS), ("adam", 0.9), ("sgd", 0.9), ("lbfgs", 0.9)],
)
@pytest.mark.parametrize("stop", [3, 6, 8, 10])
def test_a_run_goes_on_to_the_same_bits(run, tmp_path, optimizer, average, stop):
    """Stopped within a round, at the end of one, and at the end of a size."""
    settings = {"strength": 0.5, "steps": 22, "schedule": ((0.75, 10.0), (1.0, 12.0))}
    settings |= {"optimizer": optimizer, "learning_rate": RATES[optimizer], "average": average}
    whole = run(**settings)
    kept = {"snapshot": tmp_path / "run.resume", "snapshot_every": 1e-9, "callback_every": 1}
    run(**settings, **kept, callback=lambda progress: progress.step == stop)
    resumed = run(**settings, **kept, resume=True)
    np.testing.assert_array_equal(resumed.image, whole.image)
    for one, other in zip(resumed.history, whole.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs-b"])
def test_targets_are_made_once_for_each_size(run, monkeypatch, tmp_path, optimizer):
    """Not for each round; and again for a run that goes on, or that goes on in smaller tiles."""
    made, prepared, short_of = [], gatys_run.prepare, set()
    program = scipy_lbfgsb.evaluate_picture if optimizer == "lbfgs-b" else loop.run_chunk

    def counted(recipe, preprocessing, params, content, styles, style_weights):
        made.append((recipe.tile, content.shape[1]))
        return prepared(recipe, preprocessing, params, content, styles, style_weights)

    def short_of_memory(*arguments):
        if short_of:
            short_of.clear()
            raise MemoryError
        return program(*arguments)

    monkeypatch.setattr(gatys_run, "prepare", counted)
    monkeypatch.setattr(loop, "run_chunk", short_of_memory)
    monkeypatch.setattr(scipy_lbfgsb, "evaluate_picture", short_of_memory)
    settings = {"strength": 0.5, "steps": 30, "schedule": ((0.75, 10.0), (1.0, 20.0))}
    settings |= {"optimizer": optimizer, "learning_rate": RATES[optimizer], "size": 40}
    run(**settings)
    assert made == [(None, 23), (None, 30)]
    made.clear()
    kept = {"snapshot": tmp_path / "run.resume", "snapshot_every": 1e-9, "callback_every": 1}
    run(**settings, **kept, callback=lambda progress: progress.step == 17)
    run(**settings, **kept, resume=True)
    assert made == [(None, 23), (None, 30), (None, 30)]
    made.clear()
    at = {"callback_every": 1, "callback": lambda now: now.step == 17 and short_of.add(17)}
    run(**settings, **at, tile="auto")
    assert made == [(None, 23), (None, 30), (memory.TILES[0], 30)]


def test_another_strength_compiles_nothing(run, compilations):
    settings = {"steps": 12, "optimizer": "lbfgs"}
    run(**settings, strength=0.5)
    compilations.clear()
    run(**settings, strength=0.3)
    assert not compilations


@pytest.mark.parametrize(
    ("weights", "leave_out"),
    [
        ({"content_weight": 1.0}, "--content-weight"),
        ({"style_weight": 0.0, "content_weight": 1.0}, "--content-weight and --style-weight"),
        ({"tv_weight": 1.0}, "--tv-weight"),
    ],
)
def test_weights_beside_a_strength(weights, leave_out):
    message = rf"strength is 0.5, which decides the terms' weights: leave out {leave_out}, or --st"
    with pytest.raises(NstjaxError, match=message):
        override(get_recipe("tensorflow"), strength=0.5, **weights)
    with pytest.raises(NstjaxError, match=message):  # also one after the other
        override(override(get_recipe("tensorflow"), strength=0.5), **weights)


def test_no_total_variation_beside_a_strength():
    assert override(get_recipe("tensorflow"), strength=0.5, tv_weight=0.0).tv_weight == 0
