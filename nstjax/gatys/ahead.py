"""Compiles the programs of a size while the one before it still runs."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Event
from types import TracebackType

import jax
import jax.numpy as jnp

from nstjax.gatys.loop import compile_steps
from nstjax.gatys.stages import Shape, Stage
from nstjax.gatys.strength import references
from nstjax.objective import Inputs, Structure, prepare, structure_of
from nstjax.settings import Recipe
from nstjax.targets import content_targets, style_measures, targets_of_measures
from nstjax.vgg.network import Params


class CompileAhead:
    """A thread that compiles for one stage at a time.

    It fails in silence: whatever is not compiled here is compiled by the call that needs it, which
    also says what is wrong. A run that ends does not wait for it; the process does, at its own end.
    """

    def __init__(self, recipe: Recipe, preprocessing: str, params: Params) -> None:
        """Takes what the programs depend on beside the sizes of the pictures.

        Args:
            recipe: the settings.
            preprocessing: which the network's weights need.
            params: of the network.
        """
        self._recipe, self._preprocessing, self._params = recipe, preprocessing, params
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="nstjax-compile")
        self._targets: Future[None] | None = None
        self._steps: Future[None] | None = None
        self._stop = Event()

    def __enter__(self) -> "CompileAhead":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def start(self, stage: Stage, tile: int | None) -> None:
        """Begins with a stage, to be computed in tiles of so many rows."""
        recipe = replace(self._recipe, tile=tile)
        self._targets = self._executor.submit(self._compile_targets, recipe, stage)
        self._steps = self._executor.submit(self._compile_steps, recipe, stage)

    def wait_for_targets(self) -> None:
        """Waits for the programs that make the targets of the stage that was begun last."""
        if self._targets is not None:
            self._targets.exception()

    def wait(self) -> None:
        """Waits for all programs of that stage."""
        if self._steps is not None:
            self._steps.exception()

    def _compile_targets(self, recipe: Recipe, stage: Stage) -> None:
        content, styles = _pictures(stage)
        structure = structure_of(recipe, self._preprocessing)
        for compile_one in (
            lambda: content_targets.lower(structure, self._params, content).compile(),
            lambda: self._compile_measures(structure, styles),
            lambda: self._compile_average(structure, styles),
            lambda: self._compile_references(recipe, stage),
        ):
            if self._stop.is_set():
                return
            compile_one()

    def _compile_measures(self, structure: Structure, styles: list[jax.ShapeDtypeStruct]) -> None:
        for shape in {style.shape: style for style in styles}.values():
            style_measures.lower(structure, self._params, shape).compile()

    def _compile_average(self, structure: Structure, styles: list[jax.ShapeDtypeStruct]) -> None:
        measure = partial(style_measures, structure)
        measures = [jax.eval_shape(measure, self._params, style) for style in styles]
        shares = jax.ShapeDtypeStruct((len(styles),), jnp.float32)
        targets_of_measures.lower(structure, measures, shares).compile()

    def _compile_references(self, recipe: Recipe, stage: Stage) -> None:
        if recipe.strength is not None:
            references.compile(*self._shapes(recipe, stage), _picture(stage.content))

    def _compile_steps(self, recipe: Recipe, stage: Stage) -> None:
        if not self._stop.is_set():
            compile_steps(recipe, *self._shapes(recipe, stage), *stage.content)

    def _shapes(self, recipe: Recipe, stage: Stage) -> tuple[Structure, Inputs]:
        """The structure of a stage's objective, and the shapes of its numbers."""

        def inputs_of(content: jax.Array, styles: list[jax.Array]) -> Inputs:
            return prepare(recipe, self._preprocessing, self._params, content, styles)[1]

        inputs = jax.eval_shape(inputs_of, *_pictures(stage))
        return structure_of(recipe, self._preprocessing), inputs


def _pictures(stage: Stage) -> tuple[jax.ShapeDtypeStruct, list[jax.ShapeDtypeStruct]]:
    return _picture(stage.content), [_picture(shape) for shape in stage.styles]


def _picture(shape: Shape) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
