"""`nstjax stylize --resume`: what is left of a run that was killed, and what becomes of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import SHALLOW, expect_failure, picture

from nstjax.cli import main
from nstjax.gatys.snapshot import read_snapshot

SNAPSHOT = Path("o.png.resume")
RUN = ["photo.jpg", "--style", "painting.png", "--output", "o.png", *SHALLOW]
RUN += ["--schedule", "32:60,48:90", "--average", "0.9", "--learning-rate", "5"]
# Where the picture goes is not said, nor of which photograph it is.
UNNAMED = [*RUN[1:3], *RUN[5:], "--optimizer", "adam"]


def step_of_snapshot() -> int:
    return len(read_snapshot(SNAPSHOT)[0]["recorder"].history) - 1


# Runs the program, writes a snapshot once it has come to a step, and kills it five steps later.
KILLED = """
import os, signal, sys
from nstjax.cli import main
from nstjax.gatys.snapshot import Snapshots

step, offer, written = int(sys.argv[1]), Snapshots.offer, []


def offer_and_die(self, state, recorder, *, last=False):
    if recorder.step >= step and not written:
        offer(self, state, recorder, last=True)
        written.append(recorder.step)
    if recorder.step >= step + 5:
        os.kill(os.getpid(), signal.SIGKILL)


Snapshots.offer = offer_and_die
sys.exit(main(["stylize", *sys.argv[2:]]))
"""


def killed(arguments: list[str], step: int) -> int:
    """Runs the program in a process of its own, killed some steps after a snapshot of this step."""
    # A picture of every step makes the steps' chunks others.
    command = [sys.executable, "-c", KILLED, str(step), *arguments, "--save-every", "1"]
    return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
@pytest.mark.parametrize(("optimizer", "at_least"), [("adam", 70), ("lbfgs", 20)])
def test_killed_and_resumed_it_gives_the_same_bytes(folder, capsys, optimizer, at_least):
    arguments = [*RUN, "--optimizer", optimizer]
    assert main(["stylize", *arguments, "--quiet"]) == 0
    whole = Path("o.png").read_bytes()
    assert not SNAPSHOT.exists()
    Path("o.png").unlink()
    assert killed(arguments, at_least) == -signal.SIGKILL
    assert not Path("o.png").exists()
    step = step_of_snapshot()
    assert step == at_least
    capsys.readouterr()
    assert main(["stylize", *arguments, "--resume"]) == 0
    told = capsys.readouterr()
    assert f"nstjax: going on from step {step} of o.png.resume\n" in told.err
    assert "150 steps" in told.out
    assert Path("o.png").read_bytes() == whole
    assert not SNAPSHOT.exists()


def stopped_at_step_20(monkeypatch, *arguments: str) -> None:
    """Runs the program, with Ctrl-C pressed after twenty steps."""
    with monkeypatch.context() as patch:
        patch.setattr(
            "nstjax.cli.run.save_image", lambda *_, **_settings: signal.raise_signal(signal.SIGINT)
        )
        assert main(["stylize", *arguments, "--save-every", "20"]) == 130


def test_ctrl_c_leaves_a_snapshot_beside_the_picture(folder, capsys, monkeypatch):
    """Names that nobody chose: a new run takes another, and the resumed one the same."""
    arguments = ["photo.jpg", *UNNAMED]
    stopped_at_step_20(monkeypatch, *arguments)
    (last,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "after 20 of 150 steps is in photo-painting.png; the same command with --resume" in last
    assert main(["stylize", *arguments, "--quiet"]) == 0
    assert main(["stylize", *arguments, "--resume"]) == 0
    assert "going on from step 20 of photo-painting.png.resume" in capsys.readouterr().err
    pictures = [path.read_bytes() for path in sorted(folder.glob("photo-painting*"))]
    assert len(pictures) == 2
    assert pictures[0] == pictures[1]
    assert main(["stylize", *arguments, "--resume", "--seed", "1"]) == 0
    assert "no snapshot photo-painting-3.png.resume: starting" in capsys.readouterr().err
    for number, options in (("", []), ("-3", ["--seed", "1", "--tile", "64"])):
        assert main(["stylize", *arguments, "--resume", *options]) == 0
        told = capsys.readouterr().out
        assert told.startswith(f"photo-painting{number}.png: made before, of the same pictures")


def photographs_of_one_name(folders: str) -> list[str]:
    """Makes a photograph in each folder; returns their paths."""
    for number, name in enumerate(folders):
        Path(name).mkdir()
        picture(f"{name}/photo.jpg", 40, 30, seed=number)
    return [f"{name}/photo.jpg" for name in folders]


def test_photographs_of_one_name(folder, capsys, monkeypatch):
    """Each goes on with its own picture, in any order, and one that was not begun takes a new one.

    Of one run only the snapshot is left, as where it was killed.
    """
    a, b, c = photographs_of_one_name("abc")
    for photo in (b, c):
        whole = f"{photo[0]}.png"
        assert main(["stylize", photo, *UNNAMED, "--output", whole, "--quiet"]) == 0
    for photo in (a, b):
        stopped_at_step_20(monkeypatch, photo, *UNNAMED)
    Path("photo-painting-2.png").unlink()
    others = {path: path.read_bytes() for path in folder.glob("photo-painting.png*")}
    assert len(others) == 2
    capsys.readouterr()
    assert main(["stylize", c, b, *UNNAMED, "--resume"]) == 0
    told = capsys.readouterr()
    assert "going on from step 20 of photo-painting-2.png.resume" in told.err
    assert Path("photo-painting-2.png").read_bytes() == Path("b.png").read_bytes()
    assert Path("photo-painting-3.png").read_bytes() == Path("c.png").read_bytes()
    assert {path: path.read_bytes() for path in others} == others
    assert main(["stylize", b, a, *UNNAMED, "--resume"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("photo-painting-2.png: made before, of the same pictures")
    assert "going on from step 20 of photo-painting.png.resume" in told.err
    assert not Path("photo-painting-4.png").exists()
    Path("photo-painting.png").unlink()  # the others are found all the same
    for photo, number in ((b, 2), (c, 3)):
        Path("photo-painting-9.png.resume").write_bytes(b"of another version")
        assert main(["stylize", photo, *UNNAMED, "--resume"]) == 0
        assert capsys.readouterr().out.startswith(f"photo-painting-{number}.png: made before")


def test_a_name_that_was_kept_for_another_photograph(folder, capsys, monkeypatch):
    """One that is made before leaves a gap between the numbers."""
    a, b = photographs_of_one_name("ab")
    assert main(["stylize", a, *UNNAMED, "--quiet"]) == 0
    both = [a, b, *UNNAMED, "--resume"]
    stopped_at_step_20(monkeypatch, *both)
    assert "is in photo-painting-3.png; the same command" in capsys.readouterr().err
    assert main(["stylize", *both]) == 0
    assert "going on from step 20 of photo-painting-3.png.resume" in capsys.readouterr().err


def test_a_folder_with_photographs_of_one_name(folder, capsys, monkeypatch):
    """The second of them alone goes on with its own picture there, too."""
    a, b = photographs_of_one_name("ab")
    arguments = [*UNNAMED, "--output", "out/"]
    assert main(["stylize", a, *arguments, "--quiet"]) == 0
    before = Path("out/photo.png").read_bytes()
    stopped_at_step_20(monkeypatch, a, b, *arguments, "--resume")
    capsys.readouterr()
    assert main(["stylize", b, *arguments, "--resume"]) == 0
    assert "going on from step 20 of out/photo-2.png.resume" in capsys.readouterr().err
    assert Path("out/photo.png").read_bytes() == before


def test_photographs_of_one_name_in_another_order(folder, capsys):
    """One that is finished keeps its number, which the other then does not get."""
    a, b = photographs_of_one_name("ab")
    arguments = [*UNNAMED, "--output", "out/", "--quiet"]
    assert main(["stylize", b, a, *arguments]) == 0
    Path("out/photo.png").rename("b.png")
    before = Path("out/photo-2.png").read_bytes()
    assert main(["stylize", a, b, *arguments, "--resume"]) == 0
    assert Path("out/photo-2.png").read_bytes() == before
    assert Path("out/photo.png").read_bytes() == Path("b.png").read_bytes()


def test_a_folder_with_another_photographs_snapshot(folder, capsys, monkeypatch):
    """It is left alone, though its name would be this photograph's."""
    a, b = photographs_of_one_name("ab")
    arguments = [*UNNAMED, "--output", "out/", "--resume"]
    stopped_at_step_20(monkeypatch, b, *arguments)
    before = Path("out/photo.png.resume").read_bytes()
    assert main(["stylize", a, *arguments, "--quiet"]) == 0
    assert Path("out/photo.png.resume").read_bytes() == before
    assert Path("out/photo-2.png").exists()


def test_finished_pictures_may_be_found_twice_and_be_inputs(folder, capsys):
    """They are not written again, so that they are in nobody's way."""
    arguments = [*UNNAMED, "--resume", "--quiet"]
    assert main(["stylize", "photo.jpg", *arguments]) == 0
    picture("z.jpg", 40, 30, seed=3)
    names = ["photo.jpg", "photo.jpg", "photo-painting.png", "z.jpg"]
    assert main(["stylize", *names, *arguments]) == 0
    assert Path("z-painting.png").exists()


def test_names_that_nobody_chose_of_other_settings(folder, capsys, monkeypatch):
    arguments = ["photo.jpg", *UNNAMED]
    stopped_at_step_20(monkeypatch, *arguments)
    capsys.readouterr()
    code = main(["stylize", *arguments, "--resume", "--seed", "1", "--quiet"])
    expect_failure(capsys, code, "photo-painting.png.resume is the snapshot of another run: seed")
    code = main(["stylize", *arguments, "--resume", "--quiet", "--report", "photo-painting.png"])
    expect_failure(capsys, code, "--report photo-painting.png would overwrite")
    Path("photo-painting.png.resume").write_bytes(b"")
    code = main(["stylize", *arguments, "--resume", "--quiet"])
    expect_failure(capsys, code, "photo-painting.png.resume cannot be read", "damaged")


MANY = ["photos", "--style", "painting.png", "--output", "out/", "--resume", "--size", "32"]
MANY += [*SHALLOW, "--optimizer", "adam", "--steps", "3"]


def made(capsys, *arguments: str) -> list[str]:
    """Runs the program; returns the pictures' names, in brackets of those that it left alone."""
    capsys.readouterr()
    assert main(["stylize", *MANY, *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.partition(".png: ")[0].removeprefix("out/") for line in lines]
    return [f"({n})" if "made before" in o else n for n, o in zip(names, lines, strict=True)]


def test_of_a_folder_only_what_is_not_finished_is_done(folder, capsys):
    Path("photos").mkdir()
    for name in "abc":
        picture(f"photos/{name}.jpg", 40, 30, seed=ord(name))
    assert made(capsys) == ["a", "b", "c"]
    before = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    assert made(capsys) == ["(a)", "(b)", "(c)"]
    assert {path: path.stat().st_mtime_ns for path in Path("out").iterdir()} == before
    Path("out/b.png").unlink()
    picture("photos/c.jpg", 40, 30, seed=9)
    assert made(capsys) == ["(a)", "b", "c"]
    Path("out/a.png").write_bytes(Path("photo.jpg").read_bytes())  # of no run
    Path("out/b.png").write_bytes(b"")
    Path("out/c.png.resume").write_bytes(b"")
    with pytest.raises(AssertionError):  # the snapshot is damaged
        made(capsys)
    Path("out/c.png.resume").unlink()
    assert made(capsys) == ["(a)", "(b)", "(c)"]
    for other in (["--steps", "2"], ["--style-weight", "3"], ["--bits", "16"]):
        assert made(capsys, *other) == ["a", "b", "c"]
        assert made(capsys, *other) == ["(a)", "(b)", "(c)"]
    assert made(capsys, "--report", "r.svg") == ["a", "b", "c"]
    Path("r-b.svg").unlink()
    assert made(capsys, "--report", "r.svg") == ["(a)", "b", "(c)"]
    picture("painting.png", 36, 36, seed=7)
    assert made(capsys) == ["a", "b", "c"]


def test_a_picture_that_its_tolerance_ended_is_finished(folder, capsys):
    arguments = [*RUN, "--optimizer", "adam", "--tolerance", "0.9", "--resume"]
    assert main(["stylize", *arguments]) == 0
    assert "30 steps (the objective fell by less than 0.9 in 10" in capsys.readouterr().out
    assert main(["stylize", *arguments]) == 0
    assert capsys.readouterr().out.startswith("o.png: made before")
    assert main(["replay", "o.png"]) == 0
    assert "o-replay.png is o.png, byte for byte" in capsys.readouterr().out


def test_a_picture_for_which_lbfgs_remembered_fewer_steps_is_finished(folder, capsys, monkeypatch):
    monkeypatch.setattr(
        "nstjax.gatys.memory.estimate_bytes", lambda recipe, *_: recipe.history_size * 10**9
    )
    arguments = [*RUN[:5], *SHALLOW, "--steps", "8", "--resume"]
    assert main(["stylize", *arguments, "--memory-limit", "4GB"]) == 0
    assert "untiled, with 3 of L-BFGS' 10 pairs of steps: about 3.0 GB" in capsys.readouterr().err
    assert main(["stylize", *arguments, "--memory-limit", "20GB"]) == 0
    assert capsys.readouterr().out.startswith("o.png: made before")
    assert main(["replay", "o.png"]) == 0
    assert "o-replay.png is o.png, byte for byte" in capsys.readouterr().out


def test_a_picture_that_was_interrupted_is_not_finished(folder, capsys, monkeypatch):
    arguments = [*RUN, "--optimizer", "adam", "--snapshot-every", "0"]
    stopped_at_step_20(monkeypatch, *arguments)
    assert not SNAPSHOT.exists()
    assert main(["stylize", *arguments, "--resume"]) == 0
    assert "150 steps" in capsys.readouterr().out


def test_a_picture_that_was_interrupted_after_its_last_step_is_finished(
    folder, capsys, monkeypatch
):
    arguments = [*RUN, "--optimizer", "adam", "--schedule", "32:20"]
    stopped_at_step_20(monkeypatch, *arguments)
    assert capsys.readouterr().err.endswith("the picture after 20 of 20 steps is in o.png\n")
    assert not SNAPSHOT.exists()
    assert main(["stylize", *arguments, "--resume"]) == 0
    assert capsys.readouterr().out.startswith("o.png: made before")


def test_a_report_of_a_resumed_run_says_so(folder, capsys, monkeypatch):
    """Its pictures are of later steps than the one that it went on from, its curves of all."""
    sheets = []
    monkeypatch.setattr(
        "nstjax.cli.picture_files.save_report", lambda _path, **of: sheets.append(of)
    )
    arguments = [*RUN, "--optimizer", "adam"]
    stopped_at_step_20(monkeypatch, *arguments)
    assert main(["stylize", *arguments, "--resume", "--quiet", "--report", "r.png"]) == 0
    (sheet,) = sheets
    assert sheet["title"] == "photo.jpg in the style of painting.png, resumed at step 20"
    steps = [step for step, _ in sheet["snapshots"]]
    assert [entry["step"] for entry in sheet["history"]] == list(range(151))
    assert len(steps) == 2  # of 45 and 90; 3 and 15 are before
    assert 45 <= steps[0] < 90 <= steps[1]


def test_what_is_refused_stays(folder, capsys, monkeypatch):
    stopped_at_step_20(monkeypatch, *RUN, "--optimizer", "adam", "--quiet")
    capsys.readouterr()
    before = SNAPSHOT.read_bytes(), Path("o.png").read_bytes()
    other = ["--optimizer", "adam", "--style-weight", "3", "--resume", "--quiet"]
    expect_failure(
        capsys, main(["stylize", *RUN, *other]), "o.png.resume", "style weight was", "is 3.0"
    )
    assert (SNAPSHOT.read_bytes(), Path("o.png").read_bytes()) == before
    styles = ["--style", "photo.jpg", "--optimizer", "adam", "--resume", "--quiet"]
    code = main(["stylize", *RUN, *styles])
    expect_failure(capsys, code, "o.png.resume", "there was no style image 2")
    SNAPSHOT.write_bytes(before[0][:-1000])
    code = main(["stylize", *RUN, "--optimizer", "adam", "--resume", "--quiet"])
    expect_failure(capsys, code, "o.png.resume", "damaged", "remove it")
    assert Path("o.png").read_bytes() == before[1]


ANEW = [*RUN, "--optimizer", "adam", "--snapshot-every", "1e-9"]


def test_a_new_run_keeps_the_snapshot_of_another(folder, capsys, monkeypatch):
    """Whoever forgot --resume can still go on."""
    stopped_at_step_20(monkeypatch, *RUN, "--optimizer", "adam")
    capsys.readouterr()
    before, kept = SNAPSHOT.read_bytes(), Path("o.png.resume.old")
    assert main(["stylize", *ANEW]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "o.png.resume" in line]
    (line,) = lines
    assert "did not end is now o.png.resume.old" in line
    assert "rename it to o.png.resume and add --resume" in line
    assert kept.read_bytes() == before
    assert not SNAPSHOT.exists()
    whole = Path("o.png").read_bytes()
    SNAPSHOT.write_bytes(b"of a third run")
    assert main(["stylize", *ANEW, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert kept.read_bytes() == before
    assert Path("o.png.resume.old-2").read_bytes() == b"of a third run"
    kept.rename(SNAPSHOT)
    assert main(["stylize", *ANEW, "--resume"]) == 0
    assert "going on from step 20" in capsys.readouterr().err
    assert Path("o.png").read_bytes() == whole


def test_a_run_that_does_not_begin_leaves_the_snapshot_of_another(folder, capsys):
    SNAPSHOT.write_bytes(b"another's")
    code = main(["stylize", *ANEW, "--quiet", "--memory-limit", "1MB"])
    expect_failure(capsys, code, "set --memory-limit")
    assert SNAPSHOT.read_bytes() == b"another's"


def test_what_cannot_be_set_aside_stops_the_run(folder, capsys, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    SNAPSHOT.write_bytes(b"another's")
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", refuse)
        code = main(["stylize", *ANEW, "--quiet"])
    expect_failure(capsys, code, "cannot rename o.png.resume", "Permission denied", "--output")
    assert SNAPSHOT.read_bytes() == b"another's"
    assert not Path("o.png").exists()


def refuse_to_write(monkeypatch, *names: str) -> None:
    """Lets no file of these names be written in the current folder."""
    replace = os.replace

    def full(source, target):
        if Path(target).name in names:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)


@pytest.mark.parametrize("refused", ["o.png", "h.jsonl", "r.svg"])
def test_a_snapshot_stays_until_all_is_written(folder, capsys, monkeypatch, refused):
    """And what can be written is, whatever else cannot."""
    asked = [*ANEW, "--history", "h.jsonl", "--report", "r.svg", "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        refuse_to_write(patch, refused)
        code = main(["stylize", *asked])
    said = "the picture is in", "the same command with --resume does only the end again"
    expect_failure(capsys, code, f"cannot write {refused} (No space left on device)", *said)
    names = {"o.png", "h.jsonl", "r.svg"}
    assert {name for name in names if Path(name).exists()} == names - {refused}
    assert SNAPSHOT.exists()
    assert main(["stylize", *asked[:-1], "--resume"]) == 0
    told = capsys.readouterr()
    assert "going on from step" in told.err
    assert "150 steps" in told.out
    assert {name for name in names if Path(name).exists()} == names
    assert not SNAPSHOT.exists()


def test_what_goes_wrong_after_an_interruption_is_told(folder, capsys, monkeypatch):
    refuse_to_write(monkeypatch, "h.jsonl")
    stopped_at_step_20(monkeypatch, *ANEW, "--history", "h.jsonl", "--quiet")
    (last,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert last.startswith("nstjax: interrupted: the picture after 20 of 150 steps is in o.png")
    assert "cannot write h.jsonl" in last


def test_what_writes_no_snapshot_leaves_anothers(folder):
    Path("o.png.resume").write_bytes(b"another's")
    assert main(["stylize", *RUN, "--steps", "2", "--quiet", "--snapshot-every", "0"]) == 0
    Path("again.png.resume").write_bytes(b"another's")
    assert main(["replay", "o.png", "--output", "again.png"]) == 0
    for name in ("o", "again"):
        assert Path(f"{name}.png.resume").read_bytes() == b"another's"


def test_bad_values(folder, capsys):
    for seconds in ("-1", "nan", "inf"):
        code = main(["stylize", *RUN, "--snapshot-every", seconds])
        expect_failure(capsys, code, "--snapshot-every", seconds)
    code = main(["stylize", "photo.jpg", "--style", "starry", "--resume"])
    expect_failure(capsys, code, "--resume", "pixel route")
