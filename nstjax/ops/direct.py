"""XLA's own convolution, which all other algorithms are measured against, and its gradients."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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
        dtype: of the sums, and of the result; None is float32 or, where that is wider, x' own.
        pad: rows and columns of zeros around the picture.
        stride: from one result to the next, in pixels.

    Returns:
        Shape (N, P, Q, O).
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        preferred_element_type=dtype or jnp.promote_types(x.dtype, jnp.float32),
    )


def turned(kernel: Float[Array, "a b i o"]) -> Float[Array, "a b o i"]:
    """Turns a kernel by 180° and swaps its channels: the gradient's way back to the picture."""
    return jnp.flip(kernel, (0, 1)).swapaxes(2, 3)


def direct_kernel_gradient(
    x: Float[Array, "n h w i"],
    gradient: Float[Array, "n p q o"],
    size: tuple[int, ...] = (3, 3),
    *,
    pad: int = 0,
) -> Float[Array, "a b i o"]:
    """The gradient with respect to a kernel as XLA derives it: slow only in compiled loops.

    Args:
        x: what was convolved, shape (N, H, W, I).
        gradient: of the result, shape (N, P, Q, O).
        size: of the kernel.
        pad: of the convolution.

    Returns:
        Shape (A, B, I, O).
    """
    shape = (*size, x.shape[3], gradient.shape[3])
    # Linear in the kernel: where its value comes from does not matter.
    transpose = jax.linear_transpose(
        lambda kernel: direct(x, kernel, x.dtype, pad=pad), jax.ShapeDtypeStruct(shape, x.dtype)
    )
    return transpose(gradient)[0]
