"""Trains Johnson's network for two steps in PyTorch, in float64, and stores what it measures.

The network, the loss network and the losses are plain torch.nn.functional calls, the optimiser is
torch.optim.Adam. Each case also runs in float32: how far that is off says what to expect.

`training_step.json`:
    made_by: versions.
    style_size: the style image is `inputs.picture(*style_size)` with its channels reversed.
    adam: the optimiser's settings.
    cases: {name: {size, settings, painted, gradients, steps, float32_difference}}.
        size: the photographs are `inputs.batch(*size)`.
        settings: the variant and the objective, see below.
        painted: mean and std of what the network paints before training, and values at positions
            of the flattened [N, H, W, 3] array.
        gradients: norm of the first step's gradient by each parameter array.
        steps: total, content, style, tv (before their weights) and the gradient's norm before each
            step, and params_norm, that of all parameters after it.
        float32_difference: how far float32 is off: painted, the largest difference of a value;
            gradients, of a norm, over gradient_norm; steps, each step's largest relative
            difference. Adam moves every number by about the learning rate, whichever way its
            gradient points: where that is rounding alone, later steps differ.

Weights: `inputs.style_network_params(norm_last)` and `inputs.vgg_weights(network, False)`.

The network, on RGB in [0, 1]:
    Convolutions have no bias, but for `output_bias`, and pad by reflection; those with stride 2 by
    one pixel on every side, so that a side n becomes ceil(n / 2). Each is followed by
    torch's instance norm (biased variance) with scale and bias, the last one only with `norm_last`.
    ReLU follows each norm, but not a block's second, nor the last.
    `nearest`: pixels are repeated twice each way, padded by reflection and convolved.
    `transpose`: stride 2, and the alignment of TensorFlow's conv2d_transpose with "SAME": output
    pixel 2 i + k receives input pixel i times kernel entry k, for k = 0, 1, 2, and what exceeds
    2 n pixels is cut off at the end. Kernels are stored for the equal formulation as a convolution
    of the input with zeros between its pixels, HWIO: turned around both ways, next to
    TensorFlow's. The script checks that against TensorFlow.
    A picture of height h is h, ceil(h / 2) and ceil(h / 4) pixels high on the way down. On the way
    up, what is enlarged to 2 ceil(h / 4) and 2 ceil(h / 2) is cut back at the end, after norm and
    ReLU, to ceil(h / 2) and h; widths likewise.
    Output: 0.5 + scale tanh(x), or scale x.

The objective: content_weight sum_l w_l mean((F - P)^2) + style_weight sum_l w_l mean((G - A)^2) +
tv_weight TV. P are the photographs' own features; G and A are F^T F / divisor, means are over the
batch too; TV is that of the picture times pixel_range, averaged over the batch: "sum" is
sum |dx| + sum |dy|, "mean_squared" is mean dx^2 + mean dy^2. `caffe` is BGR, times 255, minus
the mean; `torchvision` subtracts ImageNet's mean and divides by its standard deviation.

Usage: python tests/golden/make_training_step.py
"""
# pyright: reportMissingImports=false

import zlib

import numpy as np
import tensorflow as tf
import torch
import torch.nn.functional as F
from inputs import batch, features, picture, style_network_params, vgg_weights
from record import floats, write_json

STYLE_SIZE = (40, 56)
ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
STEPS = 2
SAMPLES = 32
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
TORCHVISION_MEAN, TORCHVISION_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

CONV1 = [(f"block{block}_conv1", 1.0) for block in range(1, 6)]
CASES = {
    "nearest": {
        "size": (51, 37),
        "settings": {
            "architecture": {
                "upsampling": "nearest",
                "output": "tanh",
                "output_scale": 0.5,
                "norm_last": False,
                "norm_epsilon": 1e-5,
            },
            "network": "vgg19",
            "preprocessing": "caffe",
            "content_layers": [("block3_conv3", 1.0)],
            "content_weight": 1.0,
            "style_layers": CONV1,
            "style_weight": 1e-4,
            "gram_divisor": "hw",
            "tv_weight": 0.02,
            "tv_form": "sum",
            "pixel_range": 1.0,
        },
    },
    "norm_last": {
        "size": (48, 64),
        "settings": {
            "architecture": {
                "upsampling": "nearest",
                "output": "tanh",
                "output_scale": 0.5,
                "norm_last": True,
                "norm_epsilon": 1e-3,
            },
            "network": "vgg19",
            "preprocessing": "caffe",
            "content_layers": [("block4_conv2", 1.0)],
            "content_weight": 10.0,
            "style_layers": CONV1,
            "style_weight": 100.0,
            "gram_divisor": "chw",
            "tv_weight": 0.004,
            "tv_form": "sum",
            "pixel_range": 255.0,
        },
    },
    "transpose": {
        "size": (50, 61),
        "settings": {
            "architecture": {
                "upsampling": "transpose",
                "output": "tanh",
                "output_scale": 150 / 255,
                "norm_last": True,
                "norm_epsilon": 1e-3,
            },
            "network": "vgg19",
            "preprocessing": "caffe",
            "content_layers": [("block4_conv2", 1.0)],
            "content_weight": 7.5,
            "style_layers": CONV1,
            "style_weight": 100.0,
            "gram_divisor": "chw",
            "tv_weight": 200.0,
            "tv_form": "mean_squared",
            "pixel_range": 255.0,
        },
    },
    "linear": {
        "size": (35, 47),
        "settings": {
            "architecture": {
                "upsampling": "nearest",
                "output": "linear",
                "output_scale": 0.25,
                "norm_last": False,
                "norm_epsilon": 1e-5,
            },
            "network": "vgg16",
            "preprocessing": "torchvision",
            "content_layers": [("block2_conv2", 1.0)],
            "content_weight": 1e5,
            "style_layers": [
                ("block1_conv2", 1.0),
                ("block2_conv2", 1.0),
                ("block3_conv3", 1.0),
                ("block4_conv3", 1.0),
            ],
            "style_weight": 1e10,
            "gram_divisor": "chw",
            "tv_weight": 0.0,
            "tv_form": "sum",
            "pixel_range": 1.0,
        },
    },
}


def convolve(x, kernel, stride=1):
    """Convolves x [N, C, H, W] with a kernel in HWIO, its borders reflected."""
    padded = F.pad(x, [kernel.shape[0] // 2] * 4, mode="reflect")
    return F.conv2d(padded, kernel.permute(3, 2, 0, 1), stride=stride)


def convolve_repeated(x, kernel):
    """Doubles the sides of x by repeating pixels, and convolves."""
    return convolve(F.interpolate(x, scale_factor=2, mode="nearest"), kernel)


def convolve_transposed(x, kernel):
    """Doubles the sides of x by a transposed convolution with stride 2, aligned as TensorFlow's."""
    weight = kernel.flip(0, 1).permute(2, 3, 0, 1)
    height, width = x.shape[2:]
    return F.conv_transpose2d(x, weight, stride=2)[..., : 2 * height, : 2 * width]


def check_transposed():
    """Stops unless TensorFlow's transposed convolution gives the same."""
    x = features("transposed", (2, 5, 4, 3)).astype(np.float64)
    kernel = features("transposed kernel", (3, 3, 3, 2)).astype(np.float64)
    ours = convolve_transposed(torch.from_numpy(x).permute(0, 3, 1, 2), torch.from_numpy(kernel))
    filters = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    theirs = tf.nn.conv2d_transpose(x, filters, np.array([2, 10, 8, 2]), strides=2, padding="SAME")
    np.testing.assert_allclose(ours.permute(0, 2, 3, 1), theirs, rtol=1e-12)


def paint(architecture, params, images):
    """Paints images [N, H, W, 3]."""

    def layer(name, convolution, x, **options):
        x = convolution(x, params[f"{name}/kernel"], **options)
        scale, bias = params[f"{name}_norm/scale"], params[f"{name}_norm/bias"]
        return F.instance_norm(x, weight=scale, bias=bias, eps=architecture["norm_epsilon"])

    sizes = [images.shape[1:3]]
    x = layer("conv1", convolve, images.permute(0, 3, 1, 2)).relu()
    for name in ("conv2", "conv3"):
        x = layer(name, convolve, x, stride=2).relu()
        sizes.append(x.shape[2:])
    for block in range(1, 6):
        y = layer(f"residual{block}_conv1", convolve, x).relu()
        x = x + layer(f"residual{block}_conv2", convolve, y)
    enlarge = {"nearest": convolve_repeated, "transpose": convolve_transposed}
    for name, (height, width) in (("up1", sizes[1]), ("up2", sizes[0])):
        x = layer(name, enlarge[architecture["upsampling"]], x).relu()[..., :height, :width]
    if architecture["norm_last"]:
        x = layer("output", convolve, x)
    else:
        x = convolve(x, params["output/kernel"]) + params["output_bias"].view(3, 1, 1)
    x = x.permute(0, 2, 3, 1)
    scale = architecture["output_scale"]
    return {"tanh": lambda: 0.5 + scale * x.tanh(), "linear": lambda: scale * x}[
        architecture["output"]
    ]()


def activations(settings, weights, images):
    """Returns the loss network's activations [N, C, H, W] of images [N, H, W, 3], by layer."""
    if settings["preprocessing"] == "caffe":
        x = images.flip(-1) * 255 - images.new_tensor(CAFFE_MEAN_BGR)
    else:
        x = (images - images.new_tensor(TORCHVISION_MEAN)) / images.new_tensor(TORCHVISION_STD)
    x = x.permute(0, 3, 1, 2)
    wanted = {name for name, _ in settings["content_layers"] + settings["style_layers"]}
    found = {}
    for name, (kernel, bias) in weights.items():
        if name.endswith("_conv1") and name != "block1_conv1":
            x = F.max_pool2d(x, 2)
        x = F.conv2d(x, kernel, bias, padding=1).relu()
        if name in wanted:
            found[name] = x
        if len(found) == len(wanted):
            break
    return found


def gram_matrix(x, divisor):
    """Returns the Gram matrices [N, C, C] of activations [N, C, H, W]."""
    channels, positions = x.shape[1], x.shape[2] * x.shape[3]
    flat = x.flatten(2)
    return flat @ flat.mT / {"hw": positions, "chw": channels * positions}[divisor]


def total_variation(images, form):
    """Returns the total variation of images [N, H, W, 3], averaged over them."""
    dx, dy = images[:, :, 1:] - images[:, :, :-1], images[:, 1:] - images[:, :-1]
    if form == "mean_squared":
        return dx.pow(2).mean() + dy.pow(2).mean()
    return (dx.abs().sum() + dy.abs().sum()) / len(images)


def terms_of(settings, weights, painted, photographs, grams):
    """Returns the objective's terms before their weights."""
    found = activations(settings, weights, painted)
    with torch.no_grad():
        targets = activations(settings, weights, photographs)
    return {
        "content": sum(
            weight * F.mse_loss(found[name], targets[name])
            for name, weight in settings["content_layers"]
        ),
        "style": sum(
            weight
            * (gram_matrix(found[name], settings["gram_divisor"]) - grams[name]).pow(2).mean()
            for name, weight in settings["style_layers"]
        ),
        "tv": total_variation(painted * settings["pixel_range"], settings["tv_form"]),
    }


def norm(arrays):
    """Returns the Euclidean norm of all arrays' numbers together."""
    return torch.sqrt(sum(array.double().pow(2).sum() for array in arrays)).item()


def train(size, settings, dtype):
    """Takes the steps in one precision; returns a case's measurements."""
    photographs = torch.from_numpy(batch(*size)).to(dtype)
    style = torch.from_numpy(picture(*STYLE_SIZE)[..., ::-1].copy()).to(dtype)
    weights = {
        name: (torch.from_numpy(kernel).permute(3, 2, 0, 1).to(dtype), torch.tensor(bias).to(dtype))
        for name, kernel, bias in vgg_weights(settings["network"], include_top=False)
    }
    architecture = settings["architecture"]
    params = {
        name: torch.from_numpy(array).to(dtype).requires_grad_()
        for name, array in style_network_params(architecture["norm_last"]).items()
    }
    styles = activations(settings, weights, style)
    grams = {
        name: gram_matrix(styles[name], settings["gram_divisor"])
        for name, _ in settings["style_layers"]
    }
    adam = torch.optim.Adam(params.values(), **ADAM)
    pictures, gradients, steps = [], [], []
    for _ in range(STEPS):
        painted = paint(architecture, params, photographs)
        terms = terms_of(settings, weights, painted, photographs, grams)
        total = torch.stack([settings[f"{name}_weight"] * terms[name] for name in terms]).sum()
        adam.zero_grad()
        total.backward()
        pictures.append(painted.detach().double().numpy())
        gradients.append({name: norm([param.grad]) for name, param in params.items()})
        measured = {"total": total.item()} | {name: term.item() for name, term in terms.items()}
        measured["gradient_norm"] = norm(param.grad for param in params.values())
        adam.step()
        measured["params_norm"] = norm(param.detach() for param in params.values())
        steps.append(measured)
    return pictures[0], gradients[0], steps


def record_case(name):
    """Trains in both precisions and returns a case's entry."""
    size, settings = CASES[name]["size"], CASES[name]["settings"]
    painted, gradients, steps = train(size, settings, torch.float64)
    rough, rough_gradients, rough_steps = train(size, settings, torch.float32)
    gradient_difference = max(
        abs(rough_gradients[name] - gradients[name]) / steps[0]["gradient_norm"]
        for name in gradients
    )
    each = [
        max(abs(ours[name] / value - 1) for name, value in theirs.items())
        for ours, theirs in zip(rough_steps, steps, strict=True)
    ]
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    positions = generator.integers(painted.size, size=SAMPLES)
    mean, std = floats([painted.mean(), painted.std()])

    def rounded(numbers):
        return dict(zip(numbers, floats(numbers.values()), strict=True))

    return {
        "size": size,
        "settings": settings,
        "painted": {
            "mean": mean,
            "std": std,
            "positions": positions.tolist(),
            "values": floats(painted.ravel()[positions]),
        },
        "gradients": rounded(gradients),
        "steps": [rounded(step) for step in steps],
        "float32_difference": {
            "painted": float(f"{np.abs(rough - painted).max():.2g}"),
            "gradients": float(f"{gradient_difference:.2g}"),
            "steps": [float(f"{step:.2g}") for step in each],
        },
    }


def main():
    check_transposed()
    content = {
        "style_size": STYLE_SIZE,
        "adam": ADAM,
        "cases": {name: record_case(name) for name in CASES},
    }
    write_json("training_step.json", __file__, (torch, tf, np), content)


if __name__ == "__main__":
    main()
