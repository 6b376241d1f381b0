"""The published files: where each one is, how to recognise it, and whom to credit."""

import dataclasses
import urllib.parse


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


@dataclasses.dataclass(frozen=True)
class Painting:
    """A painting to take a style from, as Wikimedia Commons has it.

    Attributes:
        name: what it is called here.
        title: its title.
        painter: who painted it.
        year: when, as text, since some are dated only roughly.
        source: the page that describes the file.
        url: where a rendition of moderate size is downloaded from.
        licence: the licence it is under.
    """

    name: str
    title: str
    painter: str
    year: str
    source: str
    url: str
    licence: str


def _on_commons(name: str, title: str, painter: str, year: str, file: str) -> Painting:
    # Commons refuses renditions of other widths than its standard ones, of which this is one.
    path = urllib.parse.quote(file.replace(" ", "_"), safe="(),")
    return Painting(
        name=name,
        title=title,
        painter=painter,
        year=year,
        source=f"https://commons.wikimedia.org/wiki/File:{path}",
        url=f"https://commons.wikimedia.org/wiki/Special:FilePath/{path}?width=1280",
        licence="public domain",
    )


PAINTINGS: dict[str, Painting] = {
    painting.name: painting
    for painting in (
        _on_commons(
            "starry",
            "The Starry Night",
            "Vincent van Gogh",
            "1889",
            "Van Gogh - Starry Night - Google Art Project.jpg",
        ),
        _on_commons(
            "scream",
            "The Scream",
            "Edvard Munch",
            "1893",
            "Edvard Munch, 1893, The Scream, oil, tempera and pastel on cardboard, 91 x 73 cm, "
            "National Gallery of Norway.jpg",
        ),
        _on_commons(
            "wave",
            "The Great Wave off Kanagawa",
            "Katsushika Hokusai",
            "c. 1831",
            "Tsunami by hokusai 19th century.jpg",
        ),
        _on_commons(
            "shipwreck",
            "The Shipwreck",
            "J. M. W. Turner",
            "c. 1805",
            "Joseph Mallord William Turner - The Shipwreck - Google Art Project.jpg",
        ),
        _on_commons(
            "composition_vii",
            "Composition VII",
            "Wassily Kandinsky",
            "1913",
            "Vassily Kandinsky, 1913 - Composition 7.jpg",
        ),
        _on_commons(
            "udnie",
            "Udnie (Young American Girl, The Dance)",
            "Francis Picabia",
            "1913",
            "Francis Picabia, 1913, Udnie (Young American Girl, The Dance), oil on canvas, "
            "290 x 300 cm, Musée National d’Art Moderne, Centre Georges Pompidou, Paris..jpg",
        ),
    )
}
"""The paintings that can be named, by name; their files are those of Wikimedia Commons."""
