"""How much memory a run on the pixel route takes, and how it goes on where there is too little."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Array, Float

from nstjax.memory import Plan, choose_tile, device_memory, is_out_of_memory
from nstjax.settings import Recipe
from nstjax.vgg.layers import CHANNELS, kernel_shapes, minimum_size
from nstjax.vgg.memory import gradient_bytes

# Even, and four of them so that each takes clearly less than the one before.
TILES = (128, 64, 32, 16)
_FLOAT = 4
# Python, JAX and what compiling leaves behind, on the host; measured on Linux.
_PROCESS = 0.65e9
# Kernels are also there as Winograd's algorithm takes them, forward and back: 36 numbers for 9.
_TRANSFORMED = 9
# Pictures of the content's size that the host holds: as read, resized, to start from, to report.
_HOST_PICTURES = 4
# SciPy's L-BFGS-B computes in float64: pictures besides the two of each pair it remembers.
_SCIPY_PICTURES = 14


Result = TypeVar("Result")


class OutOfMemory(Exception):
    """Ends an optimisation for which there is too little memory.

    Attributes:
        image: the picture so far, RGB, white being 1. The optimiser's own state is gone: a step
            reuses its memory, whether it succeeds or not.
    """

    def __init__(self, image: Float[Array | np.ndarray, "1 h w 3"]):
        super().__init__("out of memory")
        self.image = image


@contextmanager
def going_on_from(image: Float[Array | np.ndarray, "1 h w 3"]) -> Iterator[None]:
    """Raises `OutOfMemory` with a picture, where there is too little memory for what is within."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(image) from error


class Tiling:
    """Picks a run's tiles: by its pictures' sizes, and smaller ones after those that failed.

    Attributes:
        recipe: the settings, with the tile that was used last.
        plans: what was used, one after the other.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.plans: list[Plan] = []
        self._wanted = recipe
        self._failed: list[int | None] = []

    def plan(self, content: tuple[int, int], style: tuple[int, int]) -> Plan:
        """Decides on the tile for pictures of some height and width.

        Args:
            content: height and width of the content image, in pixels.
            style: of the style image.

        Returns:
            The plan.

        Raises:
            NstjaxError: if the recipe's limit is too small.
        """

        def estimate(tile: int | None) -> int:
            return estimate_bytes(self._wanted, content, style, tile)

        tile, limit = self._wanted.tile, self._wanted.memory_limit
        plan = choose_tile(estimate, tile, candidates=TILES, limit=limit)
        smaller = _smaller_than(self._failed)
        if plan.tile in smaller or not self._failed:
            return plan
        return dataclasses.replace(plan, tile=smaller[0], estimate=estimate(smaller[0]))

    def run(
        self,
        plan: Plan,
        content: tuple[int, int],
        style: tuple[int, int],
        attempt: Callable[[Recipe, Any], Result],
        image: Any,
    ) -> Result:
        """Runs something with the tile of a plan, and with smaller ones while memory is short.

        Args:
            plan: to begin with, unless its tile has failed before.
            content: as for `plan`.
            style: likewise.
            attempt: from the settings, with their tile, and a picture to what is wanted. It is
                called again with the picture of the `OutOfMemory` that it raised.
            image: the picture that it is called with first.

        Returns:
            What it returned.

        Raises:
            Exception: what it raised, if that is another problem or there is no smaller tile.
        """
        while True:
            if self._failed:
                plan = self.plan(content, style)
            self.plans.append(plan)
            self.recipe = dataclasses.replace(self._wanted, tile=plan.tile)
            try:
                return attempt(self.recipe, image)
            except Exception as error:
                self._failed.append(plan.tile)
                known = isinstance(error, OutOfMemory)
                if not _smaller_than(self._failed) or not (known or is_out_of_memory(error)):
                    if known and error.__cause__ is not None:
                        raise error.__cause__ from None
                    raise
                image = error.image if known else image


def _smaller_than(failed: list[int | None]) -> list[int]:
    """The tiles that take less memory than all that failed."""
    return [tile for tile in TILES if all(other is None or tile < other for other in failed)]


def estimate_bytes(
    recipe: Recipe, content: tuple[int, int], style: tuple[int, int], tile: int | None
) -> int:
    """Estimates the most memory that a run takes: of the device or, on a CPU, of the process.

    Args:
        recipe: the settings.
        content: height and width of the content image, in pixels.
        style: of the style image.
        tile: rows at a time; None: all at once.

    Returns:
        Bytes.
    """
    layers = tuple(name for name, _ in recipe.content_layers + recipe.style_layers)
    picture, style_picture = (_FLOAT * 3 * height * width for height, width in (content, style))
    activations = sum(
        _FLOAT * CHANNELS[int(layer[len("block")]) - 1] * _positions(layer, *content)
        for layer, _ in recipe.content_layers
    )
    gradient = gradient_bytes(recipe.network, layers, *content, tile)
    host = device_memory() is None
    total = gradient + activations + _optimizer_pictures(recipe, host) * picture
    total += _kernel_bytes(recipe.network, layers) * (_TRANSFORMED if host else 1)
    if host:
        total += _PROCESS + _HOST_PICTURES * picture + 3 * style_picture
    return int(total)


def _optimizer_pictures(recipe: Recipe, host: bool) -> int:
    """Pictures in float32 that the optimiser holds, its gradient included."""
    if recipe.optimizer == "lbfgs-b":
        return 2 + 2 * host * (_SCIPY_PICTURES + 2 * recipe.history_size)
    return {"sgd": 2, "adam": 4, "lbfgs": 9 + 2 * recipe.history_size}[recipe.optimizer]


def _kernel_bytes(network: str, layers: tuple[str, ...]) -> int:
    shapes = kernel_shapes(network)
    deepest = max(minimum_size(layer) for layer in layers)
    return sum(
        _FLOAT * int(np.prod(shape))
        for name, shape in shapes.items()
        if minimum_size(name) <= deepest
    )


def _positions(layer: str, height: int, width: int) -> int:
    scale = minimum_size(layer)
    return (height // scale) * (width // scale)
