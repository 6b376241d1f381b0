"""The recipe of crowsonkb/style-transfer-pytorch against PyTorch in float64, on the same arrays."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs
from golden.record import load_resized

from nstjax.objective import evaluate, network_params, prepare
from nstjax.recipes import get_recipe
from nstjax.settings import override

GOLDEN = json.loads((Path(__file__).parent / "golden" / "crowsonkb.json").read_text())
RECIPE = get_recipe("crowsonkb")


def check_case(case, recipe, weights, image, content, style):
    """Compares the terms, each layer's style loss and the gradient."""
    image, content, style = (jnp.asarray(x) for x in (image, content, style))
    params = network_params(recipe, weights)
    structure, numbers = prepare(recipe, weights.preprocessing, params, content, style)

    def total(weights, image):
        return evaluate(structure, numbers._replace(weights=weights), image)

    # The total is linear in each weight, so that its slope in a layer's is that layer's loss.
    run = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    (value, terms), (slopes, gradient) = run(numbers.weights, image)
    for name, expected in case["terms"].items():
        weighted = numbers.weights.terms[name] * terms[name]
        np.testing.assert_allclose(weighted, expected, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(value, sum(case["terms"].values()), rtol=1e-4)
    for layer, expected in case["style_layers"].items():
        found = slopes.style_layers[layer]
        # The deepest one's covariances are of six positions and 512 channels.
        np.testing.assert_allclose(found, expected, rtol=2e-4, err_msg=layer)
    expected = case["gradient"]
    np.testing.assert_allclose(np.linalg.norm(gradient), expected["norm"], rtol=1e-4)
    values = np.asarray(gradient).ravel()[expected["positions"]]
    tolerance = 1e-4 * expected["largest"]
    np.testing.assert_allclose(values, expected["values"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("pooling", GOLDEN["random"])
def test_random_weights(random_vgg19, pooling):
    image, style = inputs.picture(37, 51), inputs.picture(44, 40)[..., ::-1]
    recipe = override(RECIPE, pooling=pooling)
    case = GOLDEN["random"][pooling]
    check_case(case, recipe, random_vgg19, image, image[:, ::-1, ::-1], style)


def test_imagenet_weights(vgg19_weights):
    case = GOLDEN["photograph"]["max"]
    if vgg19_weights.sha256 != case["weights_sha256"]:
        pytest.skip("vgg19_notop.h5 is not the file that the golden values were made with")
    files = (("content/tubingen.jpg", 80), ("styles/starry.jpg", 96))
    pixels = [load_resized(*file) for file in files]
    hashes = [hashlib.sha256(array.tobytes()).hexdigest() for array in pixels]
    if hashes != case["pictures_sha256"]:
        pytest.skip("the pictures decode to other values than the golden ones were made with")
    content, style = ((array / 255.0).astype(np.float32)[None] for array in pixels)
    check_case(case, RECIPE, vgg19_weights, content[:, ::-1, ::-1], content, style)
