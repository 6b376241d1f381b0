"""The loop of a training: steps, reports, checkpoints, and when to stop."""

import dataclasses
import json
import math
import time
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
_DIVERGED = "the loss was no longer finite"


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
        steps, devices = self._recipe.steps, jax.local_device_count()
        pending: list[tuple[int, ParallelMetrics]] = []
        batch = split(self._next_batch()) if self.step < steps else None
        stopped = ""
        if batch is None and not self._files.style.exists():
            self._save(self._batches.get_state())  # there was no room for it, or it was lost since
        while self.step < steps and not stopped:
            stop = np.full(devices, self._wants_to_stop, np.float32)
            self._state, metrics = parallel_step(self._state, batch, inputs, stop)
            self.step += 1
            position = self._batches.get_state()
            no_more: NstjaxError | None = None
            try:
                batch = split(self._next_batch()) if self.step < steps else None
            except NstjaxError as error:  # what is learned already is not lost with it
                no_more = error
            due = self.step == steps or self.step % self._every == 0 or no_more is not None
            pending.append((self.step, metrics))
            while pending and (len(pending) > 1 or due or stopped):
                stopped = self._report(*pending.pop(0)) or stopped
                if stopped.startswith(_DIVERGED):  # what is saved already is the last good state
                    return stopped
            if due or stopped:
                self._save(position)
            if no_more is not None:
                raise no_more
        return stopped if self.step < steps else ""

    def _next_batch(self) -> Pixels:
        """The next photographs; tells of broken ones, each once."""
        batch = next(self._batches)
        for message in list(self._batches.broken.values())[self._named_broken :]:
            self._files.warn(f"skipped: {message}")
        self._named_broken = len(self._batches.broken)
        return batch

    def _report(self, step: int, metrics: ParallelMetrics) -> str:
        """Logs a step once it is done; returns why the run is to end, empty if it is not."""
        values = {name: float(value) for name, value in one_of(metrics).items()}
        stop = values.pop("stop")
        if not all(map(math.isfinite, values.values())):
            self._files.log.flush()
            return f"{_DIVERGED} in step {step}"
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
