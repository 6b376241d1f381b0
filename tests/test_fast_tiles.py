"""Style networks on a few rows at a time: the same picture as of the whole, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nstjax.fast import Architecture, Style, paint_pixels
from nstjax.fast.network import init_params, paint, paint_clipped

# Every variant that has an operation of its own, at a quarter of the channels.
VARIANTS = {
    "johnson": Architecture(width=0.25),
    "transpose": Architecture(width=0.25, upsampling="transpose", output="linear", norm_last=True),
    "subpixel": Architecture(design="subpixel", width=0.25, output="sigmoid"),
}
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def lively_params(architecture):
    """First parameters, but for residual blocks and an output that do something."""
    params = init_params(architecture, jax.random.key(0))

    def enliven(path, value):
        if path[-1].key == "scale":
            return jax.random.uniform(jax.random.key(len(str(path))), value.shape, minval=0.5)
        return value * (8 if path[0].key == "output" else 1)

    return jax.tree_util.tree_map_with_path(enliven, params)


@each_variant
@pytest.mark.parametrize(
    ("size", "tile"), [((61, 38), 16), ((64, 32), 8), ((45, 50), 44), ((17, 16), 64)], ids=str
)
def test_pictures_are_those_of_the_whole(variant, size, tile, rng):
    """In float64: sizes that the tile does not divide, tiles near the height and larger."""
    architecture = VARIANTS[variant]
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), lively_params(architecture))
        image = jnp.asarray(rng.random((2, *size, 3)))
        compiled = jax.jit(paint, static_argnums=0, static_argnames=("dtype", "tile"))
        whole = compiled(architecture, params, image, dtype="float64")
        tiled = compiled(architecture, params, image, dtype="float64", tile=tile)
        assert whole.std() > 0.01
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12)
