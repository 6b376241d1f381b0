"""Checkpoints: what a training run needs to go on as if it had never stopped.

A checkpoint is a folder named after its step, which orbax creates whole or not at all. It holds the
arrays, and a record of everything else with a digest of it all. Of several processes the first one
writes and reads, and sends the others what it read.
"""

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

from nstjax.errors import NstjaxError
from nstjax.fast.tree import named_leaves

PyTree = Any

_ARRAYS = "safetensors"  # the format they are in
_SPARE_BYTES = 2**20  # that a checkpoint's other files may take


class Restored(NamedTuple):
    """What a checkpoint held.

    Attributes:
        step: steps done.
        state: the arrays in the shape of the tree asked for, NumPy's.
        position: where the run was in its data and its time, as JSON keeps it.
        config: the settings of the run, as JSON keeps them: tuples are lists.
    """

    step: int
    state: PyTree
    position: Any
    config: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, in one folder.

    A failure to save does not end the training but is passed to `warn`; one in the background, with
    the next call. Of several processes, each one makes all calls, in the same order.

    Example:
        >>> state = {"params": {"bias": np.zeros(3, np.float32)}, "step": np.int32(7)}
        >>> with Checkpoints(Path("run"), warn=print) as checkpoints:
        ...     checkpoints.save(7, state, position=None, config={"seed": 0})
        ...     checkpoints.restore(state).config
        True
        {'seed': 0}
    """

    def __init__(self, folder: Path, *, keep: int = 3, warn: Callable[[str], object]) -> None:
        if keep < 1:
            raise NstjaxError(f"{keep} checkpoints cannot be kept: keep at least 1")
        self._folder = Path(os.path.abspath(folder))
        self._keep = keep
        self._warn = warn
        self._manager: Any = None
        self._saving = 0  # the step that the background is at

    def save(self, step: int, state: PyTree, *, position: Any, config: Mapping[str, Any]) -> bool:
        """Saves a checkpoint, most of it in the background.

        Args:
            step: steps done; saved once only.
            state: the arrays, as dicts, tuples and named tuples; free again on return.
            position: where the run is, which JSON can hold.
            config: the settings of the run, which JSON can hold.

        Returns:
            False if it already failed.
        """
        self.wait()
        if jax.process_index() > 0 or (self._folder / str(step)).exists():
            return True
        arrays = _pack(state)
        about = {"step": step, "config": dict(config), "position": position}
        about = json.loads(json.dumps(about))
        about["digest"] = _digest(about, arrays)
        self._saving = step
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._folder).free < len(arrays) + _SPARE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            args = _orbax().args
            # One array for all: orbax leaves its event loop at the first error, and later errors
            # (a full disk, a damaged file) would then print tracebacks.
            tree = {_ARRAYS: np.frombuffer(arrays, np.int8)}
            items = args.Composite(state=args.PyTreeSave(tree), about=args.JsonSave(about))
            self._open().save(step, args=items, force=True)
        except Exception as error:  # orbax and TensorStore have no common class of errors
            self._give_up(error)
            return False
        return True

    def restore(self, target: PyTree) -> Restored | None:
        """Reads the newest checkpoint that is whole.

        Newer ones that are damaged are set aside, and `warn` is told.

        Args:
            target: arrays, or what has their shapes and dtypes, in the tree that was saved.

        Returns:
            What it held; None where there is no checkpoint.

        Raises:
            NstjaxError: if none is whole, or if it is another network's.
        """
        self.wait()
        head, arrays = {}, b""
        if jax.process_index() == 0:
            try:
                head["about"], arrays = self._newest_whole(target)
            except NstjaxError as error:
                head["error"] = str(error)
        head = json.loads(_from_first_process(json.dumps(head).encode()))
        arrays = _from_first_process(arrays)
        if "error" in head:  # raised by all processes, so that none waits for the others
            raise NstjaxError(head["error"])
        about = head["about"]
        if about is None:
            return None
        state = _unpack(arrays, target, self._folder)
        return Restored(about["step"], state, about["position"], about["config"])

    def latest_config(self) -> dict[str, Any] | None:
        """Reads the settings that the newest whole checkpoint was saved with.

        Returns:
            The settings; None where there is no such checkpoint.
        """
        self.wait()
        config = None
        if jax.process_index() == 0:
            for step in saved_steps(self._folder):
                with contextlib.suppress(Exception):  # `restore` tells of those
                    config = self._load(step)[0]["config"]
                    break
        return json.loads(_from_first_process(json.dumps(config).encode()))

    def wait(self) -> None:
        """Waits until the background is done."""
        if self._manager is not None:
            try:
                self._manager.wait_until_finished()
            except Exception as error:
                self._give_up(error)

    def close(self) -> None:
        """Waits likewise, and releases everything."""
        self.wait()
        self._drop()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _newest_whole(self, target: PyTree) -> tuple[dict[str, Any] | None, bytes]:
        damaged: dict[int, str] = {}
        for step in saved_steps(self._folder):
            try:
                about, arrays = self._load(step)
            except Exception as error:  # damage can raise anything
                damaged[step] = _reason(error)
                continue
            _unpack(arrays, target, self._folder)  # an error is to come before any change
            self._set_aside(damaged, step)
            return about, arrays
        if damaged:
            raise NstjaxError(
                f"no checkpoint in {self._folder} can be read "
                f"({'; '.join(f'{step}: {reason}' for step, reason in damaged.items())}): "
                "put whole ones there, or remove the folder to start anew"
            )
        return None, b""

    def _load(self, step: int) -> tuple[dict[str, Any], bytes]:
        args = _orbax().args
        items = args.Composite(state=args.PyTreeRestore(), about=args.JsonRestore())
        found = self._open().restore(step, args=items)
        about, arrays = dict(found.about), found.state[_ARRAYS].tobytes()
        if about.pop("digest") != _digest(about, arrays) or about["step"] != step:
            raise ValueError("its contents are not those that were saved")
        if "position" not in about:
            raise ValueError("an earlier version saved it, which can still go on from it")
        return about, arrays

    def _set_aside(self, damaged: Mapping[int, str], whole: int) -> None:
        """Renames damaged checkpoints, which would otherwise be in the way of new ones."""
        for step, reason in damaged.items():
            aside = self._folder / f"{step}.damaged"
            with contextlib.suppress(OSError):  # a folder that is read-only shows when saving
                shutil.rmtree(aside, ignore_errors=True)
                (self._folder / str(step)).rename(aside)
            self._warn(
                f"checkpoint {self._folder / str(step)} is damaged ({reason}): going on from step "
                f"{whole}, the newest that is whole; the damaged one is kept as {aside.name}"
            )
        if damaged:
            self._drop()  # it knows them still

    def _open(self) -> Any:
        """The manager. Opening it removes what a killed process left behind."""
        if self._manager is None:
            self._sweep()
            checkpoint = _orbax()
            options = checkpoint.CheckpointManagerOptions(
                max_to_keep=self._keep,
                create=False,
                # The state is the same everywhere: one process is enough.
                multiprocessing_options=checkpoint.options.MultiprocessingOptions(
                    primary_host=0, active_processes={0}, barrier_sync_key_prefix="nstjax"
                ),
            )
            self._manager = checkpoint.CheckpointManager(
                self._folder, options=options, item_names=("state", "about")
            )
        return self._manager

    def _sweep(self) -> None:
        # Not left to orbax, whose thread for this may still run when the next manager saves.
        for left in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(left, ignore_errors=True)

    def _give_up(self, error: Exception) -> None:
        """Warns of a save that failed, and cleans up for a new manager."""
        self._drop()
        self._sweep()
        steps = saved_steps(self._folder)
        kept = f"and that of step {steps[0]} is kept" if steps else "though there is none yet"
        self._warn(
            f"no checkpoint of step {self._saving} in {self._folder} ({_reason(error)}): training "
            f"goes on, {kept}; put this right meanwhile, or stop and choose another --workdir"
        )

    def _drop(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            with contextlib.suppress(Exception):  # told of already
                manager.close()


def saved_steps(folder: Path) -> list[int]:
    """Lists the steps that a folder has checkpoints of.

    Args:
        folder: of the checkpoints; it need not be there.

    Returns:
        The steps, newest first, those of damaged checkpoints, too: orbax passes over some.
    """
    names = (path.name for path in folder.glob("*") if path.is_dir())
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _orbax() -> Any:
    """Imports orbax, which takes a while, and silences its log."""
    import orbax.checkpoint

    logging.getLogger("absl").addFilter(_is_not_orbax)  # once, however often
    return orbax.checkpoint


def _is_not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in Path(record.pathname).parts


def _pack(tree: PyTree) -> bytes:
    """A copy of a tree's arrays: the next step overwrites the originals."""
    arrays = jax.device_get(named_leaves(tree))
    return safetensors.numpy.save({n: np.asarray(a, order="C") for n, a in arrays.items()})


def _unpack(arrays: bytes, target: PyTree, folder: Path) -> PyTree:
    """The arrays in the target's tree, or an error that says what is different."""
    found = safetensors.numpy.load(arrays)
    there = {name: f"{x.dtype}{list(x.shape)}" for name, x in found.items()}
    here = {name: f"{np.dtype(x.dtype)}{list(x.shape)}" for name, x in named_leaves(target).items()}
    differ = [name for name in sorted({**here, **there}) if here.get(name) != there.get(name)]
    if differ:
        name = differ[0]
        more = f", and {len(differ) - 1} more differ" if len(differ) > 1 else ""
        raise NstjaxError(
            f"the checkpoint in {folder} is of another network or optimiser: {name} is "
            f"{there.get(name, 'missing')} there and {here.get(name, 'missing')} in this run{more}"
            "; use its settings, or another --workdir"
        )
    return jax.tree.structure(target).unflatten([found[name] for name in here])


def _digest(about: Mapping[str, Any], arrays: bytes) -> str:
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    digest.update(arrays)
    return digest.hexdigest()


def _from_first_process(data: bytes) -> bytes:
    """What the first process has, in all of them."""
    if jax.process_count() == 1:
        return data
    from jax.experimental import multihost_utils

    # As bytes: the values of all processes are summed, which would turn a float's -0 into 0.
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    own = np.frombuffer(data, np.int8) if jax.process_index() == 0 else np.zeros(size, np.int8)
    return np.asarray(multihost_utils.broadcast_one_to_all(own)).tobytes()


def _reason(error: Exception) -> str:
    """What went wrong, without the pages that TensorStore adds."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    if system := re.search(r"os_error_code='(\d+)'", text):
        return os.strerror(int(system[1]))
    if isinstance(error, KeyError):
        return f"something is missing: {error.args[0]}"
    return textwrap.shorten(text.partition(" [tensorstore_spec=")[0], 150, placeholder=" …")
