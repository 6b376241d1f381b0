"""How much memory a run on the pixel route takes, and how it goes on if there is too little."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from nstjax.gatys.stages import Stage
from nstjax.memory import (
    Plan,
    choose_tile,
    device_memory,
    is_out_of_memory,
    room,
    smaller_tiles,
)
from nstjax.settings import Recipe
from nstjax.structure import Inputs, Structure
from nstjax.vgg.layers import activation_shape, kernel_shapes, minimum_size
from nstjax.vgg.memory import forward_bytes, gradient_bytes

# Four of them, so that each takes clearly less than the one before: at 4096×3072 pixels an
# evaluation takes 18.7, 12.9, 10.0 and 8.6 pictures of float32 by XLA's account, and 141 untiled.
# At 1024² it takes 1.05, 1.19, 1.51 and 1.92 times as long as untiled (jax 0.10.2 on a CPU).
TILES = (256, 128, 64, 32)
# Pairs that L-BFGS remembers if there is no memory for more; each is two pictures.
_FEWER_PAIRS = (50, 20, 10, 5, 3)
_FLOAT = 4
# Python, JAX and what compiling leaves behind, on the host; measured on Linux.
_PROCESS = 0.65e9
# Kernels are also held as Winograd's algorithm needs them, forward and backward: 36 numbers for 9.
_TRANSFORMED = 9
# Pictures that the host holds. Some have the content's size: the resized photograph, the start, and
# the one to report. Others have the style's, and are freed before the optimiser begins: the resized
# painting, and what the network is given of it.
_HOST_PICTURES, _HOST_STYLES = 3, 3
# Besides its pairs L-BFGS holds five and a half pictures, as XLA reports, most of them in its line
# search.
_LBFGS_PICTURES = 6
# SciPy's L-BFGS-B computes in float64. These are its pictures, and this package's for it, besides
# the two of each pair that it remembers; 24.7 were measured with SciPy 1.17.
_SCIPY_PICTURES = 26

# Returns the structure of an objective, in the tiles that are in use, and its numbers.
GetObjective = Callable[[], tuple[Structure, Inputs]]
Result = TypeVar("Result")


class Tiling:
    """The tile that a run is computed in.

    It is chosen for the run's largest size, and becomes smaller whenever memory runs out. If no
    tile is small enough for `lbfgs`, fewer pairs of steps are remembered than the settings ask
    for. All sizes share one tile, so that the run's settings tell how to make the picture again.

    Attributes:
        plan: the tile in use, with what it takes.
    """

    def __init__(
        self,
        recipe: Recipe,
        stages: Sequence[Stage],
        tell: Callable[[str], object] = lambda message: None,
        *,
        held: int = 0,
        pairs: int | None = None,
    ):
        """Decides on the tile.

        Args:
            recipe: the settings.
            stages: the sizes that the run goes through.
            tell: called with a message if the run goes on in smaller tiles.
            held: bytes of the pictures as they were read, which the host holds all the time.
            pairs: how many pairs L-BFGS remembered, if the run is resumed; None: as many as fit.

        Raises:
            NstjaxError: if the recipe's limit is too small; it names the smallest that is not.
        """
        self._recipe, self._stages, self._tell = recipe, stages, tell
        self._asked = recipe.history_size
        self._held = held if device_memory() is None else 0
        self._fit_pairs([pairs] if pairs is not None else _possible_pairs(recipe))
        limit = recipe.memory_limit
        self.plan = choose_tile(self._estimate, recipe.tile, candidates=TILES, limit=limit)

    def __str__(self) -> str:
        how, _, memory = str(self.plan).partition(":")
        if self._forgets:
            how += f", with {self._recipe.history_size} of L-BFGS' {self._asked} pairs of steps"
        return f"{how}:{memory}"

    @property
    def recipe(self) -> Recipe:
        """The settings, with the tile that is in use, and the pairs that L-BFGS remembers."""
        return dataclasses.replace(self._recipe, tile=self.plan.tile)

    @property
    def smaller(self) -> list[int]:
        """The tiles in which a run can go on if memory runs out, the largest first."""
        return smaller_tiles(self.plan.tile, TILES)

    def keep_to(self, tile: int | None, asked: str | int | None) -> None:
        """Takes the tile of a run that is resumed, if the settings leave room for it.

        Args:
            tile: the last one that it was computed in.
            asked: the one in its settings. If the settings of now name the same, that one has
                proved to be too large; if they name another, that one is used.
        """
        plan, named = self._with(tile), self._recipe.tile
        fits = self._recipe.memory_limit is None or plan.estimate <= plan.room
        if fits and (isinstance(named, str) or named == asked):
            self.plan = plan

    def run(self, attempt: Callable[[], Result]) -> Result:
        """Runs something in the tiles of the plan, and in smaller ones as often as memory runs out.

        Args:
            attempt: what to run, in the tile that this object names; run again if it fails.

        Returns:
            What it returned.

        Raises:
            Exception: what it raised, if that was not for memory or there is no smaller tile.
        """
        while True:
            try:
                return attempt()
            except Exception as error:
                if not self.smaller or not is_out_of_memory(error):
                    raise
            self.plan = self._with(self.smaller[0])
            self._tell(f"there was too little memory: going on {self}")

    @property
    def saves_memory(self) -> bool:
        """Whether memory is too short to compute the picture as a whole."""
        return self.plan.tile is not None or self._forgets

    @property
    def _forgets(self) -> bool:
        return self._recipe.history_size < self._asked

    def _fit_pairs(self, candidates: Sequence[int]) -> None:
        """Sets the first number of pairs that fits in the smallest tile, or else the last."""
        recipe = self._recipe
        there = room(recipe.memory_limit)
        for pairs in candidates:
            self._recipe = dataclasses.replace(recipe, history_size=pairs)
            if self._estimate(TILES[-1]) <= there:
                break

    def _with(self, tile: int | None) -> Plan:
        return dataclasses.replace(self.plan, tile=tile, estimate=self._estimate(tile))

    def _estimate(self, tile: int | None) -> int:
        return self._held + max(
            estimate_bytes(self._recipe, stage.content, stage.style, tile) for stage in self._stages
        )


def _possible_pairs(recipe: Recipe) -> list[int]:
    """How many pairs of steps the optimiser can remember, the most first."""
    most = recipe.history_size
    fewer = _FEWER_PAIRS if recipe.optimizer == "lbfgs" else ()
    return [most, *(pairs for pairs in fewer if pairs < most)]


def estimate_bytes(
    recipe: Recipe, content: tuple[int, int], style: tuple[int, int], tile: int | None
) -> int:
    """Estimates the most memory that a run takes: of the device or, on a CPU, of the process.

    The pictures as they were read, which may be of any size, are not included.

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
        _FLOAT * math.prod(activation_shape(layer, *content)) for layer, _ in recipe.content_layers
    )
    gradient = gradient_bytes(recipe.network, layers, *content, tile)
    style_layers = tuple(name for name, _ in recipe.style_layers)
    measuring = forward_bytes(recipe.network, style_layers, *style, tile)
    host = device_memory() is None
    optimizing = gradient + _optimizer_pictures(recipe, host, tile) * picture
    if host:
        optimizing += _HOST_PICTURES * picture
        measuring += _HOST_STYLES * style_picture + _HOST_PICTURES * picture
    kernels = _kernel_bytes(recipe.network, layers) * (_TRANSFORMED if host else 1)
    return int(max(optimizing, measuring) + activations + kernels + host * _PROCESS)


def _optimizer_pictures(recipe: Recipe, host: bool, tile: int | None) -> int:
    """Pictures in float32 that the optimiser holds, its gradient included.

    On the host this includes the copy from which a run goes on in smaller tiles.
    """
    if recipe.optimizer == "lbfgs-b":
        return 2 + 2 * host * (_SCIPY_PICTURES + 2 * recipe.history_size)
    average = int(recipe.average > 0)
    copied = host and bool(smaller_tiles(tile, TILES))
    if recipe.optimizer == "lbfgs":
        return _LBFGS_PICTURES + 2 * recipe.history_size + average + copied
    return ({"sgd": 2, "adam": 4}[recipe.optimizer] + average) * (1 + copied)


def _kernel_bytes(network: str, layers: tuple[str, ...]) -> int:
    shapes = kernel_shapes(network)
    deepest = max(minimum_size(layer) for layer in layers)
    return sum(
        _FLOAT * int(np.prod(shape))
        for name, shape in shapes.items()
        if minimum_size(name) <= deepest
    )
