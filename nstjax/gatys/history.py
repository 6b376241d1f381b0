"""What a run reports while it goes on and when it ends, the same for every optimiser."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from nstjax.gatys.strength import first_balance
from nstjax.objective import report_terms
from nstjax.settings import Recipe
from nstjax.structure import TERMS

Entry = dict[str, int | float]
History = list[Entry]
TOLERANCE_STEPS = 10
_ASKED = "the callback asked for it"


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: steps done.
        steps: steps in all.
        image: the picture so far, RGB in [0, 1], shape (1, H, W, 3).
        entry: the newest entry of the history.
        entries: the entries since the last report, the newest last.
        recipe: the settings, with the tile and the pairs of steps that are in use.
    """

    step: int
    steps: int
    image: Float[np.ndarray, "1 h w 3"]
    entry: Entry
    entries: History
    recipe: Recipe


def to_picture(image: Float[Array | np.ndarray, "1 h w 3"]) -> Float[np.ndarray, "1 h w 3"]:
    """Copies a picture to the host, clipped to [0, 1]."""
    return np.clip(np.asarray(image, np.float32), 0, 1)


# Called every few steps; a run ends when it returns True.
Callback = Callable[[Progress], bool | None]


@dataclass(kw_only=True)
class RecorderState:
    """What a `Recorder` has recorded, all of which a snapshot keeps. JSON can hold it.

    Attributes:
        history: one entry a step, see `Recorder.history`.
        note: why the newest stage ended before its last step; empty if it did not.
        balance: between the terms if the recipe has a strength, see `nstjax.gatys.strength`.
        reported: how many entries the callback has got.
        stage_start: how many entries there were when the newest stage began.
        skip: whether the next step is a start that gets no entry.
        earlier_evaluations: up to the newest start.
        seconds: that the run had taken before this process went on with it.
    """

    history: History
    note: str
    balance: float
    reported: int
    stage_start: int
    skip: bool
    earlier_evaluations: int
    seconds: float


class Recorder:
    """Collects a run's history, passes it on to the callback, and knows when to stop.

    Made from the recipe, the steps of all sizes together, and the callback.

    Attributes:
        state: what a snapshot keeps.
        recipe: the settings, with the tile and the pairs of steps that are in use.
        weights: of the terms in the newest stage.
        stopped: why the run ended before its last step; empty if it did not.
    """

    def __init__(self, recipe: Recipe, steps: int, callback: Callback | None):
        self.state = RecorderState(
            history=[],
            note="",
            balance=1.0 if recipe.strength is None else first_balance(recipe.strength),
            reported=0,
            stage_start=0,
            skip=False,
            earlier_evaluations=0,
            seconds=0.0,
        )
        self.recipe = recipe
        self.weights: dict[str, float] = {name: getattr(recipe, f"{name}_weight") for name in TERMS}
        self.stopped = ""
        self._steps = steps  # of all sizes together
        self._callback = callback
        self._begin = time.perf_counter()

    @property
    def history(self) -> History:
        """One entry a step, the start first.

        Each has `step`, `total`, each term weighted (`content`, …) and before its weight
        (`content_raw`, …), and `evaluations` and `seconds` so far.
        """
        return self.state.history

    @property
    def note(self) -> str:
        """Why the newest stage ended before its last step; empty if it did not."""
        return self.state.note

    @property
    def step(self) -> int:
        """The steps recorded so far; -1 before the start."""
        return len(self.history) - 1

    @property
    def steps_done(self) -> int:
        """The steps recorded so far; 0 before the start, too."""
        return max(self.step, 0)

    @property
    def stage_began(self) -> int:
        """The steps recorded when the newest stage began."""
        return max(self.state.stage_start - 1, 0)

    @property
    def evaluations(self) -> int:
        """The evaluations recorded so far."""
        return int(self.history[-1]["evaluations"]) if self.history else 0

    @property
    def asked(self) -> bool:
        """Whether the callback has ended the run."""
        return self.stopped == _ASKED

    @property
    def ended(self) -> bool:
        """Whether the stage is over, and perhaps the run with it."""
        return bool(self.stopped or self.note)

    def saved(self) -> dict[str, Any]:
        """Returns the state as of now, for JSON."""
        return vars(replace(self.state, seconds=self.elapsed()))

    def restore(self, state: RecorderState) -> None:
        """Goes on from the state of an earlier process."""
        self.state = state
        self._begin = time.perf_counter() - state.seconds

    def elapsed(self) -> float:
        """Returns the seconds that the run has taken so far."""
        return time.perf_counter() - self._begin

    def begin_stage(self) -> None:
        """Notes that a stage begins."""
        self.state.stage_start = len(self.history)
        self.state.note = ""

    def end_stage(self, note: str) -> None:
        """Notes why a stage ends before its last step, though the run may go on."""
        self.state.note = note

    def end_run(self) -> None:
        """Notes that nothing is left to do, so that whoever asked for the end stopped nothing."""
        if self.asked:
            self.stopped = ""

    def begin_attempt(self) -> None:
        """Notes that the next entry evaluates a starting picture.

        Only the run's first is recorded, as step 0; those of later sizes and of restarts after
        running out of memory are not.
        """
        self.state.skip = bool(self.history)
        self.state.earlier_evaluations = self.evaluations

    def add(self, total: float, raw: dict[str, float], evaluations: int, seconds: float) -> None:
        """Adds the next step's entry, and decides whether the run or the stage ends with it.

        Args:
            total: the objective.
            raw: its terms before their weights.
            evaluations: since `begin_attempt`.
            seconds: in this run so far.
        """
        state = self.state
        if not math.isfinite(total):
            self.stopped = f"the objective became {total} at step {self.step + 1}"
        if state.skip and not self.stopped:
            state.skip = False
            return
        entry = {"step": self.step + 1, "total": total, **report_terms(raw, self.weights)}
        evaluations += state.earlier_evaluations
        entry |= {"evaluations": evaluations, "seconds": round(seconds, 4)}
        state.history.append(entry)
        if self._stalled():
            change = f"{self.recipe.tolerance:g} in {TOLERANCE_STEPS} steps"
            self.end_stage(f"the objective fell by less than {change}")

    def _stalled(self) -> bool:
        # Only every tenth step is looked at: the answer must not depend on how steps are grouped.
        # An earlier stage had another objective, that of a smaller picture.
        begun = self.step - TOLERANCE_STEPS < self.state.stage_start
        if not self.recipe.tolerance or begun or self.step % TOLERANCE_STEPS:
            return False
        before, now = (self.history[i]["total"] for i in (-TOLERANCE_STEPS - 1, -1))
        return before - now < self.recipe.tolerance * abs(before)

    def report(self, image: Callable[[], Float[np.ndarray, "1 h w 3"]]) -> None:
        """Calls the callback with the entries since the last call."""
        new = self.history[self.state.reported :]
        if self._callback is None or not new:
            return
        self.state.reported = len(self.history)
        progress = Progress(int(new[-1]["step"]), self._steps, image(), new[-1], new, self.recipe)
        if self._callback(progress) and not self.stopped:
            self.stopped = _ASKED
