"""How good are these pictures: how near to the style, how near to the photograph, how clean?

Usage: python benchmarks/quality.py PICTURE… --content PHOTO --style PAINTING [--sizes 256 512]
       [--tile ROWS] [--json FILE] [--sheet FILE.png]

Any pictures made of PHOTO in the style of PAINTING, by whatever recipe or program; PHOTO itself is
the first row. At each size, to which the longest sides of all three are brought:

- style, Gram and Wasserstein: the distance to the painting as a share of the photograph's, the mean
  over relu1_1 to relu5_1; each layer's is in the JSON file.
- content: the mean squared difference to the photograph at relu4_2, as a share of the mean square.

At the picture's own size:

- SSIM: of its luminance with the photograph's; 1 is the same.
- variation: the mean absolute difference of neighbours, both ways, from 0 to 2.
- seams, with --tile: the mean absolute difference of rows across the borders of tiles of so many
  rows, as a share of that across the rows beside; 1 is no seam.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measuring import find_weights, save_json

import nstjax
from nstjax.errors import NstjaxError
from nstjax.images import resize_image
from nstjax.losses import total_variation
from nstjax.report import contact_sheet
from nstjax.vgg import Weights, extract_features

STYLE_LAYERS = tuple(f"block{block}_conv1" for block in range(1, 6))
CONTENT_LAYER = "block4_conv2"
LUMINANCE = np.array([0.299, 0.587, 0.114])


def main() -> None:
    """Reads the command line, measures each picture, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pictures", nargs="+", metavar="PICTURE")
    parser.add_argument("--content", required=True, metavar="PHOTO")
    parser.add_argument("--style", required=True, metavar="PAINTING")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512])
    parser.add_argument("--tile", type=int, metavar="ROWS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="also draw a contact sheet here")
    options = parser.parse_args()
    try:
        measure_all(options)
    except NstjaxError as error:
        parser.error(str(error))


def measure_all(options: argparse.Namespace) -> None:
    """Measures the photograph and each picture, and writes what was asked for."""
    content, style = (load(path) for path in (options.content, options.style))
    pictures = {path: load(path) for path in dict.fromkeys([options.content, *options.pictures])}
    weights = find_weights("vgg19")
    columns = [f"{kind} {size}" for size in options.sizes for kind in (*DISTANCES, "content")]
    columns += ["SSIM", "variation", *(["seams"] if options.tile else [])]
    print(f"| picture | {' | '.join(columns)} |")
    print("|---|" + "---|" * len(columns))
    results = []
    for path, picture in pictures.items():
        found = measure(weights, [picture, content, style], options.sizes, options.tile)
        cells = (f"{found[column]:.3f}" for column in columns)
        print(f"| {Path(path).name} | {' | '.join(cells)} |", flush=True)
        results.append({"picture": Path(path).name, **found})
    if options.json:
        names = {kind: Path(getattr(options, kind)).name for kind in ("content", "style")}
        settings = {**names, "sizes": options.sizes, "tile": options.tile}
        save_json(options.json, settings=settings, weights=weights.sha256, results=results)
    if options.sheet:
        labels = ["painting", *(Path(path).stem for path in pictures)]
        contact_sheet(options.sheet, [[style, *pictures.values()]], column_labels=labels)


def load(path: str) -> np.ndarray:
    """A picture's pixels, RGB in [0, 1], shape (1, H, W, 3)."""
    return nstjax.load_image(path).pixels


def measure(
    weights: Weights, pictures: list[np.ndarray], sizes: list[int], tile: int | None = None
) -> dict[str, Any]:
    """All that is measured of a picture, beside its photograph and its painting."""
    picture, content, _ = pictures
    found: dict[str, Any] = measure_alone(picture, content, tile)
    for size in sizes:
        at_size = [nstjax.load_image(x, size=size, upscale=True).pixels for x in pictures]
        found |= measure_features(weights, at_size, size)
    return found


def measure_features(weights: Weights, pictures: list[np.ndarray], size: int) -> dict[str, Any]:
    """Distances of a picture's activations from a photograph's and a painting's."""
    picture, content, style = pictures
    content = resize_image(content, *picture.shape[1:3])
    features, of_content, of_style = (
        activations(weights.preprocessing, weights.params, jnp.asarray(x))
        for x in (picture, content, style)
    )
    found: dict[str, Any] = {}
    for kind, distance in DISTANCES.items():
        shares = {
            layer: distance(features[layer], of_style[layer])
            / distance(of_content[layer], of_style[layer])
            for layer in STYLE_LAYERS
        }
        found[f"{kind} {size}"] = float(np.mean(list(shares.values())))
        found[f"{kind} {size} by layer"] = shares
    wanted = of_content[CONTENT_LAYER]
    gap = jnp.mean(jnp.square(features[CONTENT_LAYER] - wanted)) / jnp.mean(jnp.square(wanted))
    return found | {f"content {size}": float(gap)}


@partial(jax.jit, static_argnums=0)
def activations(preprocessing: str, params: Any, picture: jax.Array) -> dict[str, jax.Array]:
    """The activations of all layers that are compared."""
    return extract_features(
        params,
        picture,
        network="vgg19",
        layers=(*STYLE_LAYERS, CONTENT_LAYER),
        preprocessing=preprocessing,
    )


def moments(features: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Means of the channels and of their products over positions."""
    flat = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
    return flat.mean(axis=0), flat.T @ flat / len(flat)


def gram(features: jax.Array, target: jax.Array) -> float:
    """The mean squared difference of Gram matrices."""
    return float(np.mean((moments(features)[1] - moments(target)[1]) ** 2))


def wasserstein(features: jax.Array, target: jax.Array) -> float:
    """The squared distance of normal distributions, exactly: the loss's twelve steps are not."""
    (a, second_a), (b, second_b) = moments(features), moments(target)
    cov_a, cov_b = second_a - np.outer(a, a), second_b - np.outer(b, b)
    values, vectors = np.linalg.eigh(cov_b)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    both = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_a @ root), 0)).sum()
    # Rounding can take it below zero.
    return max(float(np.sum((a - b) ** 2) + np.trace(cov_a + cov_b) - 2 * both), 0.0)


DISTANCES = {"gram": gram, "wasserstein": wasserstein}


def measure_alone(picture: np.ndarray, content: np.ndarray, tile: int | None) -> dict[str, float]:
    """What needs no network."""
    content = resize_image(content, *picture.shape[1:3])
    found = {
        "SSIM": ssim(picture[0] @ LUMINANCE, content[0] @ LUMINANCE),
        "variation": float(total_variation(jnp.asarray(picture), form="mean")),
    }
    return found | ({"seams": seam_energy(picture, tile)} if tile else {})


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Structural similarity of two grey pictures in [0, 1].

    Windows are Gaussian, 11×11 with a deviation of 1.5, wholly inside the picture.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to
    structural similarity", 2004.
    """
    from scipy.ndimage import gaussian_filter

    if min(first.shape) < 11:
        raise NstjaxError(f"a picture of {first.shape} pixels is too small for SSIM: it takes 11")

    def mean(x: np.ndarray) -> np.ndarray:
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    a, b = mean(first), mean(second)
    variances = mean(first**2) - a**2 + mean(second**2) - b**2
    covariance = mean(first * second) - a * b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * a * b + c1) * (2 * covariance + c2)
    return float(np.mean(similarity / ((a**2 + b**2 + c1) * (variances + c2))))


def seam_energy(picture: np.ndarray, tile: int) -> float:
    """The difference of rows across tiles' borders, relative to that of the two pairs beside."""
    steps = np.abs(np.diff(picture[0], axis=0)).mean(axis=(1, 2))
    borders = np.arange(tile - 1, len(steps) - 1, tile)
    if tile < 2 or not len(borders):
        raise NstjaxError(f"tile is {tile}: the picture has no border of tiles of so many rows")
    beside = (steps[borders - 1].mean() + steps[borders + 1].mean()) / 2
    return float(steps[borders].mean() / max(beside, 1e-12))


if __name__ == "__main__":
    main()
