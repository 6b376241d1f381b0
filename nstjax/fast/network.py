"""The style network: a photograph in, the same photograph painted out, in one pass."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError
from nstjax.fast.settings import Architecture
from nstjax.ops import (
    conv3x3,
    conv3x3_stride2,
    conv_few_inputs,
    conv_few_outputs,
    reflect_pad,
    upsample_conv3x3,
)

Params = Mapping[str, Any]

RESIDUAL_BLOCKS = 5
MINIMUM_SIZE = 16  # pixels a side; below it, reflection finds nothing to reflect


def transposed_conv3x3(x: Array, kernel: Array) -> Array:
    """Doubles height and width by a transposed convolution with stride 2."""
    return jax.lax.conv_transpose(
        x,
        kernel,
        (2, 2),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
    )


_conv3x3 = partial(conv3x3, padding="VALID")
# Of the first parameters: training starts from a grey picture, not from glaring colours, which a
# tanh holds on to, and from residual blocks that do nothing yet.
_OUTPUT_SPREAD, _RESIDUAL_GAIN = 0.1, 0.0
_ENLARGE = {"nearest": upsample_conv3x3, "transpose": transposed_conv3x3}
_OUTPUT: dict[str, Callable[[Array, float], Array]] = {
    "tanh": lambda x, scale: 0.5 + scale * jnp.tanh(x),
    "sigmoid": lambda x, scale: nn.sigmoid(x),
    "linear": lambda x, scale: scale * x,
}


class _Conv(nn.Module):
    """A convolution without bias, on one of `nstjax.ops`' algorithms."""

    algorithm: Callable[[Array, Array], Array]
    channels: int
    size: int
    dtype: str
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.size, self.size, x.shape[-1], self.channels)
        init = nn.initializers.variance_scaling(self.gain**2, "fan_avg", "uniform")
        kernel = self.param("kernel", init, shape)
        x, kernel = promote_dtype(x, kernel, dtype=jnp.dtype(self.dtype))
        return self.algorithm(x, kernel)


class StyleNetwork(nn.Module):
    """Johnson's network, with instance norm and reflection padding.

    9×9 to 32 channels, 3×3 to 64 and 128 at half and a quarter of the size, five residual blocks
    of 128, two enlargements to 64 and 32, and 9×9 to the three colours. Odd sizes are cut back on
    the way up, so that the picture keeps its size.

    Attributes:
        architecture: the variant.
        dtype: what convolutions compute in; their sums, the norms and the picture are float32, or
            float64 like it.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> network = StyleNetwork(Architecture(width=0.25))
        >>> image = jnp.zeros((1, 17, 30, 3))
        >>> network.apply(network.init(jax.random.key(0), image), image).shape
        (1, 17, 30, 3)

    Source: Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
    Super-Resolution", 2016, and its supplement; instance norm from Ulyanov, Vedaldi and Lempitsky,
    "Instance Normalization: The Missing Ingredient for Fast Stylization", 2016. Unlike the
    paper's, residual blocks keep their size, and convolutions that a norm follows have no bias,
    which the norm would take away again.
    """

    architecture: Architecture = Architecture()
    dtype: str = "float32"

    @nn.compact
    def __call__(self, image: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
        """Paints pictures.

        Args:
            image: RGB in [0, 1], shape (N, H, W, 3).

        Returns:
            Pictures of the same shape, float32, around [0, 1] but not clipped to it.

        Raises:
            NstjaxError: if a side is shorter than 16 pixels.
        """
        height, width = image.shape[1:3]
        check_side(height, width)
        narrow, middle, wide = (max(1, round(n * self.architecture.width)) for n in (32, 64, 128))
        x = nn.relu(self._layer("conv1", conv_few_inputs, reflect_pad(image, 4), narrow, size=9))
        x = nn.relu(self._layer("conv2", conv3x3_stride2, reflect_pad(x, 1), middle))
        x = nn.relu(self._layer("conv3", conv3x3_stride2, reflect_pad(x, 1), wide))
        for block in range(1, RESIDUAL_BLOCKS + 1):
            name = f"residual{block}"
            y = nn.relu(self._layer(f"{name}_conv1", _conv3x3, reflect_pad(x, 1), wide))
            x = x + self._layer(
                f"{name}_conv2", _conv3x3, reflect_pad(y, 1), wide, gain=_RESIDUAL_GAIN
            )
        enlarge = _ENLARGE[self.architecture.upsampling]
        for name, channels, scale in (("up1", middle, 2), ("up2", narrow, 1)):
            x = nn.relu(self._layer(name, enlarge, x, channels))
            x = x[:, : -(-height // scale), : -(-width // scale)]
        x = self._output(reflect_pad(x, 4))
        return _OUTPUT[self.architecture.output](x, self.architecture.output_scale)

    def _layer(
        self,
        name: str,
        algorithm: Callable[[Array, Array], Array],
        x: Array,
        channels: int,
        *,
        size: int = 3,
        gain: float = 1.0,
    ) -> Array:
        """Convolves and normalises, to a spread of `gain` at first; float32 or wider."""
        x = _at_least_float32(_Conv(algorithm, channels, size, self.dtype, name=name)(x))
        # The fast variance, Flax's default, cancels catastrophically where the mean is large.
        norm = nn.InstanceNorm(
            epsilon=self.architecture.norm_epsilon,
            use_fast_variance=False,
            dtype=x.dtype,
            scale_init=nn.initializers.constant(gain),
            name=f"{name}_norm",
        )
        return norm(x)

    def _output(self, x: Array) -> Array:
        if self.architecture.norm_last:
            return self._layer("output", conv_few_outputs, x, 3, size=9)
        gain = self.architecture.output_gain
        x = _Conv(conv_few_outputs, 3, 9, self.dtype, _OUTPUT_SPREAD / gain, name="output")(x)
        x = _at_least_float32(x) + self.param("output_bias", nn.initializers.zeros, (3,))
        return gain * x


def _at_least_float32(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def check_side(height: int, width: int) -> None:
    """Raises an error for people if a picture is too small for a style network.

    Args:
        height: of the picture, in pixels.
        width: likewise.

    Raises:
        NstjaxError: if it is.
    """
    if min(height, width) < MINIMUM_SIZE:
        raise NstjaxError(
            f"a picture of {width}×{height} pixels is too small for a style network, which "
            f"needs {MINIMUM_SIZE} pixels a side: use a larger picture or --size"
        )


def init_params(architecture: Architecture, key: Array) -> Params:
    """Draws a network's first parameters.

    Args:
        architecture: of the network.
        key: from `jax.random.key`.

    Returns:
        The parameters, float32, by layer name.
    """
    image = jnp.zeros((1, MINIMUM_SIZE, MINIMUM_SIZE, 3))
    # Compiled, it draws and computes nothing else; step by step it would paint the picture, too.
    return jax.jit(StyleNetwork(architecture).init)(key, image)["params"]


def paint(
    architecture: Architecture,
    params: Params,
    image: Float[Array, "n h w 3"],
    *,
    dtype: str = "float32",
) -> Float[Array, "n h w 3"]:
    """Paints pictures in the style that a network was trained for.

    Args:
        architecture: of the network.
        params: its parameters.
        image: RGB in [0, 1], shape (N, H, W, 3), from 16 pixels a side.
        dtype: what convolutions compute in.

    Returns:
        The pictures, same shape, float32, not clipped.

    Raises:
        NstjaxError: if a side is too short.
    """
    # Without mutable collections, apply returns just what the module does.
    network = StyleNetwork(architecture, dtype)
    return cast(Array, network.apply({"params": params}, image))


@partial(jax.jit, static_argnums=(0, 1))
def paint_clipped(
    architecture: Architecture,
    dtype: str,
    params: Params,
    image: Float[Array | np.ndarray, "n h w 3"],
) -> Float[Array, "n h w 3"]:
    """Paints likewise, compiled, and clips to [0, 1]."""
    return jnp.clip(paint(architecture, params, jnp.asarray(image), dtype=dtype), 0, 1)


def auto_precision() -> str:
    """Returns what convolutions are best computed in on the devices at hand."""
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"
