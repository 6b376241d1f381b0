"""The command line of training: what it makes, what it says, and what it exits with."""

import argparse
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import nstjax.report
from nstjax.cli import main
from nstjax.cli.dry_run import _duration
from nstjax.cli.interrupt import stop_on_interrupt
from nstjax.cli.main import Parser
from nstjax.cli.settings_options import add_settings, given_settings
from nstjax.cli.train import add_arguments, recipe_from
from nstjax.errors import NstjaxError
from nstjax.fast import (
    TRAINING_RECIPES,
    Architecture,
    Dataset,
    TrainingProgress,
    TrainingResult,
    get_training_recipe,
    load_style,
)
from nstjax.fast.loop import Ended
from nstjax.fast.trainer import init_state
from nstjax.fields import setting
from nstjax.settings import override

PHOTOGRAPHS = 20  # of which two are held out
SMALL = [
    *["--style", "mine", "--style-image", "painting.png", "--dataset", "folder:photos"],
    *["--content-layers", "block2_conv1", "--style-layers", "block1_conv1,block2_conv1"],
    *["--image-size", "32", "--width", "0.125", "--batch-size", "2"],
    *["--checkpoint-every", "2", "--sample-every", "4"],
]
SCRIPT = Path(__file__).parents[1] / "train.py"


def picture(path: Path, width: int, height: int, *, seed: int = 0) -> None:
    smooth = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "photos").mkdir()
    for i in range(PHOTOGRAPHS):
        picture(folder / "photos" / f"{i}.jpg", 48, 40, seed=i)
    picture(folder / "painting.png", 128, 128, seed=99)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch, pictures, shallow_vgg19):
    """The current folder, with photographs and a painting; there is one file of weights."""
    for name in ("photos", "painting.png"):
        (tmp_path / name).symlink_to(pictures / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NSTJAX_ASSETS", raising=False)
    monkeypatch.setattr("nstjax.cli.train.load_weights", lambda network, **_: shallow_vgg19)
    return tmp_path


@pytest.fixture
def calls(folder, monkeypatch):
    """Replaces the training; what it was called with, and what it answers, by name."""
    monkeypatch.setitem(
        sys.modules, "tensorboard.compat.proto.event_pb2", None
    )  # whose files have random names
    calls: dict = {"answer": TrainingResult(Path("runs/mine/mine.safetensors"), 7, {"total": 0.5})}

    def train(name, style, dataset, *, callback, **options):
        calls.update(options, name=name, style=style, dataset=dataset)
        for step in calls.get("steps", ()):
            metrics: dict[str, float] = dict.fromkeys(("total", "content", "style", "tv"), 1.0)
            callback(TrainingProgress(step, 1000, metrics, 2.0, 0.25, paint=lambda pixels: pixels))
        if isinstance(calls["answer"], BaseException):
            raise calls["answer"]
        return calls["answer"]

    monkeypatch.setattr("nstjax.cli.training_run.train", train)
    monkeypatch.setattr("nstjax.cli.dry_run.train", train)
    return calls


def expect_failure(capsys, code: int, *words: str, exit_code: int = 2) -> None:
    """Checks the exit code, and that stderr's last line has these words."""
    assert code == exit_code
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("nstjax: ")
    for word in words:
        assert word in line


def parsed(*arguments: str) -> argparse.Namespace:
    parser = Parser()
    add_arguments(parser)
    return parser.parse_args(list(arguments))


def log_of(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_training_that_is_stopped_saves_first(folder, capfd, monkeypatch):
    run = folder / "runs" / "mine"

    def contact_sheet(*arguments, **options):
        nstjax.report.contact_sheet(*arguments, **options)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("nstjax.cli.training_run.contact_sheet", contact_sheet)
    assert main(["train", *SMALL, "--steps", "1000000"]) == 130
    err = capfd.readouterr().err
    done = log_of(run)[-1]["step"]
    assert 4 <= done < 10
    assert "stopping after this step; once more to stop at once" in err
    assert "images/s, waiting" in err
    message = f"nstjax: stopped after step {done}: the same command goes on from step {done} of"
    assert err.splitlines()[-1] == f"{message} runs/mine"
    assert (run / "checkpoints" / str(done)).is_dir()
    assert load_style("runs/mine").provenance["steps"] == done
    assert (run / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (run / "samples").iterdir()] == ["step-000004.jpg"]
    with Image.open(run / "samples" / "step-000004.jpg") as sheet:
        assert 2 * 32 < sheet.width < sheet.height < 6 * 32  # two photographs in two columns

    steps = ["--steps", str(done)]
    assert main(["train", *SMALL, *steps]) == 0
    assert f"has had its {done} steps already" in capfd.readouterr().out
    code = main(["train", *SMALL, *steps, "--style-weight", "7"])
    expect_failure(capfd, code, "style_weight", "--allow-change style_weight")


def test_a_training_that_goes_on_to_its_end(calls, capsys):
    calls["steps"] = (501, 502, 1000)
    run = Path("runs/mine")
    run.mkdir(parents=True)
    terms = dict.fromkeys(("total", "content", "style", "tv"), 1.0)
    (run / "metrics.jsonl").write_text(json.dumps({"step": 1, **terms}) + "\n")
    assert main(["train", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert "nstjax: going on from step 500 of runs/mine\n" in err
    assert "1000/1000" in err
    assert "total 1 = content 1 style 1 tv 1, 2 images/s, waiting 25%" in err
    use = "nstjax stylize photo.jpg --style runs/mine"
    assert out == f"runs/mine/mine.safetensors: 7 steps, total 0.5; to use it: {use}\n"
    assert {path.name for path in run.iterdir()} == {"metrics.jsonl", "losses.png", "samples"}
    names = {path.name for path in (run / "samples").iterdir()}
    assert names == {"step-001000.jpg"}  # 502 is no multiple of 4


def test_the_arguments_arrive(calls, capsys):
    options = ["--steps", "9", "--keep", "5", "--allow-change", "steps", "--allow-change", "seed"]
    assert main(["train", *SMALL, *options, "--workdir", "w", "--limit", "7", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert (calls["name"], calls["workdir"], calls["init"]) == ("mine", Path("w"), None)
    assert (calls["checkpoint_every"], calls["keep"]) == (2, 5)
    assert calls["allow_change"] == ("steps", "seed")
    assert calls["style"].pixels.shape == (1, 128, 128, 3)
    assert len(calls["dataset"]) == 7
    assert len(calls["dataset"].held_out) == 2
    recipe = calls["recipe"]
    assert (recipe.name, recipe.steps, recipe.batch_size) == ("nstjax", 9, 2)
    assert recipe.style_layers == (("block1_conv1", 0.5), ("block2_conv1", 0.5))
    default = get_training_recipe("nstjax").architecture
    assert recipe.architecture == replace(default, width=0.125)


def test_few_photographs_are_all_trained_on(calls):
    for i in range(9):
        Path("few").mkdir(exist_ok=True)
        picture(Path(f"few/{i}.jpg"), 32, 32, seed=i)
    assert main(["train", *SMALL, "--dataset", "folder:few"]) == 0
    assert len(calls["dataset"]) == 9
    assert calls["dataset"].held_out is None
    assert main(["train", *SMALL, "--batch-size", str(PHOTOGRAPHS)]) == 0
    assert len(calls["dataset"]) == PHOTOGRAPHS


def test_init_from_a_style(calls, capsys, monkeypatch):
    class Style:
        architecture = Architecture(width=0.5, upsampling="transpose")
        params = {"some": "parameters"}  # noqa: RUF012

    monkeypatch.setattr("nstjax.cli.train.load_style", lambda source: {"other": Style}[source])
    fitting = [*SMALL, "--init-from", "other", "--width", "0.5"]
    assert main(["train", *fitting]) == 0
    assert calls["recipe"].architecture == Style.architecture
    assert calls["init"] is Style.params
    code = main(["train", *SMALL, "--init-from", "other"])
    expect_failure(capsys, code, "--width is 0.125", "--init-from other has 0.5")


def test_paintings_by_name(calls, monkeypatch, capsys, pictures):
    asked = []

    def find_painting(name, *, check, progress):
        asked.append((name, progress))
        check(pictures / "painting.png")
        return pictures / "painting.png"

    monkeypatch.setattr("nstjax.cli.train.find_painting", find_painting)
    assert main(["train", "--style", "wave", *SMALL[4:], "--quiet"]) == 0
    assert asked == [("wave", False)]
    assert calls["name"] == "wave"
    assert main(["train", "--style", "wave", *SMALL[2:], "--quiet"]) == 0
    assert len(asked) == 1  # --style-image comes first


def test_steps_count_where_they_are_given():
    assert recipe_from(parsed("--recipe", "vgg19")) == TRAINING_RECIPES["vgg19"]
    given = recipe_from(parsed("--recipe", "vgg19", "--steps", "7", "--output", "sigmoid"))
    assert (given.steps, given.epochs) == (7, None)
    assert given.architecture.output == "sigmoid"
    assert given.architecture.norm_last == TRAINING_RECIPES["vgg19"].architecture.norm_last
    assert recipe_from(parsed("--epochs", "0.5")).epochs == 0.5
    with pytest.raises(NstjaxError, match=r"--steps and --epochs"):
        recipe_from(parsed("--epochs", "1", "--steps", "1"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--style", "stary", "--style-image"], ["--style-image", "expected one argument"]),
        (["--style", "a/b"], ["'a/b'", "folder"]),
        (["--style", ".."], ["'..'"]),
        (["--style", "a."], ["'a.'"]),
        (["--style", "x" * 101], ["x" * 101, "100"]),
        (["--style", ""], ["--style NAME", "wave"]),
        (["--style-image", "none.jpg"], ["none.jpg"]),
        (["--style-image", "tiny.png"], ["tiny.png", "8×90 pixels", "128"]),
        (["--style-image", "empty.png"], ["empty.png", "empty"]),
        (["--steps", "0"], ["steps is 0"]),
        (["--steps", "many"], ["--steps", "many"]),
        (["--batch-size", "0"], ["batch size is 0"]),
        (["--image-size", "8"], ["image size is 8"]),
        (["--tv-weight", "-1"], ["tv weight is -1"]),
        (["--learning-rate", "nan"], ["learning rate is nan"]),
        (["--width", "100"], ["width is 100"]),
        (["--tile", "auto"], ["tile is auto", "off, or an even number"]),
        (["--upsampling", "nearst"], ["did you mean 'nearest'"]),
        (["--recipe", "jonson"], ["did you mean 'johnson'"]),
        (["--checkpoint-every", "0"], ["checkpoint every is 0", "at least 1"]),
        (["--keep", "0"], ["keep is 0"]),
        (["--limit", "0"], ["limit is 0"]),
        (["--sample-every", "-1"], ["sample every is -1", "at least 0"]),
        (["--dataset", "coco/2015"], ["coco/2015", "coco/2014"]),
        (["--dataset", "photos"], ["folder:photos"]),
        (["--dataset", "folder:none"], ["none", "does not exist"]),
        (["--dataset", "folder:empty"], ["empty", "no pictures"]),
        (["--limit", "1"], ["1 pictures", "batch of 2"]),
        (["--init-from", "none"], ["none"]),
        (["--workdir", "painting.png"], ["painting.png/mine", "--workdir"]),
        (["--workdir", "/proc/runs"], ["/proc/runs/mine", "--workdir"]),
        (["--num-processes", "2"], ["--coordinator"]),
        (["--stepz", "3"], ["--stepz", "did you mean --steps"]),
    ],
)
def test_bad_values(folder, capsys, arguments, words):
    picture(folder / "tiny.png", 8, 90)
    (folder / "empty.png").touch()
    (folder / "empty").mkdir()
    before = set(folder.iterdir())
    expect_failure(capsys, main(["train", *SMALL, *arguments]), *words)
    assert set(folder.iterdir()) == before


def test_unknown_styles_are_told_of_the_known_ones(folder, capsys):
    code = main(["train", "--style", "starri"])
    expect_failure(capsys, code, "did you mean 'starry'", "shipwreck", "--style-image")
    expect_failure(capsys, main(["train"]), "--style NAME", "starry")


@pytest.mark.skipif(sys.platform == "win32", reason="has no folders that are read-only")
def test_a_folder_that_cannot_be_written(folder, capsys, monkeypatch):
    def refuse(*_: object, **__: object):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryDirectory", refuse)
    code = main(["train", *SMALL])
    expect_failure(capsys, code, "cannot write in runs/mine (Permission denied)", "--workdir")


def test_a_loss_that_is_not_finite(calls, capsys):
    why = "the loss was no longer finite in step 9"
    calls["answer"] = TrainingResult(Path("s"), 9, {}, why, "diverged")
    code = main(["train", *SMALL])
    expect_failure(capsys, code, "step 9", "no checkpoint in runs/mine yet", "--learning-rate")
    for step in ("500", "1000", "1500.damaged"):
        Path("runs/mine/checkpoints", step).mkdir(parents=True)
    code = main(["train", *SMALL])
    expect_failure(capsys, code, "goes on from step 1000 of runs/mine", "--allow-change")


def test_data_that_another_process_lacks(calls, capsys):
    calls["answer"] = TrainingResult(Path("s"), 9, {}, "another process has no photographs", "data")
    code = main(["train", *SMALL])
    expect_failure(capsys, code, "another process has no photographs; there is no checkpoint in")


def test_the_second_interrupt_stops_at_once(calls, capsys):
    calls["answer"] = KeyboardInterrupt()
    code = main(["train", *SMALL])
    expect_failure(capsys, code, "stopped at once", "starts anew", exit_code=130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_request(number, capfd):
    before = signal.getsignal(number)
    with stop_on_interrupt() as interrupt:
        assert not interrupt.requested
        os.kill(os.getpid(), number)
        assert interrupt.requested
        assert signal.getsignal(number) is before
    assert "once more to stop at once" in capfd.readouterr().err
    with stop_on_interrupt(quiet=True) as interrupt:
        os.kill(os.getpid(), number)
    assert interrupt.requested
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == ""


def test_a_signal_whose_answer_nobody_reads_is_a_request(monkeypatch):
    def write(*_: object) -> int:
        raise BrokenPipeError

    with monkeypatch.context() as patch:
        patch.setattr("sys.stderr.write", write)
        patch.setattr("os.write", write)
        with stop_on_interrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
    assert interrupt.requested


def test_too_little_memory(calls, capsys):
    calls["answer"] = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes")
    expect_failure(capsys, main(["train", *SMALL]), "memory", "--batch-size", "--image-size")


def test_what_goes_wrong_besides_is_told(calls, capsys, monkeypatch):
    monkeypatch.setattr("nstjax.cli.training_run.contact_sheet", fails)
    monkeypatch.setattr("nstjax.cli.training_run.save_training_plot", fails)
    calls["steps"] = (1, 2, 3, 4, 5)
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/metrics.jsonl").write_text('{"step": 1}\n')
    assert main(["train", *SMALL]) == 0
    err = capsys.readouterr().err
    assert "nstjax: no room for step-000004.jpg; training goes on\n" in err
    assert "nstjax: no room for losses.png\n" in err
    calls["warn"]("a\n  b")
    assert capsys.readouterr().err == "nstjax: a b\n"


def fails(path: Path, *_: object, **__: object) -> None:
    raise NstjaxError(f"no room for {path.name}")


def test_no_samples_where_none_are_wanted(calls, monkeypatch):
    monkeypatch.delattr("nstjax.cli.training_run.contact_sheet")
    calls["steps"] = (1, 500, 1000)
    assert main(["train", *SMALL, "--sample-every", "0"]) == 0


def test_broken_held_out_photographs_are_left_out(calls, monkeypatch):
    def broken(self, index, *, size):
        raise NstjaxError("broken")

    monkeypatch.setattr(Dataset, "picture", broken)
    calls["steps"] = (4,)
    assert main(["train", *SMALL]) == 0
    assert not Path("runs").exists()


def test_other_processes_say_and_write_nothing(calls, capsys, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    calls["steps"] = (1, 4)
    assert main(["train", *SMALL, "--workdir", "/proc/runs"]) == 0
    codes: dict[Ended, int] = {"asked": 130, "data": 2, "diverged": 2}
    for ended, code in codes.items():
        calls["answer"] = TrainingResult(Path("s"), 4, {}, "for a reason", ended)
        assert main(["train", *SMALL]) == code
    calls["warn"]("anything")
    assert main(["train", *SMALL, "--dry-run"]) == 0
    assert capsys.readouterr() == ("", "")
    assert not Path("runs").exists()


def test_processes_are_joined_first(calls, monkeypatch):
    joined = []
    monkeypatch.setattr("nstjax.cli.train.connect", lambda *given: joined.append(given))
    monkeypatch.setattr("jax.process_index", lambda: len(joined) - 1)  # which starts JAX
    options = ["--coordinator", "10.0.0.1:99", "--num-processes", "4", "--process-id", "0"]
    assert main(["train", *SMALL, *options]) == 0
    assert joined == [("10.0.0.1:99", 4, 0)]
    joined.clear()
    assert main(["train", *SMALL, "--coordinator", "auto"]) == 0
    assert joined == [(None, None, None)]


def test_dry_run(calls, capsys):
    calls["steps"] = (1, 2, 3, 4)
    assert main(["train", *SMALL, "--steps", "1000", "--dry-run"]) == 0
    facts = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    facts = {what: text.strip() for what, text in facts.items()}
    assert facts["style"] == "mine: painting.png, 128×128 pixels"
    assert facts["recipe"].startswith("nstjax: ")
    assert "1 × cpu, float32" in facts["devices"]
    recipe = get_training_recipe("nstjax")
    narrow = dataclasses.replace(recipe.architecture, width=0.125)
    recipe = override(recipe, architecture=narrow)
    state = jax.eval_shape(lambda: init_state(recipe))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert facts["network"].startswith(f"{parameters:,} parameters, 0.0 MB")
    assert facts["dataset"] == "folder:photos, 18 photographs, 2 more held out for the samples"
    assert facts["steps"] == "1,000 of 2 photographs at 32×32 pixels, 111 epochs"
    assert "GB" in facts["memory"]
    assert facts["time"].startswith("about ")
    assert "by 2 steps of 0.0" in facts["time"]
    assert Path(calls["workdir"]).parent != Path()
    assert not Path(calls["workdir"]).exists()
    assert not Path("runs").exists()


def test_a_dry_run_with_slow_steps_times_one(calls, capsys, monkeypatch):
    monkeypatch.setattr("nstjax.cli.dry_run._LONG_S", 0.0)
    calls["steps"] = (1, 2, 3)
    assert main(["train", *SMALL, "--dry-run"]) == 0
    assert "by 1 step alone, as it takes long" in capsys.readouterr().out
    calls["steps"] = (1,)
    assert main(["train", *SMALL, "--dry-run"]) == 0
    assert "time:      not estimated" in capsys.readouterr().out


def test_a_dry_run_downloads_no_photographs(calls, capsys, monkeypatch):
    monkeypatch.setattr("nstjax.cli.dry_run.find_prepared", lambda name, data_dir: None)
    monkeypatch.delattr("nstjax.cli.train.open_dataset")
    arguments = ["--dataset", "coco/2017", "--crop", "squash", "--dry-run"]
    assert main(["train", *SMALL, *arguments]) == 0
    out = capsys.readouterr().out
    assert "coco/2017 (not here yet: training first downloads 19.3 GB" in out
    assert "118,287 photographs\n" in out
    assert calls["dataset"].picture(5, size=32).shape == (1, 32, 32, 3)
    assert calls["recipe"].crop == "random"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "0.012 s"),
        (1.26, "1.3 s"),
        (90.0, "90 s"),
        (3600.0, "60 min"),
        (36_000.0, "10 h"),
        (400_000.0, "4.6 days"),
    ],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_options_come_from_the_fields():
    @dataclass(frozen=True)
    class Settings:
        number: int = setting(1, help="a number")
        share_kept: float | None = setting(None, help="a share")
        kind: str = setting("a", help="a kind", choices=("a", "b"))
        inner: bool = False

    parser = Parser()
    add_settings(parser.add_argument_group(), Settings)
    options = parser.parse_args(["--number", "3", "--share-kept", "2"])
    assert given_settings(options, Settings) == {"number": 3, "share_kept": 2.0}
    assert isinstance(options.share_kept, float)
    assert "--kind a|b" in parser.format_help()
    assert "inner" not in parser.format_help()


def test_recipe_list(capsys):
    assert main(["train", "--recipe", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in TRAINING_RECIPES)
    assert out.splitlines()[0].endswith("(default)")


@pytest.mark.long
def test_two_processes_stop_together(folder, random_vgg19, tmp_path):
    """The script itself: joined, ended by a signal to one of them, and resumed by one alone."""
    params = random_vgg19.params
    flat = {f"{name}/{kind}": a for name, p in params.items() for kind, a in p.items()}
    save_file(flat, tmp_path / "vgg19.safetensors")
    command = [sys.executable, str(SCRIPT), *SMALL, "--vgg-weights", "vgg19.safetensors"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    joined = ["--steps", "1000000", "--coordinator", address, "--num-processes", "2"]
    runs = [
        subprocess.Popen([*command, *joined, "--process-id", str(i)], stderr=subprocess.PIPE)
        for i in range(2)
    ]
    wait_for(folder / "runs" / "mine" / "checkpoints" / "2")
    runs[1].send_signal(signal.SIGINT)
    said = [run.communicate(timeout=300)[1].decode() for run in runs]
    assert [run.returncode for run in runs] == [130, 130], said
    assert "the same command goes on from step" in said[0].splitlines()[-1]
    assert "Traceback" not in "".join(said)
    assert "step" not in said[1]
    last = log_of(folder / "runs" / "mine")[-1]["step"]
    steps = ["--steps", str(last + 2)]
    run = subprocess.run([*command, *steps], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert f"going on from step {last}" in run.stderr


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 600
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.2)
