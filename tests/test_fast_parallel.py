"""Training on several devices, in this process's neighbours: four devices of one, and two of one.

What Adam makes of gradients must not be compared closely: it turns rounding of one near 0 into a
whole step.
"""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from training import (
    EVERY,
    STEPS,
    exact_gradient,
    finish,
    free_port,
    newest,
    run,
    save_photographs,
    saved_steps,
    start,
)

from nstjax.errors import NstjaxError
from nstjax.fast import get_training_recipe, parallel
from nstjax.fast.log import read_log
from nstjax.fast.parallel import check_batch_size, connect, replicate, shard, unreplicate
from nstjax.settings import override
from nstjax.structure import structure_of

pytestmark = pytest.mark.usefixtures("quick_compilation")

FOUR_DEVICES = """
import json
from nstjax.errors import NstjaxError
folder, photographs = map(Path, sys.argv[1:])
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_disable_most_optimizations", True)  # compiles in half the time
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: compiled.append(event) if "backend_compile" in event else None
)
seen = {}
def watch(progress):
    seen[progress.step] = len(compiled)

np.savez(folder / "gradient.npz", **exact_gradient())
run(folder / "first", photographs, steps=1, callback=watch)
for steps in (8, 10, 12):
    run(folder / "resumed", photographs, steps=steps, callback=watch)
try:
    run(folder / "uneven", photographs, recipe=override(RECIPE, batch_size=6))
except NstjaxError as error:
    refused = str(error)
print(json.dumps({"devices": jax.device_count(), "compiled": seen, "refused": refused}))
"""

TWO_PROCESSES = """
import json
from nstjax.errors import NstjaxError
from nstjax.fast.parallel import connect

class Fading:
    # Photographs on a disk that goes away.
    def __init__(self, source):
        self.source, self.gone = source, False

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if self.gone:
            raise NstjaxError("gone")
        return self.source[index]

folder, photographs, port, index = Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])
jax.config.update("jax_disable_most_optimizations", True)
connect(f"127.0.0.1:{port}", 2, index)
np.savez(folder / f"gradient{index}.npz", **exact_gradient())
# Each has a disk of its own, and the second one asks to stop.
def stop(progress):
    return index == 1 and progress.step == 2

result = run(folder / f"stopped{index}", photographs, steps=100, callback=stop)
print(json.dumps([jax.process_count(), jax.device_count(), result.step, result.ended]))

# The second one's photographs go; and then are not there from the start.
fading = Fading(open_dataset(f"folder:{photographs}").source)
def go(progress):
    fading.gone = index == 1 and progress.step >= 2

for _ in range(2):
    try:
        result = run(folder / f"gone{index}", Dataset("fading", fading), steps=100, callback=go)
        ended = [result.step, result.ended, result.stopped]
    except NstjaxError as error:
        ended = [0, "raised", str(error)]
    print(json.dumps(ended))
"""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    return save_photographs(tmp_path_factory.mktemp("data") / "photographs")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, photographs) -> Path:
    """Runs on this process's one device: of four steps, and of all."""
    folder = tmp_path_factory.mktemp("alone")
    for name, steps in {"begun": EVERY, "whole": STEPS}.items():
        run(folder / name, photographs, steps=steps)
    return folder


@pytest.fixture(scope="module")
def four_devices(tmp_path_factory, photographs, alone) -> tuple[Path, dict]:
    """On four, gradients and the begun run taken over; and what the process said."""
    folder = tmp_path_factory.mktemp("four")
    shutil.copytree(alone / "begun", folder / "resumed")
    return folder, json.loads(finish(start(FOUR_DEVICES, folder, photographs)))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, photographs) -> tuple[Path, list[list]]:
    """Runs that the second process stops, and gradients; and what they said."""
    folder, port = tmp_path_factory.mktemp("two"), free_port()
    both = [start(TWO_PROCESSES, folder, photographs, port, index) for index in range(2)]
    said = [finish(process).splitlines() for process in both]
    return folder, [[json.loads(line) for line in lines[-3:]] for lines in said]  # Gloo prints, too


def expect_one_devices_gradient(saved: Path) -> None:
    """Compares what `exact_gradient` gave elsewhere with this process's one device's."""
    expected = exact_gradient()
    # One scale for all: some biases count for nothing, and have gradients of rounding alone.
    greatest = max(np.abs(gradient).max() for gradient in expected.values())
    assert greatest > 0
    with np.load(saved) as found:
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            assert gradient.dtype == found[name].dtype == np.float64
            np.testing.assert_allclose(found[name], gradient, rtol=0, atol=1e-10 * greatest)


def expect_equal_to_rounding(found: Path, expected: Path) -> None:
    """Compares two runs of as many steps, not all of them on the same devices."""
    a, b = (read_log(run / "mine" / "metrics.jsonl") for run in (found, expected))
    assert (
        [entry["step"] for entry in a] == [entry["step"] for entry in b] == [*range(1, STEPS + 1)]
    )
    # Rounding, which Adam enlarges: several processes multiply matrices by another library, too.
    # From one step to the next the total changes by more than a tenth, if not every time.
    for mine, other in zip(a, b, strict=True):
        for name in ("total", "content", "style", "tv"):
            assert mine[name] == pytest.approx(other[name], rel=0.03)
    assert newest(found).step == newest(expected).step == STEPS


def test_gradients_on_four_devices_are_one_devices(four_devices):
    folder, said = four_devices
    assert said["devices"] == 4
    expect_one_devices_gradient(folder / "gradient.npz")


def test_gradients_in_two_processes_are_one_devices(two_processes):
    folder, said = two_processes
    assert all(lines[0][:2] == [2, 2] for lines in said)
    for index in range(2):
        expect_one_devices_gradient(folder / f"gradient{index}.npz")


def test_four_devices_go_on_where_one_stopped(alone, four_devices):
    expect_equal_to_rounding(four_devices[0] / "resumed", alone / "whole")


def test_one_device_goes_on_where_two_processes_stopped(alone, two_processes, photographs):
    folder, said = two_processes
    assert said[0][0] == said[1][0]
    step, ended = said[0][0][2:]
    assert 2 < step < STEPS
    assert ended == "asked"
    assert [path.name for path in folder.iterdir() if "stopped" in path.name] == ["stopped0"]
    assert saved_steps(folder / "stopped0")[-1] == step
    assert run(folder / "stopped0", photographs).step == STEPS
    expect_equal_to_rounding(folder / "stopped0", alone / "whole")


def test_all_processes_stop_where_one_has_no_photographs(two_processes):
    """They would wait for it without end. What was learned is kept, two steps alone are not."""
    folder, [first, second] = two_processes
    [step, *how], again = first[1:]
    assert 2 < step < 100
    assert how[0] == "data"
    assert "another process has no photographs" in how[1]
    assert saved_steps(folder / "gone0")[-1] == step
    assert newest(folder / "gone0").step == step
    assert again == [step + 2, *how]
    for _, ended, message in second[1:]:
        assert ended == "raised"
        assert "of fading are broken" in message


def test_neither_a_second_epoch_nor_a_resumption_compiles(four_devices):
    """In a process that began with nothing compiled; an epoch has three steps."""
    compiled = four_devices[1]["compiled"]
    assert set(compiled) == {"1", *map(str, range(EVERY + 1, STEPS + 1))}
    assert compiled["1"] > 0
    assert set(compiled.values()) == {compiled["1"]}


def test_a_batch_that_cannot_be_shared_out(four_devices):
    assert four_devices[1]["refused"] == (
        "a batch of 6 cannot be shared by 4 devices: use --batch-size 8"
    )


def test_batches_for_one_device():
    for batch_size in (1, 7):
        check_batch_size(batch_size)


def test_processes_with_different_numbers_of_devices(monkeypatch):
    """All of them refuse, also the one that has as many as the mean."""
    devices = [SimpleNamespace(process_index=process) for process in (0, 1, 1, 2, 2, 2)]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    with pytest.raises(NstjaxError, match=r"the processes have 1, 2, 3 devices.* as many devices"):
        check_batch_size(6)
    monkeypatch.setattr(jax, "devices", lambda: devices[1:5])
    check_batch_size(4)
    with pytest.raises(NstjaxError, match="a batch of 6 cannot be shared by 4 devices"):
        check_batch_size(6)


def test_the_heap_is_tidied_after_the_step_is_compiled(monkeypatch):
    """Where it is worth most."""
    called = []
    monkeypatch.setattr(parallel, "tidy_after_compilations", lambda: called.append(True))
    recipe = override(get_training_recipe("nstjax"), learning_rate=0.123)  # made nowhere else
    parallel.make_parallel_step(recipe, structure_of(recipe, "caffe"))
    assert called


def test_to_the_devices_and_back(rng):
    tree = {"a": rng.random((2, 3), np.float32), "b": (np.int32(7),)}
    copies = replicate(tree)
    count = jax.local_device_count()
    assert copies["a"].shape == (count, 2, 3)
    back = unreplicate(copies)
    np.testing.assert_array_equal(back["a"], tree["a"])
    assert back["b"] == (7,)
    assert back["b"][0].dtype == np.int32
    batch = rng.random((2 * count, 4, 4, 3), np.float32)
    shares = shard(batch)
    assert shares.shape == (count, 2, 4, 4, 3)
    np.testing.assert_array_equal(shares.reshape(batch.shape), batch)


@pytest.mark.parametrize(
    "given", [(None, 2, 0), ("127.0.0.1:1", 2, 0), ("127.0.0.1:1", None, None)]
)
def test_processes_that_do_not_find_together(given):
    jax.device_count()  # from here on it is too late
    with pytest.raises(NstjaxError, match=r"did not find together \(.*--process-id from 0 to N"):
        connect(*given)
