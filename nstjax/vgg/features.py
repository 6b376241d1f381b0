"""Pictures in, activations out: the network with the preprocessing that its weights need."""

from typing import cast

import numpy as np
from jaxtyping import Array, Float

from nstjax.vgg.network import VGG, Features, Params
from nstjax.vgg.preprocess import preprocess


def extract_features(
    params: Params,
    images: Float[Array | np.ndarray, "n h w 3"],
    *,
    network: str,
    layers: tuple[str, ...],
    preprocessing: str,
    pooling: str = "max",
    dtype: str = "float32",
) -> Features:
    """Computes a network's activations of pictures.

    Args:
        params: of the network, as `Weights.params`.
        images: RGB in [0, 1], shape (N, H, W, 3).
        network: `"vgg16"` or `"vgg19"`.
        layers: names of the activations, as `layer_names` has them.
        preprocessing: as `Weights.preprocessing`.
        pooling: as `VGG.pooling`.
        dtype: what to compute in.

    Returns:
        Activations after the ReLU by layer name, shape (N, h, w, C), in `dtype`.

    Raises:
        NstjaxError: if a name is unknown, or a picture is too small for a layer.
    """
    vgg = VGG(network=network, layers=layers, pooling=pooling, dtype=dtype)
    # Without mutable collections, apply returns just what the module does.
    return cast(Features, vgg.apply({"params": params}, preprocess(images, preprocessing)))
