"""How much memory there is, and which tile makes a run fit into it."""

import math
import numbers
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, cast

import psutil

from nstjax.errors import NstjaxError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS |= {f"{unit}i": 2 ** (10 * power) for power, unit in enumerate("KMGT", 1)}
_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]?i?)B?\s*", re.IGNORECASE)
LEAST_TILE, _MOST_ROWS = 16, 20_000
# Of what is free, this share is planned with: estimates are a little off, and others need some.
_SHARE = 0.9
# Where Linux says in which control groups this process is, and where they are.
_OWN_GROUPS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


class _Hierarchy(NamedTuple):
    """How a version of control groups says what a group may take of memory, and what it takes.

    Of what it takes, `cache` is pages of files that the kernel gives up before it ends a process.
    """

    controller: str
    folder: str
    limit: str
    used: str
    cache: str


_HIERARCHIES = (
    _Hierarchy("", "", "memory.max", "memory.current", "inactive_file"),
    _Hierarchy(
        "memory",
        "memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


@dataclass(frozen=True)
class Plan:
    """How a picture is computed, and why.

    Attributes:
        tile: rows at a time; None: all at once.
        estimate: bytes that this takes at the most.
        room: bytes that there are for it.
    """

    tile: int | None
    estimate: int
    room: int

    def __str__(self) -> str:
        how = f"in tiles of {self.tile} rows" if self.tile else "untiled"
        return f"{how}: about {size_text(self.estimate)} of {size_text(self.room)}"


def parse_size(text: object) -> int:
    """Reads a size of memory.

    Args:
        text: a number and a unit: `4GB`, `512 MiB`, `1.5g`; without a unit, bytes.

    Returns:
        The bytes.

    Raises:
        NstjaxError: if it is none.

    Example:
        >>> parse_size("1.5 GB"), parse_size("2KiB")
        (1500000000, 2048)
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    unit = match[2].upper().replace("I", "i") if match else ""
    size = float(match[1]) * UNITS.get(unit, math.inf) if match else 0.0
    if not 0 < size < math.inf:
        raise NstjaxError(f"{text!r} is no size of memory: write a number and a unit, as in 4GB")
    return int(size)


def parse_tile(tile: object) -> str | int | None:
    """Reads how many rows are to be computed at a time.

    Args:
        tile: an even number from 16 on, also as text; `"auto"`: as memory has it; `"off"` or None:
            all of them.

    Returns:
        The number, `"auto"`, or None for all.

    Raises:
        NstjaxError: if it is none of these.

    Example:
        >>> parse_tile("64"), parse_tile("off")
        (64, None)
    """
    if tile is None or tile == "off":
        return None
    if tile == "auto":
        return "auto"
    if isinstance(tile, str):
        with suppress(ValueError):
            tile = int(tile)
    if isinstance(tile, bool) or not isinstance(tile, numbers.Integral):
        raise NstjaxError(f"tile is {tile!r}: it must be auto, off, or an even number of rows")
    tile = int(tile)
    if not LEAST_TILE <= tile <= _MOST_ROWS:
        raise NstjaxError(
            f"tile is {tile}: it must be {LEAST_TILE} to {_MOST_ROWS} rows, or the rows around a "
            "tile that are computed with it would be more than its own"
        )
    if tile % 2:
        raise NstjaxError(f"tile is {tile}: it must be even, or pools would lie elsewhere")
    return tile


def parse_limit(text: object) -> str | None:
    """Checks a limit of memory, as `parse_size`; None is none."""
    if text is not None:
        parse_size(text)
    return cast(str | None, text)


def size_text(size: int) -> str:
    """Words a size of memory, as in `4.2 GB`."""
    return f"{size / 1e9:.1f} GB"


def device_memory() -> int | None:
    """Returns the bytes that are free for JAX on its first device.

    None on CPU, where JAX uses the host's memory. What an earlier picture or the caller has put on
    the device stays there beside a run, whose estimate does not include it. Only a network's
    weights may be counted twice.
    """
    import jax  # not before the command line has said where compiled programs are kept

    stats = jax.local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit")
    return None if limit is None else max(0, limit - stats.get("bytes_in_use", 0))


def room(limit: str | None) -> int:
    """Returns the bytes that there are for a run: those of a limit, else what is free.

    Args:
        limit: as `parse_size` takes it; None for none.
    """
    return free_memory() if limit is None else parse_size(limit)


def free_memory() -> int:
    """Returns the bytes that a run can plan with.

    On a GPU or TPU, what is free of its memory. On a CPU what this process has and what is free for
    it besides, on the machine and within its control groups: those of a container or a batch job.
    """
    limit = device_memory()
    if limit is None:
        own = psutil.Process().memory_info().rss
        limit = own + min([psutil.virtual_memory().available, *_left_in_groups()])
    return int(_SHARE * limit)


def _left_in_groups() -> Iterator[int]:
    """What is left of each limit that holds for this process: its group's, and those around it."""
    if sys.platform != "linux":
        return
    for hierarchy in _HIERARCHIES:
        own = _own_group(hierarchy.controller)
        for group in (own, *own.parents):
            folder = _GROUPS / hierarchy.folder / group
            # No such group, as a container may see another root; no files of its own; or "max".
            with suppress(OSError, ValueError):
                limit, used = (int((folder / f).read_text()) for f in hierarchy[2:4])
                cached = _cached(folder / "memory.stat", hierarchy.cache)
                yield max(0, limit - max(0, used - cached))


def _own_group(controller: str) -> PurePosixPath:
    """The group that this process is in; the root where that is not said, or outside of it."""
    with suppress(OSError, ValueError):
        for line in _OWN_GROUPS.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(",") and ".." not in path.split("/"):
                return PurePosixPath(path.lstrip("/"))
    return PurePosixPath()


def _cached(statistics: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        lines = statistics.read_text().splitlines()
        pairs = (line.partition(" ") for line in lines)
        return sum(int(value) for key, _, value in pairs if key == name)
    return 0


def smaller_tiles(tile: int | None, candidates: Iterable[int]) -> list[int]:
    """Lists the tiles to go on in where memory proves to be short; None is the whole picture."""
    return [smaller for smaller in candidates if tile is None or smaller < tile]


def choose_tile(
    estimate: Callable[[int | None], int],
    tile: str | int | None,
    *,
    candidates: Iterable[int],
    limit: str | None = None,
) -> Plan:
    """Decides on how many rows a picture is computed at a time.

    Args:
        estimate: from a tile, or None for all at once, to the bytes that it takes.
        tile: as `parse_tile` returns it; a number, and None, are kept to.
        candidates: tiles for `"auto"`, the largest first: the first that fits is taken, if not
            all rows at once fit. Without a limit, the last is tried though it does not.
        limit: bytes that must do, as `parse_size` takes them; None is what is free.

    Returns:
        The plan.

    Raises:
        NstjaxError: if the limit is too small; it names the smallest that is not.

    Example:
        >>> choose_tile(lambda tile: 10**9 * (tile or 64), "auto", candidates=(32, 8), limit="9GB")
        Plan(tile=8, estimate=8000000000, room=9000000000)
    """
    there = room(limit)
    tiles = [None, *candidates] if isinstance(tile, str) else [tile]
    plans = [Plan(rows, estimate(rows), there) for rows in tiles]
    for plan in plans:
        if plan.estimate <= there:
            return plan
    least = min(plans, key=lambda plan: plan.estimate)
    if limit is not None:
        more = "" if tile == "auto" else ", or use --tile auto"
        raise NstjaxError(
            f"memory limit is {limit}, and a picture of this size needs more: set --memory-limit "
            f"{_rounded_up(least.estimate)}{more}, or a smaller --size"
        )
    return least


def _rounded_up(size: int) -> str:
    return f"{-(-size // 10**8) / 10:.1f}GB"


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that there was too little memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
