"""Every recipe's objective against its published formula, written out in NumPy and float64.

Only the activations come from this package; the divisors, weights and ranges are those that the
systems' own code and papers state.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.objective import evaluate, network_params, prepare
from nstjax.recipes import RECIPES
from nstjax.vgg import VGG, bundled_means

CONV1 = [f"block{block}_conv1" for block in range(1, 6)]
MEAN_BGR = np.array([103.939, 116.779, 123.68])
PICTURE, CONTENT = inputs.picture(33, 41), inputs.picture(33, 41)[:, ::-1, ::-1]
STYLE = inputs.picture(40, 35)[:, :, ::-1]
STYLE_STRETCHED = inputs.picture(33, 41)[..., ::-1]  # where a recipe gives it the content's size


def mean(x):
    return np.sum(x) / x.size


def gram(features):
    """Undivided: C by C inner products over the positions."""
    flat = features.reshape(-1, features.shape[-1])
    return flat.T @ flat


def gram_hw(features):
    return gram(features) / (features.shape[1] * features.shape[2])


def gram_chw(features):
    return gram(features) / features[0].size


def differences(x):
    return x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]


def tutorial_style(f, s):
    return sum(mean((gram_hw(f[name]) - gram_hw(s[name])) ** 2) / 5 for name in CONV1)


def tensorflow(f, p, s, x, *, content="block5_conv2", tv=30.0):
    down, along = differences(x)
    return (
        1e4 * mean((f[content] - p[content]) ** 2),
        1e-2 * tutorial_style(f, s),
        tv * (np.abs(down).sum() + np.abs(along).sum()),
    )


def tensorflow_light_tv(f, p, s, x):
    return tensorflow(f, p, s, x, tv=4e-4)


def tensorflow_deep(f, p, s, x):
    return tensorflow(f, p, s, x, content="block5_conv4", tv=0.0)


def keras(f, p, s, x):
    pixels = x.shape[1] * x.shape[2]
    distances = [np.sum((gram(f[n]) - gram(s[n])) ** 2) / (4 * 3**2 * pixels**2) for n in CONV1]
    down, along = differences(255 * x)
    squares = down[:, :, :-1] ** 2 + along[:, :-1] ** 2
    return (
        2.5e-8 * np.sum((f["block5_conv2"] - p["block5_conv2"]) ** 2),
        1e-6 / 5 * sum(distances),
        1e-6 * np.sum(squares**1.25),
    )


def lbfgs_b(f, p, s, x, *, content=0.5, style=1.0):
    down, along = differences(x)
    return (
        content * mean((f["block5_conv2"] - p["block5_conv2"]) ** 2),
        style * 5 * tutorial_style(f, s),
        30 * (mean(np.abs(down)) + mean(np.abs(along))),
    )


def lbfgs_b_adam(f, p, s, x):
    return lbfgs_b(f, p, s, x, content=1000, style=0.1)


def gatys(f, p, s, x):
    def layer(name):
        positions, channels = f[name][0, ..., 0].size, f[name].shape[-1]
        distance = np.sum((gram(f[name]) - gram(s[name])) ** 2)
        return distance / (4 * channels**2 * positions**2)

    content = 0.5 * np.sum((f["block4_conv2"] - p["block4_conv2"]) ** 2)
    return content, 1e3 * sum(layer(name) / 5 for name in CONV1), 0.0


def gatys_code(f, p, s, x):
    style = sum(
        1e3 / channels**2 * mean((gram_hw(f[name]) - gram_hw(s[name])) ** 2)
        for name, channels in zip(CONV1, (64, 128, 256, 512, 512), strict=True)
    )
    return mean((f["block4_conv2"] - p["block4_conv2"]) ** 2), style, 0.0


def neural_style(f, p, s, x):
    down, along = differences(256 * x)
    squares = down[:, :, :-1] ** 2 + along[:, :-1] ** 2
    return (
        5 * mean((f["block4_conv2"] - p["block4_conv2"]) ** 2),
        100 * sum(mean((gram_chw(f[name]) - gram_chw(s[name])) ** 2) for name in CONV1),
        1e-3 * 0.5 * np.sum(squares),
    )


def anishathalye(f, p, s, x):
    def l2_loss(x):  # TensorFlow's, halved
        return np.sum(x**2) / 2

    content = f["block4_conv2"] - p["block4_conv2"]
    gaps = [gram_chw(f[name]) - gram_chw(s[name]) for name in CONV1]
    down, along = differences(255 * x)
    return (
        5 * 2 * l2_loss(content) / content.size,
        sum(500 / 5 * 2 * l2_loss(gap) / gap.size for gap in gaps),
        100 * 2 * (l2_loss(down) / down.size + l2_loss(along) / along.size),
    )


# By recipe: the formula, the pooling, what white is for the network, and whether the style image
# has the content's size.
FORMULAS = {
    "tensorflow": (tensorflow, "max", 255, False),
    "tensorflow-light-tv": (tensorflow_light_tv, "max", 255, False),
    "tensorflow-fast": (tensorflow, "max", 255, False),
    "tensorflow-deep": (tensorflow_deep, "max", 255, False),
    "keras": (keras, "max", 255, True),
    "lbfgs-b": (lbfgs_b, "max", 255, False),
    "nstjax": (neural_style, "max", 256, False),
    "lbfgs-b-adam": (lbfgs_b_adam, "max", 255, False),
    "gatys": (gatys, "avg", 255, True),
    "gatys-code": (gatys_code, "max", 255, False),
    "neural-style": (neural_style, "max", 256, False),
    "anishathalye": (anishathalye, "max", 255, False),
}
evaluate_compiled = jax.jit(evaluate, static_argnums=0)  # once for recipes of one structure
LAYERS = (*CONV1, "block4_conv2", "block5_conv2", "block5_conv4")


@pytest.fixture(scope="module")
def activations(random_vgg19):
    """Activations of a picture, preprocessed here, in float64."""
    programs = {pooling: jax.jit(VGG("vgg19", LAYERS, pooling).apply) for pooling in ("max", "avg")}

    def compute(picture, pooling, white):
        network_input = (white * picture.astype(np.float64))[..., ::-1] - MEAN_BGR
        features = programs[pooling](
            {"params": random_vgg19.params}, jnp.asarray(network_input, jnp.float32)
        )
        return {name: np.asarray(value, np.float64) for name, value in features.items()}

    return compute


def test_every_recipe_has_a_formula():
    # The other one is compared with PyTorch: tests/test_crowsonkb.py.
    assert {*FORMULAS, "crowsonkb"} == set(RECIPES)


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(random_vgg19, activations, name):
    formula, pooling, white, stretched = FORMULAS[name]
    style = STYLE_STRETCHED if stretched else STYLE
    features = [activations(picture, pooling, white) for picture in (PICTURE, CONTENT, style)]
    if name == "gatys":  # rescaled filters divide each activation by the filter's mean
        means = bundled_means("vgg19", pooling="avg")
        features = [
            {
                layer: value / np.where(means[layer] > 0, means[layer], 1)
                for layer, value in f.items()
            }
            for f in features
        ]
    content, style_term, tv = formula(*features, PICTURE.astype(np.float64))
    structure, numbers = prepare(
        RECIPES[name],
        random_vgg19.preprocessing,
        network_params(RECIPES[name], random_vgg19),
        jnp.asarray(CONTENT),
        jnp.asarray(style),
    )
    total, terms = evaluate_compiled(structure, numbers, jnp.asarray(PICTURE))
    for term, expected in {"content": content, "style": style_term, "tv": tv}.items():
        weighted = numbers.weights.terms[term] * terms[term]
        np.testing.assert_allclose(weighted, expected, rtol=1e-4, err_msg=term)
    np.testing.assert_allclose(total, content + style_term + tv, rtol=1e-4)
