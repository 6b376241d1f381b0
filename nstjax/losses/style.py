"""Gram matrices of features, and the distance between two of them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError, unknown_choice

# What a Gram matrix is divided by, given the feature map's H·W and C.
GRAM_DIVISORS = {
    "1": lambda positions, channels: 1,
    "hw": lambda positions, channels: positions,
    "chw": lambda positions, channels: positions * channels,
}

# What the sum of squared differences of two Gram matrices is divided by, given their size N and
# the number of positions. keras.io's example writes 3 for N, whatever the layer, and counts the
# positions of the picture, not of the layer.
STYLE_REDUCTIONS = {
    "mean": lambda channels, positions: channels**2,
    "gatys": lambda channels, positions: 4 * channels**2 * positions**2,
    "keras": lambda channels, positions: 4 * 3**2 * positions**2,
}


def gram_matrix(
    features: Float[Array, "n h w c"], *, divisor: str = "hw", positions: int | None = None
) -> Float[Array, "n c c"]:
    r"""Inner products of all pairs of channels over all positions.

    $$ G_{cd} = \frac{1}{d} \sum_{ij} F_{ijc} F_{ijd} $$

    Args:
        features: activations, shape (N, H, W, C).
        divisor: `"1"` (the paper), `"hw"` or `"chw"`: what the sum is divided by.
        positions: H·W of the whole picture, where these are some of its rows. The matrices of all
            rows then add up to the picture's.

    Returns:
        Symmetric matrices, shape (N, C, C), summed in float32 or wider whatever the input is.

    Raises:
        NstjaxError: if the divisor is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> gram_matrix(jnp.ones((1, 2, 3, 1)), divisor="1").tolist()
        [[[6.0]]]

    Source: Gatys, Ecker and Bethge, 2016, equation 3.
    """
    if divisor not in GRAM_DIVISORS:
        raise unknown_choice("Gram divisor", divisor, GRAM_DIVISORS)
    n, h, w, c = features.shape
    products = _self_products(features.reshape(n, h * w, c))
    return products / GRAM_DIVISORS[divisor](positions or h * w, c)


@jax.custom_vjp
def _self_products(flat: Array) -> Array:
    return jax.lax.dot_general(
        flat,
        flat,
        dimension_numbers=(((1,), (1,)), ((0,), (0,))),
        preferred_element_type=jnp.promote_types(flat.dtype, jnp.float32),
    )


def _self_products_forward(flat: Array) -> tuple[Array, Array]:
    return _self_products(flat), flat


def _self_products_backward(flat: Array, gradient: Array) -> tuple[Array]:
    """By symmetry, one product instead of the two that JAX derives.

    Its result has the layout of the feature map. Both of JAX's come out transposed, and transposing
    them back takes a CPU as long again.
    """
    both = (gradient + gradient.swapaxes(1, 2)).astype(flat.dtype)
    return (jax.lax.dot_general(flat, both, (((2,), (1,)), ((0,), (0,)))),)


_self_products.defvjp(_self_products_forward, _self_products_backward)


def style_loss(
    gram: Float[Array, "n c c"],
    target: Float[Array, "#n c c"],
    *,
    reduction: str = "mean",
    positions: int | None = None,
) -> Float[Array, ""]:
    r"""Squared distance between two Gram matrices.

    $$ L = \frac{1}{d} \sum_{cd} (G_{cd} - A_{cd})^2 $$

    with $d = N^2$ for `"mean"`, $4 N^2 M^2$ for `"gatys"`, where N is the number of channels and M
    the layer's number of positions, and $4 \cdot 3^2 P^2$ for `"keras"`, where P is the picture's
    number of pixels. The last two expect Gram matrices with divisor `"1"`.

    Args:
        gram: Gram matrices of the picture, shape (N, C, C).
        target: Gram matrices of the style image, shape (N, C, C) or (1, C, C).
        reduction: `"mean"`, `"gatys"` or `"keras"`.
        positions: M or P above; `"mean"` needs none.

    Returns:
        The loss averaged over the batch, shape ().

    Raises:
        NstjaxError: if the reduction is unknown, or needs `positions` and has none.

    Example:
        >>> import jax.numpy as jnp
        >>> float(style_loss(jnp.ones((1, 2, 2)), jnp.zeros((1, 2, 2))))
        1.0

    Source: Gatys, Ecker and Bethge, 2016, equations 4 and 5; the keras.io example "Neural style
    transfer" for `"keras"`.
    """
    if reduction not in STYLE_REDUCTIONS:
        raise unknown_choice("style reduction", reduction, STYLE_REDUCTIONS)
    if positions is None and reduction != "mean":
        raise NstjaxError(f"the style reduction {reduction!r} divides by positions: pass positions")
    n, c, _ = gram.shape
    divisor = STYLE_REDUCTIONS[reduction](c, positions)
    return jnp.sum(jnp.square(gram - target)) / (n * float(divisor))
