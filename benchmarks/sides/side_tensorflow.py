"""The work in TensorFlow, from the published recipes; as a graph, or compiled by its XLA."""
# pyright: reportMissingImports=false

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from work import Arrays, Run, Work, serve

MEAN_BGR = (103.939, 116.779, 123.68)
COMPILE = "compile" in sys.argv[2:]


def parameters(layers: dict[str, Arrays]) -> dict[str, dict[str, tf.Tensor]]:
    """Arrays to tensors."""
    return {name: {k: tf.constant(a) for k, a in arrays.items()} for name, arrays in layers.items()}


def features(vgg: dict, image: tf.Tensor, names: set[str]) -> dict[str, tf.Tensor]:
    """VGG's activations after the ReLU, up to the last that is named."""
    x, found = 255 * image[..., ::-1] - MEAN_BGR, {}
    for name, layer in vgg.items():
        if name.endswith("_conv1") and name != "block1_conv1":
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = tf.nn.conv2d(x, layer["kernel"], 1, "SAME")
        x = found[name] = tf.nn.relu(tf.nn.bias_add(x, layer["bias"]))
        if names <= found.keys():
            break
    return {name: found[name] for name in names}


def gram(x: tf.Tensor, divisor: str) -> tf.Tensor:
    """Gram matrices."""
    n, h, w, c = x.shape
    flat = tf.reshape(x, (n, h * w, c))
    return tf.matmul(flat, flat, transpose_a=True) / (h * w * (c if divisor == "chw" else 1))


def objective(vgg: dict, s: dict, image: tf.Tensor, content: dict, style: dict) -> tf.Tensor:
    """The weighted sum of the three losses."""
    found = features(vgg, image, {*content, *style})
    total = tf.add_n(
        [
            s["content_weight"] * w * tf.reduce_mean(tf.square(found[name] - content[name]))
            for name, w in s["content_layers"]
        ]
    )
    for name, w in s["style_layers"]:
        difference = gram(found[name], s["gram_divisor"]) - style[name]
        total += s["style_weight"] * w * tf.reduce_mean(tf.square(difference))
    x = image * s["pixel_range"]
    tv = tf.reduce_sum(tf.abs(x[:, 1:] - x[:, :-1])) + tf.reduce_sum(
        tf.abs(x[:, :, 1:] - x[:, :, :-1])
    )
    return total + s["tv_weight"] * tv / len(image)


def targets(work: Work) -> tuple[dict, dict, dict]:
    """VGG's parameters, the picture's features and the style's Gram matrices."""
    vgg, s = parameters(work.group("vgg")), work.settings
    pictures = {name: tf.constant(work.arrays[name]) for name in ("content", "style")}
    content = features(vgg, pictures["content"], {name for name, _ in s["content_layers"]})
    style = features(vgg, pictures["style"], {name for name, _ in s["style_layers"]})
    return vgg, content, {name: gram(x, s["gram_divisor"]) for name, x in style.items()}


def adam_of(settings: dict) -> tf.keras.optimizers.Optimizer:
    """Keras' Adam."""
    adam = settings["adam"]
    beta1, beta2 = adam["betas"]
    return tf.keras.optimizers.Adam(adam["lr"], beta_1=beta1, beta_2=beta2, epsilon=adam["eps"])


def pixels(work: Work) -> Run:
    """Steps of Adam on the picture, clipped to [0, 1]."""
    vgg, content, style = targets(work)
    image, adam = tf.Variable(work.arrays["content"]), adam_of(work.settings)
    adam.build([image])

    @tf.function(jit_compile=COMPILE)
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            total = objective(vgg, work.settings, image, content, style)
        adam.apply_gradients([(tape.gradient(total, image), image)])
        image.assign(tf.clip_by_value(image, 0.0, 1.0))
        return total

    return lambda: [float(step()) for _ in range(work.steps)][-1]


def network(p: dict, s: dict, image: tf.Tensor) -> tf.Tensor:
    """Johnson's network with nearest-neighbour enlargement and instance norm."""

    def padded(x: tf.Tensor, pad: int) -> tf.Tensor:
        return tf.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), "REFLECT")

    def layer(name: str, x: tf.Tensor, pad: int, stride: int = 1) -> tf.Tensor:
        x = tf.nn.conv2d(padded(x, pad), p[name]["kernel"], stride, "VALID")
        mean, variance = tf.nn.moments(x, (1, 2), keepdims=True)
        norm, epsilon = p[f"{name}_norm"], s["norm_epsilon"]
        return tf.nn.batch_normalization(x, mean, variance, norm["bias"], norm["scale"], epsilon)

    x = tf.nn.relu(layer("conv1", image, 4))
    x = tf.nn.relu(layer("conv2", x, 1, 2))
    x = tf.nn.relu(layer("conv3", x, 1, 2))
    for block in range(1, 6):
        y = tf.nn.relu(layer(f"residual{block}_conv1", x, 1))
        x = x + layer(f"residual{block}_conv2", y, 1)
    for name in ("up1", "up2"):
        larger = tf.image.resize(x, (2 * x.shape[1], 2 * x.shape[2]), "nearest")
        x = tf.nn.relu(layer(name, larger, 1))
    if s["norm_last"]:
        x = layer("output", x, 4)
    else:
        x = tf.nn.conv2d(padded(x, 4), p["output"]["kernel"], 1, "VALID")
        x = x + p["output_bias"]["value"]
    return 0.5 + s["output_scale"] * tf.tanh(s["output_gain"] * x)


def paint(work: Work) -> Run:
    """Forward passes."""
    params, image = parameters(work.group("network")), tf.constant(work.arrays["content"])

    @tf.function(jit_compile=COMPILE)
    def forward(image: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(network(params, work.settings, image), 0.0, 1.0)

    def run() -> float:
        return [float(forward(image).numpy().mean()) for _ in range(work.steps)][-1]

    return run


def train(work: Work) -> Run:
    """Steps of Adam on the network, the batch's content targets made in each."""
    vgg, _, style = targets(work)
    s, batch = work.settings, tf.constant(work.arrays["content"])
    names, adam = {name for name, _ in s["content_layers"]}, adam_of(s)
    params = {
        name: {k: tf.Variable(a) for k, a in arrays.items()}
        for name, arrays in work.group("network").items()
    }
    leaves = [variable for layer in params.values() for variable in layer.values()]
    adam.build(leaves)

    @tf.function(jit_compile=COMPILE)
    def step(batch: tf.Tensor) -> tf.Tensor:
        content = features(vgg, batch, names)
        with tf.GradientTape() as tape:
            total = objective(vgg, s, network(params, s, batch), content, style)
        adam.apply_gradients(zip(tape.gradient(total, leaves), leaves, strict=True))
        return total

    return lambda: [float(step(batch)) for _ in range(work.steps)][-1]


if __name__ == "__main__":
    serve(tf.__version__, {"pixels": pixels, "paint": paint, "train": train})
