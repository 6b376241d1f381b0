"""VGG16 and VGG19 in Flax: pictures in, activations by layer name out."""

from nstjax.vgg.classify import classify
from nstjax.vgg.features import extract_features
from nstjax.vgg.layers import canonical_layer, layer_names, minimum_size
from nstjax.vgg.network import POOLING, VGG, check_size, freeze
from nstjax.vgg.normalize import bundled_means, divide_activations, mean_activations, rescale
from nstjax.vgg.preprocess import INPUT_SPREAD, MEAN_COLOUR, preprocess
from nstjax.vgg.tiles import Summary, summarize_features
from nstjax.vgg.weights import Weights, load_weights

__all__ = [
    "INPUT_SPREAD",
    "MEAN_COLOUR",
    "POOLING",
    "VGG",
    "Summary",
    "Weights",
    "bundled_means",
    "canonical_layer",
    "check_size",
    "classify",
    "divide_activations",
    "extract_features",
    "freeze",
    "layer_names",
    "load_weights",
    "mean_activations",
    "minimum_size",
    "preprocess",
    "rescale",
    "summarize_features",
]
