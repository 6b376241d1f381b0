"""How rough a picture is: the differences between neighbouring pixels."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.errors import unknown_choice


def _differences(image):
    dtype = jnp.promote_types(image.dtype, jnp.float32)
    image = image.astype(dtype)
    return image[:, 1:] - image[:, :-1], image[:, :, 1:] - image[:, :, :-1]


def _absolute(x):
    # `jnp.abs` has gradient 1 at 0. In the sources' frameworks it is 0, so that a flat colour is a
    # minimum.
    return x * jnp.sign(x)


def _sum(image):
    dy, dx = _differences(image)
    return (jnp.sum(_absolute(dy)) + jnp.sum(_absolute(dx))) / image.shape[0]


def _mean(image):
    dy, dx = _differences(image)
    return jnp.mean(_absolute(dy)) + jnp.mean(_absolute(dx))


def _mean_squared(image):
    dy, dx = _differences(image)
    return jnp.mean(jnp.square(dy)) + jnp.mean(jnp.square(dx))


def _cropped_squares(image):
    """Squared differences downwards and rightwards, where a pixel has both neighbours."""
    dy, dx = _differences(image)
    return jnp.square(dy[:, :, :-1]), jnp.square(dx[:, :-1])


def _half_squared(image):
    dy2, dx2 = _cropped_squares(image)
    return 0.5 * jnp.sum(dy2 + dx2) / image.shape[0]


def _power(image):
    dy2, dx2 = _cropped_squares(image)
    squares = dy2 + dx2
    # s * s^(1/4) instead of s^(5/4). At s = 0 the quarter power has no gradient, and the product's
    # is 0: hence the guards.
    positive = squares > 0
    quarter = jnp.where(positive, jnp.where(positive, squares, 1.0) ** 0.25, 0.0)
    return jnp.sum(squares * quarter) / image.shape[0]


def _nine_point(image):
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    dy, dx = _differences(padded)
    padded = padded.astype(dx.dtype)
    falling = padded[:, 1:, 1:] - padded[:, :-1, :-1]
    rising = padded[:, 1:, :-1] - padded[:, :-1, 1:]
    straight = jnp.mean(jnp.square(dy[:, 1:, 1:-1])) + jnp.mean(jnp.square(dx[:, 1:-1, 1:]))
    diagonal = jnp.mean(jnp.square(falling)) + jnp.mean(jnp.square(rising))
    return 2 / 3 * straight + 1 / 6 * diagonal


TV_FORMS = {
    "sum": _sum,
    "mean": _mean,
    "mean_squared": _mean_squared,
    "half_squared": _half_squared,
    "power": _power,
    "nine_point": _nine_point,
}


def total_variation(image: Float[Array, "n h w c"], *, form: str = "sum") -> Float[Array, ""]:
    r"""Roughness of a picture.

    With $d^x$ and $d^y$ the differences between horizontal and vertical neighbours:

    | form | value | used by |
    |---|---|---|
    | `"sum"` | $\sum \lvert d^x \rvert + \sum \lvert d^y \rvert$ | `tf.image.total_variation` |
    | `"mean"` | mean $\lvert d^x \rvert$ + mean $\lvert d^y \rvert$ | |
    | `"mean_squared"` | mean $(d^x)^2$ + mean $(d^y)^2$ | anishathalye/neural-style |
    | `"half_squared"` | $\frac12 \sum (d^x)^2 + (d^y)^2$ | jcjohnson/neural-style |
    | `"power"` | $\sum ((d^x)^2 + (d^y)^2)^{1.25}$ | keras.io |
    | `"nine_point"` | see below | crowsonkb/style-transfer-pytorch |

    `"half_squared"` and `"power"` leave out the last row and column, as their sources do.

    `"nine_point"` is $\frac23$ (mean $(d^x)^2$ + mean $(d^y)^2$) + $\frac16$ (mean $(d^+)^2$ + mean
    $(d^-)^2$), where $d^+$ and $d^-$ are the differences of diagonal neighbours, and the picture is
    padded by one pixel with its border: the straight differences include a row and a column of
    zeros, the diagonal ones those along the border.

    Args:
        image: pictures, shape (N, H, W, C), in whatever range the weight was chosen for.
        form: one of the names above.

    Returns:
        The value averaged over the batch, at least float32, shape ().

    Raises:
        NstjaxError: if the form is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> float(total_variation(jnp.array([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 2, 2, 1)))
        4.0

    Source: the code of the systems named in the table.
    """
    if form not in TV_FORMS:
        raise unknown_choice("total variation form", form, TV_FORMS)
    return TV_FORMS[form](image)
