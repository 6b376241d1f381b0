"""XLA's own convolution, which all other algorithms are measured against, and its gradients.

What XLA derives as a gradient is a convolution with reversed or exchanged dimensions, which its CPU
backend puts in order only outside `while`, `scan` and `map`: inside them it computes it 5 to 20
times slower. There the gradients here are plain convolutions.
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
        dtype: of the result; None is float32 or, where that is wider, x' own.
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
    """What XLA's convolution of `x` is to return where a result in `dtype` is wanted.

    On a GPU that is x' own: where the types differ, XLA turns pictures and kernels into float32
    first (`SupportsMixedPrecisions` of its GPU compilers), and bfloat16 would gain nothing. cuDNN
    sums in float32 all the same. Elsewhere the result is as wide as is wanted, for that costs
    nothing, and jax 0.12 on the CPU gives NaN where it is rounded before a bias is added.
    """
    return x.dtype if jax.default_backend() == "gpu" else dtype


def flip_kernel(kernel: Float[Array, "a b i o"]) -> Float[Array, "a b o i"]:
    """Turns a kernel by 180° and swaps its channels: the gradient's way back to the picture."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def pad_full(gradient: Float[Array, "n p q o"], size: tuple[int, ...]) -> Float[Array, "n h w o"]:
    """Puts zeros around a gradient, for all pixels that a turned kernel of that size reaches."""
    around = [(side - 1, side - 1) for side in size]
    return jnp.pad(gradient, ((0, 0), *around, (0, 0)))


def direct_x_gradient(
    kernel: Float[Array, "a b i o"], gradient: Float[Array, "n p q o"]
) -> Float[Array, "n h w i"]:
    """The gradient of a convolution without padding with respect to the picture.

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
    # A picture smaller than the kernel has no result: here that would be a kernel of no pixels.
    if gradient.size and own_algorithms_allowed(x, gradient):
        x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        y = direct(x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3))
        return y.transpose(1, 2, 0, 3)
    shape = (*size, x.shape[3], gradient.shape[3])
    # Linear in the kernel: where its value comes from does not matter.
    transpose = jax.linear_transpose(
        lambda kernel: direct(x, kernel, x.dtype, pad=pad), jax.ShapeDtypeStruct(shape, x.dtype)
    )
    return transpose(gradient)[0]


@jax.custom_vjp
def direct_with_plain_gradients(
    x: Float[Array, "n h w i"], kernel: Float[Array, "a b i o"]
) -> Float[Array, "n p q o"]:
    """Convolves without padding; its gradients, too, are those of this module.

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
