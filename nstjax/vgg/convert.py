"""Reads the weight files that people have into one dict of parameters.

Every reader takes a path and returns `{layer name: {"kernel": ..., "bias": ...}}` in Keras' naming
and HWIO layout, or raises an error for people. None of them ever unpickles.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nstjax.errors import NstjaxError
from nstjax.vgg.layers import CONVOLUTIONS, kernel_shapes, layer_names

Arrays = dict[str, dict[str, np.ndarray]]
_LAYER = re.compile(r"block\d_conv\d|fc1|fc2|predictions")
_FEATURES = re.compile(r"features\.(\d+)\.")
_DENSE = ("fc1", "fc2", "predictions")


def read_keras_h5(path: Path) -> Arrays:
    """Reads a Keras HDF5 file: the published ones, `model.save`'s, or a Keras 3 `.weights.h5`.

    Args:
        path: the file.

    Returns:
        The parameters by layer.

    Raises:
        NstjaxError: if the file is truncated, is not HDF5 or holds no VGG.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            arrays = [(name, np.asarray(data)) for name, data in _datasets(file)]
    except (OSError, RuntimeError, KeyError) as error:
        raise NstjaxError(
            f"{path} is damaged or no HDF5 file: delete it and get the weights again"
        ) from error
    return _by_layer(arrays, path)


def _datasets(file) -> Iterator[tuple[str, object]]:
    """All arrays, named by their path and, as Keras 3 does, by their group's attribute."""
    import h5py

    found: list[tuple[str, h5py.Dataset]] = []

    def visit(name: str, item: object) -> None:
        # `model.save` names the optimiser's moments after the layers too.
        if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
            label = item.parent.attrs.get("name", "") if item.parent is not None else ""
            found.append((f"{name} {label}", item))

    file.visititems(visit)
    yield from found


def _by_layer(arrays: list[tuple[str, np.ndarray]], path: Path) -> Arrays:
    params: Arrays = {}
    for name, array in arrays:
        match = _LAYER.search(name)
        if match and array.ndim in (1, 2, 4):
            kind = "bias" if array.ndim == 1 else "kernel"
            params.setdefault(match.group(), {})[kind] = array.astype(np.float32)
    if not params:
        raise NstjaxError(f"{path} holds no VGG layers: pass a VGG16 or VGG19 weights file")
    return params


def read_safetensors(path: Path) -> tuple[Arrays, str]:
    """Reads a safetensors file in this project's own naming or torchvision's.

    Args:
        path: the file.

    Returns:
        The parameters by layer, and the preprocessing they need (`"caffe"` or `"torchvision"`).

    Raises:
        NstjaxError: if the file is damaged or holds no VGG.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise NstjaxError(
            f"{path} is damaged or no safetensors file: delete it and get the weights again"
        ) from error
    except (TypeError, AttributeError) as error:  # a number format that NumPy lacks
        raise NstjaxError(f"{path} cannot be read ({error}): save it as float32") from error
    if any(_FEATURES.match(name) for name in arrays):
        return _from_torchvision(arrays, path), "torchvision"
    return _by_layer(list(arrays.items()), path), metadata.get("preprocessing", "caffe")


def _from_torchvision(arrays: dict[str, np.ndarray], path: Path) -> Arrays:
    numbers = sorted({int(match[1]) for name in arrays if (match := _FEATURES.match(name))})
    stems = [f"features.{number}" for number in numbers]
    kernels = [arrays.get(f"{stem}.weight") for stem in stems]
    plain = all(kernel is not None and kernel.ndim == 4 for kernel in kernels)
    network = next((n for n, c in CONVOLUTIONS.items() if plain and sum(c) == len(stems)), None)
    if network is None:
        kind = "plain" if plain else "batch-normalised"
        raise NstjaxError(
            f"{path} has {len(stems)} {kind} layers of features: "
            "pass torchvision's plain VGG16 (13) or VGG19 (16)"
        )
    convolutions = [name for name in layer_names(network) if "conv" in name]
    layers = dict(zip(stems, convolutions, strict=True))
    layers |= zip(("classifier.0", "classifier.3", "classifier.6"), _DENSE, strict=True)
    params: Arrays = {}
    for stem, layer in layers.items():
        for kind, name in (("kernel", f"{stem}.weight"), ("bias", f"{stem}.bias")):
            if name in arrays:  # `check_shapes` reports what is missing
                array = _in_keras_layout(arrays[name], layer)
                params.setdefault(layer, {})[kind] = np.ascontiguousarray(array, np.float32)
    return params


def _in_keras_layout(array: np.ndarray, layer: str) -> np.ndarray:
    """Converts PyTorch's layout to Keras'."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
    kernel = array.T
    if layer == "fc1" and len(kernel) == 512 * 7 * 7:
        # Its input is flattened CHW there, HWC here.
        kernel = kernel.reshape(512, 7, 7, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)
    return kernel


def check_shapes(params: Arrays, network: str, path: Path) -> bool:
    """Checks that parameters are those of a network.

    Args:
        params: as the readers return them.
        network: `"vgg16"` or `"vgg19"`.
        path: the file they came from, for the message.

    Returns:
        Whether the classifier is among them.

    Raises:
        NstjaxError: if they belong to another network, or layers are missing or misshapen.
    """
    top = all(layer in params for layer in _DENSE)
    expected = kernel_shapes(network, top=top)
    for other in CONVOLUTIONS:
        names = set(kernel_shapes(other))
        if other != network and {name for name in params if name.startswith("block")} == names:
            raise NstjaxError(
                f"{path} holds the weights of {other}, not of {network}: "
                f"use --network {other}, or the weights of {network}"
            )
    for layer, shape in expected.items():
        arrays = params.get(layer, {})
        found = {kind: a.shape for kind, a in arrays.items()}
        if found != {"kernel": shape, "bias": shape[-1:]}:
            raise NstjaxError(
                f"{path} is no complete set of {network} weights: layer {layer} should have a "
                f"kernel of shape {shape} with its bias, and has {found or 'nothing'}"
            )
        if not all(np.isfinite(a).all() for a in arrays.values()):
            raise NstjaxError(
                f"{path} has values that are not finite in layer {layer}: get it again"
            )
    return top
