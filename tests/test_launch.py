"""Huge pages: asked for where Linux has them for those who ask, and the program stays the same."""

import ast
import os
import subprocess
import sys

import pytest

import nstjax.cli
from nstjax import launch
from nstjax.launch import use_huge_pages, with_huge_pages

ASKED = "glibc.malloc.hugetlb=1"


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """A Linux that gives huge pages to those who ask, with a C library that knows how to."""
    setting = tmp_path / "enabled"
    setting.write_text("always [madvise] never\n")
    monkeypatch.setattr(launch, "_WHO_GETS_THEM", setting)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36", raising=False)
    return setting


@pytest.fixture
def launches(monkeypatch):
    """What programs are begun in place of this one."""
    begun = []
    monkeypatch.setattr(os, "execve", lambda *how: begun.append(how))
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.setattr(sys, "argv", ["stylize.py"])
    for name in ("GLIBC_TUNABLES", launch._AGAIN):
        monkeypatch.delenv(name, raising=False)
    return begun


def test_asked_for(linux):
    assert with_huge_pages({"A": "b"}) == {"A": "b", "GLIBC_TUNABLES": ASKED}


def test_other_tunables_stay(linux):
    variables = {"GLIBC_TUNABLES": "glibc.malloc.check=3"}
    assert with_huge_pages(variables) == {"GLIBC_TUNABLES": f"glibc.malloc.check=3:{ASKED}"}


@pytest.mark.parametrize("decided", ["glibc.malloc.hugetlb=0", f"glibc.malloc.check=3:{ASKED}"])
def test_what_is_decided_stays(linux, decided):
    assert with_huge_pages({"GLIBC_TUNABLES": decided}) == {"GLIBC_TUNABLES": decided}


@pytest.mark.parametrize("who", ["[always] madvise never", "always madvise [never]", None])
def test_where_asking_changes_nothing(linux, who):
    linux.write_text(who) if who else linux.unlink()
    assert with_huge_pages({"A": "b"}) == {"A": "b"}


@pytest.mark.parametrize("library", ["glibc 2.34", "musl", None])
def test_where_the_c_library_cannot_ask(linux, monkeypatch, library):
    monkeypatch.setattr(os, "confstr", lambda name: library)
    assert with_huge_pages({}) == {}


def test_where_there_is_no_such_c_library(linux, monkeypatch):
    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "confstr", unknown)
    assert with_huge_pages({}) == {}


def test_begun_again_once(linux, launches, monkeypatch):
    use_huge_pages()
    ((program, words, variables),) = launches
    assert program == words[0] == sys.executable
    assert words[1:] == sys.orig_argv[1:]
    assert variables["GLIBC_TUNABLES"] == ASKED
    # Also where the new process does not get to see that: a wrapper may take it away.
    monkeypatch.setenv(launch._AGAIN, variables[launch._AGAIN])
    use_huge_pages()
    assert len(launches) == 1


@pytest.mark.parametrize(("name", "value"), [("argv", ["-"]), ("argv", [""]), ("executable", None)])
def test_what_cannot_be_begun_again_goes_on(linux, launches, monkeypatch, name, value):
    monkeypatch.setattr(sys, name, value)
    use_huge_pages()
    assert launches == []


@pytest.mark.parametrize(
    ("command", "rest", "begun"),
    [(["train"], ["--help"], 1), ([], ["train"], 1), (["stylize"], ["train"], 0), ([], [], 0)],
)
def test_only_trainings_are_begun_again(linux, launches, monkeypatch, command, rest, begun):
    run = []
    monkeypatch.setattr(nstjax.cli, "main", lambda words: run.extend(words) or 7)
    monkeypatch.setattr(sys, "argv", ["nstjax", *rest])
    assert launch.launch(*command) == 7
    assert run == [*command, *rest]
    assert len(launches) == begun


def test_a_debugger_keeps_its_program(linux, launches, monkeypatch):
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    use_huge_pages()
    assert launches == []


def test_goes_on_where_it_cannot_begin_again(linux, launches, monkeypatch):
    def fail(*how):
        launches.append(how)
        raise OSError

    monkeypatch.setattr(os, "execve", fail)
    use_huge_pages()
    assert len(launches) == 1


def test_the_program_is_the_same():
    own = ("GLIBC_TUNABLES", launch._AGAIN)
    environment = {name: value for name, value in os.environ.items() if name not in own}
    code = (
        "import os, sys; from nstjax.launch import use_huge_pages; use_huge_pages(); "
        "print([os.environ.get('GLIBC_TUNABLES'), sys.argv, sys.prefix, sys.flags.utf8_mode])"
    )
    command = [sys.executable, "-X", "utf8", "-c", code, "a word", "--option"]
    printed = subprocess.check_output(command, env=environment, text=True)
    expected = [with_huge_pages(environment).get("GLIBC_TUNABLES"), ["-c", *command[-2:]]]
    assert ast.literal_eval(printed) == [*expected, sys.prefix, 1]
