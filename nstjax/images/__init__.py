"""Between picture files and arrays: decode, orient, colour-manage, resize, save.

An image is a float32 array of shape (1, height, width, 3): RGB in [0, 1], encoded as sRGB.
"""

from nstjax.images.fetch import is_url
from nstjax.images.find import find_images
from nstjax.images.identity import describe_input, public_name, sha256_of_pixels, short_name
from nstjax.images.load import Picture, load_image, load_made_image, resize_picture
from nstjax.images.metadata import read_settings, read_size
from nstjax.images.resize import fit_size, resize_image
from nstjax.images.result import MadePicture
from nstjax.images.save import check_output, check_shape, save_image, to_pillow
from nstjax.images.training import decode_square

__all__ = [
    "MadePicture",
    "Picture",
    "check_output",
    "check_shape",
    "decode_square",
    "describe_input",
    "find_images",
    "fit_size",
    "is_url",
    "load_image",
    "load_made_image",
    "public_name",
    "read_settings",
    "read_size",
    "resize_image",
    "resize_picture",
    "save_image",
    "sha256_of_pixels",
    "short_name",
    "to_pillow",
]
