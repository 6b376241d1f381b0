"""One picture of `nstjax stylize`: the run with its bar, its snapshots and its files."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from nstjax.cli.interrupt import Interrupt, stop_on_interrupt
from nstjax.cli.outputs import Outputs, resume_file, set_aside
from nstjax.cli.picture_files import save, summary, tiles_of, write_others
from nstjax.errors import NstjaxError
from nstjax.fast import Style, painted_shape, stylize_fast
from nstjax.files import check_writable
from nstjax.gatys import (
    Progress,
    Sources,
    StylizeResult,
    run_settings,
    stages_of,
    stylize_sources,
)
from nstjax.images import (
    Picture,
    check_shape,
    load_image,
    save_image,
)
from nstjax.settings import Recipe
from nstjax.structure import TERMS
from nstjax.vgg import Weights

_KEPT = {"kept": True, "complete": False}  # in the settings of a picture of `Outputs.save_every`
# When a picture is kept for the report: shares of the steps, as most happens early.
_REPORT_SHARES = (0.02, 0.1, 0.3, 0.6)


class Ended(NamedTuple):
    """How a run ended.

    Attributes:
        interrupted: what Ctrl-C left of the picture, in words; usually empty.
        problem: what went wrong although a picture was saved; usually empty.
    """

    interrupted: str = ""
    problem: str = ""

    @property
    def message(self) -> str:
        """Both in one line for people; empty if the run ended well."""
        interrupted = f"interrupted: {self.interrupted}" if self.interrupted else ""
        return "; ".join(filter(None, (interrupted, self.problem)))


def stylize_one(
    sources: Sources,
    recipe: Recipe,
    weights: Weights,
    outputs: Outputs,
    *,
    quiet: bool,
    last_step: int | None = None,
    kept: bool = False,
) -> Ended:
    """Stylises one picture and writes everything that was asked for.

    Args:
        sources: the pictures.
        recipe: the settings.
        weights: of the loss network.
        outputs: what to write where.
        quiet: whether to show nothing.
        last_step: the step after which the run ends early; None for its last.
        kept: save the picture as `Outputs.save_every` does, as it is after the last step: not
            enlarged, and without transparency.

    Returns:
        How it ended.

    Raises:
        NstjaxError: if the picture cannot be stylised, or nothing could be saved.
    """

    def settings(recipe: Recipe, step: int) -> dict[str, Any]:
        return run_settings(recipe, weights, sources, step, complete=False)

    snapshot = resume_file(outputs.picture)
    _check_outputs(outputs, *stages_of(recipe, *sources.shapes)[-1].content)
    tell = _silent if quiet else _tell
    with stop_on_interrupt() as interrupt, _bar(sources.content.name, quiet) as bar:
        monitor = _Monitor(outputs, bar, interrupt, settings, tell, last_step)
        result = stylize_sources(
            sources,
            recipe,
            weights,
            callback=monitor,
            callback_every=outputs.save_every or last_step or 0,
            snapshot=snapshot,
            snapshot_every=outputs.snapshot_every,
            resume=outputs.resume,
            tell=tell,
        )
    result = monitor.as_kept(result) if kept else result
    saved, problems = _write(monitor, sources, result)
    if not quiet and not interrupt.requested and not problems:
        print(summary(saved, result))
    done = f"the picture after {result.history[-1]['step']} of {monitor.steps} steps is in {saved}"
    if outputs.snapshot_every and os.path.exists(snapshot):
        done += "; the same command with --resume goes on"
    return Ended(done if interrupt.requested else "", "; ".join(problems))


def paint_one(
    content: Path | str | Picture,
    style: Style,
    path: Path,
    settings: dict[str, Any],
    *,
    bits: int,
    quiet: bool,
) -> Ended:
    """Stylises one picture with a trained style and saves it.

    Args:
        content: the photograph, or its file or address.
        style: the trained style.
        path: where the picture goes.
        settings: of `stylize_fast`: `size`, `tile`, `memory_limit`.
        bits: per channel.
        quiet: whether to show nothing.

    Returns:
        How it ended.

    Raises:
        NstjaxError: if the picture cannot be read or stylised, or nothing could be saved.
    """
    began = time.perf_counter()
    photograph = content if isinstance(content, Picture) else load_image(content)
    check_shape(path, *painted_shape(photograph, settings["size"]))
    tell = _silent if quiet else _tell
    result = stylize_fast(photograph, style, tell=tell, **settings)
    seconds = time.perf_counter() - began
    saved, problem = save(result, path, bits)
    if not quiet and not problem:
        height, width = result.image.shape[1:3]
        print(f"{saved}: {width}×{height}, {seconds:.1f} s, {tiles_of(result)}")
    return Ended(problem=problem)


def _check_outputs(outputs: Outputs, height: int, width: int) -> None:
    """Reports before the run begins what could not be written at its end."""
    check_shape(outputs.picture, height, width)
    for path in (outputs.history, outputs.report):
        if path is not None:
            check_writable(path)


def _tell(message: str) -> None:
    tqdm.write(f"nstjax: {' '.join(message.split())}", file=sys.stderr)


def _silent(message: str) -> None:
    del message


@contextmanager
def _bar(content: Path | str, quiet: bool) -> Iterator[tqdm]:
    name = Path(content).name
    with tqdm(desc=name, unit="step", disable=quiet, leave=False) as bar:
        bar.set_postfix_str("compiling")
        yield bar


@dataclass
class _Monitor:
    """The callback of a run: moves the bar, keeps pictures, and passes Ctrl-C on."""

    outputs: Outputs
    bar: tqdm
    interrupt: Interrupt
    settings: Callable[[Recipe, int], dict[str, Any]]  # of the picture after a step
    tell: Callable[[str], object]
    last_step: int | None = None
    steps: int = 0
    resumed_at: int = 0
    kept: list[tuple[int, np.ndarray]] = field(default_factory=list)
    newest: Progress | None = None

    def __call__(self, progress: Progress) -> bool:
        if self.newest is None:
            self._keep_other_snapshot()
        self.newest = progress
        if not self.steps:
            self.steps = progress.steps
            self.bar.reset(total=progress.steps)
            self.resumed_at = max(0, int(progress.entries[0]["step"]) - 1)
            # The steps of an earlier run say nothing about the speed.
            self.bar.initial = self.bar.n = self.resumed_at
        entry = progress.entry
        terms = " ".join(f"{name} {entry[name]:.3g}" for name in TERMS)
        self.bar.set_postfix_str(f"total {entry['total']:.4g} = {terms}", refresh=False)
        self.bar.update(progress.step - self.bar.n)
        self._keep(progress)
        ends = self.last_step is not None and progress.step >= self.last_step
        return ends or self.interrupt.requested

    def as_kept(self, result: StylizeResult) -> StylizeResult:
        """The result as `Outputs.save_every` would have kept it after its last step."""
        assert self.newest is not None
        settings = result.settings | _KEPT
        return replace(result, image=self.newest.image, alpha=None, settings=settings)

    def _keep_other_snapshot(self) -> None:
        """Sets another run's snapshot aside, once it is certain that this run begins."""
        writes = self.outputs.snapshot_every and not self.outputs.resume
        if writes and (moved := set_aside(self.outputs.picture)) is not None:
            there, kept = moved
            self.tell(
                f"{there} of a run that did not end is now {kept}: to go on from it, stop this "
                f"run, rename it to {there.name} and add --resume"
            )

    def _keep(self, progress: Progress) -> None:
        # There are no pictures of the steps of an earlier run.
        begun, done = (step / max(1, self.steps) for step in (self.resumed_at, progress.step))
        wanted = [share for share in _REPORT_SHARES if share > begun or not begun]
        wanted = wanted[len(self.kept) :] if self.outputs.report else []
        if wanted and done >= wanted[0]:
            self.kept.append((progress.step, progress.image))
        every = self.outputs.save_every
        if every and progress.step and progress.step % every == 0:
            try:
                settings = self.settings(progress.recipe, progress.step) | _KEPT
                path = self.outputs.kept_path(progress.step)
                save_image(path, progress.image, settings=settings)
            except NstjaxError as error:  # the run is worth more than one of its pictures
                _tell(f"{error}; going on")


def _write(monitor: _Monitor, sources: Sources, result: StylizeResult) -> tuple[Path, list[str]]:
    """Saves the picture and all else that was asked for, then removes the run's snapshot.

    The snapshot stays if anything could not be written: then --resume redoes only the end.

    Returns where the picture is, and what went wrong.
    """
    outputs = monitor.outputs
    snapshot = resume_file(outputs.picture)
    # A run that neither wrote a snapshot nor went on from one leaves that of another run alone.
    own = outputs.resume or outputs.snapshot_every
    saved, elsewhere = save(result, outputs.picture, outputs.bits)
    others = write_others(outputs, sources, monitor.kept, monitor.resumed_at, result)
    others += [f"the picture is in {saved}"] if others and not elsewhere else []
    goes_on = monitor.interrupt.requested and not result.settings["complete"]
    if own and not goes_on and snapshot.exists():
        if elsewhere or others:
            others.append("the same command with --resume does only the end again")
        else:
            with suppress(OSError):
                snapshot.unlink()
    diverged = _divergence(sources.content.name, result, saved)
    return saved, [problem for problem in (elsewhere, diverged, *others) if problem]


def _divergence(name: str, result: StylizeResult, saved: Path) -> str:
    """What to do about a run whose objective became infinite or NaN; empty for other runs."""
    if not result.stopped or math.isfinite(result.history[-1]["total"]):
        return ""
    return (
        f"{name}: {result.stopped}: the picture before that step is in {saved}; try a smaller "
        "--learning-rate, smaller weights or a larger --size"
    )
