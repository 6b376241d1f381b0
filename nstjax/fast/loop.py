"""The loop of a training: steps, reports, checkpoints, and when to stop."""

import dataclasses
import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from nstjax.errors import NstjaxError
from nstjax.fast.checkpoints import Checkpoints
from nstjax.fast.data import Batches
from nstjax.fast.log import MetricsLog
from nstjax.fast.network import paint_clipped
from nstjax.fast.parallel import ParallelMetrics, ParallelStep, one_of, split
from nstjax.fast.settings import TrainingRecipe
from nstjax.fast.style_file import save_style
from nstjax.fast.trainer import State
from nstjax.objective import Inputs
from nstjax.provenance import made_with

Pixels = Float[np.ndarray, "n h w 3"]
STOPPED = "stopped on request"


class _Diverged(Exception):
    """The loss is not finite any more."""


@dataclass(frozen=True)
class TrainingProgress:
    """Where a training stands.

    Attributes:
        step: steps done.
        steps: steps in all.
        metrics: of the newest step: `total`, each term weighted and before its weight (`style`,
            `style_raw`, …), `gradient_norm`.
        images_per_second: since the run, or its resumption, began; compilation not counted.
        waiting: the share of that time in which the devices had no photographs.
        paint: the network with its averaged parameters, from pictures to pictures in [0, 1].
    """

    step: int
    steps: int
    metrics: dict[str, float]
    images_per_second: float
    waiting: float
    paint: Callable[[Pixels], Pixels]


# Called after every step; returning True ends the run with a checkpoint, as soon as the steps that
# the devices have begun by then are done.
TrainingCallback = Callable[[TrainingProgress], bool | None]


@dataclass(frozen=True)
class Files:
    """What a run writes.

    Attributes:
        checkpoints: from which it can be resumed.
        log: of its steps.
        style: the trained style as of the newest checkpoint.
        warn: called with what could not be written.
    """

    checkpoints: Checkpoints
    log: MetricsLog
    style: Path
    warn: Callable[[str], object]

    def save(
        self,
        step: int,
        state: State,
        *,
        position: bytes,
        config: Mapping[str, Any],
        architecture: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        """Saves a checkpoint, and what can be used without it."""
        self.log.flush()
        if jax.process_index() == 0:
            provenance = {
                "name": self.style.stem,
                **config,
                **about,
                **made_with(),
            }
            try:
                save_style(self.style, state.average, config=architecture, provenance=provenance)
            except NstjaxError as error:  # the checkpoint has it all
                self.warn(f"{error}; training goes on")
        # Last: once the checkpoint of the last step is there, nothing is made again.
        self.checkpoints.save(step, state, data_position=position, config=config)


class Run:
    """One run of a training. The devices are a step ahead of its reports, so that they never wait.

    Attributes:
        step: steps done, also by runs before.
        metrics: of the newest step that was reported.
    """

    def __init__(
        self,
        recipe: TrainingRecipe,
        config: Mapping[str, Any],
        files: Files,
        batches: Batches,
        state: State,
        *,
        seconds: float = 0.0,
        callback: TrainingCallback | None,
        checkpoint_every: int,
    ) -> None:
        """Takes up a training.

        Args:
            recipe: the settings.
            config: what the run learns from, for its checkpoints and its style's file.
            files: where to write.
            batches: the photographs.
            state: replicated.
            seconds: that runs before took.
            callback: called after every step.
            checkpoint_every: steps from one checkpoint to the next.
        """
        self.step = self._first = int(one_of(state.step))
        self.metrics: dict[str, float] = {}
        self._recipe = recipe
        self._config = config
        self._files = files
        self._batches = batches
        self._state = state
        self._seconds = seconds
        self._callback = callback
        self._every = checkpoint_every
        self._named_broken = len(batches.broken)
        self._wants_to_stop = False
        # Steps that the devices have begun and nobody has looked at yet.
        self._pending: deque[tuple[int, ParallelMetrics]] = deque()

    def go(self, parallel_step: ParallelStep, inputs: Inputs) -> str:
        """Trains to the last step.

        Args:
            parallel_step: what all devices do together.
            inputs: the objective's numbers, replicated.

        Returns:
            Why it ended before; empty where it did not.

        Raises:
            NstjaxError: if too many photographs are broken; a checkpoint is saved first.
        """
        self._begin = self._since = time.perf_counter()
        self._waited = self._batches.waited
        batch, no_more = self._batch_for_next_step()
        if self.step >= self._recipe.steps and not self._files.style.exists():
            self._save(self._batches.get_state())  # there was no room for it, or it was lost since
        stopped = ""
        try:
            while batch is not None and not stopped:
                stop = np.full(jax.local_device_count(), self._wants_to_stop, np.float32)
                self._state, metrics = parallel_step(self._state, batch, inputs, stop)
                self.step += 1
                self._pending.append((self.step, metrics))
                position = self._batches.get_state()
                batch, no_more = self._batch_for_next_step()
                due = batch is None or self.step % self._every == 0
                stopped = self._report_all_but(0 if due else 1)
                if due or stopped:
                    stopped = self._report_all_but(0) or stopped
                    self._save(position)
        except _Diverged as error:  # what is saved already is the last good state
            return str(error)
        if no_more is not None:
            raise no_more
        return stopped if self.step < self._recipe.steps else ""

    def _batch_for_next_step(self) -> tuple[Any, NstjaxError | None]:
        """The next photographs on the devices; None after the last step, or why there are none.

        Raised at once, the error would lose what has been learned since the last checkpoint.
        """
        if self.step >= self._recipe.steps:
            return None, None
        try:
            return split(self._next_batch()), None
        except NstjaxError as error:
            return None, error

    def _next_batch(self) -> Pixels:
        """The next photographs; tells of broken ones, each once."""
        batch = next(self._batches)
        for message in list(self._batches.broken.values())[self._named_broken :]:
            self._files.warn(f"skipped: {message}")
        self._named_broken = len(self._batches.broken)
        return batch

    def _report_all_but(self, count: int) -> str:
        """Reports what is pending, the last few excepted; returns why to end, empty if not to."""
        stopped = ""
        while len(self._pending) > count:
            stopped = self._report(*self._pending.popleft()) or stopped
        return stopped

    def _report(self, step: int, metrics: ParallelMetrics) -> str:
        """Logs a step once it is done; returns why the run is to end, empty if it is not."""
        values = {name: float(value) for name, value in one_of(metrics).items()}
        stop = values.pop("stop")
        if not all(map(math.isfinite, values.values())):
            self._files.log.flush()
            raise _Diverged(f"the loss was no longer finite in step {step}")
        self.metrics = values
        if step == self._first + 1:  # the first waited for compilation
            self._since, self._waited = time.perf_counter(), self._batches.waited
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        speed = {
            "images_per_second": (step - self._first - 1) * self._recipe.batch_size / elapsed,
            "waiting": min(1.0, (self._batches.waited - self._waited) / elapsed),
        }
        self._files.log.add({"step": step, **values, **speed})
        if self._callback is not None:
            progress = TrainingProgress(
                step=step, steps=self._recipe.steps, metrics=values, paint=self._paint_now, **speed
            )
            self._wants_to_stop |= bool(self._callback(progress))
        # Alone, there is no need to ask the others, which takes steps.
        stop = stop or (self._wants_to_stop and jax.process_count() == 1)
        return STOPPED if stop else ""

    def _paint_now(self, pixels: Pixels) -> Pixels:
        recipe, average = self._recipe, one_of(self._state.average)
        return np.asarray(paint_clipped(recipe.architecture, recipe.precision, average, pixels))

    def _save(self, data_position: bytes) -> None:
        seconds = self._seconds + time.perf_counter() - self._begin
        position = {"data": data_position.decode(), "seconds": seconds}
        self._files.save(
            self.step,
            one_of(self._state),
            position=json.dumps(position).encode(),
            config=self._config,
            architecture=dataclasses.asdict(self._recipe.architecture),
            about={"steps": self.step, "seconds": round(seconds, 1), "metrics": self.metrics},
        )
