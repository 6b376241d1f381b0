"""The loop: chunks, compilations, callbacks, and every way a run can end."""

import numpy as np
import pytest
from golden import inputs

import nstjax.gatys.loop
from nstjax.gatys import stylize
from nstjax.settings import OPTIMIZERS, override
from nstjax.vgg import Weights

CONTENT, STYLE = inputs.picture(24, 32)[:, ::-1], inputs.picture(24, 32)
RATES = {"adam": 0.02, "sgd": 3e-3}


@pytest.fixture
def run(shallow_recipe, shallow_vgg19):
    """Runs the shallow recipe with settings of the test's own."""

    def call(content=CONTENT, style=STYLE, *, weights=shallow_vgg19, optimizer="adam", **settings):
        options = {name: settings.pop(name, None) for name in ("callback", "callback_every")}
        options["callback_every"] = options["callback_every"] or 0
        settings = {"optimizer": optimizer, "learning_rate": RATES.get(optimizer, 1.0)} | settings
        recipe = override(shallow_recipe, **settings)
        return stylize(content, style, recipe=recipe, weights=weights, **options)

    return call


@pytest.fixture(params=[0.0, 1e9], ids=["single steps", "full chunks"])
def chunked(request, monkeypatch):
    monkeypatch.setattr(nstjax.gatys.loop, "_CHUNK_SECONDS", request.param)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_objective_falls(run, optimizer):
    result = run(optimizer=optimizer, steps=8)
    totals = [entry["total"] for entry in result.history]
    assert totals[-1] < 0.9 * totals[0]
    assert [entry["step"] for entry in result.history] == list(range(len(totals)))
    for entry in result.history:
        assert entry["total"] == pytest.approx(entry["content"] + entry["style"] + entry["tv"])
        assert entry["style"] == pytest.approx(1e-4 * entry["style_raw"])
    for name in ("evaluations", "seconds"):
        assert np.all(np.diff([entry[name] for entry in result.history]) >= 0)
    assert result.image.dtype == np.float32
    assert result.image.min() >= 0
    assert result.image.max() <= 1


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_chunking_changes_no_bit_over_sizes(run, monkeypatch, optimizer):
    """With an average, and with what the optimiser takes along."""
    images = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(nstjax.gatys.loop, "_CHUNK_SECONDS", seconds)
        schedule = ((0.75, 0.5), (1.0, 0.5))
        images.append(run(optimizer=optimizer, steps=14, schedule=schedule, average=0.9).image)
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
def test_chunking_changes_no_bit(run, monkeypatch, optimizer):
    results = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(nstjax.gatys.loop, "_CHUNK_SECONDS", seconds)
        reports = []
        results.append(
            run(optimizer=optimizer, steps=20, callback=lambda p, r=reports: r.append(p.step))
        )
        assert len(reports) == (21 if seconds == 0 else 3)  # the start, the first step, the rest
    single, chunks = results
    np.testing.assert_array_equal(single.image, chunks.image)
    for one, other in zip(single.history, chunks.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_second_run_compiles_nothing(run, compilations, optimizer):
    """Neither later steps nor other numbers nor another picture of the same size do."""
    seen = []
    run(optimizer=optimizer, steps=4, callback=lambda progress: seen.append(len(compilations)))
    assert seen[1:] == [seen[1]] * (len(seen) - 1)  # none after the first step
    before = len(compilations)
    run(
        CONTENT[:, :, ::-1],
        STYLE[..., ::-1],
        optimizer=optimizer,
        steps=6,
        content_weight=0.3,
        style_weight=2e-4,
        tv_weight=0.5,
        learning_rate=1e-3,
        beta1=0.5,
        epsilon=1e-3,
        decay_rate=0.9,
        seed=5,
    )
    assert len(compilations) == before


def poisoned(weights):
    params = {name: dict(kinds) for name, kinds in weights.params.items()}
    params["block2_conv1"]["bias"] = np.full(128, np.inf, np.float32)
    return Weights("vgg19", "caffe", params, top=False, sha256="0" * 64)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_start_that_is_not_finite(run, shallow_vgg19, optimizer):
    result = run(weights=poisoned(shallow_vgg19), optimizer=optimizer, steps=5)
    assert result.stopped in [f"the objective became {bad} at step 0" for bad in ("nan", "inf")]
    assert len(result.history) == 1
    np.testing.assert_allclose(result.image, CONTENT, atol=1e-6)


@pytest.mark.usefixtures("chunked")
def test_a_step_that_is_not_finite_keeps_the_last_good_picture(run):
    result = run(optimizer="sgd", learning_rate=1e30, clip=False, steps=20)
    assert result.stopped in [f"the objective became {bad} at step 1" for bad in ("nan", "inf")]
    assert [np.isfinite(entry["total"]) for entry in result.history] == [True, False]
    np.testing.assert_array_equal(result.image, CONTENT)
    result = run(optimizer="sgd", learning_rate=1e30, clip=False, steps=20, average=0.5)
    np.testing.assert_array_equal(result.image, CONTENT)


@pytest.mark.usefixtures("chunked")
def test_callbacks_at_multiples(run):
    reports = []
    result = run(steps=11, callback=reports.append, callback_every=4)
    assert {4, 8, 11} <= {report.step for report in reports}
    assert [entry for report in reports for entry in report.entries] == result.history
    for report in reports:
        assert report.steps == 11
        assert report.entry == report.entries[-1] == result.history[report.step]
        assert report.image.shape == CONTENT.shape
    np.testing.assert_array_equal(reports[-1].image, result.image)
    np.testing.assert_array_equal(reports[0].image, CONTENT)
    assert result.stopped == ""


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_callback_can_stop(run, optimizer):
    images = []

    def callback(progress):
        images.append(progress.image)
        return progress.step >= 3

    result = run(optimizer=optimizer, steps=30, callback=callback, callback_every=3)
    assert result.stopped == "the callback asked for it"
    assert result.history[-1]["step"] == result.settings["steps_done"] == 3
    np.testing.assert_array_equal(result.image, images[-1])


@pytest.mark.parametrize("answer", [None, False])
def test_a_callback_that_does_not_ask_to_stop(run, answer):
    assert len(run(steps=3, callback=lambda _: answer).history) == 4


@pytest.mark.usefixtures("chunked")
def test_tolerance(run):
    """Asked at every tenth step alone, so that chunks make no difference."""
    result = run(steps=60, tolerance=0.9)
    assert result.stopped == "the objective fell by less than 0.9 in 10 steps"
    totals = [entry["total"] for entry in result.history]
    last = len(totals) - 1
    assert last % 10 == 0
    assert totals[last - 10] - totals[last] < 0.9 * totals[last - 10]
    for step in range(10, last, 10):
        assert totals[step - 10] - totals[step] >= 0.9 * totals[step - 10]
    assert len(run(steps=25, tolerance=0.0).history) == 26


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_no_steps(run, optimizer):
    result = run(optimizer=optimizer, steps=0)
    assert [entry["step"] for entry in result.history] == [0]
    assert result.stopped == ""
    np.testing.assert_array_equal(result.image, CONTENT)


def test_lbfgs_b_counts_evaluations(run):
    """SciPy's limit of evaluations is kept to, but for the search that reaches it."""
    result = run(optimizer="lbfgs-b", steps=20, evaluations_per_step=1.0)
    assert result.history[0]["evaluations"] == 1
    assert result.history[-1]["evaluations"] <= 20 + 20


def test_lbfgs_b_stays_in_range(run):
    images = []
    run(optimizer="lbfgs-b", steps=6, callback=lambda progress: images.append(progress.image))
    assert min(image.min() for image in images) >= 0
    assert max(image.max() for image in images) <= 1
