"""Pixels to channels and back: the same numbers at another resolution."""

from jaxtyping import Array, Float


def pixel_unshuffle(x: Float[Array, "n h w c"], factor: int) -> Float[Array, "n a b d"]:
    """Puts the pixels of each square into channels.

    Args:
        x: shape (N, H, W, C), H and W divisible by `factor`.
        factor: side of the squares, in pixels.

    Returns:
        Shape (N, H / factor, W / factor, factor² C): the rows of each square one after the other.

    Example:
        >>> import jax.numpy as jnp
        >>> pixel_unshuffle(jnp.arange(8.0).reshape(1, 2, 4, 1), 2)[0, 0].tolist()
        [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]

    Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
    Sub-Pixel Convolutional Neural Network", 2016, equation 4, backwards.
    """
    n, h, w, c = x.shape
    x = x.reshape(n, h // factor, factor, w // factor, factor, c).swapaxes(2, 3)
    return x.reshape(n, h // factor, w // factor, factor * factor * c)


def pixel_shuffle(x: Float[Array, "n h w d"], factor: int) -> Float[Array, "n a b c"]:
    """Makes a square of pixels out of each pixel's channels; the inverse of `pixel_unshuffle`.

    Args:
        x: shape (N, H, W, factor² C).
        factor: side of the squares, in pixels.

    Returns:
        Shape (N, factor H, factor W, C).

    Example:
        >>> import jax.numpy as jnp
        >>> pixel_shuffle(jnp.arange(4.0).reshape(1, 1, 1, 4), 2)[0, :, :, 0].tolist()
        [[0.0, 1.0], [2.0, 3.0]]

    Source: as for `pixel_unshuffle`, equation 4.
    """
    n, h, w, d = x.shape
    x = x.reshape(n, h, w, factor, factor, d // factor**2).swapaxes(2, 3)
    return x.reshape(n, h * factor, w * factor, d // factor**2)
