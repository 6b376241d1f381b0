"""`stylize` end to end on a shallow network: sizes, stages, transparency, and what it saves."""

import json

import numpy as np
import pytest
from golden import inputs
from PIL import Image

import nstjax
from nstjax.errors import NstjaxError
from nstjax.gatys import StylizeResult, load_sources, stylize, stylize_sources
from nstjax.images import Picture, load_image, read_settings, resize_image

CONTENT, STYLE = inputs.picture(24, 32), inputs.picture(30, 26)
LAYERS = {
    "content_layers": (("block2_conv1", 1.0),),
    "style_layers": (("block1_conv1", 0.5), ("block2_conv1", 0.5)),
}


@pytest.fixture
def run(shallow_recipe, shallow_vgg19):
    def call(content=CONTENT, style=STYLE, *, recipe=shallow_recipe, **settings):
        return stylize(content, style, recipe=recipe, weights=shallow_vgg19, **settings)

    return call


def test_stages(run):
    """gatys-code's: five sevenths of the steps at 64 % of the size, the rest at all of it."""
    shapes = {}
    result = run(
        inputs.picture(40, 60),
        recipe="gatys-code",
        size=32,
        steps=7,
        callback=lambda progress: shapes.update({progress.step: progress.image.shape[1:3]}),
        callback_every=1,
        **LAYERS,
    )
    assert [entry["step"] for entry in result.history] == list(range(8))
    assert {shapes[step] for step in range(6)} == {(21, 31)}
    assert {shapes[step] for step in (6, 7)} == {(32, 48)}
    assert result.image.shape == (1, 32, 48, 3)
    assert np.all(np.diff([entry["evaluations"] for entry in result.history]) > 0)


def test_a_stage_starts_from_the_one_before(run):
    images = []
    result = run(
        inputs.picture(40, 60),
        recipe="gatys-code",
        size=32,
        steps=7,
        callback=lambda progress: images.append(progress.image),
        callback_every=1,
        **LAYERS,
    )
    enlarged = resize_image(images[5], 32, 48)
    assert (
        np.abs(result.image - enlarged).mean() < np.abs(result.image - images[5].mean()).mean() / 3
    )


def test_a_pyramid_starts_from_averages(run):
    """Each size begins with the average of the one before, and the result is the last one's."""
    reports = []
    result = run(
        *(inputs.picture(48, 64), inputs.picture(40, 50)),
        min_size=32,
        size=64,
        initial_steps=4,
        steps=3,
        average=0.9,
        learning_rate=0.05,
        callback=reports.append,
        callback_every=1,
    )
    assert [report.image.shape[2] for report in reports] == [32] * 5 + [45] * 3 + [64] * 3
    assert {report.steps for report in reports} == {10}
    assert [entry["step"] for entry in result.history] == list(range(11))
    np.testing.assert_array_equal(result.image, reports[-1].image)
    assert result.settings["steps_done"] == 10
    # After one step the average is still nearly half of what the size began with.
    start = resize_image(reports[4].image, 34, 45)
    moved = np.abs(reports[5].image - start)
    assert 0 < moved.max() < 0.05


@pytest.mark.parametrize("which", ["content", "style", "init"])
def test_colours_hidden_under_transparency_leave_no_fringe(run, tmp_path, which):
    """The first picture is the cut-out in the size of the run, as if it had been loaded in that."""
    levels = np.zeros((64, 64, 4), np.uint8)
    levels[:, 21:] = (255, 0, 0, 255)  # red beside transparent black
    Image.fromarray(levels).save(tmp_path / "cut-out.png")
    cut_out, seen = load_image(tmp_path / "cut-out.png"), []
    given = {"content": inputs.picture(64, 64), "style": STYLE, "init": which}
    given |= {which: str(tmp_path / "cut-out.png") if which == "init" else cut_out}
    run(**given, size=16, style_upscale=False, steps=1, callback=lambda p: seen.append(p.image))
    expected = load_image(tmp_path / "cut-out.png", size=16).pixels
    np.testing.assert_array_equal(seen[0], expected)


@pytest.mark.parametrize("name", ["keras", "anishathalye", "neural-style", "lbfgs-b", "gatys"])
def test_other_recipes_run(run, name):
    """Their optimisers, ranges and starts, on two layers."""
    settings = {"rescale_filters": False} if name == "gatys" else {}
    result = run(recipe=name, size=32, steps=2, **settings, **LAYERS)
    assert result.history[-1]["total"] < result.history[0]["total"]
    assert result.image.shape[2 if name != "keras" else 1] == 32


def test_the_same_seed_gives_the_same_file(run, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(init="noise", seed=seed).save(tmp_path / f"{name}.png")
    first, second, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == second
    assert first != other


def test_alpha_comes_back_at_the_size_of_the_result(run):
    alpha = np.zeros((1, 48, 64, 1), np.float32)
    alpha[:, :, 32:] = 1
    result = run(Picture(inputs.picture(48, 64), alpha, "cut-out.png"))
    assert result.image.shape == (1, 24, 32, 3)
    np.testing.assert_array_equal(result.alpha, resize_image(alpha, 24, 32))
    assert run().alpha is None


def test_what_is_saved(run, tmp_path):
    result = run(Picture(CONTENT, None, "some/where/photo.jpg"), steps=3, tv_weight=0.25)
    result.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.size == (32, 24)
        np.testing.assert_allclose(np.asarray(image) / 255, result.image[0], atol=0.51 / 255)
    settings = read_settings(tmp_path / "out.png")
    assert settings == json.loads(json.dumps(result.settings))
    assert settings is not None
    expected = {
        "method": "gatys",
        "content": "photo.jpg",
        "steps": 3,
        "steps_done": 3,
        "tv_weight": 0.25,
        "nstjax": nstjax.__version__,
        "weights_sha256": "0" * 64,
    }
    assert {name: settings[name] for name in expected} == expected


def test_a_notebook_shows_it(run):
    assert run()._repr_png_().startswith(b"\x89PNG")


def test_any_kind_of_picture(run, tmp_path):
    levels = (CONTENT[0] * 255).round().astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "content.png")
    sources = [
        levels,
        Image.fromarray(levels),
        str(tmp_path / "content.png"),
        tmp_path / "content.png",
    ]
    first, *others = (run(source, steps=1).image for source in sources)
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "tensrflow"}, "unknown recipe 'tensrflow': did you mean 'tensorflow'"),
        ({"style_wieght": 1.0}, "unknown setting 'style_wieght': did you mean 'style_weight'"),
        ({"init": "noisy"}, "unknown init.*did you mean 'noise'"),
        ({"size": 1}, r"a picture of 1×1 pixels is too small for layer block2_conv1"),
        ({"content": "missing.jpg"}, r"missing\.jpg does not exist"),
    ],
)
def test_errors_for_people(run, settings, message):
    with pytest.raises(NstjaxError, match=message):
        run(**settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"callback_every": -1}, "callback_every is -1: it must be at least 0"),
        ({"snapshot_every": -1.0}, r"snapshot_every is -1\.0: it must be at least 0"),
        ({"snapshot_every": np.nan}, "snapshot_every is nan: it must be at least 0"),
        ({"resume": True}, "nothing to resume from: give snapshot=FILE"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_loaded(
    run, shallow_recipe, shallow_vgg19, options, message
):
    """A negative number of steps never came to an end."""
    with pytest.raises(NstjaxError, match=message):
        run("missing.jpg", **options)
    sources = load_sources(shallow_recipe, CONTENT, STYLE)
    with pytest.raises(NstjaxError, match=message):
        stylize_sources(sources, shallow_recipe, shallow_vgg19, **options)


def test_the_papers_recipe_uses_rescaled_filters(random_vgg19):
    """At equal weights the paper's objective differs once the filters are rescaled."""
    totals = [
        stylize(
            CONTENT,
            STYLE,
            recipe="gatys",
            weights=random_vgg19,
            rescale_filters=rescaled,
            size=32,
            steps=0,
        ).history[0]["total"]
        for rescaled in (True, False)
    ]
    assert np.isfinite(totals).all()
    assert abs(totals[0] / totals[1] - 1) > 0.1


TWO_STAGES = ((0.5, 0.5), (1.0, 0.5))


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "lbfgs-b"])
@pytest.mark.parametrize(
    ("strength", "ends"), [(None, (2, 4)), (0.5, (5, 10, 15, 20))], ids=["sizes", "rounds"]
)
def test_a_stop_that_comes_with_the_end_is_none(run, optimizer, strength, ends):
    """Of the run: that of a size, or of a round of the last one, is a stop like any other."""
    settings = {"strength": strength, "steps": ends[-1], "schedule": TWO_STAGES}
    for step in ends:
        result = run(
            optimizer=optimizer,
            **settings,
            callback=lambda progress, step=step: progress.step >= step,
            callback_every=1,
        )
        is_last = step == ends[-1]
        assert result.history[-1]["step"] == step
        assert result.stopped == ("" if is_last else "the callback asked for it")
        assert result.settings["complete"] == is_last


def test_a_stop_that_comes_with_the_end_by_the_tolerance_is_none(run):
    """At the last size; at an earlier one the run would have gone on."""
    settings = {"tolerance": 0.99, "schedule": "16:20,32:20"}
    last = run(**settings).history[-1]["step"]
    for step, stopped in ((10, "the callback asked"), (last, "the objective fell by less")):
        result = run(**settings, callback=lambda progress, step=step: progress.step >= step)
        assert result.history[-1]["step"] == step < 40
        assert result.stopped.startswith(stopped)
        assert result.settings["complete"] == (step == last)


def test_a_run_that_is_ended_early_has_the_size_asked_for(run):
    result = run(
        schedule=TWO_STAGES,
        steps=20,
        callback=lambda progress: progress.step >= 3,
        callback_every=1,
    )
    assert result.stopped == "the callback asked for it"
    assert result.history[-1]["step"] == 3
    assert result.image.shape == CONTENT.shape


def test_tolerance_ends_a_stage_and_not_the_run(run):
    """And a stage's objective is not compared with the one's before, which has another picture."""
    result = run(schedule=TWO_STAGES, steps=60, tolerance=0.99)
    assert result.image.shape == CONTENT.shape
    assert result.history[-1]["step"] == 30  # at 10 the first stage ended; at 20 none was asked
    assert result.stopped == "the objective fell by less than 0.99 in 10 steps"
    shapes = {}
    run(
        schedule=((0.5, 1.0), (1.0, 2.0)),
        steps=45,
        tolerance=1e-6,
        callback=lambda progress: shapes.update({progress.step: progress.image.shape}),
        callback_every=5,
    )
    assert max(shapes) > 20
    assert shapes[max(shapes)] == CONTENT.shape


def test_weights_of_another_network(run):
    with pytest.raises(NstjaxError, match="network is vgg16 and these are the weights of vgg19"):
        run(network="vgg16")


OTHER = inputs.picture(28, 36)[:, :, ::-1]


def style_loss_of(result):
    return result.history[0]["style_raw"]


@pytest.mark.parametrize("settings", [{}, {"style_loss": "wasserstein2"}, {"strength": 0.5}])
def test_several_styles(run, settings):
    """Each counts by its weight, in the list's order; one alone is what it was without a list."""
    alone = run(**settings)
    np.testing.assert_array_equal(run(style=[STYLE], **settings).image, alone.image)
    only_first = run(style=[STYLE, OTHER], style_weights=[3, 0], **settings)
    np.testing.assert_allclose(style_loss_of(only_first), style_loss_of(alone), rtol=1e-4)
    mixed = run(style=(STYLE, OTHER), style_weights=[2, 1], **settings)
    same = run(style=[OTHER, STYLE, STYLE], **settings)
    np.testing.assert_allclose(style_loss_of(mixed), style_loss_of(same), rtol=1e-4)
    swapped = run(style=[OTHER, STYLE], style_weights=[2, 1], **settings)
    assert abs(style_loss_of(swapped) / style_loss_of(mixed) - 1) > 1e-3
    assert all(np.isfinite(result.image).all() for result in (only_first, mixed, swapped))


def test_several_styles_are_recorded(run, tmp_path):
    names = ["some/where/a.png", "b.png"]
    pictures = [
        Picture(pixels, None, name) for pixels, name in zip((STYLE, OTHER), names, strict=True)
    ]
    run(style=pictures, style_weights=(2, 1), steps=1).save(tmp_path / "out.png")
    settings = read_settings(tmp_path / "out.png") or {}
    assert (settings["style"], settings["style_weights"]) == (["a.png", "b.png"], [2.0, 1.0])
    inputs_of_style = settings["inputs"]["style"]
    assert [entry["name"] for entry in inputs_of_style] == ["a.png", "b.png"]
    assert len({entry["sha256"] for entry in inputs_of_style}) == 2
    one = run(style=pictures[:1], style_weights=[7], steps=1).settings
    assert (one["style"], one["inputs"]["style"]["name"]) == ("a.png", "a.png")
    assert "style_weights" not in one


def test_several_styles_coarse_to_fine_from_the_first(run):
    """Of other sizes than each other and the content; the start is the first one's."""
    seen = []
    result = run(
        style=[OTHER, STYLE],
        init="style",
        schedule="16:2,32:2",
        callback=lambda progress: seen.append((progress.step, progress.image)),
        callback_every=1,
    )
    assert result.image.shape == CONTENT.shape
    np.testing.assert_array_equal(seen[0][1], resize_image(resize_image(OTHER, 12, 16), 12, 16))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": []}, "no style image is given"),
        ({"style": [STYLE, STYLE], "style_weights": [1]}, "2 style images and 1 weights"),
        ({"style": [STYLE, STYLE], "style_weights": [0, 0]}, "at least 0, and one above"),
        ({"style": [STYLE, STYLE], "style_weights": [1, -1]}, "at least 0, and one above"),
        ({"style_weights": [0]}, "at least 0, and one above"),
        ({"style": [STYLE, "missing.jpg"]}, r"missing\.jpg does not exist"),
        ({"style": [STYLE, STYLE[:, :1]]}, "too small for layer"),
    ],
)
def test_several_styles_that_do_not_fit(run, settings, message):
    with pytest.raises(NstjaxError, match=message):
        run(**settings)


def test_results_can_be_compared_and_hashed():
    one, other = (StylizeResult(image=CONTENT, settings={}, history=[]) for _ in range(2))
    assert one != other
    assert len({one, other, one}) == 2
