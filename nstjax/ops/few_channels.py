"""Convolutions between a few channels and many.

Computed directly, a convolution to three channels fills three lanes of a vector unit. Here each row
of the kernel has output channels of its own, 27 instead of 3 for a 9×9 kernel, in one convolution
with a kernel of one row. The results are then shifted, each by a row more, and added. The gradients
are direct convolutions with the few channels on the other side, where they cost nothing. On a CPU
all of this needs the options from `compiler_options`: without them it takes five times as long.
"""

from jaxtyping import Array, Float

from nstjax.ops.choice import faster_on_cpu
from nstjax.ops.direct import (
    direct,
    direct_kernel_gradient,
    direct_x_gradient,
    flip_kernel,
    pad_full,
)


def conv_few_inputs(
    x: Float[Array, "n h w i"], kernel: Float[Array, "a b i o"]
) -> Float[Array, "n p q o"]:
    """Convolves a picture of few channels, at stride 1 and without padding.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (A, B, I, O).

    Returns:
        Shape (N, H - A + 1, W - B + 1, O), in float32 also for bfloat16.

    Example:
        >>> import jax.numpy as jnp
        >>> conv_few_inputs(jnp.ones((1, 9, 10, 3)), jnp.ones((9, 9, 3, 32))).shape
        (1, 1, 2, 32)
    """
    return _FEW_INPUTS(x, kernel)


def conv_few_outputs(
    x: Float[Array, "n h w i"], kernel: Float[Array, "a b i o"]
) -> Float[Array, "n p q o"]:
    """Convolves a picture to few channels, at stride 1 and without padding.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (A, B, I, O).

    Returns:
        Shape (N, H - A + 1, W - B + 1, O), in float32 also for bfloat16.

    Example:
        >>> import jax.numpy as jnp
        >>> conv_few_outputs(jnp.ones((1, 9, 10, 32)), jnp.ones((9, 9, 32, 3))).shape
        (1, 1, 2, 3)
    """
    return _FEW_OUTPUTS(x, kernel)


def shift_and_add(
    x: Float[Array, "n h w i"], kernel: Float[Array, "a b i o"], *, pad: int = 0
) -> Float[Array, "n p q o"]:
    """Convolves row by row of the kernel, as described at the top of this module.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (A, B, I, O).
        pad: rows and columns of zeros around the picture.

    Returns:
        Shape (N, H + 2 pad - A + 1, W + 2 pad - B + 1, O), float32 or wider.
    """
    a, b, i, o = kernel.shape
    y = direct(x, kernel.transpose(1, 2, 0, 3).reshape(1, b, i, a * o), pad=pad)
    height = y.shape[1] - a + 1
    total = y[:, :height, :, :o]
    for row in range(1, a):
        total = total + y[:, row : row + height, :, row * o : (row + 1) * o]
    return total


_FEW_INPUTS = faster_on_cpu(
    direct,
    None,
    lambda x, kernel, gradient: shift_and_add(
        pad_full(gradient, kernel.shape[:2]), flip_kernel(kernel)
    ),
    lambda x, kernel, gradient: direct_kernel_gradient(x, gradient, kernel.shape[:2]),
)
_FEW_OUTPUTS = faster_on_cpu(
    direct,
    shift_and_add,
    lambda x, kernel, gradient: direct_x_gradient(kernel, gradient),
    # Correlating the padded gradient with x gives the kernel's gradient rotated by 180°; rotate it
    # back.
    lambda x, kernel, gradient: flip_kernel(
        direct_kernel_gradient(pad_full(gradient, kernel.shape[:2]), x, kernel.shape[:2])
    ),
)
