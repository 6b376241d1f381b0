"""Takes what an optimiser knows from one size of the picture, or round of a size, to the next."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

Pixels = Float[np.ndarray, "1 _ _ 3"]

# PyTorch's for bicubic interpolation; other programs use -0.5.
_SHARPNESS = -0.75


class Carried(NamedTuple):
    """What the optimiser leaves to the next size or round.

    Attributes:
        opt_state: Adam's; None for the others, which start afresh.
        image: for a round of the same size, if the result is an average: the picture itself, white
            being 1.
        average: likewise, the average, see `nstjax.gatys.steps.State`.
        pictures: likewise, how many are in it.
    """

    opt_state: optax.OptState | None = None
    image: Float[Array, "1 h w 3"] | None = None
    average: Float[Array, "1 h w 3"] | None = None
    pictures: Int[Array, ""] | None = None


NOTHING = Carried()


def resize_adam_state(opt_state: optax.OptState, height: int, width: int) -> optax.OptState:
    """Resizes Adam's moments and keeps its count of steps, as crowsonkb/style-transfer-pytorch.

    Without its moments, Adam would begin with steps of the full learning rate in every pixel,
    whatever the gradient, on a picture that is good already.

    Args:
        opt_state: as `nstjax.gatys.steps.first_state` makes it for `"adam"`.
        height: the new height in pixels.
        width: the new width in pixels.

    Returns:
        The state for a picture of the new size: the first moment interpolated bicubically, the
        second bilinearly and at least 0.
    """
    adam, *others = cast(tuple[Any, ...], opt_state)
    mean = interpolate(np.asarray(adam.mu), height, width, cubic)
    square = np.maximum(interpolate(np.asarray(adam.nu), height, width, linear), 0)
    # The count is copied, too: a chunk reuses the memory of its state.
    count = jnp.array(adam.count, copy=True)
    return (adam._replace(count=count, mu=jnp.asarray(mean), nu=jnp.asarray(square)), *others)


def linear(distance: Float[Array | np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The weight of a pixel at a distance in pixels, for bilinear interpolation."""
    return np.maximum(1 - np.abs(distance), 0)


def cubic(distance: Float[Array | np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The weight of a pixel at a distance in pixels, for bicubic interpolation (Keys, 1981)."""
    d, a = np.abs(distance), _SHARPNESS
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def interpolate(
    pixels: Pixels, height: int, width: int, kernel: Callable[[np.ndarray], np.ndarray]
) -> Pixels:
    """Interpolates an image between its pixels; beyond the border its pixels are repeated.

    Unlike `nstjax.images.resize_image` it clips nothing, as the values need not be colours, and
    does not average when it reduces the size.

    Args:
        pixels: the image, (1, H, W, 3).
        height: the new height in pixels.
        width: the new width in pixels.
        kernel: the weight of a pixel at a distance, 0 from 2 on.

    Returns:
        The image, (1, height, width, 3), float32.
    """
    for axis, size in ((1, height), (2, width)):
        length = pixels.shape[axis]
        position = (np.arange(size) + 0.5) * (length / size) - 0.5
        first = np.floor(position).astype(int) - 1
        wide = tuple(-1 if i == axis else 1 for i in range(4))
        total = np.zeros((), np.float32)
        for near in range(4):
            weight = kernel(position - (first + near)).astype(np.float32).reshape(wide)
            total = total + weight * pixels.take(np.clip(first + near, 0, length - 1), axis)
        pixels = total
    return pixels
