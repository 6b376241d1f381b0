"""XLA's own convolution, the reference for all other algorithms, and its gradients.

The gradients that XLA derives are convolutions with reversed or exchanged dimensions. Its CPU
backend brings these into a fast form only outside `while`, `scan` and `map`: inside, they take 5 to
20 times as long. The gradients in this module are plain convolutions on CPUs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.ops.choice import own_algorithms_allowed


def direct(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "a b i o"],
    dtype: Any = None,
    *,
    pad: int = 0,
    stride: int = 1,
) -> Float[Array, "n p q o"]:
    """Convolves.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (A, B, I, O).
        dtype: of the result; None means float32 or, if that is wider, the dtype of `x`.
        pad: rows and columns of zeros around the picture.
        stride: from one result to the next, in pixels.

    Returns:
        Shape (N, P, Q, O).
    """
    dtype = dtype or jnp.promote_types(x.dtype, jnp.float32)
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=computed_dtype(x, dtype),
    )
    return y.astype(dtype)


def computed_dtype(x: Array, dtype: Any) -> Any:
    """The dtype that XLA's convolution of `x` should return if the result is wanted in `dtype`.

    On a GPU it is that of `x`: if the two differ, XLA first converts pictures and kernels to
    float32 (`SupportsMixedPrecisions` of its GPU compilers), and bfloat16 would gain nothing. cuDNN
    sums in float32 anyway. Elsewhere it is `dtype`, which costs nothing; and with jax 0.12 on the
    CPU, rounding before a bias is added gives NaN.
    """
    return x.dtype if jax.default_backend() == "gpu" else dtype


def flip_kernel(kernel: Float[Array, "a b i o"]) -> Float[Array, "a b o i"]:
    """Rotates a kernel by 180° and swaps its channels, for the gradient of the picture."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def pad_full(gradient: Float[Array, "n p q o"], size: tuple[int, ...]) -> Float[Array, "n h w o"]:
    """Pads a gradient with zeros for a full convolution with a kernel of that size."""
    around = [(side - 1, side - 1) for side in size]
    return jnp.pad(gradient, ((0, 0), *around, (0, 0)))


def direct_x_gradient(
    kernel: Float[Array, "a b i o"], gradient: Float[Array, "n p q o"]
) -> Float[Array, "n h w i"]:
    """The gradient with respect to the picture, of a convolution without padding.

    Args:
        kernel: shape (A, B, I, O).
        gradient: of the result, shape (N, P, Q, O).

    Returns:
        Shape (N, P + A - 1, Q + B - 1, I).
    """
    return direct(pad_full(gradient, kernel.shape[:2]), flip_kernel(kernel))


def direct_kernel_gradient(
    x: Float[Array, "n h w i"],
    gradient: Float[Array, "n p q o"],
    size: tuple[int, ...] = (3, 3),
    *,
    pad: int = 0,
) -> Float[Array, "a b i o"]:
    """The gradient with respect to a kernel.

    Args:
        x: what was convolved, shape (N, H, W, I).
        gradient: of the result, shape (N, P, Q, O).
        size: of the kernel.
        pad: of the convolution.

    Returns:
        Shape (A, B, I, O).
    """
    # A picture smaller than the kernel has an empty result, which would be an empty kernel here.
    if gradient.size and own_algorithms_allowed(x, gradient):
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        y = direct(x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3))
        return y.transpose(1, 2, 0, 3)
    shape = (*size, x.shape[3], gradient.shape[3])
    # The convolution is linear in the kernel, so that the kernel's values do not matter.
    transpose = jax.linear_transpose(
        lambda kernel: direct(x, kernel, x.dtype, pad=pad), jax.ShapeDtypeStruct(shape, x.dtype)
    )
    return transpose(gradient)[0]


@jax.custom_vjp
def direct_with_plain_gradients(
    x: Float[Array, "n h w i"], kernel: Float[Array, "a b i o"]
) -> Float[Array, "n p q o"]:
    """Convolves without padding; its gradients are those of this module.

    Args:
        x: shape (N, H, W, I), float32.
        kernel: shape (A, B, I, O), float32.

    Returns:
        Shape (N, H - A + 1, W - B + 1, O).
    """
    return direct(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return direct_with_plain_gradients(x, kernel), (x, kernel)


def _backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    for_kernel = direct_kernel_gradient(x, gradient, kernel.shape[:2])
    return direct_x_gradient(kernel, gradient), for_kernel


direct_with_plain_gradients.defvjp(_forward, _backward)
