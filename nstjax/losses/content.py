"""How far a picture's features are from those of the content image."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.errors import unknown_choice

# What the sum of squared differences over one image is divided by, given its number of entries.
CONTENT_REDUCTIONS = {
    "mean": lambda entries: entries,
    "sum": lambda entries: 1,
    "half_sum": lambda entries: 2,
}


def content_loss(
    features: Float[Array, "n h w c"],
    target: Float[Array, "n h w c"],
    *,
    reduction: str = "mean",
    positions: int | None = None,
) -> Float[Array, ""]:
    r"""Squared distance between two feature maps.

    $$ L = \frac{1}{d} \sum_{ijk} (F_{ijk} - P_{ijk})^2 $$

    with $d = HWC$ for `"mean"`, 1 for `"sum"` and 2 for `"half_sum"`, the form of the paper.

    Args:
        features: activations of the picture, shape (N, H, W, C).
        target: activations of the content image, same shape.
        reduction: `"mean"`, `"sum"` or `"half_sum"`, over each image.
        positions: H·W of the whole image, where these are some of its rows. The losses of all
            rows then add up to the image's.

    Returns:
        The loss averaged over the batch, at least float32, shape ().

    Raises:
        NstjaxError: if the reduction is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> ones = jnp.ones((1, 2, 2, 1))
        >>> float(content_loss(ones, 0 * ones, reduction="half_sum"))
        2.0

    Source: Gatys, Ecker and Bethge, "Image Style Transfer Using Convolutional Neural Networks",
    2016, equation 1.
    """
    if reduction not in CONTENT_REDUCTIONS:
        raise unknown_choice("content reduction", reduction, CONTENT_REDUCTIONS)
    dtype = jnp.promote_types(features.dtype, jnp.float32)
    difference = features.astype(dtype) - target.astype(dtype)
    n, h, w, c = features.shape
    divisor = CONTENT_REDUCTIONS[reduction]((positions or h * w) * c)
    return jnp.sum(jnp.square(difference)) / (n * divisor)
