"""Weight files in every layout that people have, whole and damaged, and their conversion."""

import hashlib
import sys

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

import nstjax.vgg.weights
from nstjax.assets import cache_dir
from nstjax.errors import NstjaxError
from nstjax.vgg import Weights, layer_names, load_weights
from nstjax.vgg.convert import read_keras_h5, read_safetensors


def write_published(file, params):
    """Groups by layer name, as `vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5` has them."""
    file.attrs["layer_names"] = [name.encode() for name in layer_names("vgg16")]
    for name in layer_names("vgg16"):
        group = file.create_group(name)
        names = [f"{name}_W_1:0", f"{name}_b_1:0"] if name in params else []
        group.attrs["weight_names"] = [weight.encode() for weight in names]
        for weight, kind in zip(names, ("kernel", "bias"), strict=False):
            group[weight] = params[name][kind]


def write_saved_model(file, params):
    """`model.save("….h5")` after training, the optimiser's moments included."""
    for name, arrays in params.items():
        for kind, array in arrays.items():
            file[f"model_weights/{name}/vgg16/{name}/{kind}"] = array
    name = "vgg16_block1_conv1_kernel_velocity"
    file[f"optimizer_weights/adam/{name}"] = np.zeros((3, 3, 3, 64), np.float32)
    file["optimizer_weights/adam/vgg16_block1_conv1_bias_velocity"] = np.zeros(64, np.float32)


def write_keras3(file, params):
    """`model.save_weights("….weights.h5")`: numbered groups, the layer's name an attribute."""
    for i, (name, arrays) in enumerate(params.items()):
        group = file.create_group(f"layers/conv2d{f'_{i}' if i else ''}/vars")
        group.attrs["name"] = name
        group["0"], group["1"] = arrays["kernel"], arrays["bias"]
    file["optimizer/vars/2"] = np.zeros((3, 3, 3, 64), np.float32)


LAYOUTS = {"published": write_published, "saved": write_saved_model, "keras3": write_keras3}


def write_h5(path, params, layout="published"):
    with h5py.File(path, "w") as file:
        LAYOUTS[layout](file, params)
    return path


@pytest.fixture(scope="module")
def params(random_vgg16):
    return random_vgg16.params


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NSTJAX_CACHE", str(tmp_path / "cache"))


def check_equal(params, expected):
    assert {name: set(kinds) for name, kinds in params.items()} == {
        name: set(kinds) for name, kinds in expected.items()
    }
    for name, kinds in expected.items():
        for kind, array in kinds.items():
            assert params[name][kind].dtype == np.float32
            np.testing.assert_array_equal(params[name][kind], array)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keras_layouts(tmp_path, cache, params, layout):
    path = write_h5(tmp_path / "own.h5", params, layout)
    weights = load_weights("vgg16", path=path)
    assert (weights.network, weights.preprocessing, weights.top) == ("vgg16", "caffe", False)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    check_equal(weights.params, params)


@pytest.mark.parametrize("preprocessing", ["caffe", "torchvision"])
def test_own_safetensors(tmp_path, params, preprocessing):
    flat = {f"{layer}/{kind}": a for layer, kinds in params.items() for kind, a in kinds.items()}
    save_file(flat, tmp_path / "own.safetensors", metadata={"preprocessing": preprocessing})
    weights = load_weights("vgg16", path=tmp_path / "own.safetensors")
    assert weights.preprocessing == preprocessing
    check_equal(weights.params, params)


def test_a_preprocessing_that_is_unknown(tmp_path, params):
    flat = {f"{layer}/{kind}": a for layer, kinds in params.items() for kind, a in kinds.items()}
    path = tmp_path / "own.safetensors"
    save_file(flat, path, metadata={"preprocessing": "cafe"})
    message = r"own\.safetensors: unknown preprocessing 'cafe': did you mean 'caffe'\?.*; correct"
    with pytest.raises(NstjaxError, match=message):
        load_weights("vgg16", path=path)


def test_weights_can_be_compared_and_hashed(params):
    one, other = (Weights("vgg16", "caffe", params, top=False, sha256="0") for _ in range(2))
    assert one != other
    assert len({one, other, one}) == 2


def torchvision_arrays(params, *, gaps=(2, 2, 3, 3, 3)):
    """The arrays of torchvision's `vgg16().features`, its layers numbered as there."""
    arrays, number, convolutions = {}, 0, iter(params.values())
    for count in gaps:
        for _ in range(count):
            kinds = next(convolutions)
            kernel = np.ascontiguousarray(kinds["kernel"].transpose(3, 2, 0, 1))
            arrays |= {
                f"features.{number}.weight": kernel,
                f"features.{number}.bias": kinds["bias"],
            }
            number += 2  # its ReLU
        number += 1  # the block's pool
    return arrays


def test_torchvision(tmp_path, params):
    arrays = torchvision_arrays(params)
    assert "features.28.weight" in arrays  # vgg16's last
    save_file(arrays, tmp_path / "vgg16.safetensors")
    weights = load_weights("vgg16", path=tmp_path / "vgg16.safetensors")
    assert (weights.preprocessing, weights.top) == ("torchvision", False)
    check_equal(weights.params, params)


def test_torchvision_classifier(tmp_path, rng):
    """PyTorch flattens channels first, Keras channels last: both must give the same output."""
    small = {str(i): {"kernel": np.ones((3, 3, 1, 1)), "bias": np.ones(1)} for i in range(13)}
    arrays = torchvision_arrays(small)
    for number, shape in ((0, (6, 512 * 7 * 7)), (3, (5, 6)), (6, (4, 5))):
        arrays[f"classifier.{number}.weight"] = rng.random(shape, dtype=np.float32)
        arrays[f"classifier.{number}.bias"] = rng.random(shape[0], dtype=np.float32)
    save_file(arrays, tmp_path / "top.safetensors")
    params, _ = read_safetensors(tmp_path / "top.safetensors")
    pooled = rng.random((7, 7, 512), dtype=np.float32)
    expected = arrays["classifier.0.weight"] @ pooled.transpose(2, 0, 1).ravel()
    np.testing.assert_allclose(pooled.ravel() @ params["fc1"]["kernel"], expected, rtol=1e-4)
    # And entry by entry: channel 3 of row 2, column 5.
    np.testing.assert_array_equal(
        params["fc1"]["kernel"][(2 * 7 + 5) * 512 + 3],
        arrays["classifier.0.weight"][:, 3 * 49 + 2 * 7 + 5],
    )
    for layer, number in (("fc2", 3), ("predictions", 6)):
        np.testing.assert_array_equal(
            params[layer]["kernel"], arrays[f"classifier.{number}.weight"].T
        )
        np.testing.assert_array_equal(params[layer]["bias"], arrays[f"classifier.{number}.bias"])


@pytest.mark.parametrize("convolutions", [13, 8])  # vgg11_bn has as many layers as vgg19
def test_batch_normalised_torchvision(tmp_path, convolutions):
    arrays = {}
    for i in range(convolutions):
        arrays[f"features.{3 * i}.weight"] = np.ones((1, 1, 3, 3), np.float32)
        for kind in ("weight", "bias", "running_mean", "running_var"):
            arrays[f"features.{3 * i + 1}.{kind}"] = np.ones(1, np.float32)
    save_file(arrays, tmp_path / "bn.safetensors")
    message = rf"bn.safetensors has {2 * convolutions} batch-normalised layers of features: pass"
    with pytest.raises(NstjaxError, match=message):
        load_weights(path=tmp_path / "bn.safetensors")


def test_torchvision_without_a_bias(tmp_path, params):
    arrays = torchvision_arrays(params)
    del arrays["features.5.bias"]
    save_file(arrays, tmp_path / "vgg16.safetensors")
    with pytest.raises(NstjaxError, match="layer block2_conv1 should have a kernel of shape"):
        load_weights("vgg16", path=tmp_path / "vgg16.safetensors")


def test_wrong_network(tmp_path, cache, params):
    path = write_h5(tmp_path / "sixteen.h5", params)
    message = r"sixteen\.h5 holds the weights of vgg16, not of vgg19: use --network vgg16"
    with pytest.raises(NstjaxError, match=message):
        load_weights("vgg19", path=path)
    with pytest.raises(NstjaxError, match=r"unknown network 'vgg61'.*accepted: vgg16, vgg19"):
        load_weights("vgg61", path=path)
    with pytest.raises(NstjaxError, match="has no classifier: pass the weights of vgg16 with its"):
        load_weights("vgg16", path=path, top=True)


@pytest.mark.parametrize("length", [10_000, 0.5, -1])
def test_truncated(tmp_path, params, length):
    path = write_h5(tmp_path / "cut.h5", params)
    whole = path.read_bytes()
    path.write_bytes(whole[: length if length != 0.5 else len(whole) // 2])
    with pytest.raises(NstjaxError, match=r"cut\.h5 is damaged or no HDF5 file: delete it"):
        load_weights("vgg16", path=path)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("text.h5", "HDF5"), ("text.pth", "HDF5"), ("text.safetensors", "safetensors")],
)
def test_not_what_its_name_says(tmp_path, name, kind):
    (tmp_path / name).write_text("<html>404 not found</html>" * 100)
    with pytest.raises(NstjaxError, match=f"{name} is damaged or no {kind} file: delete it"):
        load_weights(path=tmp_path / name)


def test_no_vgg_in_it(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["resnet/conv1/kernel"] = np.ones((3, 3, 3, 4))
    save_file({"conv1.weight": np.ones(3)}, tmp_path / "other.safetensors")
    for name in ("other.h5", "other.safetensors"):
        with pytest.raises(NstjaxError, match=f"{name} holds no VGG layers: pass a VGG16 or VGG19"):
            load_weights(path=tmp_path / name)


def without(params, layer):
    return {name: kinds for name, kinds in params.items() if name != layer}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, r"layer block3_conv2 should have a kernel of shape .* and has nothing"),
        (np.zeros((3, 3, 128, 256), np.float32), r"has \{.*\(3, 3, 128, 256\)"),
        (np.full((3, 3, 256, 256), np.nan, np.float32), "not finite in layer block3_conv2: get it"),
        (np.full((3, 3, 256, 256), np.inf, np.float32), "not finite in layer block3_conv2"),
    ],
    ids=["missing", "misshapen", "nan", "inf"],
)
def test_incomplete_sets(tmp_path, cache, params, change, message):
    broken = without(params, "block3_conv2")
    if change is not None:
        broken["block3_conv2"] = {"kernel": change, "bias": params["block3_conv2"]["bias"]}
    with pytest.raises(NstjaxError, match=message) as caught:
        load_weights("vgg16", path=write_h5(tmp_path / "broken.h5", broken))
    assert "broken.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_format_that_numpy_has_not(tmp_path):
    header = b'{"features.0.weight":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path = tmp_path / "half.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(NstjaxError, match=r"half\.safetensors .*"):
        load_weights(path=path)


def test_float16_becomes_float32(tmp_path, params):
    halves = {
        name: {kind: array.astype(np.float16) for kind, array in kinds.items()}
        for name, kinds in params.items()
    }
    expected = {
        name: {kind: array.astype(np.float32) for kind, array in kinds.items()}
        for name, kinds in halves.items()
    }
    check_equal(read_keras_h5(write_h5(tmp_path / "half.h5", halves)), expected)


def test_the_conversion_is_made_once_and_reused(tmp_path, cache, params, monkeypatch):
    path = write_h5(tmp_path / "own.h5", params)
    first = load_weights("vgg16", path=path)
    (conversion,) = cache_dir().iterdir()
    assert conversion.name == f"own-{first.sha256[:16]}.safetensors"
    monkeypatch.setattr(nstjax.vgg.weights, "read_keras_h5", lambda _: pytest.fail("read again"))
    second = load_weights("vgg16", path=path)
    assert (second.sha256, second.preprocessing) == (first.sha256, "caffe")
    check_equal(second.params, params)


def test_another_file_of_the_same_name_is_converted_anew(tmp_path, cache, params):
    path = write_h5(tmp_path / "own.h5", params)
    load_weights("vgg16", path=path)
    changed = params | {"block1_conv1": {k: a + 1 for k, a in params["block1_conv1"].items()}}
    check_equal(load_weights("vgg16", path=write_h5(path, changed)).params, changed)


@pytest.mark.parametrize("keep", [0, 100, 1_000_000])
def test_a_damaged_conversion_is_recovered_from(tmp_path, cache, params, keep):
    path = write_h5(tmp_path / "own.h5", params)
    load_weights("vgg16", path=path)
    (conversion,) = cache_dir().iterdir()
    conversion.write_bytes(conversion.read_bytes()[:keep])
    check_equal(load_weights("vgg16", path=path).params, params)


def test_without_a_cache(tmp_path, params, monkeypatch):
    (tmp_path / "file").write_text("no folder can be made below this")
    monkeypatch.setenv("NSTJAX_CACHE", str(tmp_path / "file" / "cache"))
    path = write_h5(tmp_path / "own.h5", params)
    check_equal(load_weights("vgg16", path=path).params, params)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_without_room_for_the_conversion(tmp_path, cache, params):
    """Files that may not grow stand for a full disk: the system refuses either way."""
    import resource

    path = write_h5(tmp_path / "own.h5", params)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, hard))
    try:
        weights = load_weights("vgg16", path=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    check_equal(weights.params, params)
    assert not list(cache_dir().iterdir())
