"""Computes losses on small arrays, with their gradients, in PyTorch's float64.

`recipe_terms.json`:
    made_by: versions.
    inputs: shapes; the arrays are `inputs.features(name, shape)` and `inputs.picture(7, 9)`, and
        every entry names those it takes.
    entries: {name: {arguments, formula, value, gradient}}; `gradient` is of the value (of a Gram
        matrix: of the sum of its entries) by the first argument, a nested list in its shape.

Notation: F, P: features [1, H, W, C]; M = H W, N = C. A Gram matrix is F^T F / divisor for F as
[H W, C]; A and G are those of target and features, each divided by its own size. dx and dy are
differences of neighbours along width and height, of all pixels that have one; under "crop" only of
the (H-1) x (W-1) pixels that have both. Means are over the elements of their own array; sums are
over everything. With one image a batch sum and a batch mean are equal: these values cannot tell.

Three of them are checked within the script: the sum of absolute differences against
tf.image.total_variation, the half sum of squares against the backward pass that neural-style's
TVLoss writes out, and every gradient against central differences.

Usage: python tests/golden/make_recipe_terms.py
"""
# pyright: reportMissingImports=false

import numpy as np
import tensorflow as tf
import torch
from inputs import features, picture
from record import write_json

SHAPES = {"features": (1, 6, 5, 4), "target": (1, 6, 5, 4), "wide_target": (1, 4, 7, 4)}
PICTURE_SIZE = (7, 9)
DIVISORS = {
    "1": lambda height, width, channels: 1,
    "hw": lambda height, width, channels: height * width,
    "chw": lambda height, width, channels: channels * height * width,
}


def gram_matrix(activations, divisor):
    """Returns the [C, C] Gram matrix of activations [1, H, W, C]."""
    _, height, width, channels = activations.shape
    flat = activations.reshape(height * width, channels)
    return flat.T @ flat / DIVISORS[divisor](height, width, channels)


def style_mean(divisor):
    """Returns the mean squared distance of Gram matrices with this divisor."""
    return lambda x, target: (gram_matrix(x, divisor) - gram_matrix(target, divisor)).pow(2).mean()


def style_gatys(x, target):
    """Returns E of Gatys et al. 2016, equation 4: undivided Gram matrices, over 4 N^2 M^2."""
    _, height, width, channels = x.shape
    distance = (gram_matrix(x, "1") - gram_matrix(target, "1")).pow(2).sum()
    return distance / (4 * channels**2 * (height * width) ** 2)


def dx(image):
    return image[:, :, 1:] - image[:, :, :-1]


def dy(image):
    return image[:, 1:] - image[:, :-1]


def crop_squares(image):
    """Returns dx^2 + dy^2 at the pixels that have a right and a lower neighbour."""
    return dx(image)[:, :-1].pow(2) + dy(image)[:, :, :-1].pow(2)


PAIR = ("features", "target")
WIDE_PAIR = ("features", "wide_target")
ENTRIES = {
    "gram_1": (("features",), "F^T F", lambda x: gram_matrix(x, "1")),
    "gram_hw": (("features",), "F^T F / (H W)", lambda x: gram_matrix(x, "hw")),
    "gram_chw": (("features",), "F^T F / (C H W)", lambda x: gram_matrix(x, "chw")),
    "content_mean": (PAIR, "mean((F - P)^2)", lambda x, p: (x - p).pow(2).mean()),
    "content_sum": (PAIR, "sum((F - P)^2)", lambda x, p: (x - p).pow(2).sum()),
    "content_half_sum": (PAIR, "1/2 sum((F - P)^2)", lambda x, p: (x - p).pow(2).sum() / 2),
    "style_mean_1": (WIDE_PAIR, "mean((G - A)^2), divisor 1", style_mean("1")),
    "style_mean_hw": (WIDE_PAIR, "mean((G - A)^2), divisor H W", style_mean("hw")),
    "style_mean_chw": (WIDE_PAIR, "mean((G - A)^2), divisor C H W", style_mean("chw")),
    "style_gatys": (PAIR, "sum((G - A)^2) / (4 N^2 M^2), divisor 1", style_gatys),
    "tv_sum_abs": (
        ("picture",),
        "sum |dx| + sum |dy|",
        lambda image: dx(image).abs().sum() + dy(image).abs().sum(),
    ),
    "tv_mean_abs": (
        ("picture",),
        "mean |dx| + mean |dy|",
        lambda image: dx(image).abs().mean() + dy(image).abs().mean(),
    ),
    "tv_mean_squares": (
        ("picture",),
        "mean dx^2 + mean dy^2",
        lambda image: dx(image).pow(2).mean() + dy(image).pow(2).mean(),
    ),
    "tv_half_sum_squares": (
        ("picture",),
        "1/2 sum(dx^2 + dy^2), crop",
        lambda image: crop_squares(image).sum() / 2,
    ),
    "tv_keras_io": (
        ("picture",),
        "sum((dx^2 + dy^2)^1.25), crop",
        lambda image: crop_squares(image).pow(1.25).sum(),
    ),
}


def arrays():
    """Returns every input by name, in float64."""
    made = {name: features(name, shape) for name, shape in SHAPES.items()}
    made["picture"] = picture(*PICTURE_SIZE)
    return {name: torch.from_numpy(array).double() for name, array in made.items()}


def central_differences(function, x, step=1e-6):
    """Returns the gradient of a scalar function by central differences."""
    gradient = torch.zeros_like(x)
    for i in range(x.numel()):
        offset = torch.zeros_like(x)
        offset.view(-1)[i] = step
        gradient.view(-1)[i] = (function(x + offset) - function(x - offset)) / (2 * step)
    return gradient


def neural_style_backward(image):
    """Ports TVLoss:updateGradInput of jcjohnson/neural-style, at strength 1, to NHWC."""
    gradient = torch.zeros_like(image)
    x_diff = image[:, :-1, :-1] - image[:, :-1, 1:]
    y_diff = image[:, :-1, :-1] - image[:, 1:, :-1]
    gradient[:, :-1, :-1] += x_diff + y_diff
    gradient[:, :-1, 1:] -= x_diff
    gradient[:, 1:, :-1] -= y_diff
    return gradient


def record_entry(name, made):
    """Evaluates one entry and its gradient."""
    arguments, formula, function = ENTRIES[name]
    first, *others = (made[argument] for argument in arguments)
    x = first.clone().requires_grad_()
    value = function(x, *others)
    value.sum().backward()
    expected = central_differences(lambda moved: function(moved, *others).sum(), first)
    torch.testing.assert_close(x.grad, expected, rtol=1e-6, atol=1e-6)
    return {
        "arguments": arguments,
        "formula": formula,
        "value": value.tolist(),
        "gradient": x.grad.tolist(),
    }


def check_against_sources(entries, image):
    """Stops unless the total variations equal those of the codes that they are named for."""
    tensorflow_value = tf.image.total_variation(tf.constant(image.numpy())).numpy()[0]
    np.testing.assert_allclose(entries["tv_sum_abs"]["value"], tensorflow_value, rtol=1e-12)
    np.testing.assert_allclose(
        entries["tv_half_sum_squares"]["gradient"], neural_style_backward(image), atol=1e-12
    )


def main():
    made = arrays()
    entries = {name: record_entry(name, made) for name in ENTRIES}
    check_against_sources(entries, made["picture"])
    shapes = {name: list(array.shape) for name, array in made.items()}
    content = {"inputs": shapes, "entries": entries}
    write_json("recipe_terms.json", __file__, (torch, tf, np), content)


if __name__ == "__main__":
    main()
