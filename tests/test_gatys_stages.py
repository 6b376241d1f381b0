"""The sizes of a run: those of the content and the style image, of schedules and of pyramids."""

import pytest

from nstjax.errors import NstjaxError
from nstjax.gatys.stages import stages_of
from nstjax.recipes import get_recipe
from nstjax.settings import override

SQUARE = (512, 512)


def stages(content=SQUARE, style=SQUARE, *, recipe="tensorflow", **settings):
    return stages_of(override(get_recipe(recipe), **settings), content, style)


def sizes_and_steps(*pictures, **settings):
    return [(max(stage.content), stage.steps) for stage in stages(*pictures, **settings)]


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        ((300, 400), {"size": 200}, (150, 200)),
        ((400, 300), {"size": 200}, (200, 150)),
        ((301, 400), {"size": 200}, (151, 200)),  # 150.5 rounds up
        ((30, 40), {"size": 200}, (150, 200)),  # asked for: enlarged
        ((30, 40), {"size": 200, "upscale": False}, (30, 40)),
        ((30, 40), {}, (30, 40)),  # a recipe's own 512 enlarges nothing
        ((600, 800), {}, (384, 512)),
        ((300, 400), {"size": 150, "side": "shortest"}, (150, 200)),
        ((400, 300), {"size": 150, "side": "shortest"}, (200, 150)),
        ((300, 400), {"size": 150, "side": "height"}, (150, 200)),
        ((400, 300), {"size": 200, "side": "height"}, (200, 150)),
        ((300, 400), {"size": 600, "side": "height", "upscale": False}, (300, 400)),
    ],
)
def test_the_content_gets_the_size_asked_for(shape, settings, expected):
    assert [stage.content for stage in stages(shape, **settings)] == [expected]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (64, 32)),  # the painting's own aspect
        ({"style_size": 100}, (100, 50)),
        ({"side": "shortest"}, (128, 64)),
        ({"style_fit": "stretch"}, (48, 64)),
        ({"style_fit": "width"}, (128, 64)),
        ({"style_scale": 0.75}, (48, 24)),
        ({"style_size": 100, "style_scale": 0.75}, (75, 38)),
        ({"style_fit": "stretch", "style_scale": 2.0}, (96, 128)),
        ({"style_fit": "width", "style_scale": 0.5}, (64, 32)),
        ({"style_upscale": False}, (40, 20)),  # never enlarged
        ({"style_upscale": False, "style_scale": 0.5}, (32, 16)),
        ({"style_upscale": False, "style_fit": "width"}, (40, 20)),
    ],
)
def test_the_style_gets_its_size(settings, expected):
    (stage,) = stages((48, 64), (40, 20), **({"size": 64} | settings))
    assert stage.style == expected


def test_gatys_code():
    """Of its shortest side: 500 steps at 512, 200 at 800."""
    found = stages((900, 1200), (400, 300), recipe="gatys-code")
    assert [(*stage.content, stage.steps) for stage in found] == [(512, 683, 500), (800, 1067, 200)]
    assert [stage.style for stage in found] == [(683, 512), (1067, 800)]


def test_a_pyramid_is_crowsonkbs():
    """Its sizes from 128 to 512, as its program prints them."""
    found = sizes_and_steps(min_size=128, initial_steps=1000, steps=500)
    assert found == [(128, 1000), (181, 500), (256, 500), (362, 500), (512, 500)]
    # The next, 1024 / √2³, is 362.04: below 363.
    assert [size for size, _ in sizes_and_steps(size=1024, min_size=363)] == [512, 724, 1024]
    assert sizes_and_steps(size=256, min_size=256) == [(256, 1000)]


def test_a_pyramid_ends_with_the_pictures_own_size():
    found = sizes_and_steps((200, 300), min_size=128, initial_steps=7, steps=5)
    assert found == [(150, 7), (212, 5), (300, 5)]
    assert sizes_and_steps((80, 100), min_size=128, initial_steps=7, steps=5) == [(100, 7)]
    assert sizes_and_steps((80, 100), size=256, min_size=128)[-1][0] == 256


def test_a_pyramid_of_the_shortest_side():
    found = stages((300, 600), min_size=100, size=200, side="shortest")
    assert [stage.content for stage in found] == [(100, 200), (141, 282), (200, 400)]


def test_a_schedule_is_relative_to_its_last_size():
    assert sizes_and_steps(schedule="128:10,512:5") == [(128, 10), (512, 5)]
    assert sizes_and_steps(schedule="128:10,512:5", size=256, steps=30) == [(64, 20), (256, 10)]
    assert sizes_and_steps(schedule=((2.0, 1.0), (4.0, 1.0), (8.0, 2.0)), size=80, steps=9) == [
        *((20, 2), (40, 2), (80, 5)),
    ]
    assert sizes_and_steps(schedule=((2.0, 1.0), (1.0, 1.0)), size=100, steps=2) == [
        (200, 1),
        (100, 1),
    ]


def test_the_style_follows_the_schedule():
    found = stages(schedule="128:1,512:1", style_size=1024, style_scale=0.5)
    assert [stage.style for stage in found] == [(128, 128), (512, 512)]


def test_sizes_too_small_for_the_network_are_left_out():
    """`block5_conv2` needs 16 pixels, which the short side has from the second size on."""
    thin = (64, 128)
    assert sizes_and_steps(thin, size=64, min_size=20, steps=5, initial_steps=9) == [
        *((32, 9), (45, 5), (64, 5)),
    ]
    # Their steps are not lost where the steps of the whole run are given.
    shares = ((1 / 4, 1.0), (15 / 32, 2.0), (5 / 8, 3.0), (1.0, 4.0))
    assert sizes_and_steps(thin, schedule=shares, size=64, steps=10) == [(40, 6), (64, 4)]
    # Nor does a painting have to be large enough before the end.
    halves = {"schedule": ((0.25, 1.0), (1.0, 1.0)), "size": 256}
    assert [stage.style for stage in stages(SQUARE, (8, 128), **halves)] == [(16, 256)]
    with pytest.raises(NstjaxError, match="a picture of 16×8 pixels is too small"):
        stages(thin, size=16)
    with pytest.raises(NstjaxError, match=r"a style image of 8×8 pixels .* --style-size or --size"):
        stages(SQUARE, SQUARE, size=64, style_size=8)


@pytest.mark.parametrize(
    ("pictures", "settings", "message"),
    [
        (
            [(64, 96), SQUARE],
            {"schedule": "16:100,256:100"},
            r"^at size 16 of the schedule a picture of 16×11 pixels is too small for layer "
            r"block5_\w+, which needs 16 pixels a side: .*, or give --schedule larger sizes$",
        ),
        ([(64, 96), SQUARE], {"schedule": "32:1,256:9", "size": 128}, "^at size 16 of the schedul"),
        (
            [(64, 96), SQUARE],
            {"schedule": ((16.0, 1.0), (256.0, 1.0)), "size": 256},
            "^at size 16 of",
        ),
        ([SQUARE, (8, 128)], {"schedule": "64:1,256:1"}, "^at size 64 .* a style image of 64×4"),
    ],
)
def test_sizes_that_somebody_named_are_not_left_out(pictures, settings, message):
    with pytest.raises(NstjaxError, match=message):
        stages(*pictures, **settings)


@pytest.mark.parametrize("settings", [{"schedule": "25000:1,256:9"}, {"style_scale": 20.0}])
def test_sizes_that_no_machine_holds(settings):
    with pytest.raises(NstjaxError, match=r"more than 20000 pixels a side: use a smaller --s"):
        stages(SQUARE, SQUARE, **({"size": 1024} | settings))


def test_each_of_several_styles_gets_its_size_by_the_same_rules():
    recipe = override(get_recipe("tensorflow"), schedule="128:1,256:1", style_scale=0.5)
    paintings = [(512, 256), (100, 400), (300, 300)]
    found = stages_of(recipe, SQUARE, *paintings)
    alone = [stages_of(recipe, SQUARE, painting) for painting in paintings]
    for number, stage in enumerate(found):
        assert stage.styles == tuple(stages[number].styles[0] for stages in alone)
    # The largest is the one that takes most memory.
    assert found[1].styles == ((128, 64), (32, 128), (128, 128))
    assert found[1].style == (128, 128)


def test_one_of_several_styles_that_is_too_small_at_a_size():
    settings = {"schedule": ((0.25, 1.0), (1.0, 1.0)), "size": 256, "style_fit": "aspect"}
    recipe = override(get_recipe("tensorflow"), **settings)
    assert len(stages_of(recipe, SQUARE, SQUARE)) == 2
    assert len(stages_of(recipe, SQUARE, SQUARE, (8, 128))) == 1
    with pytest.raises(NstjaxError, match="at size 64 of the schedule a style image of 64×4"):
        stages_of(override(recipe, schedule="64:1,256:1"), SQUARE, SQUARE, (8, 128))
    with pytest.raises(NstjaxError, match="too small for layer"):
        stages_of(recipe, SQUARE, SQUARE, (8, 1280))
