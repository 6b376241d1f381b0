"""One set of conventions for all that the package offers."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import nstjax

MODULES = {
    name: importlib.import_module(name)
    for _, name, _ in pkgutil.walk_packages(nstjax.__path__, "nstjax.")
    if not name.endswith("__main__")
}
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (nstjax, *MODULES.values())
    for name in getattr(module, "__all__", ())
}
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isroutine(thing)}
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}
DATACLASSES = {name: thing for name, thing in CLASSES.items() if dataclasses.is_dataclass(thing)}
METHODS = {
    f"{owner}.{name}": inspect.unwrap(member)
    for owner, thing in CLASSES.items()
    for name, member in vars(thing).items()
    if inspect.isroutine(member) and not name.startswith("_")
}

each_function = pytest.mark.parametrize("name", FUNCTIONS)


def docstring_of(thing: Any) -> str:
    """An object's own docstring, not one that it inherits."""
    return inspect.cleandoc(vars(thing)["__doc__"] if inspect.isclass(thing) else thing.__doc__)


def section(docstring: str, title: str) -> str:
    """The indented text under `title:`, empty where there is none."""
    found = re.search(rf"^{title}:\n((?:[ ]{{4}}.*\n?|\n)+)", docstring, re.MULTILINE)
    return found.group(1) if found else ""


def entries(docstring: str, title: str) -> list[str]:
    """The names that a section explains, in its order."""
    return re.findall(r"^ {4}\**(\w+): ", section(docstring, title), re.MULTILINE)


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    parameters = inspect.signature(function).parameters.values()
    return [parameter for parameter in parameters if parameter.name != "self"]


def test_the_root_offers_the_whole_route():
    wanted = """stylize StylizeResult Progress Recipe RECIPES get_recipe override load_weights
    load_image save_image classify make_objective NstjaxError"""
    assert set(wanted.split()) <= set(nstjax.__all__)
    assert set(nstjax.__all__) <= set(dir(nstjax))
    with pytest.raises(AttributeError, match="stylise"):
        nstjax.stylise  # noqa: B018 # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_offered_twice_is_one_thing():
    by_name: dict[str, set[int]] = {}
    for path, thing in PUBLIC.items():
        by_name.setdefault(path.rpartition(".")[2], set()).add(id(thing))
    assert {name for name, things in by_name.items() if len(things) > 1} == set()


@pytest.mark.parametrize("package", [m for m in MODULES.values() if hasattr(m, "__all__")])
def test_lists_are_complete(package):
    offered = {
        name
        for name, thing in vars(package).items()
        if not name.startswith("_") and not isinstance(thing, ModuleType)
    }
    assert offered == set(package.__all__)


@pytest.mark.parametrize("name", FUNCTIONS | CLASSES | METHODS)
def test_is_described_in_one_line_first(name):
    lines = docstring_of((FUNCTIONS | CLASSES | METHODS)[name]).splitlines()
    assert lines[0].endswith(".")
    assert len(lines) == 1 or lines[1] == ""


@each_function
def test_every_argument_is_explained_in_order(name):
    function = FUNCTIONS[name]
    expected = [parameter.name for parameter in parameters_of(function)]
    assert entries(docstring_of(function), "Args") == expected


@each_function
def test_what_comes_back_is_explained(name):
    function = FUNCTIONS[name]
    returns = inspect.signature(function).return_annotation
    docstring = docstring_of(function)
    explained = bool(section(docstring, "Returns") or section(docstring, "Yields"))
    assert explained == (returns not in (None, "None"))


@pytest.mark.parametrize("name", FUNCTIONS | METHODS)
def test_is_annotated(name):
    function = (FUNCTIONS | METHODS)[name]
    unannotated = [p.name for p in parameters_of(function) if p.annotation is p.empty]
    assert unannotated == []
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty


@pytest.mark.parametrize("name", FUNCTIONS | METHODS)
def test_options_are_passed_by_name(name):
    """At most one argument that may be left out is taken by its position."""
    parameters = parameters_of((FUNCTIONS | METHODS)[name])
    optional = [p.name for p in parameters if p.default is not p.empty and p.kind != p.KEYWORD_ONLY]
    assert len(optional) <= 1


@pytest.mark.parametrize("name", DATACLASSES)
def test_every_field_is_explained(name):
    thing = DATACLASSES[name]
    # Flax adds two fields to every module.
    added = {"parent", "name"} if hasattr(thing, "apply") else set()
    own = [field for field in dataclasses.fields(thing) if field.name not in added]
    if any("help" in field.metadata for field in own):
        # The command line explains them, and comments those that it does not offer.
        return
    assert entries(docstring_of(thing), "Attributes") == [field.name for field in own]


def examples() -> Iterator[doctest.DocTest]:
    """The examples of all functions, classes and methods, public or not."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in (nstjax, *MODULES.values()):
        for name, thing in list(vars(module).items()):
            if getattr(thing, "__module__", None) != module.__name__:
                continue
            if inspect.isroutine(thing) or inspect.isclass(thing):
                path = f"{module.__name__}.{name}"
                # No module: the finder would not see through functions wrapped by type checkers.
                found = finder.find(thing, path, module=False, globs=vars(module))  # pyright: ignore[reportArgumentType]
                yield from (test for test in found if test.examples)


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.name)
def test_example_runs(example, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert "".join(said) == ""


def test_checks_see_what_they_should():
    docstring = (
        "One.\n\nArgs:\n    a: one, of\n        b: no argument.\n    **c: two.\n\nReturns:\n    It."
    )
    assert entries(docstring, "Args") == ["a", "c"]
    assert section(docstring, "Returns") == "    It."
    assert section(docstring, "Raises") == ""
    found = {example.name for example in examples()}
    assert {"nstjax.losses.style.gram_matrix", "nstjax.vgg.network.VGG"} <= found
