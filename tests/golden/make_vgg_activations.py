"""Computes VGG activations in Keras, checks them against PyTorch, and stores samples of them.

Every network runs twice: as keras.applications builds it (for average pooling the same layers with
AveragePooling2D(2, 2) in place of max pooling), in float32, and as plain torch.nn.functional calls,
in float64. The script stops unless all layers agree to 1e-5 of the layer's largest activation.

Inputs are NHWC RGB in [0, 1], preprocessed in Keras' "caffe" manner: BGR, times 255, minus
(103.939, 116.779, 123.68). Activations are Keras' layer outputs (convolutions after their ReLU),
NHWC.

`vgg_activations.json`:
    made_by: versions.
    random: cases with seeded weights, for {vgg16, vgg19} x {max, avg} x {notop, top}, named like
        "vgg16_max_notop". Image: `inputs.picture(height, width)`; weights:
        `inputs.vgg_weights(network, include_top)`.
    photograph: cases "vgg19_max" and "vgg19_avg" with the weights of vgg19_notop.h5, for
        content/tubingen.jpg through `record.load_resized(file, 256)`, float32(uint8 / 255).
        `weights_sha256` is of the .h5 file, `image_sha256` of the resized uint8 array: where a test
        gets another one, its decoder differs and the values do not apply.
    A case holds network, pooling, include_top, image_shape, image_sha256 (for random cases, of the
    float32 array), max_difference (the largest difference between Keras and PyTorch, over the
    layer's largest activation, in the worst layer) and layers: {Keras' name: {shape, mean, std,
    max, positions, values}}, where values[i] is activations.ravel()[positions[i]]; the second half
    of the positions are drawn from the activations that are not zero, which are few in deep layers.

Compare values with a tolerance relative to the layer's `max`: many activations are small
differences of large sums.

Usage: NSTJAX_ASSETS=... python tests/golden/make_vgg_activations.py
"""
# pyright: reportMissingImports=false

import itertools
import zlib

import keras
import numpy as np
import PIL
import torch
import torch.nn.functional as F
from inputs import picture, vgg_weights
from record import asset, floats, load_resized, sha256, write_json

NETWORKS = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}
PREPROCESS = keras.applications.vgg19.preprocess_input  # VGG16's is the same function.
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
IMAGE_SIZES = {"notop": (50, 67), "top": (224, 224)}  # Odd sizes: pooling drops the last column.
WEIGHTS = "vgg19_notop.h5"
PHOTOGRAPH = "content/tubingen.jpg"
SAMPLES = 64
AGREEMENT = 1e-5


def keras_activations(vgg, pooling, image):
    """Returns {layer name: activations} of a Keras VGG, with the pooling asked for."""
    x = start = keras.Input(image.shape[1:])
    outputs = {}
    for layer in vgg.layers[1:]:
        if pooling == "avg" and isinstance(layer, keras.layers.MaxPooling2D):
            layer = keras.layers.AveragePooling2D(2, 2, name=layer.name)
        outputs[layer.name] = x = layer(x)
    activations = keras.Model(start, outputs)(PREPROCESS(image * np.float32(255)))
    return {name: value.numpy() for name, value in activations.items()}


def torch_layer(name, x, pooling, weights):
    """Applies the layer with this Keras name to x [1, C, H, W] or [1, C], in float64."""
    if name.endswith("_pool"):
        return F.max_pool2d(x, 2) if pooling == "max" else F.avg_pool2d(x, 2)
    if name == "flatten":
        return x.permute(0, 2, 3, 1).flatten(1)
    kernel, bias = (torch.from_numpy(array) for array in weights)
    if "_conv" in name:
        kernel = kernel.double().permute(3, 2, 0, 1)
        return F.conv2d(x, kernel, bias.double(), padding=1).relu()
    x = F.linear(x, kernel.T.double(), bias.double())
    return x.softmax(dim=1) if name == "predictions" else x.relu()


def torch_activations(vgg, pooling, image):
    """Returns the same as `keras_activations`, computed by PyTorch from the Keras weights."""
    bgr = torch.from_numpy(image).double().flip(-1) * 255 - torch.tensor(CAFFE_MEAN_BGR).double()
    x = bgr.permute(0, 3, 1, 2)
    outputs = {}
    for layer in vgg.layers[1:]:
        x = torch_layer(layer.name, x, pooling, layer.get_weights())
        outputs[layer.name] = (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).numpy()
    return outputs


def summarise(name, activations):
    """Returns a layer's entry: its statistics, and values at positions drawn for its name."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    anywhere = generator.integers(activations.size, size=SAMPLES // 2)
    active = generator.choice(np.flatnonzero(activations), size=SAMPLES // 2)
    positions = np.concatenate([anywhere, active])
    statistics = floats(
        [activations.mean(dtype=np.float64), activations.std(dtype=np.float64), activations.max()]
    )
    return {
        "shape": activations.shape,
        **dict(zip(("mean", "std", "max"), statistics, strict=True)),
        "positions": positions.tolist(),
        "values": floats(activations.ravel()[positions]),
    }


def record_case(vgg, pooling, image):
    """Runs one network in both libraries and returns its entry in the file."""
    ours = keras_activations(vgg, pooling, image)
    theirs = torch_activations(vgg, pooling, image)
    difference = max(
        float(np.abs(ours[name] - theirs[name]).max() / np.abs(theirs[name]).max()) for name in ours
    )
    if difference > AGREEMENT:
        raise SystemExit(f"{vgg.name} {pooling}: Keras and PyTorch differ by {difference:.2g}")
    return {
        "network": vgg.name,
        "pooling": pooling,
        "include_top": "fc1" in ours,
        "image_shape": image.shape,
        "image_sha256": sha256(image),
        "max_difference": float(f"{difference:.2g}"),
        "layers": {name: summarise(name, activations) for name, activations in ours.items()},
    }


def random_cases():
    """Returns the entries of all networks with seeded weights."""
    cases = {}
    for (network, build), (top, size) in itertools.product(NETWORKS.items(), IMAGE_SIZES.items()):
        include_top = top == "top"
        vgg = build(weights=None, include_top=include_top)
        for layer, kernel, bias in vgg_weights(network, include_top):
            vgg.get_layer(layer).set_weights([kernel, bias])
        for pooling in ("max", "avg"):
            cases[f"{network}_{pooling}_{top}"] = record_case(vgg, pooling, picture(*size))
    return cases


def photograph_cases():
    """Returns the entries of VGG19 with its ImageNet weights, for the photograph."""
    vgg = NETWORKS["vgg19"](weights=str(asset(WEIGHTS)), include_top=False)
    pixels = load_resized(PHOTOGRAPH, 256)
    image = (pixels / 255.0).astype(np.float32)[None]
    provenance = {
        "image": PHOTOGRAPH,
        "image_sha256": sha256(pixels),
        "weights_sha256": sha256(asset(WEIGHTS).read_bytes()),
    }
    return {
        f"vgg19_{pooling}": record_case(vgg, pooling, image) | provenance
        for pooling in ("max", "avg")
    }


def main():
    content = {"random": random_cases(), "photograph": photograph_cases()}
    write_json("vgg_activations.json", __file__, (keras, torch, np, PIL), content)


if __name__ == "__main__":
    main()
