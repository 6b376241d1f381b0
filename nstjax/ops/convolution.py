"""3×3 convolution by the fastest algorithm, with gradients that stay fast inside compiled loops."""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from nstjax.errors import unknown_choice
from nstjax.ops import winograd
from nstjax.ops.choice import own_algorithms_allowed
from nstjax.ops.direct import direct, direct_kernel_gradient, flip_kernel
from nstjax.ops.few_channels import shift_and_add
from nstjax.ops.programs import Program

# How many rows and columns of zeros a padding puts around the picture.
PADS = {"SAME": 1, "VALID": 0}
# The number of results per channel from which Winograd's algorithm is worth it, by the smaller
# number of channels; from benchmarks/layers.py --grid on two x86-64 cores. Down to a hundred
# results it is still faster, but gains less than its longer compilation costs.
WINOGRAD_FROM = {64: 4096, 128: 1024, 256: 256, 512: 128}


# Up to this many outputs, from at least as many inputs, the kernel's rows are taken one by one: the
# gradient of VGG's first layer at 256×256 then takes 4 ms instead of 13.
FEW_OUTPUTS = 4


class Transformed(NamedTuple):
    """A frozen kernel as Winograd's algorithm takes it.

    Attributes:
        forward: the kernel.
        backward: the flipped kernel, for the gradient with respect to the picture. It is kept, too:
            transforming it in each step would take as long as a product with it.
    """

    forward: Float[Array, "36 i o"]
    backward: Float[Array, "36 o i"]


Residuals = tuple[Array, Array, Transformed | None]


def conv3x3(
    x: Float[Array, "n h w i"],
    kernel: Float[Array, "3 3 i o"],
    *,
    padding: str = "SAME",
    transformed: Transformed | None = None,
) -> Float[Array, "n a b o"]:
    """Convolves with a 3×3 kernel at stride 1.

    On CPUs, in float32 and for many channels and pixels, it uses Winograd's algorithm, which is
    within about 1e-5 of the direct one, relative to the largest value. The environment variable
    `NSTJAX_CONV=direct` forces the direct one in everything traced from then on.

    The gradient with respect to `x` is a convolution with the kernel rotated by 180° and its
    channels swapped. Written as such, it stays fast in compiled loops: see `nstjax.ops.direct`. It
    can be differentiated once.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (3, 3, I, O).
        padding: `"SAME"` for zeros around the picture, `"VALID"` for results only where the kernel
            lies wholly inside it.
        transformed: for a kernel that is not trained, what `transform_frozen` made of it. The
            kernel then has no gradient.

    Returns:
        Shape (N, H, W, O), or (N, H - 2, W - 2, O) if `"VALID"`; in float32 also for bfloat16.

    Raises:
        NstjaxError: if the padding is neither, or `NSTJAX_CONV` is not known.

    Example:
        >>> import jax.numpy as jnp
        >>> conv3x3(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    if padding not in PADS:
        raise unknown_choice("padding", padding, PADS)
    return _conv(PADS[padding], x, kernel, transformed)


def transform_frozen(kernels: Mapping[str, Float[Array, "3 3 i o"]]) -> dict[str, Transformed]:
    """Transforms kernels that are not trained, once for all convolutions with them.

    Args:
        kernels: by any name, each of shape (3, 3, I, O).

    Returns:
        What `conv3x3` takes as `transformed`, by name; only of kernels for which a convolution
        would use it.
    """
    # One program for all: many small ones would have to be compiled in every process.
    return _transform({name: kernel for name, kernel in kernels.items() if _worthwhile(kernel)})


def _worthwhile(kernel: Array) -> bool:
    return own_algorithms_allowed(kernel) and min(kernel.shape[2:]) >= min(WINOGRAD_FROM)


@Program
def _transform(kernels: dict[str, Array]) -> dict[str, Transformed]:
    return {
        name: Transformed(
            winograd.transform_kernel(kernel), winograd.transform_kernel(flip_kernel(kernel))
        )
        for name, kernel in kernels.items()
    }


def winograd_pays(x: Array, kernel: Array, pad: int) -> bool:
    """Tells whether `conv3x3` uses Winograd's algorithm, with `pad` zeros around the picture."""
    if not own_algorithms_allowed(x, kernel):
        return False
    results = x.shape[0] * (x.shape[1] + 2 * pad - 2) * (x.shape[2] + 2 * pad - 2)
    channels = min(kernel.shape[2:])
    return any(channels >= c and results >= least for c, least in WINOGRAD_FROM.items())


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _conv(pad: int, x: Array, kernel: Array, transformed: Transformed | None) -> Array:
    return _convolve(x, kernel, transformed.forward if transformed else None, pad=pad)


def _forward(
    pad: int, x: Array, kernel: Array, transformed: Transformed | None
) -> tuple[Array, Residuals]:
    return _conv(pad, x, kernel, transformed), (x, kernel, transformed)


def _backward(pad: int, residuals: Residuals, gradient: Array) -> tuple[Array, Array | None, None]:
    x, kernel, transformed = residuals
    gradient = gradient.astype(x.dtype)
    back = transformed.backward if transformed else None
    for_x = _convolve(gradient, flip_kernel(kernel), back, pad=2 - pad).astype(x.dtype)
    for_kernel = None if transformed else _kernel_gradient(x, kernel, gradient, pad=pad)
    return for_x, for_kernel, None


_conv.defvjp(_forward, _backward)


def _convolve(x: Array, kernel: Array, transformed: Array | None, *, pad: int) -> Array:
    if not winograd_pays(x, kernel, pad):
        inputs, outputs = kernel.shape[2:]
        few = outputs <= FEW_OUTPUTS <= inputs and own_algorithms_allowed(x, kernel)
        return (_by_rows if few else direct)(x, kernel, pad=pad)
    if transformed is None:
        transformed = winograd.transform_kernel(kernel)
    return _by_winograd(x, transformed, pad)


def _kernel_gradient(x: Array, kernel: Array, gradient: Array, *, pad: int) -> Array:
    if not winograd_pays(x, kernel, pad):
        return direct_kernel_gradient(x, gradient, pad=pad)
    return _kernel_gradient_by_winograd(x, gradient, pad)


# Compiled, so that each shape is traced once.
_by_rows = jax.jit(shift_and_add, static_argnames="pad")
_by_winograd = jax.jit(winograd.convolve, static_argnums=2)
_kernel_gradient_by_winograd = jax.jit(winograd.kernel_gradient, static_argnums=2)
