"""Johnson's style network."""

from flax import linen as nn

from nstjax.fast.layers import ENLARGING, FROM_COLOURS, HALVING, TO_COLOURS, StyleModule, relu
from nstjax.ops import crop, reflect
from nstjax.ops.rowwise import Picture

RESIDUAL_BLOCKS = 5


class Johnson(StyleModule):
    """Johnson's network, with instance norm and reflection padding.

    9×9 to 32 channels; 3×3 to 64 at half the size and to 128 at a quarter; five residual blocks of
    128; two enlargements, to 64 and 32; and 9×9 to the three colours. Odd sizes are cropped on the
    way up, so that the picture keeps its size.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from nstjax.fast import Architecture
        >>> network = Johnson(Architecture(width=0.25))
        >>> image = jnp.zeros((1, 17, 30, 3))
        >>> network.apply(network.init(jax.random.key(0), image), image).shape
        (1, 17, 30, 3)

    Source: Johnson, Alahi and Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and
    Super-Resolution", 2016, and its supplement; instance norm from Ulyanov, Vedaldi and Lempitsky,
    "Instance Normalization: The Missing Ingredient for Fast Stylization", 2016. Unlike in the
    paper, residual blocks keep their size, and convolutions before a norm have no bias: the norm
    would cancel it.
    """

    @nn.compact
    def __call__(self, image: Picture) -> Picture:
        """Paints pictures of at least 16 pixels a side: RGB in [0, 1] to the same, not clipped."""
        height, width = image.shape[1:3]
        narrow, middle, wide = map(self.scaled, (32, 64, 128))
        layer = self.normalized
        x = relu(layer("conv1", FROM_COLOURS, reflect(image, 4), narrow))
        x = relu(layer("conv2", HALVING, reflect(x, 1), middle))
        x = relu(layer("conv3", HALVING, reflect(x, 1), wide, cache=True))
        for block in range(1, RESIDUAL_BLOCKS + 1):
            x = self.residual(f"residual{block}", x)
        enlarging = ENLARGING[self.architecture.upsampling]
        for name, channels, scale in (("up1", middle, 2), ("up2", narrow, 1)):
            x = relu(layer(name, enlarging, x, channels))
            x = crop(x, -(-height // scale), -(-width // scale))
        return self.colours(self.output(TO_COLOURS, reflect(x, 4), 3))
