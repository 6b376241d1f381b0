"""Whether an algorithm other than XLA's own may be used at all."""

import os

import jax
import jax.numpy as jnp
from jaxtyping import Array

from nstjax.errors import unknown_choice

ALGORITHMS = ("auto", "direct")


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
