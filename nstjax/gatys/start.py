"""Where the optimisation starts."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.images import Picture, load_image, resize_image, resize_picture
from nstjax.settings import INITS, Recipe, check_init
from nstjax.vgg import MEAN_COLOUR


def load_init(recipe: Recipe) -> Picture | None:
    """Loads the picture that `recipe.init` names.

    Args:
        recipe: the settings.

    Returns:
        The picture; None if the start is the content, the style or noise.

    Raises:
        NstjaxError: if `recipe.init` is neither a known name nor a picture.
    """
    check_init(recipe.init)
    return None if recipe.init in INITS else load_image(recipe.init)


def start_image(
    recipe: Recipe,
    content: Float[np.ndarray, "1 h w 3"],
    style: Float[np.ndarray, "1 hs ws 3"],
    preprocessing: str,
    init: Picture | None,
) -> Float[Array, "1 h w 3"]:
    """Makes the picture that the first step changes.

    `recipe.init` names it: the content image, the style image or a picture file, stretched to the
    content's size, or noise. `recipe.noise_ratio` blends noise into the first three. The noise is
    uniform over [0, 1] if `recipe.noise_std` is None, and otherwise normal around the colour that
    the network sees as zero.

    Args:
        recipe: the settings, of which `seed` fixes the noise.
        content: RGB in [0, 1], shape (1, H, W, 3).
        style: RGB in [0, 1], of any size; the first of several.
        preprocessing: of the network's weights.
        init: what `load_init` returned.

    Returns:
        RGB, shape (1, H, W, 3).
    """
    _, height, width, _ = content.shape
    ratio = 1.0 if recipe.init == "noise" else recipe.noise_ratio
    if init is not None:
        image = resize_picture(init, height, width).pixels
    elif recipe.init == "style":
        image = resize_image(style, height, width)
    else:
        image = content
    if ratio == 0:
        return jnp.asarray(image)
    return (1 - ratio) * jnp.asarray(image) + ratio * _noise(recipe, content.shape, preprocessing)


def _noise(recipe: Recipe, shape: tuple[int, ...], preprocessing: str) -> Array:
    key = jax.random.key(recipe.seed)
    if recipe.noise_std is None:
        return jax.random.uniform(key, shape)
    zero = MEAN_COLOUR[preprocessing] * np.float32(255.0 / recipe.input_range)
    return zero + recipe.noise_std * jax.random.normal(key, shape)
