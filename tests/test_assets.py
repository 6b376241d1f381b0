"""The table, and the order in which weights are looked for."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from nstjax.assets import VGG_WEIGHTS, Asset, find_weights
from nstjax.errors import NstjaxError

PUBLISHED = "vgg19_weights_tf_dim_ordering_tf_kernels_notop"
PUBLISHED_TOP = "vgg19_weights_tf_dim_ordering_tf_kernels"
CONTENT = b"weights"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, an offline machine, and no assets."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NSTJAX_CACHE", str(folder))
    monkeypatch.setenv("NSTJAX_OFFLINE", "1")
    monkeypatch.delenv("NSTJAX_ASSETS", raising=False)
    return folder


@pytest.fixture
def assets(tmp_path, monkeypatch):
    folder = tmp_path / "assets"
    folder.mkdir()
    monkeypatch.setenv("NSTJAX_ASSETS", str(folder))
    return folder


@pytest.fixture
def small_weights(monkeypatch):
    """Table entries for VGG19 that a file of seven bytes can satisfy."""
    for top, filename in ((False, f"{PUBLISHED}.h5"), (True, f"{PUBLISHED_TOP}.h5")):
        asset = Asset(
            filename=filename,
            url=f"http://127.0.0.1:9/{filename}",
            size=len(CONTENT),
            md5=hashlib.md5(CONTENT).hexdigest(),
            licence="none",
            credit="nobody",
        )
        monkeypatch.setitem(VGG_WEIGHTS, ("vgg19", top), asset)


def put(folder: Path, name: str, content: bytes = CONTENT) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


def test_table_is_well_formed():
    assert set(VGG_WEIGHTS) == {(n, t) for n in ("vgg16", "vgg19") for t in (False, True)}
    for (network, top), asset in VGG_WEIGHTS.items():
        assert asset.filename.startswith(network)
        assert asset.filename.endswith("_kernels.h5" if top else "_notop.h5")
        assert asset.url.startswith("https://")
        assert asset.url.endswith(f"/{network}/{asset.filename}")
        assert len(bytes.fromhex(asset.md5)) == 16
        assert asset.sha256 is None or len(bytes.fromhex(asset.sha256)) == 32
        assert asset.licence
        assert asset.credit


@pytest.mark.parametrize(
    ("network", "classifier"), [("vgg16", 138_357_544), ("vgg19", 143_667_240)]
)
def test_table_sizes_fit_the_parameter_counts(network, classifier):
    # The counts Keras documents; float32, so four bytes each, plus HDF5's own structure.
    without = {"vgg16": 14_714_688, "vgg19": 20_024_384}[network]
    for top, parameters in ((False, without), (True, classifier)):
        overhead = VGG_WEIGHTS[network, top].size - 4 * parameters
        assert 0 < overhead < 100_000


def test_import_is_cheap():
    code = "import sys, nstjax.assets; print({'pooch', 'requests', 'tqdm'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_network_lists_the_networks_once():
    with pytest.raises(NstjaxError, match=r"did you mean 'vgg19'\? \(accepted: vgg16, vgg19\)"):
        find_weights("vgg-19")


def test_a_named_file_comes_before_everything(tmp_path, assets, cache, small_weights):
    put(assets, "vgg19_notop.h5")
    put(cache, f"{PUBLISHED}.h5")
    mine = put(tmp_path, "mine.h5")
    assert find_weights("vgg19", path=mine) == mine
    assert find_weights("vgg19", path=str(mine)) == mine


def test_the_order_of_places_and_names(assets, cache, small_weights):
    # From the last to be considered to the first: each new file wins over those before it.
    places = [
        (cache, f"{PUBLISHED_TOP}.h5"),
        (cache, f"{PUBLISHED}.h5"),
        (assets, "vgg19.safetensors"),
        (assets, "vgg19.h5"),
        (assets, f"{PUBLISHED_TOP}.safetensors"),
        (assets, f"{PUBLISHED_TOP}.h5"),
        (assets, "vgg19_notop.safetensors"),
        (assets, "vgg19_notop.h5"),
        (assets, f"{PUBLISHED}.safetensors"),
        (assets, f"{PUBLISHED}.h5"),
    ]
    for folder, name in places:
        expected = put(folder, name)
        assert find_weights("vgg19") == expected


def test_a_file_without_the_classifier_does_not_serve_for_one_with_it(assets, cache, small_weights):
    put(assets, "vgg19_notop.h5")
    put(cache, f"{PUBLISHED}.h5")
    with pytest.raises(NstjaxError, match=rf"^{PUBLISHED_TOP}\.h5 is not on this machine"):
        find_weights("vgg19", top=True)
    with_top = put(assets, "vgg19.h5")
    assert find_weights("vgg19", top=True) == with_top


def test_one_network_does_not_serve_for_the_other(assets):
    put(assets, "vgg19_notop.h5")
    with pytest.raises(NstjaxError, match=r"^vgg16_.* is not on this machine"):
        find_weights("vgg16")


def test_offline_message_says_what_to_get_where_and_where_to_put_it(cache):
    with pytest.raises(NstjaxError) as caught:
        find_weights("vgg19")
    assert str(caught.value) == (
        "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 is not on this machine and "
        "NSTJAX_OFFLINE forbids downloading it: get it from https://storage.googleapis.com/"
        "tensorflow/keras-applications/vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5 "
        f"and put it in {cache}, or set NSTJAX_ASSETS to the folder it is in, "
        "or pass its path with --vgg-weights"
    )


def test_following_the_offline_message_works(cache, small_weights):
    expected = put(cache, f"{PUBLISHED}.h5")
    assert find_weights("vgg19") == expected


def test_a_cached_file_cut_short_is_not_used(cache):
    put(cache, f"{PUBLISHED}.h5", b"half")
    with pytest.raises(NstjaxError, match=r"has 4 bytes instead of 80,134,624"):
        find_weights("vgg19")


def test_unusable_files_are_named(tmp_path):
    for path, fault in [
        (tmp_path / "missing.h5", "No such file"),
        (tmp_path, "Is a directory"),
        (put(tmp_path, "empty.h5", b""), "empty file"),
    ]:
        with pytest.raises(NstjaxError, match=fault) as caught:
            find_weights("vgg19", path=path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unusable_asset_is_an_error_rather_than_a_reason_to_download(assets):
    (assets / "vgg19_notop.h5").mkdir()
    with pytest.raises(NstjaxError, match=r"vgg19_notop\.h5 \(Is a directory\)"):
        find_weights("vgg19")
    put(assets, "vgg16_notop.h5", b"")
    with pytest.raises(NstjaxError, match=r"vgg16_notop\.h5 are an empty file"):
        find_weights("vgg16")


def test_assets_folder_that_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("NSTJAX_ASSETS", str(tmp_path / "typo"))
    with pytest.raises(NstjaxError, match=r"NSTJAX_ASSETS names .*typo, which is not a folder"):
        find_weights("vgg19")


def test_a_cache_that_cannot_be_created(tmp_path, monkeypatch):
    monkeypatch.setenv("NSTJAX_CACHE", str(put(tmp_path, "file") / "cache"))
    with pytest.raises(NstjaxError, match="is not on this machine"):
        find_weights("vgg19")
    monkeypatch.setenv("NSTJAX_OFFLINE", "0")
    with pytest.raises(NstjaxError, match="cannot create the cache folder"):
        find_weights("vgg19")
