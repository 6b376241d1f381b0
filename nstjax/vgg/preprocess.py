"""From pictures in [0, 1] to what a set of VGG weights was trained on."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.errors import unknown_choice

# Mean colour of the ImageNet training set, RGB in 0–255, subtracted by the Caffe models.
_CAFFE_MEAN = np.array([123.68, 116.779, 103.939], np.float32)
_TORCHVISION_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_TORCHVISION_STD = np.array([0.229, 0.224, 0.225], np.float32)


def _caffe(images):
    return (images * 255.0 - _CAFFE_MEAN.astype(images.dtype))[..., ::-1]


def _torchvision(images):
    return (images - _TORCHVISION_MEAN.astype(images.dtype)) / _TORCHVISION_STD.astype(images.dtype)


_PREPROCESSING = {"caffe": _caffe, "torchvision": _torchvision}
# The colour that a network sees as zero.
MEAN_COLOUR = {"caffe": _CAFFE_MEAN / 255.0, "torchvision": _TORCHVISION_MEAN}
# The scale of a network's input relative to torchvision's, whose colours are divided by ImageNet's
# standard deviation: 0.226, the mean of the three channels'.
INPUT_SPREAD = {"caffe": 255.0 * float(np.mean(_TORCHVISION_STD)), "torchvision": 1.0}


def check_preprocessing(kind: str) -> None:
    """Raises an error for people if there is no such preprocessing."""
    if kind not in _PREPROCESSING:
        raise unknown_choice("preprocessing", kind, _PREPROCESSING)


def preprocess(images: Float[Array | np.ndarray, "n h w 3"], kind: str) -> Float[Array, "n h w 3"]:
    """Brings pictures to the range, channel order and mean that weights were trained with.

    Args:
        images: RGB in [0, 1], shape (N, H, W, 3).
        kind: `"caffe"` (BGR, 0–255, mean subtracted: Keras' weights and the authors' own) or
            `"torchvision"` (RGB, ImageNet mean and standard deviation). `Weights.preprocessing`
            says which its weights need.

    Returns:
        The network's input, same shape and dtype.

    Raises:
        NstjaxError: if the kind is unknown.

    Example:
        >>> import jax.numpy as jnp
        >>> preprocess(jnp.ones((1, 1, 1, 3)), "caffe").round().tolist()
        [[[[151.0, 138.0, 131.0]]]]

    Source: `keras.applications.imagenet_utils.preprocess_input`, modes `caffe` and `torch`.
    """
    check_preprocessing(kind)
    return _PREPROCESSING[kind](jnp.asarray(images))
