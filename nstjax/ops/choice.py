"""Whether algorithms other than XLA's own may be used, and convolutions that then use them."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nstjax.errors import unknown_choice

ALGORITHMS = ("auto", "direct")

Direct = Callable[[Array, Array, Any], Array]
Forward = Callable[[Array, Array], Array]
Gradient = Callable[[Array, Array, Array], Array]


def own_algorithms_allowed(*arrays: Array) -> bool:
    """Tells whether convolutions of these arrays may use this package's algorithms.

    The environment variable `NSTJAX_CONV=direct` forbids them in everything traced from then on.

    Args:
        arrays: the inputs.

    Returns:
        True on CPUs, if all inputs are float32 and nothing forbids it. Programs are assumed to run
        on JAX's default device: where that is a GPU or TPU, what is sent to the CPU is computed by
        XLA's algorithms, too.

    Raises:
        NstjaxError: if `NSTJAX_CONV` is neither `auto` nor `direct`.
    """
    algorithm = os.environ.get("NSTJAX_CONV") or "auto"
    if algorithm not in ALGORITHMS:
        raise unknown_choice("algorithm in NSTJAX_CONV", algorithm, ALGORITHMS)
    if algorithm == "direct" or jax.default_backend() != "cpu":
        return False
    return all(array.dtype == jnp.float32 for array in arrays)


def faster_on_cpu(
    plain: Direct,
    forward: Forward | None,
    x_gradient: Gradient | None,
    kernel_gradient: Gradient | None,
) -> Forward:
    """Wraps a convolution with faster algorithms for float32 on CPUs.

    There, these replace the convolution and its VJPs; None keeps XLA's.

    Args:
        plain: `plain(x, kernel, dtype)`, differentiable; `dtype` is the result's.
        forward: `forward(x, kernel)`.
        x_gradient: `x_gradient(x, kernel, dy)`, where `dy` is the result's gradient.
        kernel_gradient: `kernel_gradient(x, kernel, dy)`.

    Returns:
        The convolution of x and kernel, in float32 also for bfloat16. It can be differentiated
        once.
    """

    def plain_forward(x: Array, kernel: Array) -> Array:
        return plain(x, kernel, jnp.promote_types(x.dtype, jnp.float32))

    def plain_x_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
        _, vjp = jax.vjp(lambda x: plain(x, kernel, x.dtype), x)
        return vjp(gradient.astype(x.dtype))[0]

    def plain_kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
        _, vjp = jax.vjp(lambda kernel: plain(x, kernel, x.dtype), kernel)
        return vjp(gradient.astype(x.dtype))[0]

    result = _on_cpu(forward, plain_forward)
    # Separate, so that compilation drops one that nothing uses.
    for_x = _on_cpu(x_gradient, plain_x_gradient)
    for_kernel = _on_cpu(kernel_gradient, plain_kernel_gradient)

    @jax.custom_vjp
    def convolve(x: Array, kernel: Array) -> Array:
        return result(x, kernel)

    def convolve_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        return convolve(x, kernel), (x, kernel)

    def convolve_backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
        return for_x(*residuals, gradient), for_kernel(*residuals, gradient)

    convolve.defvjp(convolve_forward, convolve_backward)
    return convolve


def _on_cpu(
    faster: Callable[..., Array] | None, plain: Callable[..., Array]
) -> Callable[..., Array]:
    if faster is None:
        return plain
    fast = jax.jit(faster)  # so that each shape is traced once

    def choose(*args: Array) -> Array:
        return fast(*args) if own_algorithms_allowed(*args) else plain(*args)

    return choose
