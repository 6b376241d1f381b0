"""Checkpoints: the same bits back, whatever was killed, damaged or full in between."""

import collections
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training import bits

from nstjax.errors import NstjaxError
from nstjax.fast.changes import changed_settings, refuse_changes
from nstjax.fast.checkpoints import Checkpoints

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = {"seed": 0, "layers": [["block1_conv1", 0.2]], "architecture": {"width": 1.0}}


class State(NamedTuple):
    step: np.ndarray
    params: dict
    opt_state: optax.OptState
    key: np.ndarray


def make_state(step: int, width: int = 3) -> State:
    """A state like a training's, with its step in every array."""
    rng = np.random.default_rng(step)
    params = {
        "conv": {"kernel": rng.standard_normal((600, width)).astype(np.float32)},
        "bias": np.full(width, step, np.float32),
    }
    mean, variance = (jax.tree.map(partial(np.multiply, n), params) for n in (0.1, 0.01))
    opt_state = (optax.ScaleByAdamState(np.int32(step), mean, variance), optax.EmptyState())
    key = np.array([step, 2**32 - 1], np.uint32)
    return State(np.asarray(step, np.int32), params, opt_state, key)


def save(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        assert checkpoints.save(
            step, make_state(step), position={"at": step}, config={**CONFIG, "at": step}
        )
    checkpoints.wait()


def restored_step(checkpoints: Checkpoints) -> int:
    """The step of what is restored, once all of it is seen to be of that step."""
    restored = checkpoints.restore(make_state(0))
    assert restored is not None
    step = restored.step
    assert bits(restored.state) == bits(make_state(step))
    assert restored.position == {"at": step}
    assert restored.config == {**CONFIG, "at": step} == checkpoints.latest_config()
    return step


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def warned() -> list[str]:
    return []


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run" / "checkpoints"


@pytest.fixture
def checkpoints(folder, warned):
    with Checkpoints(folder, keep=3, warn=warned.append) as checkpoints:
        yield checkpoints


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """A folder with checkpoints of steps 100 and 200, to be copied."""
    folder = tmp_path_factory.mktemp("saved")
    with Checkpoints(folder, warn=pytest.fail) as checkpoints:
        save(checkpoints, 100, 200)
    return folder


@pytest.fixture
def two(saved, folder) -> Path:
    return shutil.copytree(saved, folder)


def test_same_bits_come_back(checkpoints, folder):
    awkward = np.array([0.0, -0.0, np.nan, np.inf, 1e-42, 1.1], np.float32)
    awkward.view(np.int32)[2] |= 0x1234  # a NaN that is not the usual one
    state = {
        "floats": awkward,
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "strided": np.arange(10, dtype=np.int32)[::3],
        "key": jax.random.key_data(jax.random.key(2**32 - 1)),
        "flags": (np.array(True), np.array([False, True])),
        "scalar": np.int32(-7),
        "device": jnp.linspace(0, 1, 5),
        "nothing": None,
        "optimiser": optax.adam(optax.constant_schedule(0.1)).init({"a": jnp.ones(2)}),
    }
    config = {**CONFIG, "pairs": (("a", 1),), "nothing": None, "ids": {10: "ü", 9: "b"}}
    assert checkpoints.save(5, state, position=["\0ÿ"], config=config)
    target = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, state))
    for wanted in (state, target):
        restored = checkpoints.restore(wanted)
        assert bits(restored.state) == bits(state)
        assert jax.tree.structure(restored.state) == jax.tree.structure(state)
        assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(restored.state))
    assert (restored.step, restored.position) == (5, ["\0ÿ"])
    assert restored.config == json.loads(json.dumps(config))


def test_state_may_be_overwritten_at_once(checkpoints):
    state = jax.tree.map(jnp.asarray, make_state(1))
    expected = bits(state)
    checkpoints.save(1, state, position=None, config={})
    donating = jax.jit(lambda tree: jax.tree.map(lambda a: a * 0, tree), donate_argnums=0)
    host = make_state(1)
    checkpoints.save(2, host, position=None, config={})
    host.params["bias"][:] = 0
    jax.block_until_ready(donating(state))
    assert bits(checkpoints.restore(make_state(0)).state) == expected


def test_saves_in_the_background_and_appears_at_once(checkpoints, folder, monkeypatch):
    go_on = threading.Event()
    renamed = os.rename

    def waiting(*args, **options):
        assert go_on.wait(30)
        return renamed(*args, **options)

    monkeypatch.setattr(os, "rename", waiting)
    assert checkpoints.save(1, make_state(1), position=None, config={})
    assert "1" not in names(folder)
    go_on.set()
    checkpoints.wait()
    assert names(folder) == {"1"}


def test_keeps_the_newest(checkpoints, folder, warned):
    save(checkpoints, 1, 2, 10, 11, 12)
    assert names(folder) == {"10", "11", "12"}
    assert restored_step(checkpoints) == 12
    with pytest.raises(NstjaxError, match="keep at least 1"):
        Checkpoints(folder, keep=0, warn=warned.append)
    with Checkpoints(folder, keep=1, warn=warned.append) as checkpoints:
        save(checkpoints, 13)
    assert names(folder) == {"13"}
    assert warned == []


def test_a_step_is_saved_once(checkpoints, folder):
    save(checkpoints, 1)
    before = (folder / "1").stat()
    assert checkpoints.save(1, make_state(2), position=None, config={})
    checkpoints.wait()
    assert (folder / "1").stat() == before


def test_goes_on_in_another_process_and_folder(two, tmp_path, monkeypatch, warned):
    monkeypatch.chdir(tmp_path / "run")
    with Checkpoints(Path("checkpoints"), keep=2, warn=warned.append) as checkpoints:
        monkeypatch.chdir("/")
        assert restored_step(checkpoints) == 200
        save(checkpoints, 300)
    assert names(two) == {"200", "300"}


def test_nothing_there(checkpoints, folder):
    for _ in range(2):
        assert checkpoints.restore(make_state(0)) is None
        assert checkpoints.latest_config() is None
        checkpoints.wait()
        if not folder.exists():  # nor is anything made
            folder.mkdir(parents=True)
    (folder / "notes").mkdir()
    (folder / "7").touch()
    assert checkpoints.restore(make_state(0)) is None


def test_one_that_an_earlier_version_saved(checkpoints, folder, monkeypatch):
    monkeypatch.setattr("nstjax.fast.checkpoints._digest", lambda *_: "right")
    save(checkpoints, 7)
    file = folder / "7" / "about" / "metadata"
    about = json.loads(file.read_text())
    about["data_position"] = about.pop("position")
    file.write_text(json.dumps(about))
    message = r"no checkpoint in .* can be read \(7: an earlier version saved it, .*start anew"
    with pytest.raises(NstjaxError, match=message):
        checkpoints.restore(make_state(0))
    assert names(folder) == {"7"}


def remove(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def garble(file: Path) -> None:
    file.write_bytes(random.Random(0).randbytes(file.stat().st_size))


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("file", ["about/metadata", "state/_METADATA", "state/manifest.*", "data"])
@pytest.mark.parametrize("harm", [remove, empty, cut, garble, flip])
def test_damaged_file_falls_back(two, checkpoints, warned, capfd, file, harm):
    files = [path for path in (two / "200").rglob("*") if path.is_file()]
    if file == "data":
        [path] = [max(files, key=lambda path: path.stat().st_size)]
    else:
        [path] = (two / "200").glob(file)
    harm(path)
    assert checkpoints.latest_config() == {**CONFIG, "at": 100}
    assert restored_step(checkpoints) == 100
    [message] = warned
    assert f"{two / '200'} is damaged (" in message
    assert "going on from step 100" in message
    assert "\n" not in message
    assert len(message) < 500
    assert names(two) == {"100", "200.damaged"}
    time.sleep(0.05)  # where several arrays fail, some do so afterwards, on the screen
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("lost", ["", "about", "state"])
def test_incomplete_checkpoint_falls_back(two, checkpoints, warned, lost):
    shutil.rmtree(two / "200" / lost)
    (two / "200").mkdir(exist_ok=True)
    assert restored_step(checkpoints) == 100
    assert len(warned) == 1


def test_mixed_up_checkpoints_are_damaged(two, checkpoints, warned):
    shutil.rmtree(two / "200" / "state")
    shutil.copytree(two / "100" / "state", two / "200" / "state")
    shutil.copytree(two / "100", two / "300")
    assert restored_step(checkpoints) == 100
    assert len([text for text in warned if "not those that were saved" in text]) == 2


def test_training_goes_on_past_a_damaged_checkpoint(two, checkpoints, warned):
    for _ in range(2):  # a second one may be damaged like the first
        empty(two / "200" / "state" / "manifest.ocdbt")
        assert restored_step(checkpoints) == 100
        save(checkpoints, 150, 200)
        assert restored_step(checkpoints) == 200
        shutil.rmtree(two / "150")
    save(checkpoints, 250, 300)
    assert names(two) == {"200", "250", "300", "200.damaged"}
    assert len(warned) == 2


def test_all_damaged(two, checkpoints, warned):
    for step in ("100", "200"):
        empty(two / step / "about" / "metadata")
    assert checkpoints.latest_config() is None
    with pytest.raises(NstjaxError, match=r"no checkpoint in .*200: .*100: .*remove the folder"):
        checkpoints.restore(make_state(0))
    assert names(two) == {"100", "200"}
    assert warned == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: make_state(0, width=4),
            r"opt_state/0/mu/bias is float32\[3\] there and float32\[4\] in this run, and 5 more",
        ),
        (
            lambda state: state._replace(opt_state=()),
            r"opt_state/0/count is int32\[\] there and missing in this run, and 4 more differ;",
        ),
        (
            lambda state: state._replace(key=np.zeros(2, np.int32)),
            r"key is uint32\[2\] there and int32\[2\] in this run;",
        ),
        (lambda state: {"a": np.zeros(1, np.float32)}, r"a is missing there and float32\[1\]"),
    ],
)
def test_other_network_is_no_damage(two, checkpoints, warned, change, message):
    with pytest.raises(NstjaxError, match=rf"of another network or optimiser: {message}"):
        checkpoints.restore(change(make_state(0)))
    assert names(two) == {"100", "200"}
    assert warned == []


def test_no_space_left(two, checkpoints, warned, monkeypatch):
    usage = collections.namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**5))
        assert not checkpoints.save(300, make_state(300), position=None, config={})
    [message] = warned
    assert "no checkpoint of step 300" in message
    assert "(No space left on device): training goes on, and that of step 200 is kept" in message
    assert restored_step(checkpoints) == 200
    save(checkpoints, 400)
    assert restored_step(checkpoints) == 400
    assert len(warned) == 1


def test_folder_that_cannot_be_made(tmp_path, warned):
    (tmp_path / "file").touch()
    with Checkpoints(tmp_path / "file" / "a", warn=warned.append) as checkpoints:
        assert checkpoints.restore(make_state(0)) is None
        assert not checkpoints.save(1, make_state(1), position=None, config={})
    [message] = warned
    assert "Not a directory" in message
    assert "though there is none yet" in message


def test_folder_that_is_lost_meanwhile(checkpoints, folder, warned):
    save(checkpoints, 1)
    shutil.rmtree(folder)
    save(checkpoints, 2)
    assert restored_step(checkpoints) == 2
    assert warned == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits")
def test_failures_in_the_background_are_told_once_and_quietly(
    checkpoints, folder, warned, caplog, capfd
):
    import resource

    caplog.set_level("INFO")  # at which orbax logs dozens of lines for each
    save(checkpoints, 1)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, unlimited[1]))
    try:
        for step in (2, 3):
            assert checkpoints.save(step, make_state(step), position=None, config={})
            checkpoints.wait()
            checkpoints.wait()
            assert len(warned) == step - 1
            assert f"no checkpoint of step {step} in {folder} (File too large)" in warned[-1]
            assert "and that of step 1 is kept" in warned[-1]
            assert names(folder) == {"1"}
        checkpoints.save(4, make_state(4), position=None, config={})
        time.sleep(0.2)
        assert len(warned) == 2  # told of with the next call
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    save(checkpoints, 5)
    assert len(warned) == 3
    assert restored_step(checkpoints) == 5
    assert names(folder) == {"1", "5"}
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def run(code: str, *args: object) -> subprocess.Popen:
    """Starts a program that has this module's helpers."""
    start = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    start += "from test_fast_checkpoints import *\n"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", start + code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


KILLED = """
with Checkpoints(Path(sys.argv[1]), warn=print) as checkpoints:
    restored = checkpoints.restore(make_state(0))
    step = 0 if restored is None else restored.step
    while True:
        step += 1
        checkpoints.save(
            step, make_state(step), position={"at": step}, config={**CONFIG, "at": step}
        )
        print(step, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_killed_while_saving(folder, warned):
    done = 0
    for delay in (0.001, 0.008):
        process = run(KILLED, folder)
        assert process.stdout is not None
        line = [process.stdout.readline() for _ in range(4)][-1]
        assert int(line) == done + 4
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        started = int((line + process.communicate()[0]).split()[-1])
        with Checkpoints(folder, warn=warned.append) as checkpoints:
            done = restored_step(checkpoints)
        # The background may be one behind the last call, and that one ahead of its print.
        assert started - 1 <= done <= started + 1
        assert warned == []
    with Checkpoints(folder, warn=warned.append) as checkpoints:
        save(checkpoints, 10**6)
    assert len(names(folder)) == 3  # what the killed ones left is gone


TOGETHER = """
index, port, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=index)
from jax.experimental import multihost_utils
mesh = jax.make_mesh((2,), ("devices",))
spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
state = jax.tree.map(
    lambda a: jax.make_array_from_process_local_data(spread, np.asarray(a)), make_state(100)
)
# The second one's folder is on a disk of its own, where there is nothing.
with Checkpoints(folder / str(index), warn=print) as checkpoints:
    assert checkpoints.restore(state) is checkpoints.latest_config() is None
    config = {**CONFIG, "at": 100}
    assert checkpoints.save(100, state, position={"at": 100}, config=config)
    assert restored_step(checkpoints) == 100
    save(checkpoints, 200)
    if index == 0:
        empty(folder / "0" / "200" / "state" / "manifest.ocdbt")
    assert restored_step(checkpoints) == 100
    try:
        checkpoints.restore(make_state(0, width=4))
    except NstjaxError as error:
        print(error)
"""


def test_two_processes(tmp_path, warned):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [run(TOGETHER, index, port, tmp_path) for index in range(2)]
    ended = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert "is damaged" in ended[0][0]
    assert "is damaged" not in ended[1][0]  # said once
    assert all("of another network" in out for out, _ in ended)
    assert names(tmp_path) == {"0"}
    # Another number of devices: this process goes on alone.
    with Checkpoints(tmp_path / "0", warn=warned.append) as checkpoints:
        assert restored_step(checkpoints) == 100


def test_changed_settings():
    before = {"seed": 0, "layers": [["a", 1.0]], "net": {"width": 1.0, "deep": {"er": 1}}, "old": 2}
    now = {"seed": 0, "layers": (("a", 1),), "net": {"width": 2.0, "deep": {"er": 3}}, "new": None}
    changes = {"net.width": (1.0, 2.0), "net.deep.er": (1, 3), "old": (2, None)}
    assert changed_settings(before, before) == {}
    assert changed_settings(before, now) == changes
    assert changed_settings(before, now, ["old", "net.deep"]) == {"net.width": (1.0, 2.0)}
    assert changed_settings(before, now, ["net", "seed"]) == {"old": (2, None)}
    assert changed_settings({"net": None}, {"net": {"width": 1}}) == {"net.width": (None, 1)}
    assert changed_settings({"a_b": 1, "a": 1}, {"a_b": 2, "a": 2}, ["a-b"]) == {"a": (1, 2)}
    with pytest.raises(NstjaxError, match=r"unknown setting 'sede': did you mean 'seed'\?"):
        changed_settings(before, now, ["sede"])


def test_changes_are_refused_with_all_of_them_shown():
    before, now = (
        {"seed": 0, "style": "a.jpg", "steps": 5},
        {"seed": 1, "style": "b.jpg", "steps": 9},
    )
    with pytest.raises(NstjaxError) as caught:
        refuse_changes(before, now, ["steps"])
    message = str(caught.value)
    assert "seed was 0 and is 1, style was 'a.jpg' and is 'b.jpg'" in message
    assert "--allow-change seed --allow-change style" in message
    assert "--workdir" in message
    assert "steps" not in message
    refuse_changes(before, now, ["seed", "style", "steps"])
    refuse_changes(before, dict(before))
