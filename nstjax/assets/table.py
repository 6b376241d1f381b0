"""The published files: where each one is, how to recognise it, and whom to credit."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Asset:
    """A file that is published at a fixed address and never changes.

    Attributes:
        filename: the name it is published, and cached, under.
        url: where it is downloaded from.
        size: its length in bytes.
        md5: its MD5 digest, in hexadecimal.
        licence: the licence it is under.
        credit: who made it.
        sha256: its SHA-256 digest, in hexadecimal, where the publisher states one.
    """

    filename: str
    url: str
    size: int
    md5: str
    licence: str
    credit: str
    sha256: str | None = None


def _keras_vgg(network: str, filename: str, *, size: int, md5: str) -> Asset:
    return Asset(
        filename=filename,
        url=f"https://storage.googleapis.com/tensorflow/keras-applications/{network}/{filename}",
        size=size,
        md5=md5,
        licence="CC BY 4.0",
        credit="Karen Simonyan and Andrew Zisserman, Visual Geometry Group, University of Oxford",
    )


VGG_WEIGHTS: dict[tuple[str, bool], Asset] = {
    ("vgg16", False): _keras_vgg(
        "vgg16",
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        size=58_889_256,
        md5="6d6bbae143d832006294945121d1f1fc",
    ),
    ("vgg16", True): _keras_vgg(
        "vgg16",
        "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        size=553_467_096,
        md5="64373286793e3c8b2b4e3219cbf3544b",
    ),
    ("vgg19", False): _keras_vgg(
        "vgg19",
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
        size=80_134_624,
        md5="253f8cb515780f3b799900260a226db6",
    ),
    ("vgg19", True): _keras_vgg(
        "vgg19",
        "vgg19_weights_tf_dim_ordering_tf_kernels.h5",
        size=574_710_816,
        md5="cbe5617147190e668d6c5d5026f83318",
    ),
}
"""ImageNet weights as Keras publishes them, by (network, with the classifier or "top").

Addresses and MD5 digests are those of `keras/src/applications/vgg16.py` and `vgg19.py`.
"""
