"""A run through all its sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from nstjax.gatys.ahead import CompileAhead
from nstjax.gatys.history import Recorder, to_picture
from nstjax.gatys.loop import optimize
from nstjax.gatys.memory import Tiling
from nstjax.gatys.snapshot import Snapshot, Snapshots, restore_state
from nstjax.gatys.sources import Sources
from nstjax.gatys.stages import Stage
from nstjax.gatys.start import start_image
from nstjax.gatys.steps import State, rates_of, shapes_of_state
from nstjax.gatys.strength import calibrated, is_steered, steered, units_of, with_weights
from nstjax.images import resize_image
from nstjax.memory import LEAST_TILE
from nstjax.objective import network_params, prepare
from nstjax.settings import Recipe
from nstjax.structure import Inputs, Structure
from nstjax.vgg import Weights
from nstjax.vgg.network import Params

Pixels = Float[np.ndarray, "1 _ _ 3"]


def run_stages(
    tiling: Tiling,
    weights: Weights,
    sources: Sources,
    stages: list[Stage],
    recorder: Recorder,
    *,
    every: int = 0,
    snapshots: Snapshots | None = None,
    resumed: Snapshot | None = None,
    tell: Callable[[str], object] = lambda message: None,
) -> Pixels:
    """Optimises a picture at one size after the other, each from the result of the one before.

    Args:
        tiling: of the recipe and the stages.
        weights: of the loss network.
        sources: the pictures.
        stages: the sizes, from the first to the last.
        recorder: see `nstjax.gatys.loop.optimize`.
        every: see `nstjax.gatys.loop.optimize`.
        snapshots: likewise.
        resumed: where to go on from, as the recorder does already.
        tell: called with how a picture is computed that does not fit into memory as a whole.

    Returns:
        The picture, RGB in [0, 1], shape (1, H, W, 3): of the last size, also if the recorder
        ended the run before.
    """
    first, image, state = 0, None, None
    if resumed is not None:
        first, image, state = _where(tiling.recipe, resumed)
        tiling.keep_to(resumed.tile, resumed.asked_tile)
    recorder.recipe = tiling.recipe
    if resumed is not None and tiling.plan.estimate > tiling.plan.room:
        tell(f"computing {tiling}, as before; should the system end it, add --tile {LEAST_TILE}")
    elif tiling.saves_memory:
        tell(f"computing {tiling}")
    recipe = tiling.recipe
    params = network_params(recipe, weights)
    with CompileAhead(recipe, weights.preprocessing, params) as compiling:
        run = _Run(
            tiling=tiling,
            weights=weights,
            params=params,
            sources=sources,
            stages=stages,
            recorder=recorder,
            every=every,
            snapshots=snapshots,
            compiling=compiling,
            state=state,
        )
        run.compile(first)
        for number in range(first, len(stages)):
            image = run.optimize(number, image)
            if recorder.stopped:
                break
    assert image is not None  # there is at least one stage
    return resize_image(to_picture(image), *stages[-1].content)


def _where(
    recipe: Recipe, resumed: Snapshot
) -> tuple[int, Pixels | Array | None, list[np.ndarray] | None]:
    """The stage to begin with, the picture of the one before, and the optimiser's state."""
    if recipe.optimizer == "lbfgs-b":
        return resumed.stage, resumed.state[0], None
    return resumed.stage, None, resumed.state


class _Prepared(NamedTuple):
    """A size's objective, which all of its rounds share.

    Attributes:
        made_for: the sizes of the content and the style images, and the tile.
        structure: of the objective.
        inputs: its numbers, the terms' weights by the recipe.
        units: of the terms; empty where the recipe has no strength.
    """

    made_for: tuple[Any, ...]
    structure: Structure
    inputs: Inputs
    units: dict[str, float]


@dataclass(kw_only=True)
class _Run:
    """What all sizes share, and what one leaves to the next. For the rest see `run_stages`.

    Attributes:
        state: of the snapshot that the run goes on from, until the optimiser has it.
        carried: what the size before left of the optimiser.
        steer: whether the stage that begins is another round of the one before.
        prepared: of the newest stage.
    """

    tiling: Tiling
    weights: Weights
    params: Params
    sources: Sources
    stages: list[Stage]
    recorder: Recorder
    every: int
    snapshots: Snapshots | None
    compiling: CompileAhead
    state: list[np.ndarray] | None
    carried: optax.OptState | None = None
    steer: bool = False
    prepared: _Prepared | None = None

    def compile(self, number: int) -> None:
        """Begins to compile a stage's programs, if there is such a stage."""
        if number < len(self.stages):
            self.compiling.start(self.stages[number], self.tiling.plan.tile)

    def _is_round(self, number: int) -> bool:
        """Whether a stage has the size of the one before."""
        return (
            0 < number < len(self.stages) and self.stages[number][:2] == self.stages[number - 1][:2]
        )

    def optimize(self, number: int, image: Any) -> Array:
        """Runs a stage.

        Args:
            number: of the stage.
            image: the picture of the stage before, None where there is none.

        Returns:
            The picture.
        """
        self.compiling.wait_for_targets()
        if self.state is None:
            self.recorder.begin_stage()
        if self.snapshots is not None:
            self.snapshots.stage = number
            if self.tiling.recipe.optimizer == "lbfgs-b" and image is not None:
                # SciPy keeps its state to itself, of which none is left between two sizes: there
                # is no later chance.
                self.snapshots.offer(image, self.recorder, last=True)
        steered_run = is_steered(self.tiling.recipe)
        self.steer = steered_run and self.state is None and self._is_round(number)
        stage = self.stages[number]
        objective = partial(self._objective, stage)
        self.tiling.run(objective)
        self.compiling.wait()
        if not self._is_round(number + 1):
            self.compile(number + 1)
        begun, all_steps = (
            sum(s.steps for s in some) for some in (self.stages[:number], self.stages)
        )
        image, self.carried = optimize(
            self.tiling,
            objective,
            self._start(stage, image),
            steps=self.recorder.stage_began + stage.steps - self.recorder.steps_done,
            rates=rates_of(self.tiling.recipe, begun=begun, steps=all_steps),
            recorder=self.recorder,
            every=self.every,
            carried=self._take("carried"),
            snapshots=self.snapshots,
        )
        return image

    def _take(self, name: str) -> Any:
        """Hands over what is the optimiser's from here on, and is not kept beside it."""
        value = getattr(self, name)
        setattr(self, name, None)
        return value

    def _start(self, stage: Stage, image: Any) -> Array | State:
        """What a stage starts from, given the picture of the one before."""
        if self.state is not None:
            shapes = shapes_of_state(self.tiling.recipe, *stage.content)
            return restore_state(shapes, self._take("state"))
        if image is None:
            content, styles = self._pictures(stage)
            recipe, preprocessing = self.tiling.recipe, self.weights.preprocessing
            start = start_image(recipe, content, styles[0], preprocessing, self.sources.init)
        else:
            start = resize_image(to_picture(image), *stage.content)
        return jnp.asarray(start, jnp.float32)

    def _objective(self, stage: Stage) -> tuple[Structure, Inputs]:
        """The objective of a stage, in the tiles that are in use."""
        recipe = self.tiling.recipe
        _, structure, inputs, units = self._prepare(recipe, stage)
        if recipe.strength is not None:
            inputs = self._calibrated(recipe, inputs, units)
        return structure, inputs

    def _pictures(self, stage: Stage) -> tuple[Pixels, list[Pixels]]:
        """Content and styles of a stage's size. They are not kept while the optimiser runs."""
        sizes = zip(self.sources.styles, stage.styles, strict=True)
        styles = [resize_image(style.pixels, *shape) for style, shape in sizes]
        return resize_image(self.sources.content.pixels, *stage.content), styles

    def _prepare(self, recipe: Recipe, stage: Stage) -> _Prepared:
        """The objective of a stage: that of the stage before if it is another round of it."""
        made_for = (stage.content, stage.styles, recipe.tile)
        if self.prepared is not None and self.prepared.made_for == made_for:
            return self.prepared
        self.prepared = None  # its targets are not kept beside the new ones
        content, styles = self._pictures(stage)
        preprocessing, shares = self.weights.preprocessing, self.sources.style_weights
        structure, inputs = prepare(recipe, preprocessing, self.params, content, styles, shares)
        units = {}
        if recipe.strength is not None:
            units = units_of(structure, inputs, jnp.asarray(content))
        self.prepared = _Prepared(made_for, structure, inputs, units)
        return self.prepared

    def _calibrated(self, recipe: Recipe, inputs: Inputs, units: dict[str, float]) -> Inputs:
        """The objective's numbers with weights by the recipe's strength."""
        recorder = self.recorder
        steer, self.steer = self.steer, False
        if steer and units["style"]:
            distance = recorder.history[-1]["style_raw"] / units["style"]
            recorder.state.balance = steered(recorder.state.balance, recipe, distance)
        recorder.weights = calibrated(recipe, units, recorder.state.balance)
        return with_weights(inputs, recorder.weights)
