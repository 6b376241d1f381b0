"""VGG at other scales: with mean activation 1 for every filter, as in the paper, or one factor."""

from collections.abc import Iterable, Mapping
from functools import partial
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError
from nstjax.vgg.convert import Arrays
from nstjax.vgg.features import extract_features
from nstjax.vgg.layers import layer_names
from nstjax.vgg.network import Params
from nstjax.vgg.weights import Weights

Means = Mapping[str, np.ndarray]


def mean_activations(
    weights: Weights, pictures: Iterable[Float[Array | np.ndarray, "1 _ _ 3"]], *, pooling: str
) -> Means:
    """Measures the mean activation of every filter over pictures and positions.

    Args:
        weights: the network's.
        pictures: RGB in [0, 1], shape (1, H, W, 3) each; sizes may differ.
        pooling: `"max"` or `"avg"`, as the network will be used.

    Returns:
        Means by convolution, shape (C,). Every picture counts the same.

    Raises:
        NstjaxError: if there is no picture.
    """
    layers = tuple(name for name in layer_names(weights.network) if "conv" in name)
    params = jax.device_put({name: weights.params[name] for name in layers})
    total = {name: np.zeros(len(weights.params[name]["bias"]), np.float64) for name in layers}
    count = 0
    for picture in pictures:
        for name, means in _picture_means(
            weights.network, weights.preprocessing, pooling, params, picture
        ).items():
            total[name] += np.asarray(means)
        count += 1
    if not count:
        raise NstjaxError("mean activations need at least one picture")
    return {name: (sums / count).astype(np.float32) for name, sums in total.items()}


@partial(jax.jit, static_argnums=(0, 1, 2))
def _picture_means(
    network: str, preprocessing: str, pooling: str, params: Params, picture: Array
) -> dict[str, Array]:
    features = extract_features(
        params,
        picture,
        network=network,
        layers=tuple(params),
        preprocessing=preprocessing,
        pooling=pooling,
    )
    return {name: jnp.mean(y, axis=(0, 1, 2)) for name, y in features.items()}


def rescale(params: Arrays, means: Means) -> Arrays:
    """Divides every filter by its mean activation, and multiplies the next layer's inputs by it.

    A ReLU and both poolings commute with a positive factor per channel. So each activation is
    exactly the original one divided by its mean, and the classifier's output is unchanged.
    A filter that never fires keeps its scale.

    Args:
        params: of the original network, with or without the classifier.
        means: as `mean_activations` returns them.

    Returns:
        New parameters of the same shapes.

    Source: Gatys, Ecker and Bethge, 2016, section 2.
    """
    rescaled: Arrays = {}
    inputs = np.ones(3, np.float32)
    for layer in sorted(means):  # the names sort in the network's order
        kernel, bias = params[layer]["kernel"], params[layer]["bias"]
        outputs = np.where(means[layer] > 0, means[layer], 1).astype(np.float32)
        rescaled[layer] = {"kernel": kernel * inputs[:, None] / outputs, "bias": bias / outputs}
        inputs = outputs
    if "fc1" in params:
        kernel = params["fc1"]["kernel"]
        # The classifier reads the last block flattened with its channels last.
        per_input = np.tile(inputs, len(kernel) // len(inputs))[:, None]
        rescaled["fc1"] = {"kernel": kernel * per_input, "bias": params["fc1"]["bias"]}
    return {**params, **rescaled}


def divide_activations(params: Arrays, divisor: float) -> Arrays:
    """Divides every activation by the same number.

    A ReLU and every pooling commute with a positive factor, so that it is enough to divide the
    first layer's kernel and all biases: each activation is exactly the original one divided.

    Args:
        params: of the original network. With the classifier, its logits are divided, too.
        divisor: greater than 0.

    Returns:
        New parameters of the same shapes.
    """
    return {
        layer: {
            "kernel": arrays["kernel"] / np.float32(divisor if layer == "block1_conv1" else 1),
            "bias": arrays["bias"] / np.float32(divisor),
        }
        for layer, arrays in params.items()
    }


def bundled_means(network: str, *, pooling: str) -> Means:
    """Returns the mean activations that come with the package.

    They were measured by `benchmarks/mean_activations.py` on photographs of everyday things; the
    file's header names the weights and the number of photographs. Any positive means leave the
    network's function unchanged, so that these also serve other weights of the same network.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        pooling: `"max"` or `"avg"`.

    Returns:
        As `mean_activations`.

    Raises:
        NstjaxError: if there are none for this network or this pooling.
    """
    from safetensors.numpy import load

    name = f"mean_activations_{network}_{pooling}.safetensors"
    file = resources.files("nstjax.vgg").joinpath(name)
    if not file.is_file():
        raise NstjaxError(
            f"no mean activations of {network} with {pooling} pooling come with the package: use "
            "--network vgg19 and --pooling max or avg, or measure them with "
            "nstjax.vgg.mean_activations, pass the weights that nstjax.vgg.rescale makes with "
            "them, and set rescale_filters=False"
        )
    return load(file.read_bytes())
