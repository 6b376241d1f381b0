"""What is bundled, or published elsewhere and needed here: found, or downloaded and cached."""

from nstjax.assets.cache import cache_dir, cached_file, is_offline
from nstjax.assets.paintings import find_painting, local_painting, sample_path
from nstjax.assets.styles import BUNDLED_STYLES, DEFAULT_STYLE
from nstjax.assets.table import PAINTINGS, VGG_WEIGHTS, Asset, Painting
from nstjax.assets.weights import find_weights

__all__ = [
    "BUNDLED_STYLES",
    "DEFAULT_STYLE",
    "PAINTINGS",
    "VGG_WEIGHTS",
    "Asset",
    "Painting",
    "cache_dir",
    "cached_file",
    "find_painting",
    "find_weights",
    "is_offline",
    "local_painting",
    "sample_path",
]
