"""Snapshots of a run on disk, from which it goes on to the same bits.

A file is NumPy's npz without pickles: the arrays of the optimiser's state, and JSON with everything
else. Its checksums show whether it is damaged.
"""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nstjax.errors import NstjaxError
from nstjax.files import writing
from nstjax.gatys.history import Recorder, RecorderState
from nstjax.gatys.sources import Sources
from nstjax.images import sha256_of_pixels
from nstjax.provenance import made_with
from nstjax.settings import Recipe
from nstjax.vgg import Weights

EVERY_S = 30.0
_FORMAT = "nstjax-snapshot-5"  # its number changes with what it holds
_MOST_OF_THE_TIME = 0.05  # is spent on writing


class Snapshot(NamedTuple):
    """Where a run was.

    Attributes:
        stage: the number of the size, from 0.
        state: the arrays of the optimiser's state; if the size has not begun, the picture of the
            size before alone.
        recorder: what the run had recorded.
        tile: rows that were computed at a time; None for all.
        asked_tile: the tile in the run's settings.
        history_size: pairs of steps that L-BFGS remembered.
    """

    stage: int
    state: list[np.ndarray]
    recorder: RecorderState
    tile: int | None
    asked_tile: str | int | None
    history_size: int


def identity_of(recipe: Recipe, weights: Weights, sources: Sources) -> dict[str, Any]:
    """Lists everything that decides the bits of a run.

    Args:
        recipe: the settings.
        weights: of the loss network.
        sources: the pictures.

    Returns:
        Values that JSON can hold, by name: settings, hashes of inputs and weights, versions.
    """
    values = dataclasses.asdict(recipe)
    first, *more = sources.styles
    pictures = {"content image": sources.content, "style image": first}
    pictures |= {f"style image {i}": style for i, style in enumerate(more, start=2)}
    if sources.init is not None:
        pictures["init image"] = sources.init
        values["init"] = "a picture"  # whatever its name; and addresses may hold secrets
    others: dict[str, Any] = {name: sha256_of_pixels(p.pixels) for name, p in pictures.items()}
    named = {name.replace("_", " "): value for name, value in values.items()}
    # A run may go on with less memory.
    for name in ("name", "source", "tile", "memory limit"):
        del named[name]
    if more:
        others["style weights"] = list(sources.style_weights)
    return json.loads(json.dumps(named | others | {"weights": weights.sha256, **made_with()}))


class Snapshots:
    """The snapshots of a run: one file, replaced every so often."""

    def __init__(
        self,
        path: Path,
        identity: dict[str, Any],
        tile: str | int | None,
        every: float = EVERY_S,
        tell: Callable[[str], object] = lambda message: None,
    ) -> None:
        """Takes what all of them share.

        Args:
            path: the file.
            identity: see `identity_of`.
            tile: the one in the run's settings.
            every: seconds between two, or more if writing would take too large a share of them;
                0: none is written.
            tell: called with a message if one cannot be written.
        """
        self._path, self._identity, self._every, self._tell = path, identity, every, tell
        self._due = time.perf_counter() + every
        self._failed, self._asked_tile = False, tile
        self.stage = 0  # the number of the size that runs

    def load(self) -> Snapshot | None:
        """Reads the file.

        Returns:
            The snapshot; None if there is no file.

        Raises:
            NstjaxError: if it is damaged or of another run.
        """
        if not self._path.exists():
            return None
        about, arrays = read_snapshot(self._path)
        before, now = about.pop("identity"), self._identity
        names = dict.fromkeys([*now, *before])
        changed = [name for name in names if before.get(name) != now.get(name)]
        if changed:
            listed = ", ".join(_change(name, before.get(name), now.get(name)) for name in changed)
            raise NstjaxError(
                f"{self._path} is the snapshot of another run: {listed}; use the same again, or "
                "do not resume, to start from the beginning"
            )
        return Snapshot(state=arrays, **about)

    def offer(self, state: Any, recorder: Recorder, *, last: bool = False) -> None:
        """Writes a snapshot if it is time.

        If that fails the run goes on, and the next one is tried when it is due.

        Args:
            state: what `Snapshot.state` holds, as any tree of arrays.
            recorder: of the run.
            last: write one in any case, as there may be no other chance.
        """
        begun = time.perf_counter()
        if not self._every or (begun < self._due and not last):
            return
        try:
            self._write(state, recorder)
            self._failed = False
        # The run is worth more. Disk and memory may have room again later.
        except (NstjaxError, MemoryError, jax.errors.JaxRuntimeError) as error:
            if last or not self._failed:
                going_on = "going on without" if last else "going on, to try again later"
                self._tell(f"{_reason(error)}; {going_on}")
            self._failed = True
        ended = time.perf_counter()
        self._due = ended + max(self._every, (ended - begun) / _MOST_OF_THE_TIME)

    def _write(self, state: Any, recorder: Recorder) -> None:
        about = {"format": _FORMAT, "identity": self._identity, "stage": self.stage}
        about |= {name: getattr(recorder.recipe, name) for name in ("tile", "history_size")}
        about |= {"asked_tile": self._asked_tile, "recorder": recorder.saved()}
        leaves = jax.tree.leaves(state)
        with writing(self._path) as stream:
            arrays: dict[str, Any] = {
                f"state-{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)
            }
            np.savez(stream, about=np.bytes_(json.dumps(about).encode()), **arrays)


def _reason(error: BaseException) -> str:
    if isinstance(error, NstjaxError):
        return str(error)
    first, *_ = str(error).splitlines() or ["too little memory"]
    return f"no snapshot could be written ({first})"


def read_snapshot(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Reads a snapshot's file.

    Args:
        path: the file.

    Returns:
        What it says of itself, by the names of `Snapshot` and `identity`; and the arrays.

    Raises:
        NstjaxError: if it cannot be read, or is damaged or something else.
    """
    return _read(path, with_arrays=True)


def read_identity(path: Path) -> dict[str, Any] | None:
    """Reads which run a snapshot is of, and none of its arrays.

    Args:
        path: the file.

    Returns:
        As `identity_of`; None if there is no file.

    Raises:
        NstjaxError: if it cannot be read, or is damaged or something else.
    """
    if not path.exists():
        return None
    about, _ = _read(path, with_arrays=False)
    return about["identity"]


def _read(path: Path, *, with_arrays: bool) -> tuple[dict[str, Any], list[np.ndarray]]:
    try:
        # Nothing but the file is at work here: a damaged archive may raise any exception.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            about = json.loads(file["about"].item())
            if about["format"] != _FORMAT:
                raise ValueError(about["format"])
            told = ("identity", *(name for name in Snapshot._fields if name != "state"))
            about = {name: about[name] for name in told}
            about["identity"] = dict(about["identity"])
            about["recorder"] = RecorderState(**about["recorder"])
            count = len(file.files) - 1 if with_arrays else 0
            return about, [file[f"state-{i}"] for i in range(count)]
    except MemoryError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or of another version"
        raise NstjaxError(
            f"{path} cannot be read as a snapshot ({reason}): remove it, or do not resume, to "
            "start from the beginning"
        ) from error


def restore_state(shapes: Any, arrays: list[np.ndarray]) -> Any:
    """Makes a state of a snapshot's arrays.

    Args:
        shapes: those of the state, in any tree.
        arrays: of `Snapshot.state`. They are taken out of the list one by one: with large pictures
            there is no room for a second state.

    Returns:
        The state, in the same tree.

    Raises:
        NstjaxError: if they are another state's.
    """
    leaves, tree = jax.tree.flatten(shapes)
    wanted, found = ([(a.shape, a.dtype) for a in side] for side in (leaves, arrays))
    if wanted != found:
        raise NstjaxError(
            "the snapshot holds another optimiser's state: do not resume, to start from the "
            "beginning"
        )
    # Copies, as a step reuses the memory of its state. jnp.array would keep the array before alive.
    return jax.tree.unflatten(tree, [jnp.asarray(arrays.pop(0)).copy() for _ in leaves])


def _change(name: str, before: Any, now: Any) -> str:
    if name == "weights":
        return "the weights are others"
    if " image" in name:
        if before is None or now is None:
            return f"there {'was' if before is None else 'is'} no {name}"
        return f"the {name} is another"
    return f"{name} was {before} and is {now}"
