"""The loop of a training: steps, reports, checkpoints, and when to stop."""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float

from nstjax.errors import NstjaxError
from nstjax.fast.checkpoints import Checkpoints
from nstjax.fast.data import Batches
from nstjax.fast.feed import Feed, Position
from nstjax.fast.log import MetricsLog
from nstjax.fast.network import paint_clipped
from nstjax.fast.parallel import ParallelMetrics, ParallelStep, unreplicate
from nstjax.fast.settings import TrainingRecipe
from nstjax.fast.style_file import save_style
from nstjax.fast.trainer import State
from nstjax.objective import Inputs
from nstjax.provenance import made_with

Pixels = Float[np.ndarray, "n h w 3"]
Ended = Literal["done", "asked", "data", "diverged"]


class _Vote(IntEnum):
    """What a process tells the others in each step; the greatest of all counts for all of them."""

    GO_ON = 0
    ASKED = 1
    NO_DATA = 2


# How a run ends by such a vote, and why, for people.
_ENDS: dict[_Vote, tuple[Ended, str]] = {
    _Vote.GO_ON: ("done", ""),
    _Vote.ASKED: ("asked", "stopped on request"),
    _Vote.NO_DATA: (
        "data",
        "another process has no photographs any more: its own message says why",
    ),
}


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
        images_per_second: since the run began or was resumed, without compilation.
        waiting: the share of that time in which the devices waited for photographs.
        paint: the network with its averaged parameters, from pictures to pictures in [0, 1]. They
            may be those of a step later: the devices are ahead of the reports.
    """

    step: int
    steps: int
    metrics: dict[str, float]
    images_per_second: float
    waiting: float
    paint: Callable[[Pixels], Pixels]


# Called after every step. Returning True ends the run with a checkpoint, once the devices have done
# the steps that they have already begun.
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
        position: Mapping[str, Any],
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
        self.checkpoints.save(step, state, position=position, config=config)


class Run:
    """One run of a training. The devices are a step ahead of the reports, so that they never wait.

    Attributes:
        step: steps done, including those of earlier runs.
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
        """Prepares a run.

        Args:
            recipe: the settings.
            config: everything the result depends on, for the checkpoints and the style's file.
            files: where to write.
            batches: the photographs.
            state: replicated.
            seconds: that earlier runs took.
            callback: called after every step.
            checkpoint_every: steps from one checkpoint to the next.
        """
        self.step = self._first = int(unreplicate(state.step))
        self.metrics: dict[str, float] = {}
        self._recipe = recipe
        self._config = config
        self._files = files
        self._state = state
        self._seconds = seconds
        self._callback = callback
        self._every = checkpoint_every
        share = recipe.batch_size // jax.process_count()
        self._feed = Feed(
            batches,
            steps=recipe.steps - self.step,
            shape=(share, recipe.image_size, recipe.image_size, 3),
            warn=files.warn,
        )
        self._position = batches.get_state()  # in the data, after the newest step
        self._wish = _Vote.GO_ON  # the callback's
        # Steps that the devices have begun and nobody has looked at yet.
        self._pending: deque[tuple[int, ParallelMetrics]] = deque()

    def train(self, parallel_step: ParallelStep, inputs: Inputs) -> tuple[Ended, str]:
        """Trains to the last step.

        Args:
            parallel_step: what all devices do together.
            inputs: the objective's numbers, replicated.

        Returns:
            How it ended: `"done"` after the last step; before it `"asked"`, by the callback of any
            process; `"data"`, by those of another process; or `"diverged"`. And why, for people;
            empty where it is done.

        Raises:
            NstjaxError: if too many photographs are broken; a checkpoint is saved first.
        """
        self._begin = self._since = time.perf_counter()
        self._waited = self._feed.waited
        if self.step >= self._recipe.steps and not self._files.style.exists():
            self._save()  # there was no room for it, or it was lost since
        vote = _Vote.GO_ON
        try:
            batch, position = self._feed.next()
            while batch is not None and vote == _Vote.GO_ON:
                self._begin_step(parallel_step, batch, inputs, position)
                batch, position = self._feed.next()  # while the devices are at it
                due = batch is None or self.step % self._every == 0
                vote = self._report_all_but(0 if due else 1)
                if due or vote != _Vote.GO_ON:
                    vote = max(vote, self._report_all_but(0))
                    # It takes two steps to learn of missing data. If these were all, do not save.
                    if vote != _Vote.NO_DATA or self.step > self._first + 2:
                        self._save()
        except _Diverged as error:  # the last good state is already saved
            if self._feed.error is None:  # else the photographs in place of others may be why
                return "diverged", str(error)
        if self._feed.error is not None:
            raise self._feed.error
        is_done = self.step >= self._recipe.steps and vote != _Vote.NO_DATA
        return _ENDS[_Vote.GO_ON if is_done else vote]

    def _begin_step(
        self, parallel_step: ParallelStep, batch: Any, inputs: Inputs, position: Position
    ) -> None:
        """Has the devices begin a step, and does not wait for them."""
        vote = self._wish if self._feed.error is None else _Vote.NO_DATA
        votes = np.full(jax.local_device_count(), vote, np.float32)
        self._state, metrics = parallel_step(self._state, batch, inputs, votes)
        self.step += 1
        self._position = position
        self._pending.append((self.step, metrics))

    def _report_all_but(self, count: int) -> _Vote:
        """Reports all pending steps but the last few; returns what the processes voted in them."""
        vote = _Vote.GO_ON
        while len(self._pending) > count:
            vote = max(vote, self._report(*self._pending.popleft()))
        return vote

    def _report(self, step: int, metrics: ParallelMetrics) -> _Vote:
        """Logs a step once it is done; returns what the processes voted in it."""
        values = {name: float(value) for name, value in unreplicate(metrics).items()}
        vote = _Vote(int(values.pop("stop")))
        if not all(map(math.isfinite, values.values())):
            self._files.log.flush()
            raise _Diverged(f"the loss was no longer finite in step {step}")
        self.metrics = values
        if step == self._first + 1:  # the first waited for compilation
            self._since, self._waited = time.perf_counter(), self._feed.waited
        elapsed = max(time.perf_counter() - self._since, 1e-9)
        speed = {
            "images_per_second": (step - self._first - 1) * self._recipe.batch_size / elapsed,
            "waiting": min(1.0, (self._feed.waited - self._waited) / elapsed),
        }
        self._files.log.add({"step": step, **values, **speed})
        if self._callback is not None:
            progress = TrainingProgress(
                step=step, steps=self._recipe.steps, metrics=values, paint=self._paint_now, **speed
            )
            if self._callback(progress):
                self._wish = _Vote.ASKED
        # A single process has no others to wait for.
        return max(vote, self._wish) if jax.process_count() == 1 else vote

    def _paint_now(self, pixels: Pixels) -> Pixels:
        recipe, average = self._recipe, unreplicate(self._state.average)
        return np.asarray(paint_clipped(recipe.architecture, recipe.precision, average, pixels))

    def _save(self) -> None:
        seconds = self._seconds + time.perf_counter() - self._begin
        self._files.save(
            self.step,
            unreplicate(self._state),
            position={"data": self._position, "seconds": seconds},
            config=self._config,
            architecture=dataclasses.asdict(self._recipe.architecture),
            about={"steps": self.step, "seconds": round(seconds, 1), "metrics": self.metrics},
        )
