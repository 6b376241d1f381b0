"""Computes the objective of crowsonkb/style-transfer-pytorch in PyTorch's float64, with gradient.

`crowsonkb.json`:
    made_by: versions.
    random: cases by pooling, "max", "avg-scaled" and "l2-scaled", with the weights
        `inputs.vgg_weights("vgg19", False)`; picture: `inputs.picture(37, 51)`; content: it turned
        by 180 degrees; styles: `inputs.picture(44, 40)` with its channels reversed.
    photograph: case "max" with the weights of vgg19_notop.h5; content: content/tubingen.jpg through
        `record.load_resized(file, 80)`, float32(uint8 / 255); picture: it turned by 180 degrees;
        style: styles/starry.jpg likewise, at 96.
    A case holds terms: {content, style, tv}, weighted; style_layers: each layer's distance before
    weights; gradient: {largest, norm, positions, values}, of the sum of the terms by the picture,
    [1, height, width, 3], values[i] being gradient.ravel()[positions[i]]; and for the photograph
    the SHA-256 of the .h5 file and of the resized uint8 arrays.

Settings: content relu4_2, 0.015 x mean of squares. Style relu1_1 to relu5_1 in the ratio
256:64:16:4:1, sum 1, each mean((mu - mu_t)^2) + mean(diag(C + C_t - 2 (R C R)^(1/2))) with
R = C_t^(1/2), C the covariance over positions plus 1e-4 on the diagonal, roots by 12 Newton-Schulz
steps from C / |C|. Total variation 2 x (2/3 the means of dx^2 and dy^2 + 1/6 those of both
diagonals') with the border replicated. The first convolution's border is replicated; poolings are
2x2: max, 2 x mean, 0.78 x Euclidean norm. The network is Keras', whose input, BGR in 0 to 255 minus
the mean, is divided by 255 x 0.226, and all of its biases too, to give activations on the scale of
torchvision's.

The root's gradient is by the Newton-Schulz iteration for the sign of the whole matrix
[[R, G], [0, -R]], 12 steps from the one divided by |R|. The script stops unless, on a matrix that
12 steps are enough for, it is that of central differences.

Usage: NSTJAX_ASSETS=... python tests/golden/make_crowsonkb.py
"""
# pyright: reportMissingImports=false

import zlib

import h5py
import numpy as np
import PIL
import torch
import torch.nn.functional as F
from inputs import CONVS_PER_BLOCK, picture, vgg_weights
from record import asset, floats, load_resized, sha256, write_json

CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
INPUT_SPREAD = 255 * (0.229 + 0.224 + 0.225) / 3
CONTENT_LAYER, CONTENT_WEIGHT, TV_WEIGHT = "block4_conv2", 0.015, 2.0
STYLE_WEIGHTS = {f"block{block}_conv1": 4.0 ** (5 - block) / 341 for block in range(1, 6)}
EPSILON, STEPS = 1e-4, 12
WEIGHTS = "vgg19_notop.h5"
PHOTOGRAPHS = (("content/tubingen.jpg", 80), ("styles/starry.jpg", 96))
SAMPLES = 200
RIGHT = (slice(1, -1), slice(2, None))
DOWN = (slice(2, None), slice(1, -1))


def squares(x):
    """Lists the four values of each 2x2 square of x [1, C, H, W]: [1, C, 4, H // 2, W // 2]."""
    x = x[..., : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], dim=2)


POOLINGS = {
    "max": lambda x: F.max_pool2d(x, 2),
    "avg-scaled": lambda x: 2 * F.avg_pool2d(x, 2),
    "l2-scaled": lambda x: 0.78 * squares(x).norm(dim=2),
}


class Root(torch.autograd.Function):
    """The square root of a symmetric matrix, and its gradient, by Newton-Schulz iterations."""

    @staticmethod
    def forward(ctx, matrix):
        norm = matrix.norm()
        y, z = matrix / norm, torch.eye(len(matrix)).double()
        for _ in range(STEPS):
            residual = 3 * torch.eye(len(matrix)).double() - z @ y
            y, z = 0.5 * y @ residual, 0.5 * residual @ z
        root = y * norm.sqrt()
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx, gradient):
        (root,) = ctx.saved_tensors
        n = len(root)
        block = torch.cat(
            [
                torch.cat([root, gradient], dim=1),
                torch.cat([torch.zeros_like(root), -root], dim=1),
            ]
        )
        block = block / root.norm()
        for _ in range(STEPS):
            block = 1.5 * block - 0.5 * block @ block @ block
        return block[:n, n:] / 2


def check_root():
    """Stops unless the root's gradient is that of central differences."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.rand(5, 8, generator=generator).double() + torch.eye(5, 8).double()
    matrix, weights = factor @ factor.T, torch.rand(5, 5, generator=generator).double()
    weights = weights + weights.T
    torch.testing.assert_close(Root.apply(matrix) @ Root.apply(matrix), matrix)
    symmetric = matrix.requires_grad_()
    torch.autograd.gradcheck(lambda a: (weights * Root.apply((a + a.T) / 2)).sum(), symmetric)


def activations(image, weights, pooling):
    """Returns {layer name: activations [1, C, H, W]} of an image [1, H, W, 3], RGB in [0, 1]."""
    bgr = image.flip(-1) * 255 - torch.tensor(CAFFE_MEAN_BGR).double()
    x = F.pad(bgr.permute(0, 3, 1, 2) / INPUT_SPREAD, (1, 1, 1, 1), "replicate")
    found = {}
    for name, (kernel, bias) in weights.items():
        if name.endswith("_conv1") and name != "block1_conv1":
            x = POOLINGS[pooling](x)
        x = F.conv2d(x, kernel, bias / INPUT_SPREAD, padding=int(name != "block1_conv1")).relu()
        found[name] = x
        if name == "block5_conv1":
            return found
    raise AssertionError


def gaussian(features):
    """Returns mean and covariance of activations over positions."""
    flat = features[0].flatten(1)
    return flat.mean(1), torch.cov(flat, correction=0) + EPSILON * torch.eye(len(flat)).double()


def wasserstein(features, target):
    """Returns the style loss of a layer."""
    (mean, covariance), (target_mean, target_covariance) = gaussian(features), gaussian(target)
    root = Root.apply(target_covariance).detach()
    cross = Root.apply(root @ covariance @ root)
    spread = torch.diagonal(covariance + target_covariance - 2 * cross).mean()
    return (mean - target_mean).pow(2).mean() + spread


def total_variation(image):
    """Returns the nine-point smoothness of an image [1, H, W, 3]."""
    x = F.pad(image.permute(0, 3, 1, 2), (1, 1, 1, 1), "replicate")
    middle = x[..., 1:-1, 1:-1]
    straight = sum((x[..., i, j] - middle).pow(2).mean() for i, j in (RIGHT, DOWN))
    falling = (x[..., 1:, 1:] - x[..., :-1, :-1]).pow(2).mean()
    rising = (x[..., 1:, :-1] - x[..., :-1, 1:]).pow(2).mean()
    return 2 * (straight / 3 + (falling + rising) / 12)


def record_case(weights, pooling, image, content, style):
    """Evaluates the objective and its gradient, and returns the entry."""
    image, content, style = (torch.from_numpy(x.copy()).double() for x in (image, content, style))
    image.requires_grad_()
    found = activations(image, weights, pooling)
    with torch.no_grad():
        target, styles = (activations(x, weights, pooling) for x in (content, style))
    layers = {name: wasserstein(found[name], styles[name]) for name in STYLE_WEIGHTS}
    terms = {
        "content": CONTENT_WEIGHT * F.mse_loss(found[CONTENT_LAYER], target[CONTENT_LAYER]),
        "style": sum(weight * layers[name] for name, weight in STYLE_WEIGHTS.items()),
        "tv": TV_WEIGHT * total_variation(image),
    }
    torch.stack(list(terms.values())).sum().backward()
    gradient = image.grad.numpy()
    generator = np.random.default_rng(zlib.crc32(pooling.encode()))
    positions = generator.integers(gradient.size, size=SAMPLES)
    return {
        "terms": {name: value.item() for name, value in terms.items()},
        "style_layers": {name: value.item() for name, value in layers.items()},
        "gradient": {
            "largest": float(np.abs(gradient).max()),
            "norm": float(np.linalg.norm(gradient)),
            "positions": positions.tolist(),
            "values": floats(gradient.ravel()[positions]),
        },
    }


def double(layers):
    """Returns {name: (kernel OIHW, bias)} in float64."""
    doubled = {
        name: [torch.from_numpy(array).double() for array in arrays] for name, *arrays in layers
    }
    return {name: (kernel.permute(3, 2, 0, 1), bias) for name, (kernel, bias) in doubled.items()}


def random_cases():
    """Returns the entries with seeded weights, one for each pooling."""
    weights = double(vgg_weights("vgg19", False))
    image, style = picture(37, 51), picture(44, 40)[..., ::-1]
    return {
        pooling: record_case(weights, pooling, image, image[:, ::-1, ::-1], style)
        for pooling in POOLINGS
    }


def keras_layers(path):
    """Yields name, kernel and bias of each convolution in Keras' file."""
    with h5py.File(path) as file:
        for block, convs in enumerate(CONVS_PER_BLOCK["vgg19"], start=1):
            for conv in range(1, convs + 1):
                name = f"block{block}_conv{conv}"
                arrays = (np.array(file[f"{name}/{name}_{kind}_1:0"]) for kind in "Wb")
                yield name, *arrays


def photograph_case():
    """Returns the entry with VGG19's ImageNet weights, for a photograph and a painting."""
    pixels = [load_resized(*photograph) for photograph in PHOTOGRAPHS]
    content, style = ((array / 255.0).astype(np.float32)[None] for array in pixels)
    weights = double(keras_layers(asset(WEIGHTS)))
    return record_case(weights, "max", content[:, ::-1, ::-1], content, style) | {
        "pictures_sha256": [sha256(array) for array in pixels],
        "weights_sha256": sha256(asset(WEIGHTS).read_bytes()),
    }


def main():
    check_root()
    content = {"random": random_cases(), "photograph": {"max": photograph_case()}}
    write_json("crowsonkb.json", __file__, (torch, np, PIL, h5py), content)


if __name__ == "__main__":
    main()
