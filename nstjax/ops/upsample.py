"""Enlargements with a 3×3 convolution, computed on the small picture.

With pixels repeated: take one direction, the kernel (p, q, r) and the pixels … a b c …, each of
them doubled. The two results at b are p a + (q + r) b and (p + q) b + r c: each sees two pixels. In
two directions, the four results of a pixel are convolutions of the small picture with 2×2 kernels,
computed as four times the channels, with 16 products for four results; a direct convolution takes
36. Reflected borders of the enlarged picture are repeated borders of the small one.

With zeros inserted, as in a transposed convolution, the two results at b are p a + r b and q b. Of
the 16 products 7 are with zeros, but this is still faster than XLA's own.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.ops.choice import Direct, Forward, faster_on_cpu
from nstjax.ops.direct import computed_dtype, direct, direct_with_plain_gradients
from nstjax.ops.padding import reflect_pad
from nstjax.ops.shuffle import pixel_shuffle

# The parts of the kernel in the even and the odd result, for each of the two pixels that they see.
_NEAREST = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)
_TRANSPOSE = np.array([[[1, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0]]], np.float32)


def upsample_conv3x3(
    x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "n a b o"]:
    """Doubles height and width by repeating pixels, then convolves, borders reflected.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (3, 3, I, O).

    Returns:
        Shape (N, 2 H, 2 W, O), in float32 also for bfloat16.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.arange(2.0).reshape(1, 1, 2, 1)
        >>> upsample_conv3x3(x, jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[0.0, 3.0, 6.0, 9.0], [0.0, 3.0, 6.0, 9.0]]
    """
    return _UPSAMPLE(x, kernel)


def transposed_conv3x3(
    x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "n a b o"]:
    """Doubles height and width by a transposed convolution with stride 2.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (3, 3, I, O).

    Returns:
        Shape (N, 2 H, 2 W, O), in float32 also for bfloat16; as `jax.lax.conv_transpose` with
        padding `"SAME"`.

    Example:
        >>> import jax.numpy as jnp
        >>> transposed_conv3x3(jnp.ones((1, 1, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[1.0, 1.0, 2.0, 1.0], [1.0, 1.0, 2.0, 1.0]]
    """
    return _TRANSPOSED(x, kernel)


def _plain_upsample(x: Array, kernel: Array, dtype: Any) -> Array:
    return direct(reflect_pad(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), 1), kernel, dtype)


def _plain_transposed(x: Array, kernel: Array, dtype: Any) -> Array:
    y = jax.lax.conv_transpose(
        x,
        kernel,
        strides=(2, 2),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=computed_dtype(x, dtype),
    )
    return y.astype(dtype)


def _four_results(x: Array, kernel: Array, phases: np.ndarray) -> Array:
    """The four results of each 2×2 pixels, as channels."""
    i, o = kernel.shape[2:]
    kernels = jnp.einsum("pua,qvb,abio->uvipqo", phases, phases, kernel)
    return direct_with_plain_gradients(x, kernels.reshape(2, 2, i, 4 * o))


def _upsample(x: Array, kernel: Array) -> Array:
    n, h, w, _ = x.shape
    o = kernel.shape[3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    y = _four_results(x, kernel, _NEAREST).reshape(n, h + 1, w + 1, 2, 2, o)
    # The odd results see the pixel itself and the next one.
    rows = [jnp.stack([y[:, p : p + h, q : q + w, p, q] for q in (0, 1)], 3) for p in (0, 1)]
    return jnp.stack(rows, 2).reshape(n, 2 * h, 2 * w, o)


def _transposed(x: Array, kernel: Array) -> Array:
    x = jnp.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))
    return pixel_shuffle(_four_results(x, kernel, _TRANSPOSE), 2)


def _with_gradients(plain: Direct, forward: Forward) -> Forward:
    return faster_on_cpu(
        plain,
        forward,
        lambda x, kernel, gradient: jax.vjp(lambda x: forward(x, kernel), x)[1](gradient)[0],
        lambda x, kernel, gradient: jax.vjp(lambda k: forward(x, k), kernel)[1](gradient)[0],
    )


_UPSAMPLE = _with_gradients(_plain_upsample, _upsample)
_TRANSPOSED = _with_gradients(_plain_transposed, _transposed)
