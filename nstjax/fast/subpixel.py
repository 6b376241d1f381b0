"""A style network that works at low resolution, for CPUs."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from nstjax.fast.layers import CONV3X3, ENLARGING, HALVING, StyleModule, relu
from nstjax.ops import (
    cached,
    crop,
    doubled,
    over_windows,
    pixel_shuffle,
    pixel_unshuffle,
    pointwise,
    reflect,
    reflect_to,
)
from nstjax.ops.rowwise import Picture

RESIDUAL_BLOCKS = 3
_SQUARE = 2  # side of the squares of pixels that become channels
_SMALLEST = 8  # side, in the picture, of one pixel at the network's lowest resolution


class SubPixel(StyleModule):
    """A network without a convolution at the picture's own resolution.

    Squares of 2×2 pixels become channels. Then 3×3 to 24 channels at half the size, to 64 at a
    quarter and to 128 at an eighth; three residual blocks of 128; an enlargement to 64, to which
    the earlier 64 are added; a residual block of 64; an enlargement to 24, likewise; and 3×3 to the
    three colours of each of the four pixels. Sizes that are not multiples of eight are padded by
    reflection, and the picture is cropped at the end.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from nstjax.fast import Architecture
        >>> network = SubPixel(Architecture(design="subpixel", width=0.25))
        >>> image = jnp.zeros((1, 17, 30, 3))
        >>> network.apply(network.init(jax.random.key(0), image), image).shape
        (1, 17, 30, 3)

    Source: the sub-pixel convolution of Shi et al., "Real-Time Single Image and Video
    Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural Network", 2016, at both ends
    of Johnson's network; skip connections as in Ronneberger, Fischer and Brox, "U-Net:
    Convolutional Networks for Biomedical Image Segmentation", 2015, but added.
    """

    @nn.compact
    def __call__(self, image: Picture) -> Picture:
        """Paints pictures of at least 16 pixels a side: RGB in [0, 1] to the same, not clipped."""
        height, width = image.shape[1:3]
        narrow, middle, wide = map(self.scaled, (24, 64, 128))
        layer = self.normalized
        x = reflect_to(image, height + -height % _SMALLEST, width + -width % _SMALLEST)
        x = over_windows(partial(pixel_unshuffle, factor=_SQUARE), x, _SQUARE, stride=_SQUARE)
        x = half = relu(layer("conv1", CONV3X3, reflect(x, 1), narrow))
        x = quarter = relu(layer("conv2", HALVING, reflect(x, 1), middle))
        x = relu(layer("conv3", HALVING, reflect(x, 1), wide, cache=True))
        enlarging = ENLARGING["nearest"]
        for block in range(1, RESIDUAL_BLOCKS + 1):
            x = self.residual(f"residual{block}", x)
        x = cached(relu(pointwise(jnp.add, quarter, layer("up1", enlarging, x, middle))))
        x = self.residual("fine", x)
        x = relu(pointwise(jnp.add, half, layer("up2", enlarging, x, narrow)))
        x = self.output(CONV3X3, reflect(x, 1), 3 * _SQUARE**2)
        x = doubled(partial(pixel_shuffle, factor=_SQUARE), x)
        return self.colours(crop(x, height, width))
