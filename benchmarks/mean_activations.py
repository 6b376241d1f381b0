"""Measures the mean activations that `nstjax.vgg.bundled_means` returns.

Usage: python benchmarks/mean_activations.py PHOTOS [--network vgg19] [--pooling avg]

Writes `nstjax/vgg/mean_activations_NETWORK_POOLING.safetensors`, with the number of photographs and
the weights' SHA-256 in its header.
"""

import argparse
from pathlib import Path

from safetensors.numpy import save_file
from tqdm import tqdm

import nstjax.vgg
from nstjax.images import find_images, load_image


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", help="a folder of photographs")
    parser.add_argument("--network", default="vgg19")
    parser.add_argument("--pooling", default="avg")
    options = parser.parse_args()
    weights = nstjax.vgg.load_weights(options.network)
    files = [Path(source) for source in find_images([options.photos])]
    # One shape for all, so that one program serves: the network sees 224 pixels a side, as in its
    # training.
    pictures = (
        nstjax.images.resize_image(load_image(file).pixels, 224, 224) for file in tqdm(files)
    )
    means = nstjax.vgg.mean_activations(weights, pictures, pooling=options.pooling)
    name = f"mean_activations_{options.network}_{options.pooling}.safetensors"
    target = Path(nstjax.vgg.__file__).with_name(name)
    header = {"photographs": str(len(files)), "weights_sha256": weights.sha256}
    save_file(dict(means), target, metadata=header)


if __name__ == "__main__":
    main()
