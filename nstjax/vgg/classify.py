"""What VGG sees in a picture: a check that the network and its weights are used correctly."""

from functools import cache, partial
from importlib import resources

import jax
import numpy as np
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError
from nstjax.images import resize_image
from nstjax.vgg.features import extract_features
from nstjax.vgg.layers import TOP_SIZE
from nstjax.vgg.network import Params
from nstjax.vgg.weights import Weights

_SHORTER_SIDE = 256  # before the central crop, as VGG's authors evaluate


@cache
def imagenet_labels() -> tuple[str, ...]:
    """Returns the names of ImageNet's 1000 classes, in the classifier's order."""
    text = resources.files("nstjax.vgg").joinpath("imagenet_labels.txt").read_text("utf-8")
    return tuple(text.splitlines())


def classify(
    weights: Weights, pixels: Float[Array | np.ndarray, "1 h w 3"], *, count: int = 5
) -> list[tuple[str, float]]:
    """Names what a picture shows, as ImageNet's classes.

    Args:
        weights: with the classifier.
        pixels: RGB in [0, 1], shape (1, H, W, 3).
        count: how many classes to return.

    Returns:
        `(label, probability)` of the most probable classes, the best first.

    Raises:
        NstjaxError: if the weights have no classifier.
    """
    if not weights.top:
        raise NstjaxError(
            f"these {weights.network} weights have no classifier: load the ones with the top"
        )
    crop = _central_crop(pixels)
    probabilities = np.asarray(
        _predict(weights.network, weights.preprocessing, weights.params, crop)[0]
    )
    best = np.argsort(-probabilities)[:count]
    labels = imagenet_labels()
    return [(labels[i], float(probabilities[i])) for i in best]


@partial(jax.jit, static_argnums=(0, 1))
def _predict(network: str, preprocessing: str, params: Params, picture: Array) -> Array:
    layer = "predictions"
    return extract_features(
        params, picture, network=network, layers=(layer,), preprocessing=preprocessing
    )[layer]


def _central_crop(pixels: Float[Array | np.ndarray, "1 h w 3"]) -> Float[np.ndarray, "1 s s 3"]:
    height, width = pixels.shape[1:3]
    scale = _SHORTER_SIDE / min(height, width)
    pixels = resize_image(np.asarray(pixels), round(height * scale), round(width * scale))
    top, left = (pixels.shape[1] - TOP_SIZE) // 2, (pixels.shape[2] - TOP_SIZE) // 2
    return pixels[:, top : top + TOP_SIZE, left : left + TOP_SIZE]
