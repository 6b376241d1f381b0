"""Pictures that are not stored but computed again, a few rows at a time, wherever they are needed.

Operations on them only record what to do. The rows are computed by `materialize`, `cached` and
`instance_moments` alone. So a network's layers at the picture's own resolution, each of which may
be larger than the memory, never exist as a whole. The functions below also take arrays, and then
compute at once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.ops.moments import channel_moments, normalize_channels, normalized
from nstjax.ops.padding import mirrored, reflect_pad
from nstjax.ops.strips import over_strips, rows_of

Compute = Callable[[Array, int], Array]


class Rowwise:
    """A picture (N, H, W, C) by its rows.

    Attributes:
        shape: as of an array.
        dtype: likewise.
        rows: how many are computed at a time.
        compute: `compute(first, count)` computes that many rows; `first` may be traced.
        ready: a scalar computed from the same inputs. Buffers are filled with it, so that XLA
            cannot allocate them before those inputs exist.

    Example:
        >>> import jax.numpy as jnp
        >>> picture = by_rows(jnp.arange(6.0).reshape(1, 3, 2, 1), 1)
        >>> double = pointwise(lambda x: 2 * x, picture)
        >>> materialize(double)[0, :, :, 0].tolist()
        [[0.0, 2.0], [4.0, 6.0], [8.0, 10.0]]
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, rows: int, compute: Compute, ready: Array
    ):
        self.shape, self.dtype, self.compute, self.ready = shape, dtype, compute, ready
        self.rows = max(1, min(rows, shape[1]))

    def over_rows(self, step: Callable[[Array, Array, Array, Any], Any], start: Any) -> Any:
        """Goes through the rows from the top.

        Args:
            step: `step(rows, first, repeated, carry) -> carry`: `first` is the index of the first
                row; the first `repeated` rows were in the previous strip.
            start: the first `carry`.

        Returns:
            The last one.
        """

        def of_strip(first: Array, repeated: Array, carry: Any) -> Any:
            return step(self.compute(first, self.rows), first, repeated, carry)

        return over_strips(self.shape[1], self.rows, of_strip, start)


Picture = Array | Rowwise


def by_rows(x: Float[Array, "n h w c"], rows: int) -> Rowwise:
    """Wraps an array, so that what follows is computed by rows.

    Args:
        x: shape (N, H, W, C).
        rows: how many to compute at a time.

    Returns:
        The picture.
    """

    def compute(first: Array, count: int) -> Array:
        return rows_of(x, first, count)

    return Rowwise(x.shape, x.dtype, rows, compute, x.ravel()[0])


def materialize(x: Picture) -> Array:
    """Computes a picture as a whole.

    Args:
        x: the picture.

    Returns:
        The same as an array, (N, H, W, C).
    """
    if not isinstance(x, Rowwise):
        return x

    def put(part: Array, first: Array, _repeated: Array, whole: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(whole, part, first, 1)

    return x.over_rows(put, jnp.full(x.shape, x.ready, x.dtype))


def cached(x: Picture) -> Picture:
    """Computes a picture as a whole; what follows is computed by rows as before.

    Args:
        x: the picture.

    Returns:
        The same picture. Its rows are now looked up, not computed again.
    """
    return by_rows(materialize(x), x.rows) if isinstance(x, Rowwise) else x


def pointwise(function: Callable[..., Array], *pictures: Picture) -> Picture:
    """Applies a function to each pixel.

    Args:
        function: of as many arrays as there are pictures.
        pictures: of one height and width; arrays may be among them.

    Returns:
        The result.
    """
    rows = next((x.rows for x in pictures if isinstance(x, Rowwise)), None)
    if rows is None:
        return function(*pictures)
    parts = [x if isinstance(x, Rowwise) else by_rows(x, rows) for x in pictures]

    def compute(first: Array, count: int) -> Array:
        return function(*(x.compute(first, count) for x in parts))

    found = jax.eval_shape(function, *map(_whole, parts))
    ready = sum((x.ready for x in parts[1:]), parts[0].ready)
    return Rowwise(found.shape, found.dtype, rows, compute, ready)


def reflect(x: Picture, amount: int) -> Picture:
    """Pads by reflection, as `reflect_pad`.

    Args:
        x: shape (N, H, W, C), H and W more than `amount`.
        amount: how many pixels on each side.

    Returns:
        Shape (N, H + 2 amount, W + 2 amount, C).
    """
    if not isinstance(x, Rowwise):
        return reflect_pad(x, amount)
    return _reflected(x, amount, x.shape[1] + 2 * amount, x.shape[2] + 2 * amount)


def reflect_to(x: Picture, height: int, width: int) -> Picture:
    """Enlarges a picture by reflection, at the bottom and on the right.

    Args:
        x: shape (N, H, W, C).
        height: of the result, less than 2 H.
        width: likewise, less than 2 W.

    Returns:
        Shape (N, height, width, C).
    """
    if not isinstance(x, Rowwise):
        around = (0, height - x.shape[1]), (0, width - x.shape[2])
        return jnp.pad(x, ((0, 0), *around, (0, 0)), mode="reflect")
    return x if x.shape[1:3] == (height, width) else _reflected(x, 0, height, width)


def _reflected(x: Rowwise, before: int, new_height: int, new_width: int) -> Rowwise:
    n, height, width, channels = x.shape
    across = mirrored(np.arange(-before, new_width - before), width)

    def compute(first: Array, count: int) -> Array:
        rows = min(count, height)
        start = jnp.clip(first - before, 0, height - rows)
        place = mirrored(first - before + jnp.arange(count), height)
        return jnp.take(jnp.take(x.compute(start, rows), place - start, axis=1), across, axis=2)

    return Rowwise((n, new_height, new_width, channels), x.dtype, x.rows, compute, x.ready)


def crop(x: Picture, height: int, width: int) -> Picture:
    """Cuts a picture back at the bottom and on the right.

    Args:
        x: shape (N, H, W, C).
        height: of the result, at most H.
        width: likewise, at most W.

    Returns:
        Shape (N, height, width, C).
    """
    if not isinstance(x, Rowwise):
        return x[:, :height, :width]
    n, _, _, channels = x.shape

    def compute(first: Array, count: int) -> Array:
        return x.compute(first, count)[:, :, :width]

    return Rowwise((n, height, width, channels), x.dtype, x.rows, compute, x.ready)


def over_windows(
    function: Callable[[Array], Array], x: Picture, size: int, *, stride: int = 1
) -> Picture:
    """Applies a function of windows, such as a convolution without padding.

    Args:
        function: of a picture, to one row for each window of rows that lies in it.
        x: the picture.
        size: rows of a window.
        stride: rows from one window to the next.

    Returns:
        The result.
    """
    if not isinstance(x, Rowwise):
        return function(x)

    def compute(first: Array, count: int) -> Array:
        return function(x.compute(stride * first, stride * (count - 1) + size))

    found = jax.eval_shape(function, _whole(x))
    return Rowwise(found.shape, found.dtype, x.rows // stride, compute, x.ready)


def doubled(function: Callable[[Array], Array], x: Picture) -> Picture:
    """Applies a function that doubles height and width, such as a transposed convolution.

    Args:
        function: of a picture, to two rows for each of its rows, computed from that row and the
            ones before and after it.
        x: the picture.

    Returns:
        The result.
    """
    if not isinstance(x, Rowwise):
        return function(x)
    height = x.shape[1]

    def compute(first: Array, count: int) -> Array:
        # With a row more above and below: the outermost results are those of the picture's border.
        rows = min(-(-count // 2) + 2, height)
        start = jnp.clip(first // 2 - 1, 0, height - rows)
        return rows_of(function(x.compute(start, rows)), first - 2 * start, count)

    found = jax.eval_shape(function, _whole(x))
    return Rowwise(found.shape, found.dtype, 2 * x.rows, compute, x.ready)


def instance_moments(x: Picture) -> tuple[Array, Array]:
    """Computes mean and variance of each picture's channels, as `channel_moments`.

    Those of a few rows at a time are combined as in Chan, Golub and LeVeque, "Updating Formulae and
    a Pairwise Algorithm for Computing Sample Variances", 1979.

    Args:
        x: shape (N, H, W, C).

    Returns:
        The two, each of shape (N, 1, 1, C).
    """
    if not isinstance(x, Rowwise):
        return channel_moments(x)
    n, _, width, channels = x.shape

    def add(
        part: Array, first: Array, repeated: Array, so_far: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        mean, variance = so_far
        new = (jnp.arange(x.rows) >= repeated).astype(part.dtype)
        count = x.rows - repeated
        weights = jnp.broadcast_to((new / (count * width))[:, None], (x.rows, width))

        def average(values: Array) -> Array:
            values = values.reshape(n, -1, channels)
            product = jnp.einsum("p,npc->nc", weights.ravel(), values, precision="highest")
            return product[:, None, None]

        own = average(part)
        share = count / (first + x.rows)
        own_variance = average(jnp.square(part - own))
        difference = own - mean
        variance = (1 - share) * variance + share * own_variance
        return mean + share * difference, variance + share * (1 - share) * difference**2

    zero = jnp.zeros((n, 1, 1, channels), x.dtype)
    return x.over_rows(add, (zero, zero))


def normalize(
    x: Picture,
    scale: Float[Array | np.ndarray, " c"],
    bias: Float[Array | np.ndarray, " c"],
    epsilon: float,
) -> Picture:
    """Instance norm: brings each picture's channels to mean `bias` and standard deviation `scale`.

    Of an array it can be differentiated once.

    Args:
        x: shape (N, H, W, C).
        scale: by channel.
        bias: by channel.
        epsilon: added to the variances.

    Returns:
        Shape (N, H, W, C).

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[[[1.0], [5.0]]]])
        >>> normalize(x, jnp.array([3.0]), jnp.array([7.0]), 0.0).ravel().tolist()
        [4.0, 10.0]
    """
    if not isinstance(x, Rowwise):
        return normalize_channels(x, scale, bias, epsilon)
    mean, variance = instance_moments(x)
    return pointwise(lambda x: normalized(x, mean, variance, scale, bias, epsilon), x)


def _whole(x: Rowwise) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)
