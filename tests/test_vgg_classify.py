"""The classifier's names for a picture, against NumPy's own softmax and sorting."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.errors import NstjaxError
from nstjax.images import resize_image
from nstjax.vgg import VGG, classify, preprocess
from nstjax.vgg.classify import imagenet_labels


def test_labels():
    labels = imagenet_labels()
    assert len(labels) == 1000
    assert all(label == label.strip() and label for label in labels)
    # Some that stand for the order: the first, the last, and a few in between.
    for index, word in {
        0: "tench",
        1: "goldfish",
        281: "tabby",
        963: "pizza",
        999: "toilet",
    }.items():
        assert word in labels[index].lower()


def top_five(weights, crop):
    """The classifier's last layer in NumPy, on what Flax computes below it."""
    features: Any = VGG("vgg16", ("fc2",)).apply(
        {"params": weights.params}, preprocess(jnp.asarray(crop), "caffe")
    )
    last = weights.params["predictions"]
    logits = np.asarray(features["fc2"][0], np.float64) @ last["kernel"] + last["bias"]
    odds = np.exp(logits - logits.max())
    probabilities = odds / odds.sum()
    best = sorted(range(1000), key=lambda i: -probabilities[i])[:5]
    return [(imagenet_labels()[i], probabilities[i]) for i in best]


@pytest.mark.parametrize(("height", "width"), [(256, 300), (520, 512)])
def test_classify(random_vgg16_top, height, width, compilations):
    picture = inputs.picture(height, width)
    found = classify(random_vgg16_top, picture)
    scaled = picture if height == 256 else resize_image(picture, 260, 256)
    top, left = {256: (16, 38), 520: (18, 16)}[height]
    crop = scaled[:, top : top + 224, left : left + 224]
    expected = top_five(random_vgg16_top, crop)
    assert [label for label, _ in found] == [label for label, _ in expected]
    np.testing.assert_allclose([p for _, p in found], [p for _, p in expected], rtol=1e-3)
    compilations.clear()
    assert classify(random_vgg16_top, picture, count=2) == found[:2]
    assert not compilations


def test_without_the_classifier(random_vgg16):
    with pytest.raises(NstjaxError, match="these vgg16 weights have no classifier: load the ones"):
        classify(random_vgg16, inputs.picture(256, 256))
