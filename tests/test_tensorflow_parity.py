"""The `tensorflow` recipe step by step against TensorFlow's own run of its tutorial.

The golden file holds the losses of 1000 steps in TensorFlow and Keras, from the same arrays and
weights, and the first 100 totals again in float64. There both programs agree to 1e-15, so that they
are one arithmetic; in float32 rounding alone moves either by tenths of a percent.
"""

import hashlib
import importlib
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.record import floats, load_resized

from nstjax.gatys import stylize
from nstjax.gatys.steps import first_state, rates_of, step_function
from nstjax.objective import evaluate_with_gradient, prepare
from nstjax.recipes import get_recipe
from nstjax.structure import TERMS as RAW_TERMS

GOLDEN = json.loads((Path(__file__).parent / "golden" / "tensorflow_recipe.json").read_text())
TERMS = ("total", "content", "style", "tv")


def load_pair(side, weights):
    """The pictures of a golden run, if they and the weights are what it was made from."""
    if weights.sha256 != GOLDEN["weights_sha256"]:
        pytest.skip("vgg19_notop.h5 is not the file that the golden run was made with")
    pictures = {}
    for role in ("content", "style"):
        expected = GOLDEN["runs"][side][role]
        pixels = load_resized(expected["file"], int(side))
        if hashlib.sha256(pixels.tobytes()).hexdigest() != expected["sha256"]:
            pytest.skip(f"{expected['file']} decodes to other values than in the golden run")
        pictures[role] = (pixels / 255.0).astype(np.float32)
    return pictures


def run(side, steps, weights):
    """Runs the recipe; returns each loss as an array of `steps + 1`, and the picture."""
    pictures = load_pair(side, weights)
    result = stylize(**pictures, recipe="tensorflow", weights=weights, size=int(side), steps=steps)
    assert result.image.shape[1:] == pictures["content"].shape
    assert not result.stopped
    return {name: np.array([entry[name] for entry in result.history]) for name in TERMS}, result


def deviations(side, losses, steps):
    """The relative differences of the totals from the golden ones, steps 0 to `steps`."""
    expected = np.array(GOLDEN["runs"][side]["losses"]["total"][: steps + 1])
    found = np.abs(losses["total"][: steps + 1] / expected - 1)
    worst = int(found.argmax())
    print(f"\n{side}: worst of steps 0 to {steps}: {found[worst]:.3%} at {worst}")
    return found


def check_start(side, losses):
    """The first steps, before rounding has grown: here a wrong gradient shows."""
    for name in ("style", "tv"):
        expected = GOLDEN["runs"][side]["losses"][name][0]
        np.testing.assert_allclose(losses[name][0], expected, rtol=1e-4)
    assert losses["content"][0] < 1e-3  # the target comes from another compiled program
    assert deviations(side, losses, 5).max() < 3e-4


def check_end(side, losses, result):
    expected = GOLDEN["runs"][side]
    print(f"{side}: total after 1000 steps {deviations(side, losses, 1000)[-1]:.3%} off")
    # The terms trade against each other, and rounding, the processor's own, decides how: with
    # AVX-512 the content loss was 2.2 % off and the total 1.2 %, after 0.1 % in a hundred steps.
    for name in TERMS:
        tolerance = 0.02 if name == "total" else 0.04
        np.testing.assert_allclose(losses[name][-1], expected["losses"][name][-1], rtol=tolerance)
    assert result.image.mean() == pytest.approx(expected["result"]["mean"], abs=2e-3)
    assert result.image.std() == pytest.approx(expected["result"]["std"], abs=2e-3)


def test_a_hundred_steps_at_128(vgg19_weights):
    losses, _ = run("128", 100, vgg19_weights)
    check_start("128", losses)
    assert deviations("128", losses, 100).max() < 0.005


@pytest.mark.long
def test_a_thousand_steps_at_128(vgg19_weights):
    losses, result = run("128", 1000, vgg19_weights)
    check_start("128", losses)
    assert deviations("128", losses, 100).max() < 0.005
    check_end("128", losses, result)


@pytest.mark.long
def test_a_thousand_steps_at_256(vgg19_weights):
    """The first hundred totals were within 0.59 % (convolved directly) and 0.32 % (Winograd).

    That is rounding, grown by the steps: of TensorFlow's totals in float64, its own in float32 are
    up to 0.22 % off, and these were up to 0.50 % and 0.40 %.
    """
    losses, result = run("256", 1000, vgg19_weights)
    check_start("256", losses)
    assert deviations("256", losses, 100).max() < 0.01
    check_end("256", losses, result)


def as_written(tree):
    """Constants that float32 rounded, in float64 as they are written."""
    return jax.tree.map(lambda number: jnp.float64(floats([number])[0]), tree)


def float64_totals(side, steps, weights):
    """The totals of the start and of the recipe's first steps, in float64 throughout."""
    pictures = load_pair(side, weights)
    recipe = get_recipe("tensorflow")
    params, content, style = jax.tree.map(
        jnp.float64, (weights.params, *(pictures[role][None] for role in ("content", "style")))
    )
    structure, inputs = prepare(recipe, weights.preprocessing, params, content, style)
    inputs = inputs._replace(weights=as_written(inputs.weights))
    rates = as_written(rates_of(recipe))

    @jax.jit
    def step(inputs, rates, state):
        evaluate = partial(evaluate_with_gradient, structure, inputs)
        return step_function(recipe.optimizer, evaluate, rates)(state)

    zero = jnp.float64(0)
    state = first_state(recipe, content, rates)
    state = state._replace(total=zero, terms=dict.fromkeys(RAW_TERMS, zero))
    totals = []
    for _ in range(steps + 1):
        state = step(inputs, rates, state)
        assert {leaf.dtype for leaf in (state.image, state.gradient, state.total)} == {zero.dtype}
        totals.append(float(state.total))
    return totals


def check_float64(side, steps, weights, monkeypatch):
    """Allows far more than was measured, and less than constants in float32 do: 7e-9 and more."""
    module = importlib.import_module("nstjax.vgg.preprocess")
    monkeypatch.setattr(module, "_CAFFE_MEAN", np.array(floats(module._CAFFE_MEAN)))
    with jax.enable_x64(True):
        totals = float64_totals(side, steps, weights)
    expected = GOLDEN["float64"]["runs"][side]["total"][: steps + 1]
    found = np.abs(np.array(totals) / expected - 1)
    print(f"\n{side}: worst of steps 0 to {steps} in float64: {found.max():.1e}")
    assert found.max() < 1e-9


def test_float64_at_128(vgg19_weights, monkeypatch):
    """A few steps: more of them at 256 pixels, below."""
    check_float64("128", 3, vgg19_weights, monkeypatch)


@pytest.mark.long
def test_float64_at_256(vgg19_weights, monkeypatch):
    """All of the first hundred totals were within 9e-16 when this was written."""
    check_float64("256", 100, vgg19_weights, monkeypatch)
