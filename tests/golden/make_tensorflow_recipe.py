"""Runs the style transfer of TensorFlow's tutorial in TensorFlow and Keras, and stores its losses.

The procedure of https://www.tensorflow.org/tutorials/generative/style_transfer, final run (with
total variation). On an image in [0, 1], NHWC RGB:

    content = 1e4 * mean((F - P)^2)
    style   = 1e-2 / 5 * sum_l mean((G_l - A_l)^2)
    tv      = 30 * (sum |dx| + sum |dy|)
    total   = content + style + tv

with F and P the activations block5_conv2 of image and content image, and G_l = F_l^T F_l / (H W)
of image and A_l of style image at block1_conv1, block2_conv1, ..., block5_conv1. Descent starts at
the content image, with keras.optimizers.Adam(learning_rate=0.02, beta_1=0.99, epsilon=0.1), and
clips the image to [0, 1] after every step. Keras' Adam adds epsilon to the square root of the
second moment *before* its bias is corrected (Kingma and Ba's "epsilon hat"):

    x -= lr * sqrt(1 - beta_2^t) / (1 - beta_1^t) * m / (sqrt(v) + epsilon),   t = 1, 2, ...

which at epsilon=0.1 is far from the form that corrects v first.

`tensorflow_recipe.json`:
    made_by, settings: versions and the numbers above.
    weights_sha256: of vgg19_notop.h5.
    runs: {"256", "128"}, named by the longest side of both images, each with
        content, style: {file, shape [H, W, 3], sha256 of the uint8 array}; the float image is
            uint8 / 255 in float32. Decoding and resizing: `record.load_resized`.
        losses: {total, content, style, tv}, weighted, 1001 values each. Value i is the objective
            after i updates: value 0 is the content image's, value 1000 the result's.
        perturbed_total (run "128" only): `total` again, from the content image with every value
            moved by at most 1e-6: how far rounding alone may carry a correct implementation.
        result: {mean, std} of the final image.
        seconds: wall-clock time of the 1000 steps; only its order of magnitude means something.
    float64: the first 100 of the same steps in float64 throughout, from the same float32 images
        and weights, with
        made_by: versions.
        runs: {"256", "128"}, each with
            total: 101 values, all digits.
            float32_deviation: the greatest relative difference of the float32 run's totals from
                them: how far rounding alone carries this very program.

Usage: NSTJAX_ASSETS=... python tests/golden/make_tensorflow_recipe.py [--only-float64]

--only-float64 makes that entry again and keeps the rest of the file.
"""
# pyright: reportMissingImports=false

import argparse
import json
import time
from typing import Any

import keras
import numpy as np
import PIL
import tensorflow as tf
from record import GOLDEN_DIR, asset, floats, load_resized, sha256, write_json

FILE = "tensorflow_recipe.json"
WEIGHTS = "vgg19_notop.h5"
PAIRS = {
    256: ("content/tubingen.jpg", "styles/starry.jpg"),
    128: ("content/chicago.jpg", "styles/wave.jpg"),
}
SETTINGS = {
    "content_layer": "block5_conv2",
    "style_layers": [f"block{block}_conv1" for block in range(1, 6)],
    "content_weight": 1e4,
    "style_weight": 1e-2,
    "tv_weight": 30.0,
    "adam": {"learning_rate": 0.02, "beta_1": 0.99, "beta_2": 0.999, "epsilon": 0.1},
    "steps": 1000,
}
FLOAT64_STEPS = 100


def gram_matrix(activations):
    """Returns F^T F / (H W), [1, C, C], for activations [1, H, W, C]."""
    shape = tf.shape(activations)
    inner = tf.einsum("bijc,bijd->bcd", activations, activations)
    return inner / tf.cast(shape[1] * shape[2], inner.dtype)


def feature_extractor():
    """Builds image in [0, 1] -> (content activations, [Gram matrices]), in Keras' `floatx`."""
    vgg = keras.applications.VGG19(include_top=False, weights=str(asset(WEIGHTS)))
    vgg.trainable = False
    layers = [SETTINGS["content_layer"], *SETTINGS["style_layers"]]
    model = keras.Model(vgg.input, [vgg.get_layer(name).output for name in layers])

    def extract(image):
        content, *style = model(keras.applications.vgg19.preprocess_input(image * 255.0))
        return content, [gram_matrix(activations) for activations in style]

    return extract


def make_objective(extract, content_image, style_image):
    """Returns image -> weighted [total, content, style, tv]."""
    content_target, _ = extract(content_image)
    _, style_targets = extract(style_image)

    def objective(image):
        features, grams = extract(image)
        content = SETTINGS["content_weight"] * tf.reduce_mean((features - content_target) ** 2)
        distances = [
            tf.reduce_mean((gram - target) ** 2)
            for gram, target in zip(grams, style_targets, strict=True)
        ]
        style = SETTINGS["style_weight"] / len(distances) * tf.add_n(distances)
        tv = SETTINGS["tv_weight"] * tf.image.total_variation(image)[0]
        return tf.stack([content + style + tv, content, style, tv])

    return objective


def make_adam():
    numbers = SETTINGS["adam"]
    if keras.config.floatx() == "float64":
        # Keras casts Python's floats by way of float32, and NumPy's as they are.
        numbers = {name: np.float64(value) for name, value in numbers.items()}
    return keras.optimizers.Adam(**numbers)


def stylize(objective, start, steps=SETTINGS["steps"]):
    """Runs the steps from `start`; returns the losses [steps + 1, 4] and the final image."""
    image = tf.Variable(start)
    optimizer = make_adam()
    optimizer.build([image])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = objective(image)
            total = losses[0]
        optimizer.apply([tape.gradient(total, image)], [image])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))
        return losses

    history = [step().numpy() for _ in range(steps)]
    history.append(objective(image).numpy())
    return np.stack(history), image.numpy()


def load_pair(longest_side):
    """Reads one pair of images; returns their entries in the file and their float arrays."""
    files = dict(zip(("content", "style"), PAIRS[longest_side], strict=True))
    pixels = {role: load_resized(file, longest_side) for role, file in files.items()}
    entry: dict[str, Any] = {
        role: {"file": file, "shape": pixels[role].shape, "sha256": sha256(pixels[role])}
        for role, file in files.items()
    }
    images = {role: (array / 255.0).astype(np.float32)[None] for role, array in pixels.items()}
    return entry, images


def record_pair(extract, longest_side):
    """Stylises one pair of images and returns its entry in the file."""
    entry, images = load_pair(longest_side)
    objective = make_objective(extract, **{f"{role}_image": x for role, x in images.items()})
    began = time.perf_counter()
    history, result = stylize(objective, images["content"])
    entry["seconds"] = round(time.perf_counter() - began, 1)
    names = ("total", "content", "style", "tv")
    entry["losses"] = {name: floats(history[:, i]) for i, name in enumerate(names)}
    entry["result"] = dict(zip(("mean", "std"), floats([result.mean(), result.std()]), strict=True))
    if longest_side == 128:
        noise = np.random.default_rng(0).uniform(-1e-6, 1e-6, result.shape).astype(np.float32)
        perturbed, _ = stylize(objective, np.clip(images["content"] + noise, 0.0, 1.0))
        entry["perturbed_total"] = floats(perturbed[:, 0])
    return entry


def record_float64(runs):
    """Runs the first steps of `runs` again in float64 and returns that entry of the file."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")  # layers before this one's have fixed it to float32
    extract = feature_extractor()
    entries = {}
    for side in PAIRS:
        images = {f"{role}_image": np.float64(x) for role, x in load_pair(side)[1].items()}
        history, _ = stylize(
            make_objective(extract, **images), images["content_image"], FLOAT64_STEPS
        )
        assert history.dtype == np.float64
        total = history[:, 0]
        float32 = runs[str(side)]["losses"]["total"][: len(total)]
        deviation = np.abs(np.array(float32) / total - 1).max()
        entries[str(side)] = {
            "total": [float(value) for value in total],
            "float32_deviation": float(f"{deviation:.3g}"),
        }
    made_by = {module.__name__: module.__version__ for module in (tf, keras, np)}
    return {"made_by": made_by, "runs": entries}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only-float64", action="store_true")
    if parser.parse_args().only_float64:
        content = json.loads((GOLDEN_DIR / FILE).read_text())
    else:
        extract = feature_extractor()
        content = {
            "settings": SETTINGS,
            "weights_sha256": sha256(asset(WEIGHTS).read_bytes()),
            "runs": {str(side): record_pair(extract, side) for side in PAIRS},
        }
    content["float64"] = record_float64(content["runs"])
    write_json(FILE, __file__, (tf, keras, np, PIL), content)


if __name__ == "__main__":
    main()
