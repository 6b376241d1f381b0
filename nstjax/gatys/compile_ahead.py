"""Compiles the programs of a size while the one before it still runs."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp

from nstjax.gatys.loop import compile_steps
from nstjax.gatys.stages import Shape, Stage
from nstjax.gatys.strength import references
from nstjax.settings import Recipe
from nstjax.structure import Inputs, Structure, Targets, structure_of, weights_of
from nstjax.targets import content_targets, style_measures, targets_of_measures
from nstjax.vgg.network import Params


class CompileAhead:
    """A thread that compiles for one stage at a time.

    It fails silently: what is not compiled here is compiled by the call that needs it, which also
    reports the error. A run that ends does not wait for the thread; the process does when it exits.
    """

    def __init__(self, recipe: Recipe, preprocessing: str, params: Params) -> None:
        """Takes what the programs depend on besides the sizes of the pictures.

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
        """Begins to compile for a stage that is computed in tiles of this many rows."""
        recipe = replace(self._recipe, tile=tile)
        self._targets = self._executor.submit(self._compile_targets, recipe, stage)
        self._steps = self._executor.submit(self._compile_steps, recipe, stage)

    def wait_for_targets(self) -> None:
        """Waits for the programs that make the targets of the newest stage."""
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
            lambda: content_targets.compile(structure, self._params, content),
            lambda: self._compile_measures(structure, styles),
            lambda: targets_of_measures.compile(structure, *self._measures(structure, styles)),
            lambda: self._compile_references(recipe, stage),
        ):
            if self._stop.is_set():
                return
            compile_one()

    def _compile_measures(self, structure: Structure, styles: list[jax.ShapeDtypeStruct]) -> None:
        for shape in {style.shape: style for style in styles}.values():
            style_measures.compile(structure, self._params, shape)

    def _compile_references(self, recipe: Recipe, stage: Stage) -> None:
        if recipe.strength is not None:
            references.compile(*self._shapes(recipe, stage), _picture(stage.content))

    def _compile_steps(self, recipe: Recipe, stage: Stage) -> None:
        if not self._stop.is_set():
            compile_steps(recipe, *self._shapes(recipe, stage), *stage.content)

    def _shapes(self, recipe: Recipe, stage: Stage) -> tuple[Structure, Inputs]:
        """The structure of a stage's objective, and the shapes of its numbers."""
        content, styles = _pictures(stage)
        structure = structure_of(recipe, self._preprocessing)
        targets = Targets(
            content_targets.shapes(structure, self._params, content),
            targets_of_measures.shapes(structure, *self._measures(structure, styles)),
        )
        return structure, Inputs(self._params, targets, weights_of(recipe))

    def _measures(
        self, structure: Structure, styles: list[jax.ShapeDtypeStruct]
    ) -> tuple[list[Any], jax.ShapeDtypeStruct]:
        """The shapes of each style image's statistics, and of the images' shares."""
        measures = [style_measures.shapes(structure, self._params, style) for style in styles]
        return measures, jax.ShapeDtypeStruct((len(styles),), jnp.float32)


def _pictures(stage: Stage) -> tuple[jax.ShapeDtypeStruct, list[jax.ShapeDtypeStruct]]:
    return _picture(stage.content), [_picture(shape) for shape in stage.styles]


def _picture(shape: Shape) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
