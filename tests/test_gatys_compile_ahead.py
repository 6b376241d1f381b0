"""Compilation for the next size, in a thread."""

import threading

import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

import nstjax.gatys.compile_ahead
from nstjax.gatys import stylize
from nstjax.gatys.chunk import evaluate_picture, run_chunk
from nstjax.gatys.compile_ahead import CompileAhead
from nstjax.gatys.stages import Stage
from nstjax.gatys.steps import first_state, rates_of
from nstjax.objective import network_params, prepare
from nstjax.settings import OPTIMIZERS, override

CONTENT, STYLE = inputs.picture(24, 32)[:, ::-1], inputs.picture(24, 32)
TWO_SIZES = {"schedule": ((0.75, 0.5), (1.0, 0.5)), "steps": 6}


@pytest.mark.parametrize(
    ("optimizer", "shapes"),
    [*((name, [(26, 30)]) for name in OPTIMIZERS), ("adam", [(26, 31), (27, 30), (26, 31)])],
)
def test_what_is_compiled_ahead_is_what_runs(
    shallow_recipe, shallow_vgg19, compilations, optimizer, shapes
):
    average = 0.0 if optimizer == "lbfgs-b" else 0.9
    recipe = override(shallow_recipe, optimizer=optimizer, average=average)
    params = network_params(recipe, shallow_vgg19)
    # Sizes that no other test has, on the device already: bringing them there compiles, too.
    content = jnp.asarray(inputs.picture(22, 34))
    styles = [jnp.asarray(inputs.picture(*shape)) for shape in shapes]
    rates = rates_of(recipe)
    state = None
    if optimizer != "lbfgs-b":
        state = first_state(recipe, content, rates)
    with CompileAhead(recipe, "caffe", params) as compiling:
        compiling.start(Stage((22, 34), tuple(shapes), 5), None)
        compiling.wait()
    assert compilations
    compilations.clear()
    structure, numbers = prepare(recipe, "caffe", params, content, styles)
    if state is None:
        evaluate_picture(structure, numbers, content)
    else:
        run_chunk(structure, optimizer, numbers, rates, state, np.int32(2))
    assert not compilations


def test_targets_need_not_wait_for_the_steps(
    shallow_recipe, shallow_vgg19, compilations, monkeypatch
):
    """Their programs are there while those of the steps still compile."""
    release = threading.Event()
    monkeypatch.setattr(nstjax.gatys.compile_ahead, "compile_steps", lambda *_: release.wait(60))
    params = network_params(shallow_recipe, shallow_vgg19)
    content, style = (jnp.asarray(inputs.picture(*size)) for size in ((23, 35), (25, 29)))
    with CompileAhead(shallow_recipe, "caffe", params) as compiling:
        compiling.start(Stage((23, 35), ((25, 29),), 5), None)
        compiling.wait_for_targets()
        assert compilations
        compilations.clear()
        prepare(shallow_recipe, "caffe", params, content, style)
        assert not compilations
        release.set()


def test_a_second_run_through_two_sizes_compiles_nothing(
    shallow_recipe, shallow_vgg19, compilations
):
    recipe = override(shallow_recipe, average=0.9, **TWO_SIZES)
    stylize(CONTENT, STYLE, recipe=recipe, weights=shallow_vgg19)
    compilations.clear()
    stylize(STYLE, CONTENT, recipe=recipe, weights=shallow_vgg19, learning_rate=0.01, average=0.5)
    assert not compilations


def test_a_failure_of_the_thread_is_none_of_the_run(shallow_recipe, shallow_vgg19, monkeypatch):
    recipe = override(shallow_recipe, **TWO_SIZES)
    expected = stylize(CONTENT, STYLE, recipe=recipe, weights=shallow_vgg19).image

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(nstjax.gatys.compile_ahead, "compile_steps", fail)
    result = stylize(CONTENT, STYLE, recipe=recipe, weights=shallow_vgg19)
    assert result.stopped == ""
    assert (result.image == expected).all()


def test_a_run_that_ends_early_does_not_wait(shallow_recipe, shallow_vgg19, monkeypatch):
    release, real, begun = threading.Event(), nstjax.gatys.compile_ahead.compile_steps, []

    def slow(*arguments) -> None:
        begun.append(arguments)
        if len(begun) == 2:  # for the second size
            assert release.wait(60)
            begun.append("released")
        real(*arguments)

    monkeypatch.setattr(nstjax.gatys.compile_ahead, "compile_steps", slow)
    recipe = override(shallow_recipe, **TWO_SIZES)
    result = stylize(CONTENT, STYLE, recipe=recipe, weights=shallow_vgg19, callback=lambda _: True)
    assert result.stopped == "the callback asked for it"
    assert "released" not in begun
    release.set()
