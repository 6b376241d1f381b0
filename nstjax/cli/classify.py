"""`nstjax classify`: the check that the network and its weights are used right."""

import argparse

from nstjax.images import load_image
from nstjax.vgg import classify, load_weights
from nstjax.vgg.layers import CONVOLUTIONS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("picture", help="a picture file or an http(s) address")
    parser.add_argument("--network", default="vgg19", help=f"one of {', '.join(CONVOLUTIONS)}")
    parser.add_argument("--vgg-weights", metavar="FILE", help="weights with the classifier")


def run(options: argparse.Namespace) -> int:
    """Prints the five most probable ImageNet classes."""
    pixels = load_image(options.picture).pixels
    weights = load_weights(options.network, path=options.vgg_weights, top=True, progress=True)
    for label, probability in classify(weights, pixels):
        print(f"{probability:7.2%}  {label}")
    return 0
