"""One training of `nstjax train`: its bar, its samples, and how it ended."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from nstjax.cli.exits import BAD_INPUT, DONE, INTERRUPTED, fail
from nstjax.cli.interrupt import Interrupt, stop_on_interrupt
from nstjax.errors import NstjaxError
from nstjax.fast import Dataset, TrainingProgress, TrainingRecipe, TrainingResult, train
from nstjax.fast.checkpoints import saved_steps
from nstjax.fast.log import read_log
from nstjax.fast.network import Params
from nstjax.images import Picture
from nstjax.report import TensorBoardLog, contact_sheet, save_training_plot
from nstjax.structure import TERMS
from nstjax.vgg import Weights

_SAMPLES = 4  # photographs on a sheet
_REDRAW_S = 0.5
_REDRAW_IN_FILE_S = 30.0  # a training takes hours, and each redrawing is a line in a file


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A training, with everything that it needs.

    Attributes:
        folder: of the run, which has the style's name.
        style: the style image.
        dataset: the photographs.
        recipe: the settings.
        weights: of the loss network.
        init: parameters to start from.
        checkpoint_every: steps.
        keep: how many checkpoints.
        sample_every: steps; 0 is never.
        allow_change: settings that may differ from those of the run that is resumed.
        leader: whether this process is the one that prints and writes.
        quiet: whether to show nothing.
    """

    folder: Path
    style: Picture
    dataset: Dataset
    recipe: TrainingRecipe
    weights: Weights
    init: Params | None
    checkpoint_every: int
    keep: int
    sample_every: int
    allow_change: tuple[str, ...]
    leader: bool
    quiet: bool


def train_style(job: Job) -> int:
    """Trains a style and says how that ended.

    Args:
        job: what to train.

    Returns:
        The exit code.

    Raises:
        NstjaxError: as `nstjax.fast.train`.
    """
    try:
        with stop_on_interrupt(quiet=job.quiet) as interrupt, _Monitor(job, interrupt) as monitor:
            result = train(
                job.folder.name,
                job.style,
                job.dataset,
                recipe=job.recipe,
                weights=job.weights,
                workdir=job.folder.parent,
                checkpoint_every=job.checkpoint_every,
                keep=job.keep,
                init=job.init,
                allow_change=job.allow_change,
                callback=monitor,
                warn=tell if job.leader else lambda message: None,
            )
    except KeyboardInterrupt:
        return fail(f"stopped at once: {_going_on(job.folder)}", INTERRUPTED)
    if not job.leader:
        return {"done": DONE, "asked": INTERRUPTED}.get(result.ended, BAD_INPUT)
    _save_plot(job, result)
    return _ended(job, result)


def tell(message: str) -> None:
    """Prints a line on stderr, above a bar if there is one."""
    tqdm.write(f"nstjax: {' '.join(message.split())}", file=sys.stderr)


def _ended(job: Job, result: TrainingResult) -> int:
    """Says in one line how a training ended; returns the exit code."""
    if result.ended == "asked":
        return fail(f"stopped after step {result.step}: {_going_on(job.folder)}", INTERRUPTED)
    if result.ended == "data":
        return fail(f"{result.stopped}; {_going_on(job.folder)}")
    if result.ended == "diverged":
        remedy = "--learning-rate, or --clip-norm 1"
        if saved_steps(job.folder / "checkpoints"):
            remedy += ", and --allow-change of what you change"
        return fail(f"{result.stopped}: {_going_on(job.folder)}; try a smaller {remedy}")
    if not job.quiet:
        steps = f"{result.step} steps"
        if result.metrics:
            steps += f", total {result.metrics['total']:.4g}"
        else:
            steps = f"has had its {steps} already; --steps N trains it further"
        use = f"nstjax stylize photo.jpg --style {job.folder}"
        print(f"{result.path}: {steps}; to use it: {use}")
    return DONE


def _going_on(folder: Path) -> str:
    steps = saved_steps(folder / "checkpoints")
    if not steps:
        return f"there is no checkpoint in {folder} yet, so that the same command starts anew"
    return f"the same command goes on from step {steps[0]} of {folder}"


def _save_plot(job: Job, result: TrainingResult) -> None:
    log = read_log(job.folder / "metrics.jsonl")
    if result.metrics and log:
        title = f"{job.folder.name}: {result.step} steps on {job.dataset.name}"
        try:
            save_training_plot(job.folder / "losses.png", log, title=title)
        except NstjaxError as error:  # the style is trained
            tell(str(error))


class _Monitor:
    """The callback of a training: moves the bar, paints samples, and passes Ctrl-C on."""

    def __init__(self, job: Job, interrupt: Interrupt):
        self._job = job
        self._interrupt = interrupt
        self._closing = contextlib.ExitStack()
        self._bar = self._make_bar(bar_format="{desc}: compiling")
        self._board: TensorBoardLog | None = None
        self._photographs = None
        if job.leader and job.sample_every and job.dataset.held_out is not None:
            self._photographs = _photographs(job.dataset.held_out, job.recipe.image_size)

    def __enter__(self) -> "_Monitor":
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()

    def __call__(self, progress: TrainingProgress) -> bool:
        if self._job.leader:
            board = self._board or self._begin(progress)
            metrics = progress.metrics
            terms = " ".join(f"{name} {metrics[name]:.3g}" for name in TERMS)
            speed = f"{progress.images_per_second:.3g} images/s, waiting {progress.waiting:.0%}"
            text = f"total {metrics['total']:.4g} = {terms}, {speed}"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(progress.step - self._bar.n)
            board.add(progress.step, metrics)
            self._sample(progress)
        return self._interrupt.requested

    def _begin(self, progress: TrainingProgress) -> TensorBoardLog:
        """Starts the bar anew: from here on time counts, as everything is compiled."""
        done = progress.step - 1
        self._bar.close()
        if done and not self._job.quiet:
            tell(f"going on from step {done} of {self._job.folder}")
        self._bar = self._make_bar(total=progress.steps, initial=done, unit="step", leave=True)
        self._board = TensorBoardLog(self._job.folder, first_step=progress.step)
        self._closing.callback(self._board.close)
        return self._board

    def _make_bar(self, *, leave: bool = False, **options: Any) -> tqdm:
        every = _REDRAW_S if sys.stderr.isatty() else _REDRAW_IN_FILE_S
        bar = tqdm(
            desc=self._job.folder.name,
            disable=self._job.quiet,
            leave=leave,
            dynamic_ncols=True,
            mininterval=every,
            maxinterval=max(every, 10.0),
            **options,
        )
        self._closing.callback(bar.close)
        return bar

    def _sample(self, progress: TrainingProgress) -> None:
        due = progress.step == progress.steps or progress.step % (self._job.sample_every or 1) == 0
        if self._photographs is None or not due:
            return
        path = self._job.folder / "samples" / f"step-{progress.step:06d}.jpg"
        painted = progress.paint(self._photographs)
        rows = [[a[None], b[None]] for a, b in zip(self._photographs, painted, strict=True)]
        columns = ["photograph", f"step {progress.step}"]
        try:
            contact_sheet(path, rows, column_labels=columns, size=self._photographs.shape[1])
        except NstjaxError as error:  # the training is worth more than a sample
            tell(f"{error}; training goes on")


def _photographs(held_out: Dataset, size: int) -> Float32[np.ndarray, "n size size 3"] | None:
    """The photographs of the samples, those that can be read."""
    found = []
    for index in range(min(_SAMPLES, len(held_out))):
        with contextlib.suppress(NstjaxError):
            found.append(held_out.picture(index, size=size))
    return np.concatenate(found) if found else None
