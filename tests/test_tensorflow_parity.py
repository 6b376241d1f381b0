"""The `tensorflow` recipe step by step against TensorFlow's own run of its tutorial.

The golden file holds the losses of 1000 steps in TensorFlow and Keras, from the same arrays and
weights. Rounding alone moves them: a start changed by at most 1e-6 is also on record.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from golden.record import load_resized

from nstjax.gatys import stylize

GOLDEN = json.loads((Path(__file__).parent / "golden" / "tensorflow_recipe.json").read_text())
TERMS = ("total", "content", "style", "tv")


def run(side, steps, weights):
    """Runs the recipe; returns each loss as an array of `steps + 1`, and the picture."""
    if weights.sha256 != GOLDEN["weights_sha256"]:
        pytest.skip("vgg19_notop.h5 is not the file that the golden run was made with")
    pictures = {}
    for role in ("content", "style"):
        expected = GOLDEN["runs"][side][role]
        pixels = load_resized(expected["file"], int(side))
        if hashlib.sha256(pixels.tobytes()).hexdigest() != expected["sha256"]:
            pytest.skip(f"{expected['file']} decodes to other values than in the golden run")
        pictures[role] = (pixels / 255.0).astype(np.float32)
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
    for name in TERMS:
        np.testing.assert_allclose(losses[name][-1], expected["losses"][name][-1], rtol=0.02)
    assert result.image.mean() == pytest.approx(expected["result"]["mean"], abs=2e-3)
    assert result.image.std() == pytest.approx(expected["result"]["std"], abs=2e-3)


def test_a_thousand_steps_at_128(vgg19_weights):
    losses, result = run("128", 1000, vgg19_weights)
    check_start("128", losses)
    assert deviations("128", losses, 100).max() < 0.005
    check_end("128", losses, result)


@pytest.mark.long
def test_a_thousand_steps_at_256(vgg19_weights):
    """The first hundred totals were within 0.59 % when this was written.

    That is rounding, grown by the steps: moving this run's own start by at most 1e-6 moves its
    totals by up to 0.72 %, while both programs' gradients agree to 7e-7 at one picture.
    """
    losses, result = run("256", 1000, vgg19_weights)
    check_start("256", losses)
    assert deviations("256", losses, 100).max() < 0.01
    check_end("256", losses, result)
