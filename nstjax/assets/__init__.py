"""What is published elsewhere and needed here: found on this machine, or downloaded and cached."""

from nstjax.assets.cache import cache_dir, cached_file
from nstjax.assets.table import VGG_WEIGHTS, Asset
from nstjax.assets.weights import find_weights

__all__ = ["VGG_WEIGHTS", "Asset", "cache_dir", "cached_file", "find_weights"]
