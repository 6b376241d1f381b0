"""A run through all sizes of its picture."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.gatys.carry_over import NOTHING, Carried
from nstjax.gatys.compile_ahead import CompileAhead
from nstjax.gatys.history import Recorder, to_picture
from nstjax.gatys.loop import optimize
from nstjax.gatys.memory import Tiling
from nstjax.gatys.snapshot import Snapshot, Snapshots, restore_state
from nstjax.gatys.sources import Sources
from nstjax.gatys.stages import Stage
from nstjax.gatys.start import start_image
from nstjax.gatys.steps import State, rates_of, shapes_of_state
from nstjax.gatys.strength import calibrated, is_steered, steered, units_of, with_weights
from nstjax.images import resize_image, resize_picture
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
        resumed: where to go on from; the recorder is there already.
        tell: called with how the picture is computed, if not as a whole for lack of memory.

    Returns:
        The picture, RGB in [0, 1], shape (1, H, W, 3). It has the last size even if the recorder
        ended the run earlier.
    """
    first, image, state = 0, None, None
    if resumed is not None:
        first, image, state = _resume_point(tiling.recipe, resumed)
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


def _resume_point(
    recipe: Recipe, resumed: Snapshot
) -> tuple[int, Pixels | Array | None, list[np.ndarray] | None]:
    """Where a run goes on: its stage, the picture of the stage before, the optimiser's state."""
    if recipe.optimizer == "lbfgs-b":
        return resumed.stage, resumed.state[0], None
    return resumed.stage, None, resumed.state


class _Prepared(NamedTuple):
    """A size's objective, which its rounds share but for the terms' weights.

    Attributes:
        made_for: the sizes of the content and the style images, and the tile.
        structure: of the objective.
        inputs: its numbers.
        units: of the terms; empty if the recipe has no strength.
    """

    made_for: tuple[Any, ...]
    structure: Structure
    inputs: Inputs
    units: dict[str, float]


@dataclass(kw_only=True)
class _Run:
    """What all sizes share, and what one leaves to the next. For the rest see `run_stages`.

    Attributes:
        state: the snapshot's that the run goes on from, until the optimiser takes it over.
        carried: what the optimiser left at the size or in the round before.
        prepared: the newest stage's objective.
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
    carried: Carried = NOTHING
    prepared: _Prepared | None = None

    def compile(self, number: int) -> None:
        """Begins to compile the programs of a stage, if there is such a stage."""
        if number < len(self.stages):
            self.compiling.start(self.stages[number], self.tiling.plan.tile)

    def _is_round(self, number: int) -> bool:
        """Whether a stage has the sizes of the one before."""
        there = 0 < number < len(self.stages)
        return there and self.stages[number].sizes == self.stages[number - 1].sizes

    def optimize(self, number: int, image: Any) -> Array:
        """Runs a stage.

        Args:
            number: of the stage, from 0.
            image: the picture of the stage before; None for the first.

        Returns:
            The picture.
        """
        self.compiling.wait_for_targets()
        if self.state is None:
            self.recorder.begin_stage()
        if self.snapshots is not None:
            self.snapshots.stage = number
            if self.tiling.recipe.optimizer == "lbfgs-b" and image is not None:
                # SciPy keeps its state to itself, so that only between two sizes, when there is
                # none, a snapshot can be made.
                self.snapshots.offer(image, self.recorder, last=True)
        stage = self.stages[number]
        self.tiling.run(partial(self._prepare, stage))
        if is_steered(self.tiling.recipe) and self.state is None and self._is_round(number):
            self._steer(image)
        self.compiling.wait()
        if not self._is_round(number + 1):
            self.compile(number + 1)
        begun, all_steps = (
            sum(s.steps for s in some) for some in (self.stages[:number], self.stages)
        )
        last = self.recorder.stage_began + stage.steps
        image, self.carried = optimize(
            self.tiling,
            partial(self._objective, stage),
            self._start(stage, image if self.carried.image is None else self.carried.image),
            steps=last - self.recorder.steps_done,
            rates=rates_of(self.tiling.recipe, begun=begun, steps=all_steps),
            recorder=self.recorder,
            every=self.every,
            carried=self._take("carried"),
            snapshots=self.snapshots,
        )
        if not self._is_round(number + 1):
            self.carried = Carried(self.carried.opt_state)
        is_over = bool(self.recorder.note) or self.recorder.step == last
        if is_over and number + 1 == len(self.stages):
            self.recorder.end_run()
        return image

    def _take(self, name: str) -> Any:
        """Hands an attribute over to the optimiser, so that it is not kept here as well."""
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
        prepared = self._prepare(stage)
        return prepared.structure, prepared.inputs

    def _pictures(self, stage: Stage) -> tuple[Pixels, list[Pixels]]:
        """Content and styles in a stage's sizes, which are not kept while the optimiser runs."""
        sizes = zip(self.sources.styles, stage.styles, strict=True)
        styles = [resize_picture(style, *shape).pixels for style, shape in sizes]
        return resize_picture(self.sources.content, *stage.content).pixels, styles

    def _prepare(self, stage: Stage) -> _Prepared:
        """The objective of a stage, made anew only for other sizes or another tile."""
        recipe = self.tiling.recipe
        made_for = (stage.sizes, recipe.tile)
        if self.prepared is not None and self.prepared.made_for == made_for:
            return self.prepared
        self.prepared = None  # its targets are not kept beside the new ones
        content, styles = self._pictures(stage)
        preprocessing, shares = self.weights.preprocessing, self.sources.style_weights
        structure, inputs = prepare(recipe, preprocessing, self.params, content, styles, shares)
        units = {}
        if recipe.strength is not None:
            units = units_of(structure, inputs, jnp.asarray(content))
        self.prepared = self._calibrated(_Prepared(made_for, structure, inputs, units))
        return self.prepared

    def _steer(self, image: Any) -> None:
        """Changes the balance between the terms by what the round before came to, its picture."""
        recorder, prepared = self.recorder, self.prepared
        assert prepared is not None  # it is the round's
        if prepared.units["style"]:
            style = recorder.history[-1]["style_raw"]
            if self.tiling.recipe.average:  # the history is of the pictures that are averaged
                shown = jnp.asarray(to_picture(image))
                style = units_of(prepared.structure, prepared.inputs, shown)["style"]
            distance = style / prepared.units["style"]
            balance = steered(recorder.state.balance, self.tiling.recipe, distance)
            recorder.state.balance = balance
            self.prepared = self._calibrated(prepared)

    def _calibrated(self, prepared: _Prepared) -> _Prepared:
        """An objective with weights by the recipe's strength, which the recorder reports with."""
        recipe, recorder = self.tiling.recipe, self.recorder
        if recipe.strength is None:
            return prepared
        recorder.weights = calibrated(recipe, prepared.units, recorder.state.balance)
        return prepared._replace(inputs=with_weights(prepared.inputs, recorder.weights))
