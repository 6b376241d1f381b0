"""The photographs of a run's steps, on their way to the devices, and what happens without any."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from nstjax.errors import NstjaxError
from nstjax.fast.data import Batches
from nstjax.fast.parallel import shard

Position = dict[str, Any]  # in the data, as `Batches.get_state` returns it


class Feed:
    """The batches of the steps that a run still has to do.

    An error of the data is kept: raised at once, it would lose what has been learned since the last
    checkpoint. And other processes would wait for this one forever: it takes part in their steps,
    with a batch that stands in, until they know.

    Attributes:
        error: why there are no photographs any more; None while there are.
    """

    def __init__(
        self, batches: Batches, *, steps: int, shape: tuple[int, ...], warn: Callable[[str], object]
    ) -> None:
        """Prepares the feed.

        Args:
            batches: the photographs, from where the run begins.
            steps: how many there are still to be done.
            shape: of this process's part of a batch.
            warn: called with a message about each photograph that is broken, once.
        """
        self.error: NstjaxError | None = None
        self._batches = batches
        self._left = steps
        self._shape = shape
        self._warn = warn
        self._named_broken = len(batches.broken)
        self._position = batches.get_state()
        self._last: Any = None

    @property
    def waited(self) -> float:
        """The seconds that were spent waiting for photographs so far."""
        return self._batches.waited

    def next(self) -> tuple[Any, Position]:
        """Fetches what the next step trains on.

        Returns:
            The batch on the devices, None if there is to be no further step; and the position in
            the data of a run that has done that step.
        """
        if self._left <= 0:
            return None, self._position
        self._left -= 1
        if self.error is None:
            try:
                self._last = shard(self._next_photographs())
                self._position = self._batches.get_state()
            except NstjaxError as error:
                self.error = error
        if self.error is not None and jax.process_count() == 1:
            return None, self._position
        if self._last is None:
            self._last = shard(np.zeros(self._shape, np.float32))
        return self._last, self._position

    def _next_photographs(self) -> Float[np.ndarray, "n h w 3"]:
        """The next photographs; tells of broken ones."""
        photographs = next(self._batches)
        for message in list(self._batches.broken.values())[self._named_broken :]:
            self._warn(f"skipped: {message}")
        self._named_broken = len(self._batches.broken)
        return photographs
