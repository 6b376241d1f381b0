"""Convolutions between a few channels and many, against XLA's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import (
    check_in_float32,
    check_in_other_dtypes,
    direct,
    result_and_gradients,
)

from nstjax.ops.few_channels import conv_few_inputs, conv_few_outputs

CASES = [
    ((2, 19, 24, 3), (9, 9, 3, 5)),
    ((3, 12, 11, 4), (5, 3, 4, 2)),
    ((1, 9, 10, 1), (9, 9, 1, 1)),
]


@pytest.mark.parametrize(("shape", "kernel_shape"), CASES)
@pytest.mark.parametrize("convolve", [conv_few_inputs, conv_few_outputs])
def test_result_and_gradients(convolve, shape, kernel_shape, rng):
    (n, h, w, i), (a, b, _, o) = shape, kernel_shape
    if convolve is conv_few_outputs:
        i, o = o, i
    x = jnp.asarray(rng.standard_normal((n, h, w, i), dtype=np.float32))
    kernel = jnp.asarray(rng.standard_normal((a, b, i, o), dtype=np.float32))
    check_in_float32(convolve, direct, x, kernel)


@pytest.mark.parametrize("convolve", [conv_few_inputs, conv_few_outputs])
def test_in_other_dtypes(convolve, rng):
    x, kernel = rng.standard_normal((1, 10, 11, 2)), rng.standard_normal((9, 9, 2, 3))
    check_in_other_dtypes(convolve, direct, x, kernel)


@pytest.mark.parametrize("convolve", [conv_few_inputs, conv_few_outputs])
def test_is_direct_on_other_platforms_and_where_forced(convolve, monkeypatch):
    x, kernel = jnp.ones((1, 16, 16, 3)), jnp.ones((9, 9, 3, 3))

    def by_rows():
        compute = jax.jit(lambda x, kernel: result_and_gradients(convolve, x, kernel))
        return "tensor<1x9x3x27xf32>" in compute.lower(x, kernel).as_text()

    assert by_rows()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(jax, "default_backend", lambda: "gpu")
        assert not by_rows()
    monkeypatch.setenv("NSTJAX_CONV", "direct")
    assert not by_rows()


def temporary_bytes(function, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    memory = jax.jit(function).lower(*arrays).compile().memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes


def test_memory_is_bounded():
    """What a megapixel's inputs would be, gathered, is 1 GB; the rows' results are 115 MB."""
    assert temporary_bytes(conv_few_inputs, (1, 1032, 1032, 3), (9, 9, 3, 32)) < 2**25
    assert temporary_bytes(conv_few_outputs, (1, 1032, 1032, 32), (9, 9, 32, 3)) < 2**27


def test_layers_give_their_memory_back():
    def network(depth, x, kernel):
        for _ in range(depth):
            x = conv_few_outputs(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), kernel)
        return x

    shapes = (1, 512, 512, 8), (3, 3, 8, 8)
    two, four = (temporary_bytes(partial(network, depth), *shapes) for depth in (2, 4))
    picture = 4 * 512 * 512 * 8
    assert four - two < picture
