"""Finds the VGG weights: named, among the user's assets, in the cache, or downloaded."""

import os
from pathlib import Path

from nstjax.assets.cache import assets_path, cache_dir, cache_path, is_offline
from nstjax.assets.download import download
from nstjax.assets.table import VGG_WEIGHTS
from nstjax.errors import NstjaxError, unknown_choice


def find_weights(
    network: str,
    *,
    top: bool = False,
    path: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Path:
    """Finds the file with a VGG network's ImageNet weights, downloading it as the last resort.

    The first of these that there is: `path`; a file in the folder `$NSTJAX_ASSETS`, under the
    published name or the short one (`vgg19_notop.h5`, `vgg19.h5`), as `.h5` or `.safetensors`; the
    published file in the cache; the published file, downloaded into the cache unless
    `$NSTJAX_OFFLINE` is `1`. A file with the classifier also serves where none is asked for.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        top: whether the fully connected layers of the classifier are needed.
        path: the file to use, in place of any search.
        progress: show a progress bar on stderr while downloading.

    Returns:
        A readable file that is not empty.

    Raises:
        NstjaxError: the network is unknown, a named file or folder cannot be used, or the weights
            are nowhere to be found and cannot be downloaded.

    Example:
        >>> find_weights("vgg19").name  # doctest: +SKIP
        'vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5'
    """
    if (network, top) not in VGG_WEIGHTS:
        raise unknown_choice("network", network, dict.fromkeys(name for name, _ in VGG_WEIGHTS))
    if path is not None:
        return _readable(Path(os.path.expanduser(path)))
    serving = (True,) if top else (False, True)
    return (
        _among_assets(network, serving)
        or _in_cache(network, serving)
        or _downloaded(network, top, progress=progress)
    )


def _among_assets(network: str, serving: tuple[bool, ...]) -> Path | None:
    folder = assets_path()
    if folder is None:
        return None
    for top in serving:
        published = Path(VGG_WEIGHTS[network, top].filename).stem
        short = network if top else f"{network}_notop"
        for stem in (published, short):
            for suffix in (".h5", ".safetensors"):
                candidate = folder / f"{stem}{suffix}"
                if os.path.exists(candidate):
                    return _readable(candidate)
    return None


def _in_cache(network: str, serving: tuple[bool, ...]) -> Path | None:
    for top in serving:
        asset = VGG_WEIGHTS[network, top]
        candidate = cache_path() / asset.filename
        # Files put there by hand may be cut short; the digest is too slow to check every time.
        if os.path.isfile(candidate) and candidate.stat().st_size == asset.size:
            return _readable(candidate)
    return None


def _downloaded(network: str, top: bool, *, progress: bool) -> Path:
    asset = VGG_WEIGHTS[network, top]
    folder = cache_path()
    by_hand = (
        f"get it from {asset.url} and put it in {folder}, "
        "or set NSTJAX_ASSETS to the folder it is in, or pass its path with --vgg-weights"
    )
    if not is_offline():
        return download(asset, cache_dir(), by_hand=by_hand, progress=progress)
    present = folder / asset.filename
    state = (
        f"in {folder} has {present.stat().st_size:,} bytes instead of {asset.size:,}"
        if os.path.isfile(present)
        else "is not on this machine"
    )
    raise NstjaxError(
        f"{asset.filename} {state} and NSTJAX_OFFLINE forbids downloading it: {by_hand}"
    )


def _readable(path: Path) -> Path:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise NstjaxError(
            f"cannot read the VGG weights {path} ({error.strerror}): name a Keras .h5 file or a "
            ".safetensors file, or name none to have the published one downloaded"
        ) from error
    if empty:
        raise NstjaxError(f"the VGG weights {path} are an empty file: delete it or copy it again")
    return path
