"""`nstjax train --dry-run`: what a training would be, and how long it would take."""

import contextlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import jax

from nstjax.assets import sample_path
from nstjax.cli.training_run import Job
from nstjax.fast import Dataset, TrainingProgress, TrainingRecipe, train
from nstjax.fast.coco import NAME
from nstjax.fast.coco_zip import ARCHIVES
from nstjax.fast.sources import Record, find_prepared
from nstjax.fast.train import resolve
from nstjax.fast.trainer import init_state
from nstjax.settings import override

_TIMED_STEPS = 2
_LONG_S = 60.0  # a step that takes longer is timed once
_COCO_PICTURES = {"2014": 82_783, "2017": 118_287}
_UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class _StandIn:
    """As many pictures as a missing dataset has, all of them the bundled one."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int, /) -> Record:
        return Record("the sample", sample_path())


def stand_in(spec: str, data_dir: str | None, limit: int | None) -> Dataset | None:
    """Stands in for a dataset that training would download or prepare first.

    Args:
        spec: as for `nstjax.fast.open_dataset`.
        data_dir: likewise.
        limit: likewise.

    Returns:
        What stands in for it; None if the dataset is there.
    """
    year = spec.removeprefix("coco/")
    if year == spec or year not in ARCHIVES:
        return None
    place = None if data_dir is None else Path(data_dir).expanduser().absolute()
    if any(find_prepared(f"{name}/{year}", data_dir=place) for name in (NAME, "coco")):
        return None
    name = (
        f"{spec} (not here yet: training first downloads {ARCHIVES[year].size / 1e9:.1f} GB, "
        "unless the zip file is at hand, and prepares as much again)"
    )
    count = _COCO_PICTURES[year]
    return Dataset(name, _StandIn(min(count, limit or count)))


def dry_run(job: Job) -> int:
    """Prints what a training would do, and times a few steps of it.

    Args:
        job: the training.

    Returns:
        The exit code.

    Raises:
        NstjaxError: as `nstjax.fast.train`.
    """
    recipe = resolve(job.recipe, len(job.dataset))
    say = _say if job.leader else lambda what, text: None
    for what, text in _facts(job, recipe).items():
        say(what, text)
    clock = _time_steps(job, recipe)
    say("memory", _memory())
    say("time", clock.estimate(recipe))
    return 0


def _say(what: str, text: str) -> None:
    print(f"{what + ':':10} {text}", flush=True)


def _facts(job: Job, recipe: TrainingRecipe) -> dict[str, str]:
    height, width = job.style.pixels.shape[1:3]
    devices = jax.devices()
    state = jax.eval_shape(lambda: init_state(recipe))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    checkpoint = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    held_out = job.dataset.held_out
    more = f", {len(held_out)} more held out for the samples" if held_out else ""
    epochs = recipe.steps * recipe.batch_size / len(job.dataset)
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return {
        "style": f"{job.folder.name}: {job.style.name}, {width}×{height} pixels",
        "recipe": f"{recipe.name}: {recipe.source}",
        "devices": f"{len(devices)} × {devices[0].device_kind}{processes}, {recipe.precision}",
        "network": f"{parameters:,} parameters, {parameters * 2 / 1e6:.1f} MB when trained; "
        f"{job.keep} checkpoints of {checkpoint / 1e6:.1f} MB in {job.folder}",
        "dataset": f"{job.dataset.name}, {len(job.dataset):,} photographs{more}",
        "steps": f"{recipe.steps:,} of {recipe.batch_size} photographs at {recipe.image_size}×"
        f"{recipe.image_size} pixels, {epochs:.3g} epochs",
    }


class _TimedError(Exception):
    """Ends a training that was only to be timed."""


@dataclass
class _Clock:
    """The callback of a training that is timed."""

    began: float = field(default_factory=time.perf_counter)
    ends: list[float] = field(default_factory=list)

    def __call__(self, progress: TrainingProgress) -> None:
        self.ends.append(time.perf_counter())
        steps = len(self.ends) - 1  # the first one compiles
        # Several processes must end after the same step.
        long = steps and self.ends[-1] - self.ends[0] > _LONG_S and jax.process_count() == 1
        if steps == _TIMED_STEPS or long:
            raise _TimedError

    def estimate(self, recipe: TrainingRecipe) -> str:
        """Says how long the training will take."""
        if len(self.ends) < 2:
            return "not estimated, as there are too few steps to time"
        steps = len(self.ends) - 1
        step = (self.ends[-1] - self.ends[0]) / steps
        once = " alone, as it takes long" if steps < _TIMED_STEPS else "s"
        return (
            f"about {_duration(step * recipe.steps)}, by {steps} step{once} of {_duration(step)}, "
            f"{recipe.batch_size / step:.3g} photographs/s, where reading them keeps up; getting "
            f"ready and compiling took {_duration(self.ends[0] - self.began)}"
        )


def _time_steps(job: Job, recipe: TrainingRecipe) -> _Clock:
    """Trains for a few steps, in a temporary folder."""
    if isinstance(job.dataset.source, _StandIn):
        recipe = override(recipe, crop="random")  # or all of them would be alike
    clock = _Clock()
    with (
        tempfile.TemporaryDirectory(prefix="nstjax-") as folder,
        contextlib.suppress(_TimedError),
    ):
        train(
            job.folder.name,
            job.style,
            job.dataset,
            recipe=recipe,
            weights=job.weights,
            workdir=folder,
            init=job.init,
            callback=clock,
        )
    return clock


def _memory() -> str:
    """The most memory that was used, and how much there is, on a device or on this machine."""
    stats = jax.local_devices()[0].memory_stats() or {}
    used, there = stats.get("peak_bytes_in_use"), stats.get("bytes_limit")
    if used is None and sys.platform == "linux":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if used is None or there is None:
        return "unknown"
    return f"{used / 1e9:.1f} GB at most, of {there / 1e9:.1f} GB"


def _duration(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= 2 * length or length == 1:
            count = seconds / length
            return f"{count:.{0 if count >= 10 else 1 if count >= 1 else 3}f} {unit}"
    raise AssertionError
