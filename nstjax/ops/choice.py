"""Whether an algorithm other than XLA's own may be used, and convolutions that use it then."""

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
    """Tells whether convolutions of these may use algorithms of this package.

    The environment variable `NSTJAX_CONV=direct` forbids them in what is traced from then on.

    Args:
        arrays: what goes in.

    Returns:
        True on CPUs, if all are float32, for which they are made, and nothing forbids them. What
        a program runs on is taken to be JAX's default: on a GPU or TPU, what is sent to the CPU
        is computed by XLA's algorithms.

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
    """A convolution, `plain` but for float32 on CPUs. It can be differentiated once.

    Args:
        plain: of x, kernel and the dtype of the result, differentiable.
        forward: the same of x and kernel, in float32; None where `plain` is as fast.
        x_gradient: of x, kernel and the result's gradient; None likewise.
        kernel_gradient: likewise.

    Returns:
        The convolution of x and kernel, in float32 also for bfloat16.
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
    # Apart, so that compilation drops the one that nothing uses.
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
