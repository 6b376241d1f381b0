"""A training's numbers for TensorBoard, where it is installed.

Its protocol buffers and its record format are used, and not its file writer, which would load
TensorFlow wherever that is installed.
"""

import contextlib
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any


class TensorBoardLog:
    """Writes numbers to a new event file. A failure ends the file and nothing else.

    Example:
        >>> with TensorBoardLog(Path("run"), first_step=1) as log:
        ...     log.add(1, {"total": 12.5})
    """

    def __init__(self, folder: Path, *, first_step: int):
        """Opens the file.

        Args:
            folder: where to: a run of TensorBoard's; created if need be.
            first_step: what other files there hold from it on is not shown any more.
        """
        self._records: Any = None
        try:
            self._proto = import_module("tensorboard.compat.proto.event_pb2")
            record_writer = import_module("tensorboard.summary.writer.record_writer")
            folder.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time():.6f}.nstjax"
            self._records = record_writer.RecordWriter((folder / name).open("xb"))
        except Exception:  # not installed, or with another version of protobuf; or the disk
            return
        start = self._proto.SessionLog(status=self._proto.SessionLog.START)
        self._write(file_version="brain.Event:2")
        self._write(step=first_step, session_log=start)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a step.

        Args:
            step: its number.
            values: by tag.
        """
        self._write(
            step=step,
            summary={"value": [{"tag": t, "simple_value": float(v)} for t, v in values.items()]},
        )

    def close(self) -> None:
        """Closes the file."""
        records, self._records = self._records, None
        if records is not None:
            with contextlib.suppress(OSError):
                records.close()

    def __enter__(self) -> "TensorBoardLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, **event: Any) -> None:
        if self._records is None:
            return
        try:
            data = self._proto.Event(wall_time=time.time(), **event).SerializeToString()
            self._records.write(data)
            self._records.flush()  # otherwise TensorBoard would lag behind
        except OSError:
            self.close()
