"""What the tests share: no network, a cache of their own, weights, and a count of compilations."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from commands import picture
from golden import inputs
from safetensors.numpy import save_file

from nstjax.fast.parallel import _compiled_once
from nstjax.recipes import get_recipe
from nstjax.settings import Recipe, override
from nstjax.vgg import Weights, load_weights

COMPILED = "/jax/core/compile/backend_compile_duration"
_MOST_WORKERS = 2  # each comes to take some 7 GB
_ON_GPU = Path("/dev/nvidia0").exists()


def pytest_xdist_auto_num_workers(config) -> int:
    """All tests on several cores, as compiling takes one; some, or on a GPU, in one process."""
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if not everything or _ON_GPU:
        return 0
    return min(os.cpu_count() or 1, _MOST_WORKERS)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keeps the tests out of the user's cache, and off the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NSTJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("NSTJAX_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def quick_compilation():
    """Compiles in half the time, to slower programs, in tests of which that is most of the time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", not _ON_GPU)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    # Other tests compare bits with those of other processes.
    jax.clear_caches()
    _compiled_once.cache_clear()


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder with real weights, photographs and paintings."""
    folder = os.environ.get("NSTJAX_ASSETS")
    if not folder:
        pytest.skip(
            "NSTJAX_ASSETS is not set to a folder with vgg19_notop.h5, content/ and styles/"
        )
    return Path(folder)


@pytest.fixture(scope="session")
def vgg19_weights(assets) -> Weights:
    """VGG19's ImageNet weights, without the classifier."""
    return load_weights("vgg19", path=assets / "vgg19_notop.h5")


def random_weights(network: str = "vgg19", *, top: bool = False) -> Weights:
    """The seeded random weights that the golden values were computed with."""
    params = {
        layer: {"kernel": kernel, "bias": bias}
        for layer, kernel, bias in inputs.vgg_weights(network, top)
    }
    return Weights(network, "caffe", params, top, sha256="0" * 64)


@pytest.fixture(scope="session")
def random_vgg19() -> Weights:
    return random_weights()


@pytest.fixture(scope="session")
def random_vgg16() -> Weights:
    return random_weights("vgg16")


@pytest.fixture(scope="session")
def random_vgg16_top() -> Weights:
    """550 MB: the one network with its classifier that the tests make."""
    return random_weights("vgg16", top=True)


@pytest.fixture(scope="session")
def shallow_vgg19() -> Weights:
    """Random weights of VGG19's first two blocks, which is all that cheap tests need."""
    blocks = {
        layer: {"kernel": kernel, "bias": bias}
        for layer, kernel, bias in inputs.vgg_weights("vgg19", include_top=False)
        if layer < "block3"
    }
    return Weights("vgg19", "caffe", blocks, top=False, sha256="0" * 64)


@pytest.fixture(scope="session")
def shallow_recipe() -> Recipe:
    """The tutorial's recipe on two layers of `shallow_vgg19`, at 32 pixels, its terms balanced."""
    return override(
        get_recipe("tensorflow"),
        content_layers=(("block2_conv1", 1.0),),
        style_layers=(("block1_conv1", 0.5), ("block2_conv1", 0.5)),
        content_weight=0.1,
        style_weight=1e-4,
        tv_weight=0.1,
        size=32,
        steps=5,
    )


@pytest.fixture(scope="session")
def weights_file(random_vgg19, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg19_notop.safetensors"
    params = random_vgg19.params
    save_file({f"{name}/{kind}": a for name, p in params.items() for kind, a in p.items()}, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch, weights_file):
    """The current folder, with a photograph, a painting, and the weights where they are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NSTJAX_ASSETS", str(weights_file.parent))
    picture("photo.jpg", 40, 30, seed=1)
    picture("painting.png", 36, 36, seed=2)
    return tmp_path


@pytest.fixture
def compilations():
    """A list that grows by one with every program that XLA compiles."""
    found: list[str] = []

    def listener(event: str, duration_secs: float, **_: str | int) -> None:
        del duration_secs
        if event == COMPILED:
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield found
    jax.monitoring.unregister_event_duration_listener(listener)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
