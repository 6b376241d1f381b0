"""The parts of style networks: normalised convolutions, residual blocks, the output curve."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from flax.errors import FlaxError
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array

from nstjax.fast.settings import Architecture
from nstjax.ops import (
    cached,
    conv3x3,
    conv3x3_stride2,
    conv_few_inputs,
    conv_few_outputs,
    doubled,
    normalize,
    over_windows,
    pointwise,
    reflect,
    transposed_conv3x3,
    upsample_conv3x3,
)
from nstjax.ops.rowwise import Picture

WrongParams = FlaxError  # what a module raises that is given another one's parameters

# Of the initial parameters. Training starts from a grey picture, since a tanh holds on to glaring
# colours, and from residual blocks that do nothing yet.
_OUTPUT_SPREAD, _RESIDUAL_GAIN = 0.1, 0.0
_CURVES: dict[str, Callable[[Array, float], Array]] = {
    "tanh": lambda x, scale: 0.5 + scale * jnp.tanh(x),
    "sigmoid": lambda x, scale: nn.sigmoid(x),
    "linear": lambda x, scale: scale * x,
}
relu = partial(pointwise, nn.relu)


@dataclass(frozen=True)
class Algorithm:
    """How one of `nstjax.ops`' convolutions relates its rows to the picture's.

    Attributes:
        convolve: of a picture and a kernel.
        size: of the kernel, in pixels.
        stride: rows of the picture to a row of the result.
        doubles: whether there are two rows of the result to a row of the picture instead.
    """

    convolve: Callable[[Array, Array], Array]
    size: int = 3
    stride: int = 1
    doubles: bool = False


CONV3X3 = Algorithm(partial(conv3x3, padding="VALID"))
HALVING = Algorithm(conv3x3_stride2, stride=2)
FROM_COLOURS = Algorithm(conv_few_inputs, size=9)
TO_COLOURS = Algorithm(conv_few_outputs, size=9)
ENLARGING = {
    "nearest": Algorithm(upsample_conv3x3, doubles=True),
    "transpose": Algorithm(transposed_conv3x3, doubles=True),
}


class Conv(nn.Module):
    """A convolution without bias, on one of `nstjax.ops`' algorithms; float32 or wider.

    Attributes:
        algorithm: which.
        channels: of the result.
        dtype: what it computes in.
        gain: of the initial kernel.
    """

    algorithm: Algorithm
    channels: int
    dtype: str
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Picture) -> Picture:
        """Convolves (N, H, W, I) to (N, A, B, O)."""
        size = self.algorithm.size
        shape = (size, size, x.shape[-1], self.channels)
        init = nn.initializers.variance_scaling(self.gain**2, "fan_avg", "uniform")
        kernel = self.param("kernel", init, shape)

        def convolve(x: Array) -> Array:
            y = self.algorithm.convolve(*promote_dtype(x, kernel, dtype=jnp.dtype(self.dtype)))
            return y.astype(jnp.promote_types(y.dtype, jnp.float32))

        if self.algorithm.doubles:
            return doubled(convolve, x)
        return over_windows(convolve, x, size, stride=self.algorithm.stride)


class InstanceNorm(nn.Module):
    """Normalises each picture's channels, like Flax's, but by `nstjax.ops`' algorithm.

    Attributes:
        epsilon: added to the variances.
        gain: the initial scale.
    """

    epsilon: float
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Picture) -> Picture:
        """Normalises."""
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.constant(self.gain), channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        return normalize(x, scale, bias, self.epsilon)


class StyleModule(nn.Module):
    """What all designs of style networks share.

    Attributes:
        architecture: the variant.
        dtype: what convolutions compute in. Their sums, the norms and the picture are float32, or
            float64 if `dtype` is.
    """

    architecture: Architecture = Architecture()
    dtype: str = "float32"

    def scaled(self, channels: int) -> int:
        """A number of channels, by the architecture's width."""
        return max(1, round(channels * self.architecture.width))

    def normalized(
        self,
        name: str,
        algorithm: Algorithm,
        x: Picture,
        channels: int,
        *,
        gain: float = 1.0,
        cache: bool = False,
    ) -> Picture:
        """Convolves, then normalises each picture's channels, at first to a spread of `gain`.

        In row-wise mode, everything before this norm is computed twice (moments, then values),
        unless `cache` stores the convolution's result.
        """
        x = Conv(algorithm, channels, self.dtype, name=name)(x)
        x = cached(x) if cache else x
        return InstanceNorm(self.architecture.norm_epsilon, gain, name=f"{name}_norm")(x)

    def residual(self, name: str, x: Picture) -> Picture:
        """Adds the result of two convolutions to a picture."""
        channels = x.shape[-1]
        first = partial(self.normalized, f"{name}_conv1", CONV3X3, cache=True)
        second = partial(self.normalized, f"{name}_conv2", CONV3X3, cache=True)
        y = relu(first(reflect(x, 1), channels))
        return cached(pointwise(jnp.add, x, second(reflect(y, 1), channels, gain=_RESIDUAL_GAIN)))

    def output(self, algorithm: Algorithm, x: Picture, channels: int) -> Picture:
        """The last convolution, before its bias."""
        if self.architecture.norm_last:
            return self.normalized("output", algorithm, x, channels)
        spread = _OUTPUT_SPREAD / self.architecture.output_gain
        return Conv(algorithm, channels, self.dtype, spread, name="output")(x)

    def colours(self, x: Picture) -> Picture:
        """Turns the last convolution's result into RGB."""
        architecture, bias = self.architecture, 0.0
        if not architecture.norm_last:
            bias = self.param("output_bias", nn.initializers.zeros, (3,))
        gain = 1.0 if architecture.norm_last else architecture.output_gain

        def colour(x: Array) -> Array:
            return _CURVES[architecture.output](gain * (x + bias), architecture.output_scale)

        return pointwise(colour, x)
