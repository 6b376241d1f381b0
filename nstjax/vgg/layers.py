"""The names of VGG's layers, in order, and the picture size that each one needs."""

import re

from nstjax.errors import unknown_choice

# Convolutions in each of the five blocks. Channels double up to 512.
CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)
TOP_LAYERS = ("flatten", "fc1", "fc2", "predictions")
TOP_SIZE = 224  # pixels a side: the only size that fits the classifier's first dense layer
CLASSES = 1000


def check_network(network: str) -> None:
    """Raises an error for people if there is no such network."""
    if network not in CONVOLUTIONS:
        raise unknown_choice("network", network, CONVOLUTIONS)


def layer_names(network: str, *, top: bool = False) -> tuple[str, ...]:
    """The names of a network's layers in order, as Keras has them.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        top: whether to list the classifier's layers too.

    Returns:
        Names such as `"block1_conv1"` and `"block1_pool"`.

    Raises:
        NstjaxError: if the network is unknown.

    Example:
        >>> layer_names("vgg16")[:3]
        ('block1_conv1', 'block1_conv2', 'block1_pool')
    """
    check_network(network)
    names = []
    for block, convolutions in enumerate(CONVOLUTIONS[network], start=1):
        names += [f"block{block}_conv{i}" for i in range(1, convolutions + 1)]
        names.append(f"block{block}_pool")
    return (*names, *(TOP_LAYERS if top else ()))


def canonical_layer(name: str, network: str = "vgg19") -> str:
    """Translates the papers' name of a layer into Keras'.

    Activations are always taken after the ReLU, so that `relu4_2`, `conv4_2` and `block4_conv2`
    are the same layer.

    Args:
        name: such as `"relu4_2"`, `"conv4_2"`, `"pool4"` or `"block4_conv2"`.
        network: `"vgg16"` or `"vgg19"`.

    Returns:
        The name as in `layer_names`.

    Raises:
        NstjaxError: if the network has no such layer; the nearest name is suggested.

    Example:
        >>> canonical_layer("relu4_2")
        'block4_conv2'
    """
    known = layer_names(network, top=True)
    canonical = re.sub(r"^(?:relu|conv)(\d)_(\d)$", r"block\1_conv\2", name)
    canonical = re.sub(r"^pool_?(\d)$", r"block\1_pool", canonical)
    if canonical not in known:
        raise unknown_choice(f"layer of {network}", name, known)
    return canonical


def minimum_size(layer: str) -> int:
    """The smallest side, in pixels, that a picture needs for a layer to have any activation.

    Args:
        layer: a name from `layer_names`.

    Returns:
        Pixels: every pooling halves, rounding down. The classifier's layers need `TOP_SIZE`.

    Example:
        >>> minimum_size("block5_conv1")
        16
    """
    if layer in TOP_LAYERS:
        return TOP_SIZE
    block = int(layer[len("block")])
    return 2 ** (block if layer.endswith("pool") else block - 1)


def channels_of(layer: str) -> int:
    """How many channels the activations of a layer have, none of the classifier's."""
    return CHANNELS[int(layer[len("block")]) - 1]


def activation_shape(layer: str, height: int, width: int) -> tuple[int, int, int]:
    """The shape of a layer's activations of one picture.

    Args:
        layer: a name from `layer_names`, none of the classifier's.
        height: of the picture, in pixels.
        width: likewise.

    Returns:
        Rows, columns and channels.

    Example:
        >>> activation_shape("block2_conv1", 33, 64)
        (16, 32, 128)
    """
    scale = minimum_size(layer)
    return height // scale, width // scale, channels_of(layer)


def kernel_shapes(network: str, *, top: bool = False) -> dict[str, tuple[int, ...]]:
    """The shape of every kernel by layer name, HWIO for convolutions, IO for dense layers.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        top: whether to list the classifier's too.

    Returns:
        Shapes by layer name, in order.

    Example:
        >>> kernel_shapes("vgg16")["block1_conv1"]
        (3, 3, 3, 64)
    """
    check_network(network)
    shapes: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for block, (convolutions, channels) in enumerate(
        zip(CONVOLUTIONS[network], CHANNELS, strict=True), start=1
    ):
        for i in range(1, convolutions + 1):
            shapes[f"block{block}_conv{i}"] = (3, 3, inputs, channels)
            inputs = channels
    if top:
        shapes |= {
            "fc1": (7 * 7 * inputs, 4096),
            "fc2": (4096, 4096),
            "predictions": (4096, CLASSES),
        }
    return shapes
