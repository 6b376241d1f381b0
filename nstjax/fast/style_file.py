"""Trained styles as files: a network's weights in half precision, with a description.

They are safetensors files, which run no code when they are read, and can be read without JAX. The
header holds one entry, as JSON: several would be written in random order.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nstjax.errors import NstjaxError
from nstjax.fast.tree import named_leaves
from nstjax.files import write_whole

HEADER = "nstjax-style-1"
"""The header's entry, with the version of the format."""

_VGG = re.compile(r"block\d_conv\d|features\.\d|classifier\.\d")
_PICKLES = (b"PK\x03\x04", b"\x80")  # the first bytes of PyTorch's files, and of a bare pickle


class StyleFile(NamedTuple):
    """A trained style.

    Attributes:
        params: of the network, float32, as nested dicts.
        config: the network's architecture.
        provenance: where it comes from.
    """

    params: dict[str, Any]
    config: dict[str, Any]
    provenance: dict[str, Any]


def save_style(
    path: str | Path,
    params: Mapping[str, Any],
    *,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Writes a trained style. The same style gives the same bytes.

    Args:
        path: where to.
        params: of the network: arrays in nested dicts.
        config: the network's architecture, which JSON can hold.
        provenance: where it comes from, likewise.

    Raises:
        NstjaxError: if a value is beyond float16, or the file cannot be written.
    """
    from safetensors.numpy import save

    arrays = {name: _half(name, array) for name, array in named_leaves(params).items()}
    about = {"config": dict(config), "provenance": dict(provenance)}
    header = {HEADER: json.dumps(about, sort_keys=True, ensure_ascii=False)}
    write_whole(Path(path), save(arrays, metadata=header))


def load_style_file(path: str | Path) -> StyleFile:
    """Reads a trained style.

    Args:
        path: the file.

    Returns:
        The style.

    Raises:
        NstjaxError: if there is no such file, or it is damaged or something else.
    """
    from safetensors import SafetensorError, safe_open

    path, start = Path(path), b""
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        with safe_open(path, "numpy") as file:
            about = _about(path, file.metadata() or {}, list(file.keys()))
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        if isinstance(error, NstjaxError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise NstjaxError(f"{path} cannot be read ({reason}): pass a trained style") from error
    except SafetensorError as error:
        if start.startswith(_PICKLES):
            raise NstjaxError(
                f"{path} is a pickle, which could run anything if it were read, or an archive: "
                "pass the .safetensors file of a style"
            ) from error
        raise NstjaxError(
            f"{path} is damaged or no safetensors file: get or export the style again"
        ) from error
    except (TypeError, AttributeError) as error:  # a number format that NumPy lacks
        raise NstjaxError(f"{path} cannot be read ({error}): save it as float16") from error
    return StyleFile(_nested(path, arrays), about["config"], about["provenance"])


def _about(path: Path, metadata: Mapping[str, str], names: list[str]) -> dict[str, Any]:
    """The header's entry, or an error that says what the file is instead."""
    if HEADER not in metadata:
        what = "nothing that says it is one"
        if any(_VGG.match(name) for name in names):
            what = "the weights of VGG, which --vgg-weights takes"
        elif others := [name for name in metadata if name.startswith("nstjax-style-")]:
            what = f"one of another version, {others[0]}, where this one reads {HEADER}"
        raise NstjaxError(
            f"{path} is no trained style of this program: it holds {what}; "
            "pass a file that `nstjax train` exported"
        )
    try:
        about = json.loads(metadata[HEADER])
        about = {name: dict(about[name]) for name in ("config", "provenance")}
    except (ValueError, TypeError, KeyError) as error:
        raise NstjaxError(
            f"{path} has a damaged header ({HEADER}: {error}): get or export the style again"
        ) from error
    return about


def _half(name: str, array: Any) -> np.ndarray:
    array = np.asarray(array, np.float32, order="C")
    with np.errstate(over="ignore"):  # told of below
        half = array.astype(np.float16)
    wrong = ~np.isfinite(half)
    if wrong.any():
        raise NstjaxError(
            f"the style cannot be exported: {name} holds {array[wrong].flat[0]}, and float16 ends "
            f"at {np.finfo(np.float16).max:.0f}; train it anew with a smaller learning rate"
        )
    return half


def _nested(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            full = array.astype(np.float32)
        *folders, leaf = name.split("/")
        inner: Any = params
        for folder in folders:
            inner = inner.setdefault(folder, {}) if isinstance(inner, dict) else None
        if not isinstance(inner, dict) or array.dtype.kind != "f" or not np.isfinite(full).all():
            raise NstjaxError(
                f"{path} is damaged: {name} ({array.dtype}) is no array of finite numbers with a "
                "place in a network; get or export the style again"
            )
        inner[leaf] = full
    return params
