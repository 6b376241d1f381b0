"""The training step: against PyTorch, and what it does beside the gradient.

The golden values come from tests/golden/make_training_step.py, whose docstring defines the network
and the losses. They are float64; the tolerances are what float32 can hold.
"""

import dataclasses
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from golden import inputs

from nstjax.fast import trainer
from nstjax.fast.network import paint
from nstjax.fast.recipes import get_training_recipe
from nstjax.fast.settings import Architecture, TrainingRecipe
from nstjax.fast.trainer import (
    State,
    init_state,
    loss_fn,
    make_optimizer,
    make_step,
    value_and_grad,
)
from nstjax.objective import weights_of as term_weights_of
from nstjax.settings import override
from nstjax.structure import TERMS, Inputs, Structure, Targets, structure_of
from nstjax.targets import style_targets
from nstjax.vgg import Weights

pytestmark = pytest.mark.usefixtures("quick_compilation")

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("training_step.json").read_text())
STYLE = inputs.picture(*GOLDEN["style_size"])[..., ::-1]
# Compiling takes most of the time, and convolutions are as fast without it.
QUICKLY = {"xla_backend_optimization_level": 0}

DEFAULT = get_training_recipe("nstjax")
CLIP_NORM = 1e-3
TINY = override(
    DEFAULT,
    weighting="absolute",
    content_layers="block2_conv1:1",
    style_layers="block1_conv1:0.25,block2_conv1:0.75",
    content_weight=0.1,
    style_weight=1e-4,
    tv_weight=0.1,
    architecture=Architecture(width=1 / 16),
    precision="float32",
    learning_rate=1e-2,
    clip_norm=CLIP_NORM,
    average=0.15,
)
BATCH = jnp.asarray(inputs.batch(16, 18))


def norm(arrays) -> float:
    return math.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in jax.tree.leaves(arrays)))


def objective_of(recipe: TrainingRecipe, weights: Weights) -> tuple[Structure, Inputs]:
    structure = structure_of(recipe, weights.preprocessing)
    params = jax.device_put(weights.params)
    grams = jax.jit(style_targets, static_argnums=0)(structure, params, STYLE)
    return structure, Inputs(params, Targets({}, grams), term_weights_of(recipe))


@dataclasses.dataclass
class Run:
    """Two steps of a golden case."""

    golden: dict
    painted: np.ndarray
    gradient: dict
    states: list[State]
    metrics: list[dict]


def case(name: str):
    """Each compiles for seconds: two that differ little from the others run with the long tests."""
    return pytest.param(name, marks=[pytest.mark.long] if name in ("norm_last", "linear") else [])


@pytest.fixture(scope="module", params=map(case, GOLDEN["cases"]))
def run(request, random_vgg16, random_vgg19) -> Run:
    golden = GOLDEN["cases"][request.param]
    settings = dict(golden["settings"])
    settings["architecture"] = Architecture(**settings["architecture"])
    for layers in ("content_layers", "style_layers"):
        settings[layers] = tuple(map(tuple, settings[layers]))
    recipe = override(
        DEFAULT,
        weighting="absolute",
        precision="float32",
        learning_rate=GOLDEN["adam"]["lr"],
        **settings,
    )
    weights = {"vgg16": random_vgg16, "vgg19": random_vgg19}[recipe.network]
    weights = dataclasses.replace(weights, preprocessing=recipe.preprocessing)
    structure, numbers = objective_of(recipe, weights)
    batch = inputs.batch(*golden["size"])
    params = inputs.nested(inputs.style_network_params(recipe.architecture.norm_last))
    painted = jax.jit(paint, static_argnums=0, compiler_options=QUICKLY)(
        recipe.architecture, params, batch
    )
    step = jax.jit(make_step(recipe, structure), compiler_options=QUICKLY)
    states, metrics = [init_state(recipe, params)], []
    for _ in golden["steps"]:
        state, measured = step(states[-1], batch, numbers)
        states.append(state)
        metrics.append(measured)
    moments = optax.tree.get(states[1].opt_state, "mu")  # a tenth of the first gradient
    return Run(
        golden, np.asarray(painted), jax.tree.map(lambda m: 10 * m, moments), states, metrics
    )


def measured(run: Run, step: int) -> dict[str, float]:
    """What PyTorch measured, by its names."""
    metrics = run.metrics[step]
    return {
        "total": float(metrics["total"]),
        **{name: float(metrics[f"{name}_raw"]) for name in TERMS},
        "gradient_norm": float(metrics["gradient_norm"]),
        "params_norm": norm(run.states[step + 1].params),
    }


def test_paints_what_pytorch_paints(run):
    golden = run.golden["painted"]
    painted = run.painted.astype(np.float64)
    assert painted.shape == (2, *run.golden["size"], 3)
    np.testing.assert_allclose(painted.mean(), golden["mean"], atol=1e-5)
    np.testing.assert_allclose(painted.std(), golden["std"], rtol=1e-4)
    np.testing.assert_allclose(painted.ravel()[golden["positions"]], golden["values"], atol=2e-5)


def test_measures_pytorchs_loss_and_gradient(run):
    golden, found = run.golden["steps"][0], measured(run, 0)
    assert found.keys() == golden.keys()
    for name in ("total", *TERMS):
        np.testing.assert_allclose(found[name], golden[name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(found["gradient_norm"], golden["gradient_norm"], rtol=1e-4)


def test_each_arrays_gradient_is_pytorchs(run):
    found = {
        "/".join(key.key for key in path): norm(gradient)
        for path, gradient in jax.tree_util.tree_leaves_with_path(run.gradient)
    }
    golden = run.golden["gradients"]
    assert found.keys() == golden.keys()
    scale = run.golden["steps"][0]["gradient_norm"]
    for name, value in golden.items():
        np.testing.assert_allclose(found[name], value, rtol=3e-3, atol=1e-5 * scale, err_msg=name)


def test_adam_moves_as_pytorchs(run):
    before, after = norm(run.states[0].params), norm(run.states[1].params)
    golden = run.golden["steps"][0]["params_norm"]
    np.testing.assert_allclose(after, golden, rtol=5e-6)
    assert abs(before / golden - 1) > 3e-5
    # What the second step finds shows that all numbers went to the right place.
    golden, found = run.golden["steps"][1], measured(run, 1)
    for name, value in golden.items():
        np.testing.assert_allclose(found[name], value, rtol=5e-3, err_msg=name)


@pytest.fixture(scope="module")
def tiny(shallow_vgg19):
    """A step of a very small training, compiled, with its structure and numbers."""
    structure, numbers = objective_of(TINY, shallow_vgg19)
    return jax.jit(make_step(TINY, structure), compiler_options=QUICKLY), structure, numbers


@pytest.fixture(scope="module")
def tiny_params():
    return inputs.nested(inputs.style_network_params(False, TINY.architecture.width))


@pytest.fixture(scope="module")
def history(tiny, tiny_params):
    """States, from the first on, and the metrics of the steps between them."""
    step, _, numbers = tiny
    states, metrics = [init_state(TINY, tiny_params)], []
    for _ in range(30):
        state, measured = step(states[-1], BATCH, numbers)
        states.append(state)
        metrics.append(measured)
    return states, metrics


def test_metrics_add_up(history):
    _, (metrics, *_) = history
    assert metrics.keys() == {"total", "gradient_norm", *TERMS, *(f"{name}_raw" for name in TERMS)}
    assert {(value.shape, str(value.dtype)) for value in metrics.values()} == {((), "float32")}
    assert min(metrics.values()) > 0
    np.testing.assert_allclose(metrics["total"], sum(metrics[name] for name in TERMS), rtol=1e-6)
    for name in TERMS:
        weight = getattr(TINY, f"{name}_weight")
        np.testing.assert_allclose(metrics[name], weight * metrics[f"{name}_raw"], rtol=1e-6)


def test_the_loss_falls(history):
    _, metrics = history
    assert metrics[-1]["total"] < 0.7 * metrics[0]["total"]


def test_steps_are_counted(history):
    states, _ = history
    assert [int(state.step) for state in states] == list(range(31))


def test_the_reported_gradient_is_not_clipped(history):
    states, metrics = history
    assert metrics[0]["gradient_norm"] > 100 * CLIP_NORM
    clipped = norm(optax.tree.get(states[1].opt_state, "mu")) * 10
    np.testing.assert_allclose(clipped, CLIP_NORM, rtol=1e-4)


def test_the_average_forgets_the_start(history):
    """It keeps (1 + k) / (10 + k) of itself in step k, and never more than the recipe says."""
    states, _ = history
    average = jax.tree.map(np.float64, states[0].params)
    for keep, state in zip((1 / 10, 0.15, 0.15, 0.15), states[1:5], strict=True):
        average = jax.tree.map(lambda a, p, k=keep: k * a + (1 - k) * p, average, state.params)
        for ours, expected in zip(
            jax.tree.leaves(state.average), jax.tree.leaves(average), strict=True
        ):
            np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_a_second_step_compiles_nothing(tiny, tiny_params, compilations):
    step, _, numbers = tiny
    state, _ = step(init_state(TINY, tiny_params), BATCH, numbers)
    other = jax.jit(lambda batch: batch[::-1] + 0.125)(BATCH)
    before = len(compilations)
    step(state, other, numbers)
    assert len(compilations) == before > 0


def test_gradient_by_finite_differences(tiny, tiny_params):
    """Along each layer's gradient: far enough for float32, and near enough for a straight line."""
    _, structure, numbers = tiny

    def loss(params):
        return loss_fn(TINY, structure, numbers, params, BATCH)[0]

    program = jax.jit(jax.value_and_grad(loss), compiler_options=QUICKLY)
    _, gradient = program(tiny_params)
    for layer, direction in gradient.items():
        slope = norm(direction) ** 2
        length = 2e-4 * norm(tiny_params[layer]) / norm(direction)
        there, back = (
            {
                **tiny_params,
                layer: jax.tree.map(lambda p, g, k=k: p + k * g, tiny_params[layer], direction),
            }
            for k in (length, -length)
        )
        totals = [float(program(params)[0]) for params in (there, back)]
        np.testing.assert_allclose(
            (totals[0] - totals[1]) / (2 * length), slope, rtol=4e-2, err_msg=layer
        )


@pytest.mark.parametrize(("count", "at_a_time"), [(4, 2), (3, 3)])
def test_the_gradient_in_parts_is_the_whole_batchs(
    count, at_a_time, tiny, tiny_params, monkeypatch
):
    _, structure, numbers = tiny
    batch = jnp.concatenate([BATCH, 0.5 * BATCH[::-1]])[:count]
    whole = jax.value_and_grad(loss_fn, argnums=3, has_aux=True)
    how = {"static_argnums": (0, 1), "compiler_options": QUICKLY}
    expected = jax.jit(whole, **how)(TINY, structure, numbers, tiny_params, batch)
    sizes = []

    def recorded(*arguments):
        sizes.append(len(arguments[-1]))
        return loss_fn(*arguments)

    monkeypatch.setattr(trainer, "loss_fn", recorded)
    found = jax.jit(value_and_grad, **how)(TINY, structure, numbers, tiny_params, batch)
    assert set(sizes) == {at_a_time}
    scale = norm(expected[1])
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * scale)


of_each_architecture = pytest.mark.parametrize(
    "architecture",
    [
        Architecture(width=1 / 16),
        Architecture(width=1 / 16, upsampling="transpose"),
        Architecture(design="subpixel", width=1 / 16),
    ],
    ids=lambda architecture: f"{architecture.design}-{architecture.upsampling}",
)


def lowered_convolutions(architecture, structure, numbers):
    """The lines of a lowered training step that convolve."""
    recipe = override(TINY, architecture=architecture)
    params = init_state(recipe).params
    batch = jnp.concatenate([BATCH, BATCH])
    step = jax.jit(value_and_grad, static_argnums=(0, 1))
    text = step.lower(recipe, structure, numbers, params, batch).as_text()
    found = [line for line in text.splitlines() if ".convolution(" in line]
    assert len(found) > 10
    return found


@of_each_architecture
def test_all_convolutions_are_fast_in_loops(architecture, tiny):
    """Others, with reversed or exchanged dimensions, take a CPU many times as long there."""
    _, structure, numbers = tiny
    for convolution in lowered_convolutions(architecture, structure, numbers):
        assert "dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in convolution
        assert "reverse = [true" not in convolution
        assert "lhs_dilate = [2" not in convolution


@of_each_architecture
def test_a_gpu_convolves_bfloat16_to_bfloat16(architecture, tiny, monkeypatch):
    """To float32 it would convolve in float32."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    _, structure, numbers = tiny
    narrow = dataclasses.replace(structure, precision="bfloat16")
    for convolution in lowered_convolutions(architecture, narrow, numbers):
        types = convolution.rpartition(" : ")[2]
        assert types.count("xbf16>") == 3


def test_the_step_of_devices_in_parts_is_the_whole_batchs(tiny, tiny_params, monkeypatch):
    """Two devices, four pictures each, as two parts; and one device, with all of them at once."""
    _, structure, numbers = tiny
    batch = jnp.concatenate([BATCH, 0.5 * BATCH, BATCH[:, ::-1], 1 - BATCH])[:8]
    state = init_state(TINY, tiny_params)
    devices = jax.vmap(
        make_step(TINY, structure, axis_name="devices"), (None, 0, None), axis_name="devices"
    )
    found = jax.jit(devices, compiler_options=QUICKLY)(
        state, batch.reshape(2, 4, *batch.shape[1:]), numbers
    )
    monkeypatch.setattr(trainer, "_PICTURES_AT_A_TIME", 8)
    whole = jax.jit(make_step(TINY, structure), compiler_options=QUICKLY)
    expected = whole(state, batch, numbers)
    for device in (0, 1):
        moments, metrics = optax.tree.get(found[0].opt_state, "mu"), found[1]
        moment = jax.tree.map(lambda leaf, device=device: leaf[device], moments)
        theirs = optax.tree.get(expected[0].opt_state, "mu")
        difference = jax.tree.map(jnp.subtract, moment, theirs)
        assert norm(difference) < 1e-4 * norm(theirs)
        for name, value in expected[1].items():
            np.testing.assert_allclose(metrics[name][device], value, rtol=1e-4)


def test_batches_stay_whole_where_gradients_in_loops_are_slow(tiny, monkeypatch):
    _, structure, numbers = tiny
    sizes = []

    def recorded(recipe, structure, inputs, params, batch):
        sizes.append(len(batch))
        return jnp.sum(params["kernel"]) * batch.mean(), {}

    monkeypatch.setattr(trainer, "loss_fn", recorded)
    narrow = dataclasses.replace(structure, precision="bfloat16")
    params, batch = {"kernel": jnp.ones(1)}, jnp.ones((4, 2, 2, 3))
    value_and_grad(TINY, narrow, numbers, params, batch)
    with monkeypatch.context() as forced:
        forced.setenv("NSTJAX_CONV", "direct")
        value_and_grad(TINY, structure, numbers, params, batch)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    value_and_grad(TINY, structure, numbers, params, batch)
    assert sizes == [4, 4, 4]


def rates(**settings) -> list[float]:
    """The step sizes of a schedule: Adam's steps while the gradient stays the same."""
    recipe = override(DEFAULT, learning_rate=0.5, **settings)
    optimizer = make_optimizer(recipe)
    gradient = jnp.float32(7.0)
    opt_state = optimizer.init(gradient)
    found = []
    for _ in range(12):
        update, opt_state = optimizer.update(gradient, opt_state, gradient)
        found.append(-np.asarray(update).item())
    return found


def test_rate_is_constant_by_default():
    np.testing.assert_allclose(rates(), [0.5] * 12, rtol=1e-4)


def test_warm_up():
    """From 0: the first step leaves the parameters as they are."""
    expected = [0, 0.125, 0.25, 0.375, *[0.5] * 8]
    np.testing.assert_allclose(rates(warmup_steps=4), expected, rtol=1e-4)


@pytest.mark.parametrize("warmup", [0, 4])
def test_cosine_decay_ends_with_the_training(warmup):
    expected = [0.5 * step / max(1, warmup) for step in range(warmup)]
    for step in range(12 - warmup):
        expected.append(0.25 * (1 + math.cos(math.pi * step / (10 - warmup))))
    expected[10:] = [0, 0]  # after the last of ten steps
    found = rates(steps=10, warmup_steps=warmup, decay="cosine")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_warm_up_may_be_longer_than_the_training():
    found = rates(steps=3, warmup_steps=6, decay="cosine")
    np.testing.assert_allclose(found[:6], [0.5 * step / 6 for step in range(6)], rtol=1e-4)


@pytest.mark.parametrize(("clip_norm", "expected"), [(None, 10.0), (5.0, 1.0), (100.0, 10.0)])
def test_clipping(clip_norm, expected):
    """Of gradients (3, 4) and ten times that, a norm of 5 makes equals."""
    optimizer = make_optimizer(override(DEFAULT, clip_norm=clip_norm))
    gradient = {"x": jnp.array([3.0]), "y": jnp.array([4.0])}
    opt_state = optimizer.init(gradient)
    found = []
    for scale in (1.0, 10.0):
        before = optax.tree.get(opt_state, "mu")
        larger = jax.tree.map(lambda g, s=scale: s * g, gradient)
        _, opt_state = optimizer.update(larger, opt_state, gradient)
        after = optax.tree.get(opt_state, "mu")
        found.append(norm(jax.tree.map(lambda a, b: (a - 0.9 * b) / 0.1, after, before)))
    np.testing.assert_allclose(found, [5.0, 5.0 * expected], rtol=1e-5)


def test_first_state_draws_with_the_recipes_seed(monkeypatch):
    drawn = []

    def draw(architecture, key):
        drawn.append((architecture, jax.random.key_data(key).tolist()))
        return {"conv1": {"kernel": jnp.ones(3)}}

    monkeypatch.setattr(trainer, "init_params", draw)
    init_state(override(TINY, seed=5))
    assert drawn == [(TINY.architecture, jax.random.key_data(jax.random.key(5)).tolist())]


def test_first_state_holds_its_parameters_twice(tiny_params):
    state = init_state(TINY, tiny_params)
    assert state.step == 0
    for start, ours, average in zip(
        *(jax.tree.leaves(tree) for tree in (tiny_params, state.params, state.average)), strict=True
    ):
        np.testing.assert_array_equal(ours, start)
        np.testing.assert_array_equal(average, start)
        assert ours.unsafe_buffer_pointer() != average.unsafe_buffer_pointer()
