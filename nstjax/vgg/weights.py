"""VGG weights: a file in, parameters out as NumPy arrays; Keras' files are converted once."""

from dataclasses import dataclass, field
from pathlib import Path

from nstjax import assets
from nstjax.errors import NstjaxError
from nstjax.files import sha256_of
from nstjax.vgg.convert import Arrays, check_shapes, read_keras_h5, read_safetensors
from nstjax.vgg.layers import check_network
from nstjax.vgg.preprocess import check_preprocessing


@dataclass(frozen=True, eq=False)
class Weights:
    """The parameters of a network and what they were trained on.

    Attributes:
        network: `"vgg16"` or `"vgg19"`.
        preprocessing: what `nstjax.vgg.preprocess` must do to their input.
        params: `{layer: {"kernel", "bias"}}`, float32, as `VGG.apply` takes them.
        top: whether the classifier is among them.
        sha256: of the file they were read from.
    """

    network: str
    preprocessing: str
    params: Arrays = field(repr=False)
    top: bool
    sha256: str


def load_weights(
    network: str = "vgg19",
    *,
    path: str | Path | None = None,
    top: bool = False,
    progress: bool = False,
) -> Weights:
    """Finds, if need be downloads, and reads the weights of VGG.

    Keras' HDF5 files are converted to safetensors in the cache the first time they are read.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        path: a Keras `.h5` or a `.safetensors` file; None looks where `nstjax.assets` looks.
        top: whether the classifier is needed.
        progress: whether to show a bar while downloading.

    Returns:
        The weights.

    Raises:
        NstjaxError: if there is no such file and none can be downloaded, or if it is damaged, holds
            another network or names a preprocessing that is unknown.
    """
    check_network(network)
    file = assets.find_weights(network, top=top, path=path, progress=progress)
    sha256 = sha256_of(file)
    if file.suffix == ".safetensors":
        params, preprocessing = read_safetensors(file)
        _check_metadata(file, preprocessing)
    else:
        params, preprocessing = _read_converted(file, sha256), "caffe"
    has_top = check_shapes(params, network, file)
    if top and not has_top:
        raise NstjaxError(f"{file} has no classifier: pass the weights of {network} with its top")
    return Weights(network, preprocessing, params, has_top, sha256)


def _check_metadata(file: Path, preprocessing: str) -> None:
    try:
        check_preprocessing(preprocessing)
    except NstjaxError as error:
        raise NstjaxError(f"{file}: {error}; correct the metadata in its header") from error


def _read_converted(file: Path, sha256: str) -> Arrays:
    """Reads an HDF5 file by way of its conversion in the cache, which loads faster."""
    from safetensors.numpy import save

    def convert(target: Path) -> None:
        params = read_keras_h5(file)
        flat = {
            f"{layer}/{kind}": a for layer, kinds in params.items() for kind, a in kinds.items()
        }
        metadata = {"preprocessing": "caffe", "source_sha256": sha256}
        # Not `save_file`, which raises its own error, not OSError, where the disk is full.
        target.write_bytes(save(flat, metadata=metadata))

    converted = assets.cached_file(f"{file.stem}-{sha256[:16]}.safetensors", convert)
    try:
        return read_safetensors(converted)[0] if converted else read_keras_h5(file)
    except NstjaxError:  # a damaged conversion is no reason to stop: the original is at hand
        return read_keras_h5(file)
