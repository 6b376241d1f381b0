"""Seeded inputs shared by the scripts that make golden values and the tests that read them.

Pure NumPy, and uniform draws only: every value comes from integers by elementary arithmetic, so
the arrays are the same to the last bit on every machine. Each array has its own generator, seeded
by its name, so one layer's weights can be made without the others.
"""

import zlib
from collections.abc import Iterator

import numpy as np

CONVS_PER_BLOCK = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
BLOCK_CHANNELS = (64, 128, 256, 512, 512)
TOP_KERNEL_SHAPES = {
    "fc1": (7 * 7 * 512, 4096),
    "fc2": (4096, 4096),
    "predictions": (4096, 1000),
}


def _uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Draws float32 values from [low, high), with a generator seeded by `name`."""
    unit = np.random.default_rng(zlib.crc32(name.encode())).random(shape, dtype=np.float32)
    unit *= np.float32(high - low)
    unit += np.float32(low)
    return unit


def picture(height: int, width: int) -> np.ndarray:
    """Makes an RGB picture: a smooth ramp per channel, with a quarter of noise.

    Returns:
        float32 [1, height, width, 3], in [0, 1].
    """
    y = np.linspace(0.0, 1.0, height)[:, None]
    x = np.linspace(0.0, 1.0, width)[None, :]
    smooth = np.stack([x * (1 - y), y * y + 0 * x, 4 * x * (1 - x) * (1 - y)], axis=-1)
    noise = _uniform(f"picture/{height}x{width}", (height, width, 3), 0.0, 1.0)
    return (0.75 * smooth + 0.25 * noise).astype(np.float32)[None]


def features(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Makes float32 activations in [0, 3); another name gives other values."""
    return _uniform(f"features/{name}", shape, 0.0, 3.0)


def vgg_kernel_shapes(network: str, include_top: bool) -> dict[str, tuple[int, ...]]:
    """Returns {Keras' layer name: kernel shape, HWIO or [in, out]} of `"vgg16"` or `"vgg19"`."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels_in = 3
    for block, (convs, channels) in enumerate(
        zip(CONVS_PER_BLOCK[network], BLOCK_CHANNELS, strict=True), start=1
    ):
        for conv in range(1, convs + 1):
            shapes[f"block{block}_conv{conv}"] = (3, 3, channels_in, channels)
            channels_in = channels
    return shapes | TOP_KERNEL_SHAPES if include_top else shapes


def vgg_weights(network: str, include_top: bool) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Makes random weights for a VGG network, one layer at a time.

    Kernels are He-uniform, in +-sqrt(6 / fan_in), which keeps activations at the scale of the
    preprocessed image through all layers; biases are in [-1, 1). The kernel of `predictions` is a
    hundredth of that, or its softmax would be a single one among zeros.

    Yields:
        Keras' layer name, float32 kernel (HWIO or [in, out]) and float32 bias, in network order.
    """
    for layer, shape in vgg_kernel_shapes(network, include_top).items():
        limit = (6 / np.prod(shape[:-1])) ** 0.5
        if layer == "predictions":
            limit /= 100
        kernel = _uniform(f"{network}/{layer}/kernel", shape, -limit, limit)
        bias = _uniform(f"{network}/{layer}/bias", shape[-1:], -1.0, 1.0)
        yield layer, kernel, bias


def batch(height: int, width: int) -> np.ndarray:
    """Makes two pictures of one size: `picture`, and it upside down with its channels reversed.

    Returns:
        float32 [2, height, width, 3], in [0, 1].
    """
    first = picture(height, width)
    return np.concatenate([first, first[:, ::-1, :, ::-1]])


def style_network_kernel_shapes(width: float = 1.0) -> dict[str, tuple[int, ...]]:
    """Returns {layer name: kernel shape, HWIO} of Johnson's network, in its order."""
    narrow, middle, wide = (max(1, round(width * channels)) for channels in (32, 64, 128))
    residual = {
        f"residual{block}_conv{conv}": (3, 3, wide, wide)
        for block in range(1, 6)
        for conv in (1, 2)
    }
    return {
        "conv1": (9, 9, 3, narrow),
        "conv2": (3, 3, narrow, middle),
        "conv3": (3, 3, middle, wide),
        **residual,
        "up1": (3, 3, wide, middle),
        "up2": (3, 3, middle, narrow),
        "output": (9, 9, narrow, 3),
    }


def style_network_params(norm_last: bool, width: float = 1.0) -> dict[str, np.ndarray]:
    """Makes random parameters for Johnson's network with affine instance norm.

    Kernels have variance 1 / fan_in; scales are in [0.5, 1.5), biases in [-0.5, 0.5). Those of the
    last layer are 0.4 times that: where tanh is saturated, neighbouring pixels are equal but for
    rounding, and so it is chance which of them a maximum, and its gradient, comes from.

    Args:
        norm_last: whether a norm follows the last convolution, in place of a bias.
        width: multiplies the numbers of channels.

    Returns:
        float32 arrays in network order: `conv1/kernel`, `conv1_norm/scale`, `conv1_norm/bias` and
        so on; the last convolution's bias, where it has one, is `output_bias`.
    """
    params: dict[str, np.ndarray] = {}
    for layer, shape in style_network_kernel_shapes(width).items():
        size = 0.4 if layer == "output" else 1.0
        limit = size * (3 / np.prod(shape[:-1])) ** 0.5
        params[f"{layer}/kernel"] = _uniform(f"style/{layer}/kernel", shape, -limit, limit)
        if layer == "output" and not norm_last:
            params["output_bias"] = _uniform("style/output_bias", shape[-1:], -0.2, 0.2)
        else:
            for name, low, high in (("scale", 0.5, 1.5), ("bias", -0.5, 0.5)):
                path = f"{layer}_norm/{name}"
                params[path] = _uniform(f"style/{path}", shape[-1:], size * low, size * high)
    return params


def nested(arrays: dict[str, np.ndarray]) -> dict:
    """Turns names like `conv1/kernel` into dicts in dicts."""
    tree: dict = {}
    for path, array in arrays.items():
        *folders, name = path.split("/")
        here = tree
        for folder in folders:
            here = here.setdefault(folder, {})
        here[name] = array
    return tree
