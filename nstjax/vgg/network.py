"""VGG16 and VGG19 as one Flax module that returns its activations by name."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float

from nstjax.errors import NstjaxError, unknown_choice
from nstjax.ops import conv3x3, max_pool2x2, transform_frozen
from nstjax.vgg.layers import (
    CLASSES,
    TOP_LAYERS,
    channels_of,
    check_network,
    layer_names,
    minimum_size,
)

_mean2x2 = partial(nn.avg_pool, window_shape=(2, 2), strides=(2, 2))


def _norm2x2(x: Array) -> Array:
    """The Euclidean norm of each 2×2 square, whose gradient is 0 where all of it is 0."""
    squares = 4 * _mean2x2(jnp.square(x))
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


# Keras' and the papers' pooling: 2×2 windows, an odd last row or column left out. The scaled ones
# bring activations near to what the network was trained on, as crowsonkb/style-transfer-pytorch.
POOLING = {
    "max": max_pool2x2,
    "avg": _mean2x2,
    "avg-scaled": lambda x: 2 * _mean2x2(x),
    "l2-scaled": lambda x: 0.78 * _norm2x2(x),
}
# What lies around the picture for the first convolution; deeper activations have zeros around them.
FIRST_PADDINGS = ("zeros", "replicate")

Params = Mapping[str, Mapping[str, Array | np.ndarray]]
Features = dict[str, Array]
# The name among a layer's frozen parameters.
_TRANSFORMED = "kernel_transformed"


def freeze(params: Params) -> Params:
    """Prepares parameters that will not be trained: their kernels are transformed once.

    Args:
        params: `{layer: {"kernel", "bias"}}`.

    Returns:
        The parameters on the device, for `VGG.apply` as before. Kernels have no gradient.
    """
    # Not with `jnp.asarray`, which compiles a program for every shape.
    frozen: dict[str, dict[str, Any]] = jax.device_put(
        {layer: dict(arrays) for layer, arrays in params.items()}
    )
    kernels = {layer: arrays["kernel"] for layer, arrays in frozen.items()}
    convolutions = {layer: kernel for layer, kernel in kernels.items() if kernel.ndim == 4}
    for layer, transformed in transform_frozen(convolutions).items():
        frozen[layer][_TRANSFORMED] = transformed
    return frozen


class _Conv(nn.Module):
    """A 3×3 convolution with bias and ReLU, by `nstjax.ops.conv3x3`, which takes `padding`."""

    channels: int
    dtype: str
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param(
            "kernel", nn.initializers.he_normal(), (3, 3, x.shape[-1], self.channels)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=jnp.dtype(self.dtype))
        transformed = self.get_variable("params", _TRANSFORMED)
        y = conv3x3(x, kernel, padding=self.padding, transformed=transformed)
        return nn.relu(y + bias).astype(self.dtype)


class VGG(nn.Module):
    """The convolutions, pools and, if asked for, the classifier of VGG.

    Nothing above the highest of `layers` is computed.

    Attributes:
        network: `"vgg16"` or `"vgg19"`.
        layers: names of the activations to return, as in `layer_names`.
        pooling: one of `POOLING`; Gatys et al. recommend `"avg"` for synthesis.
        dtype: what to compute in. Parameters stay as they are.
        first: the layer that takes the input: the first one, or one after a pool.
        first_padding: the padding of the picture: `"zeros"`, as in training, or `"replicate"`,
            which repeats its border and avoids artefacts along it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> vgg = VGG(layers=("block1_conv1", "block2_conv1"))
        >>> image = jnp.zeros((1, 8, 8, 3))
        >>> features = vgg.apply(vgg.init(jax.random.key(0), image), image)
        >>> features["block2_conv1"].shape
        (1, 4, 4, 128)

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", 2014; layer names of keras.applications.
    """

    network: str = "vgg19"
    layers: tuple[str, ...] = ("block5_conv1",)
    pooling: str = "max"
    dtype: str = "float32"
    first: str = "block1_conv1"
    first_padding: str = "zeros"

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], inside: Bool[Array, " h"] | None = None
    ) -> Features:
        """Computes the activations.

        Args:
            x: preprocessed pictures, shape (N, H, W, 3), see `nstjax.vgg.preprocess`; or the input
                of `first`.
            inside: which rows, of an even number, belong to the picture; None means all.
                Activations of the others are zeros, as they are outside of pictures.

        Returns:
            The activations after the ReLU, by layer name, in `dtype`.

        Raises:
            NstjaxError: if a name is unknown, or the picture is too small for a layer.
        """
        check_network(self.network)
        if self.pooling not in POOLING:
            raise unknown_choice("pooling", self.pooling, POOLING)
        if self.first_padding not in FIRST_PADDINGS:
            raise unknown_choice("first padding", self.first_padding, FIRST_PADDINGS)
        names = layer_names(self.network, top=True)
        if not self.layers:
            raise NstjaxError("no layer is named: name at least one")
        scale = minimum_size(self.first)
        for layer in self.layers:
            if layer not in names:
                raise unknown_choice(f"layer of {self.network}", layer, names)
            check_size(scale * x.shape[1], scale * x.shape[2], layer)
        last = max(names.index(layer) for layer in self.layers)
        features = {}
        for name in names[names.index(self.first) : last + 1]:
            x = self._layer(name, x, inside)
            if inside is not None:
                inside = inside[1::2] if name.endswith("pool") else inside
                x = jnp.where(inside[:, None, None], x, 0)
            if name in self.layers:
                features[name] = x
        return features

    def _layer(self, name: str, x: Array, inside: Array | None) -> Array:
        if name in TOP_LAYERS:
            return self._top_layer(name, x)
        if name.endswith("pool"):
            return POOLING[self.pooling](x)
        channels = channels_of(name)
        if name == "block1_conv1" and self.first_padding == "replicate":
            return _Conv(channels, self.dtype, "VALID", name=name)(_replicate_border(x, inside))
        return _Conv(channels, self.dtype, name=name)(x)

    def _top_layer(self, name: str, x: Array) -> Array:
        if name == "flatten":
            return x.reshape(x.shape[0], -1)
        if name == "predictions":
            logits = nn.Dense(CLASSES, name=name, dtype=jnp.dtype(self.dtype))(x)
            return nn.softmax(logits.astype(jnp.float32))
        return nn.relu(nn.Dense(4096, name=name, dtype=jnp.dtype(self.dtype))(x))


def _replicate_border(x: Array, inside: Array | None) -> Array:
    """Pads by one pixel on each side, which equals its neighbour in the picture.

    Before that, rows that are not `inside` the picture become copies of its nearest row.
    """
    if inside is not None:
        rows = len(inside)
        first, last = jnp.argmax(inside), rows - 1 - jnp.argmax(inside[::-1])
        x = jnp.take(x, jnp.clip(jnp.arange(rows), first, last), axis=1)
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")


def check_size(
    height: int, width: int, layer: str, *, what: str = "a picture", settings: str = "--size"
) -> None:
    """Raises an error for people if a picture is too small, or not the right size, for a layer.

    Args:
        height: of the picture, in pixels.
        width: likewise.
        layer: a name from `layer_names`.
        what: what the message calls the picture.
        settings: what makes it larger.

    Raises:
        NstjaxError: if it is.
    """
    needed = minimum_size(layer)
    if layer in TOP_LAYERS and (height, width) != (needed, needed):
        raise NstjaxError(
            f"layer {layer} takes pictures of {needed}×{needed} pixels, not {width}×{height}"
        )
    if min(height, width) < needed:
        raise NstjaxError(
            f"{what} of {width}×{height} pixels is too small for layer {layer}, which needs "
            f"{needed} pixels a side: use a larger picture or {settings}, or leave out deeper "
            "layers"
        )
