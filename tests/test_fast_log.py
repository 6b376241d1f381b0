"""The log of a training: what a resumed run finds in it, and a disk that refuses."""

from pathlib import Path

import pytest

from nstjax.fast import log as module
from nstjax.fast.log import MetricsLog, read_log


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "run" / "metrics.jsonl"


def open_log(path: Path, step: int = 0) -> MetricsLog:
    return MetricsLog(path, step, warn=pytest.fail)


def add(log: MetricsLog, *steps: int) -> None:
    for step in steps:
        log.add({"step": step, "total": step / 3})


def test_what_is_written_is_read(path):
    assert read_log(path) == []
    log = open_log(path)
    add(log, 1, 2)
    assert read_log(path) == []
    log.flush()
    assert read_log(path) == [{"step": 1, "total": 1 / 3}, {"step": 2, "total": 2 / 3}]
    add(log, 3)
    log.flush()
    log.flush()
    assert [entry["step"] for entry in read_log(path)] == [1, 2, 3]


def test_it_is_written_now_and_then(path, monkeypatch):
    monkeypatch.setattr(module, "_EVERY_SECONDS", -1.0)
    add(open_log(path), 1)
    assert len(read_log(path)) == 1


@pytest.mark.parametrize("cut_off", ["", '{"step": 4, "tot', "4", "[4]", '{"total": 1}', "\n"])
def test_a_resumed_run_makes_the_later_entries_again(path, cut_off):
    log = open_log(path)
    add(log, 1, 2, 3)
    log.flush()
    with path.open("a") as stream:
        stream.write(cut_off)
    assert [entry["step"] for entry in read_log(path)] == [1, 2, 3]
    log = open_log(path, step=2)
    assert [entry["step"] for entry in read_log(path)] == [1, 2]
    add(log, 3, 4)
    log.flush()
    assert [entry["step"] for entry in read_log(path)] == [1, 2, 3, 4]


def test_a_run_that_starts_anew_starts_an_empty_log(path):
    log = open_log(path)
    add(log, 1)
    log.flush()
    open_log(path)
    assert path.read_text() == ""


def test_a_log_that_cannot_be_written_is_told_of_once(path):
    path.mkdir(parents=True)
    warned: list[str] = []
    log = MetricsLog(path, 0, warn=warned.append)
    for step in (1, 2):
        add(log, step)
        log.flush()
    [message] = warned
    assert message.startswith(f"cannot write {path} (")
    assert message.endswith("): training goes on without this log")


def test_a_log_that_is_lost_meanwhile_is_told_of_once(path):
    warned: list[str] = []
    log = MetricsLog(path, 0, warn=warned.append)
    path.unlink()
    path.parent.rmdir()
    for step in (1, 2):
        add(log, step)
        log.flush()
    [message] = warned
    assert "No such file" in message


def test_other_processes_write_nothing(path, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    log = open_log(path)
    add(log, 1)
    log.flush()
    assert not path.parent.exists()
