"""The work in PyTorch, from the published recipes, on a GPU where it finds one.

Channels first or last, eager or compiled, in float32 (on a GPU by TF32) or bfloat16. On a GPU cuDNN
looks for its fastest algorithms.
"""
# pyright: reportMissingImports=false

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from work import Arrays, Run, Work, serve

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.backends.cuda.matmul.allow_tf32 = True
torch.backends.cudnn.benchmark = True
MEAN_BGR = torch.tensor([103.939, 116.779, 123.68], device=DEVICE).view(1, 3, 1, 1)
VARIANT = set(sys.argv[2:])  # of "channels_last", "compile" and "bfloat16"
FORMAT = torch.channels_last if "channels_last" in VARIANT else torch.contiguous_format


def picture(array: np.ndarray) -> Tensor:
    """NHWC to this side's layout."""
    return torch.from_numpy(array.transpose(0, 3, 1, 2)).to(DEVICE).contiguous(memory_format=FORMAT)


def parameters(layers: dict[str, Arrays]) -> dict[str, dict[str, Tensor]]:
    """HWIO kernels to OIHW, in this side's layout."""

    def convert(array: np.ndarray) -> Tensor:
        if array.ndim < 4:
            return torch.from_numpy(array.copy()).to(DEVICE)
        kernel = torch.from_numpy(array.transpose(3, 2, 0, 1)).to(DEVICE)
        return kernel.contiguous(memory_format=FORMAT)

    return {name: {k: convert(a) for k, a in arrays.items()} for name, arrays in layers.items()}


def features(vgg: dict, image: Tensor, names: set[str]) -> dict[str, Tensor]:
    """VGG's activations after the ReLU, up to the last that is named."""
    x, found = 255 * image.flip(1) - MEAN_BGR, {}
    for name, layer in vgg.items():
        if name.endswith("_conv1") and name != "block1_conv1":
            x = F.max_pool2d(x, 2)
        x = found[name] = F.relu(F.conv2d(x, layer["kernel"], layer["bias"], padding=1))
        if names <= found.keys():
            break
    return {name: found[name] for name in names}


def gram(x: Tensor, divisor: str) -> Tensor:
    """Gram matrices, in float32."""
    n, c, h, w = x.shape
    with torch.autocast(DEVICE, enabled=False):
        flat = x.float().reshape(n, c, h * w)
        return flat @ flat.transpose(1, 2) / (h * w * (c if divisor == "chw" else 1))


def objective(
    vgg: dict, s: dict, image: Tensor, content: dict[str, Tensor], style: dict[str, Tensor]
) -> Tensor:
    """The weighted sum of the three losses."""
    found = features(vgg, image, {*content, *style})
    total = sum(
        s["content_weight"] * w * F.mse_loss(found[name], content[name])
        for name, w in s["content_layers"]
    )
    for name, w in s["style_layers"]:
        difference = gram(found[name], s["gram_divisor"]) - style[name]
        total = total + s["style_weight"] * w * difference.square().mean()
    x = image * s["pixel_range"]
    tv = (x[:, :, 1:] - x[:, :, :-1]).abs().sum() + (x[:, :, :, 1:] - x[:, :, :, :-1]).abs().sum()
    return total + s["tv_weight"] * tv / len(image)


@torch.no_grad()
def targets(work: Work) -> tuple[dict, dict, dict]:
    """VGG's parameters, the picture's features and the style's Gram matrices."""
    vgg, s = parameters(work.group("vgg")), work.settings
    content = features(vgg, picture(work.arrays["content"]), {n for n, _ in s["content_layers"]})
    style = features(vgg, picture(work.arrays["style"]), {n for n, _ in s["style_layers"]})
    return vgg, content, {name: gram(x, s["gram_divisor"]) for name, x in style.items()}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in the variant's precision, compiled if that is the variant."""

    def run(*arguments: Any) -> Any:
        with torch.autocast(DEVICE, torch.bfloat16, enabled="bfloat16" in VARIANT):
            return function(*arguments)

    return torch.compile(run) if "compile" in VARIANT else run


def pixels(work: Work) -> Run:
    """Steps of Adam on the picture, clipped to [0, 1]."""
    vgg, content, style = targets(work)
    image = picture(work.arrays["content"]).clone().requires_grad_()
    adam = torch.optim.Adam([image], **work.settings["adam"])
    evaluate = compiled(lambda image: objective(vgg, work.settings, image, content, style))

    def clip() -> None:
        with torch.no_grad():
            image.clamp_(0, 1)

    return steps_of(adam, lambda: evaluate(image), work.steps, clip)


def steps_of(
    adam: torch.optim.Adam,
    evaluate: Callable[[], Tensor],
    count: int,
    after: Callable[[], None] = lambda: None,
) -> Run:
    """Steps of an optimiser; the loss before the last of them."""

    def run() -> float:
        total = torch.zeros(())
        for _ in range(count):
            adam.zero_grad()
            total = evaluate()
            total.backward()
            adam.step()
            after()
        return total.item()

    return run


def network(p: dict, s: dict, image: Tensor) -> Tensor:
    """Johnson's network with nearest-neighbour enlargement and instance norm."""

    def layer(name: str, x: Tensor, pad: int, stride: int = 1) -> Tensor:
        x = F.conv2d(F.pad(x, (pad,) * 4, mode="reflect"), p[name]["kernel"], stride=stride)
        norm = p[f"{name}_norm"]
        return F.instance_norm(x, weight=norm["scale"], bias=norm["bias"], eps=s["norm_epsilon"])

    x = F.relu(layer("conv1", image, 4))
    x = F.relu(layer("conv2", x, 1, 2))
    x = F.relu(layer("conv3", x, 1, 2))
    for block in range(1, 6):
        y = F.relu(layer(f"residual{block}_conv1", x, 1))
        x = x + layer(f"residual{block}_conv2", y, 1)
    for name in ("up1", "up2"):
        x = F.relu(layer(name, F.interpolate(x, scale_factor=2, mode="nearest"), 1))
    if s["norm_last"]:
        x = layer("output", x, 4)
    else:
        bias = p["output_bias"]["value"]
        x = F.conv2d(F.pad(x, (4,) * 4, mode="reflect"), p["output"]["kernel"], bias)
    return 0.5 + s["output_scale"] * torch.tanh(s["output_gain"] * x)


def paint(work: Work) -> Run:
    """Forward passes."""
    params, image = parameters(work.group("network")), picture(work.arrays["content"])
    forward = compiled(lambda image: network(params, work.settings, image).clamp(0, 1))

    @torch.inference_mode()
    def run() -> float:
        pictures = [forward(image).float().cpu() for _ in range(work.steps)]
        return pictures[-1].mean().item()

    return run


def train(work: Work) -> Run:
    """Steps of Adam on the network, the batch's content targets made in each."""
    vgg, _, style = targets(work)
    s, batch = work.settings, picture(work.arrays["content"])
    names = {name for name, _ in s["content_layers"]}
    params = parameters(work.group("network"))
    leaves = [a.requires_grad_() for layer in params.values() for a in layer.values()]
    adam = torch.optim.Adam(leaves, **s["adam"])

    def loss(batch: Tensor) -> Tensor:
        with torch.no_grad():
            content = features(vgg, batch, names)
        return objective(vgg, s, network(params, s, batch), content, style)

    evaluate = compiled(loss)

    return steps_of(adam, lambda: evaluate(batch), work.steps)


if __name__ == "__main__":
    serve(
        torch.__version__,
        {"pixels": pixels, "paint": paint, "train": train},
        lambda: torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None,
    )
