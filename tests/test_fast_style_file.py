"""Trained styles as files: what was saved comes back in half precision, and nothing else does."""

import json
import math
import pickle
import struct

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from nstjax.errors import NstjaxError
from nstjax.fast.style_file import HEADER, load_style_file, save_style

CONFIG = {"upsampling": "nearest", "width": 0.5, "norm_last": False}
PROVENANCE = {"style": "Sternennacht – van Gogh", "steps": 40_000, "metrics": {"total": 1.5}}


@pytest.fixture
def params(rng):
    return {
        "conv1": {"kernel": rng.standard_normal((3, 3, 3, 4)).astype(np.float32)},
        "conv1_norm": {"scale": np.ones(4, np.float32), "bias": rng.standard_normal(4)},
        "output_bias": np.zeros(3, np.float32),
    }


@pytest.fixture
def path(tmp_path, params):
    path = tmp_path / "style.safetensors"
    save_style(path, params, config=CONFIG, provenance=PROVENANCE)
    return path


def write(path, arrays, header=None, text=None):
    """A safetensors file with a header of one's own."""
    if header is not None:
        text = json.dumps(header)
    save_file(arrays, path, metadata=None if text is None else {HEADER: text})


def test_comes_back_rounded_to_half_precision(path, params):
    file = load_style_file(path)
    assert (file.config, file.provenance) == (CONFIG, PROVENANCE)
    assert file.params.keys() == params.keys()
    assert file.params["conv1_norm"].keys() == {"scale", "bias"}
    kernel = file.params["conv1"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, params["conv1"]["kernel"].astype(np.float16))
    np.testing.assert_array_equal(file.params["output_bias"], np.zeros(3))


def test_holds_half_precision_under_readable_names(path):
    with safe_open(path, "numpy") as file:
        assert set(file.keys()) == {
            "conv1/kernel",
            "conv1_norm/bias",
            "conv1_norm/scale",
            "output_bias",
        }
        assert file.get_tensor("conv1/kernel").dtype == np.float16
        assert json.loads(file.metadata()[HEADER])["config"] == CONFIG


def test_same_style_same_bytes(tmp_path, path, params):
    backwards = dict(reversed([(k, v) for k, v in params.items()]))
    for copy in range(5):  # an order that is random would be right once
        other = tmp_path / f"{copy}.safetensors"
        save_style(
            other,
            backwards,
            config=dict(reversed(CONFIG.items())),
            provenance=dict(reversed(PROVENANCE.items())),
        )
        assert other.read_bytes() == path.read_bytes()


def test_arrays_of_jax_and_other_orders_are_taken(tmp_path):
    import jax.numpy as jnp

    kernel = np.arange(6, dtype=np.float32).reshape(2, 3).T
    params = {"a": jnp.asarray(kernel), "b": np.asfortranarray(kernel), "c": jnp.float32(2)}
    save_style(tmp_path / "s", params, config={}, provenance={})
    read = load_style_file(tmp_path / "s").params
    np.testing.assert_array_equal(read["a"], kernel)
    np.testing.assert_array_equal(read["b"], kernel)
    assert read["c"].shape == ()


@pytest.mark.parametrize("value", [65_520.0, -1e30, math.inf, math.nan])
def test_what_half_precision_cannot_hold_is_refused(tmp_path, path, params, value):
    before = path.read_bytes()
    params["conv1_norm"]["bias"] = np.array([0, value], np.float32)
    with pytest.raises(NstjaxError, match=r"conv1_norm/bias holds .*65504.*learning rate"):
        save_style(path, params, config=CONFIG, provenance=PROVENANCE)
    assert path.read_bytes() == before
    params["conv1_norm"]["bias"] = np.array([65_504, -65_504], np.float32)
    save_style(path, params, config=CONFIG, provenance=PROVENANCE)


def test_place_that_cannot_be_written(tmp_path, params):
    (tmp_path / "file").touch()
    with pytest.raises(NstjaxError, match="cannot write"):
        save_style(tmp_path / "file" / "s.safetensors", params, config={}, provenance={})


def test_missing_file(tmp_path):
    with pytest.raises(NstjaxError, match=r"none\.safetensors cannot be read \(No such file"):
        load_style_file(tmp_path / "none.safetensors")
    with pytest.raises(NstjaxError, match="cannot be read"):
        load_style_file("a\0b")
    with pytest.raises(NstjaxError, match=r"cannot be read \(Is a directory\)"):
        load_style_file(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_file(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(NstjaxError, match="is damaged or no safetensors file"):
        load_style_file(path)


@pytest.mark.parametrize("data", [b"x" * 100, b"\x89HDF\r\n\x1a\n" + bytes(100), bytes(100)])
def test_other_formats(tmp_path, data):
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(NstjaxError, match="is damaged or no safetensors file"):
        load_style_file(tmp_path / "f")


def test_pickles_are_never_read(tmp_path):
    (tmp_path / "f").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "g").write_bytes(b"PK\x03\x04" + bytes(100))
    for name in "fg":
        with pytest.raises(NstjaxError, match=r"is a pickle.*\.safetensors"):
            load_style_file(tmp_path / name)


def test_another_models_file(tmp_path):
    path = tmp_path / "f.safetensors"
    write(path, {"decoder.weight": np.zeros(3, np.float32)})
    with pytest.raises(NstjaxError, match=r"no trained style.*`nstjax train`"):
        load_style_file(path)
    for name in ("block1_conv1/kernel", "features.0.weight"):
        write(path, {name: np.zeros(3, np.float32)})
        with pytest.raises(NstjaxError, match=r"weights of VGG.*--vgg-weights"):
            load_style_file(path)
    save_file({"a": np.zeros(3, np.float32)}, path, metadata={"nstjax-style-9": "{}"})
    with pytest.raises(NstjaxError, match="another version, nstjax-style-9"):
        load_style_file(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"config": {}}',
        '{"config": 1, "provenance": {}}',
        '{"config": {}, "provenance": "me"}',
    ],
)
def test_wrong_header(tmp_path, text):
    path = tmp_path / "f.safetensors"
    write(path, {"a": np.zeros(3, np.float16)}, text=text)
    with pytest.raises(NstjaxError, match="damaged header"):
        load_style_file(path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.array([1, np.nan], np.float16)},
        {"a": np.array([np.inf], np.float32)},
        {"a": np.array([1, 2])},
        {"a": np.ones(1, np.float16), "a/b": np.ones(1, np.float16)},
        {"a": np.ones(1, np.float16), "a/b/c": np.ones(1, np.float16)},
    ],
)
def test_arrays_of_no_network(tmp_path, arrays):
    path = tmp_path / "f.safetensors"
    write(path, arrays, header={"config": {}, "provenance": {}})
    with pytest.raises(NstjaxError, match="is damaged: a"):
        load_style_file(path)


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E8M0", 1)])
def test_number_formats_that_numpy_has_not(tmp_path, dtype, size):
    path = tmp_path / "f.safetensors"
    entry = {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}
    about = json.dumps({"config": {}, "provenance": {}})
    header = json.dumps({"__metadata__": {HEADER: about}, "a": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    with pytest.raises(NstjaxError, match=str(path)):
        load_style_file(path)
