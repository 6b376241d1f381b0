"""What a run reports while it goes on and when it ends, the same for every optimiser."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
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
# Of a `Recorder`, what a snapshot keeps.
_KEPT = ("history", "note", "balance", "_reported", "_skip", "_earlier", "_first")


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


# Called after every few steps; returning True ends the run there.
Callback = Callable[[Progress], bool | None]


class Recorder:
    """Collects a run's history, tells the caller of it, and knows when to stop.

    Made from the recipe, the steps of all sizes together, and what the caller wants called.

    Attributes:
        history: one entry a step, the start first: `step`, `total`, each term weighted (`content`,
            …) and before its weight (`content_raw`, …), `evaluations` and `seconds` so far.
        recipe: the settings, with the tile and the pairs of steps that are in use.
        weights: of the terms in the newest stage.
        balance: between them, where the recipe has a strength; see `nstjax.gatys.strength`.
        stopped: why the run ended before its last step; empty while it did not.
        note: why the newest stage ended before its last step, if the run may still go on; empty
            while it did not.
    """

    def __init__(self, recipe: Recipe, steps: int, callback: Callback | None):
        self.history: History = []
        self.stopped = ""
        self.note = ""
        self.recipe = recipe
        self.weights: dict[str, float] = {name: getattr(recipe, f"{name}_weight") for name in TERMS}
        self.balance = 1.0 if recipe.strength is None else first_balance(recipe.strength)
        self._steps = steps  # of all sizes together
        self._callback = callback
        self._reported = 0
        self._skip = False
        self._earlier = 0
        self._first = 0
        self._begin = time.perf_counter()

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
        return max(self._first - 1, 0)

    @property
    def evaluations(self) -> int:
        """The evaluations recorded so far."""
        return int(self.history[-1]["evaluations"]) if self.history else 0

    @property
    def asked(self) -> bool:
        """Whether the callback has ended the run."""
        return self.stopped == _ASKED

    def saved(self) -> dict[str, Any]:
        """Returns what `restore` takes: everything that the rest of a run depends on, for JSON."""
        kept = {name: getattr(self, name) for name in _KEPT}
        return kept | {"seconds": self.elapsed()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Goes on where another run was.

        Args:
            saved: of that one's `saved`.
        """
        for name in _KEPT:
            setattr(self, name, saved.get(name, getattr(self, name)))
        self._begin = time.perf_counter() - saved["seconds"]

    def elapsed(self) -> float:
        """Returns the seconds since the run began."""
        return time.perf_counter() - self._begin

    def begin_stage(self) -> None:
        """Says that a stage begins."""
        self._first = len(self.history)
        self.note = ""

    def begin_attempt(self) -> None:
        """Says that what is added next is of a start: the run's counts as step 0, others not."""
        self._skip = bool(self.history)
        self._earlier = self.evaluations

    @property
    def ended(self) -> bool:
        """Whether the stage is over, be it with the run."""
        return bool(self.stopped or self.note)

    def add(self, total: float, raw: dict[str, float], evaluations: int, seconds: float) -> None:
        """Adds the next step's entry, and decides whether the run or the stage should end with it.

        Args:
            total: the objective.
            raw: its terms before their weights.
            evaluations: since `begin_attempt`.
            seconds: in this run so far.
        """
        if not math.isfinite(total):
            self.stopped = f"the objective became {total} at step {self.step + 1}"
        if self._skip and not self.stopped:
            self._skip = False
            return
        entry = {"step": self.step + 1, "total": total, **report_terms(raw, self.weights)}
        entry |= {"evaluations": self._earlier + evaluations, "seconds": round(seconds, 4)}
        self.history.append(entry)
        if self._stalled():
            change = f"{self.recipe.tolerance:g} in {TOLERANCE_STEPS} steps"
            self.note = f"the objective fell by less than {change}"

    def _stalled(self) -> bool:
        # Only every tenth step asks, so that the answer does not depend on how steps are grouped.
        # An earlier stage's objective is another: that of a smaller picture.
        begun = self.step - TOLERANCE_STEPS < self._first
        if not self.recipe.tolerance or begun or self.step % TOLERANCE_STEPS:
            return False
        before, now = (self.history[i]["total"] for i in (-TOLERANCE_STEPS - 1, -1))
        return before - now < self.recipe.tolerance * abs(before)

    def report(self, image: Callable[[], Float[np.ndarray, "1 h w 3"]]) -> None:
        """Calls the callback with what has been added since the last time."""
        new = self.history[self._reported :]
        if self._callback is None or not new:
            return
        self._reported = len(self.history)
        progress = Progress(int(new[-1]["step"]), self._steps, image(), new[-1], new, self.recipe)
        if self._callback(progress) and not self.stopped:
            self.stopped = _ASKED
