"""A training small enough for tests, in this process or in one of its own."""

import atexit
import contextlib
import functools
import hashlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from golden import inputs
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from PIL import Image

from nstjax.fast.checkpoints import Checkpoints, Restored
from nstjax.fast.data import Dataset, open_dataset
from nstjax.fast.loop import TrainingProgress
from nstjax.fast.parallel import make_parallel_step, replicate, shard, unreplicate
from nstjax.fast.settings import Architecture, TrainingRecipe
from nstjax.fast.train import TrainingResult, train
from nstjax.fast.trainer import init_state
from nstjax.images import Picture
from nstjax.objective import Inputs, Targets, network_params, structure_of, weights_of
from nstjax.recipes import even
from nstjax.settings import override
from nstjax.targets import style_targets
from nstjax.vgg import Weights

PHOTOGRAPHS = 12  # an epoch of three batches
STEPS = 12
EVERY = 4  # steps from one checkpoint to the next
RECIPE = TrainingRecipe(
    name="tiny",
    source="the tests",
    weighting="relative",
    content_layers=even("block2_conv1"),
    content_weight=1.0,
    style_layers=even("block1_conv1 block2_conv1"),
    style_weight=20.0,
    tv_weight=0.02,
    image_size=32,
    style_size=48,
    batch_size=4,
    architecture=Architecture(width=0.125),
)
STYLE = Picture(inputs.picture(48, 40), None, "paintings/mine.png")


def save_photographs(folder: Path, count: int = PHOTOGRAPHS) -> Path:
    """Saves smooth pictures of 40×48 pixels; a smaller number of them are the same ones."""
    folder.mkdir(parents=True)
    for number in range(count):
        rough = np.random.default_rng(number).integers(0, 256, (6, 5, 3), np.uint8)
        picture = Image.fromarray(rough).resize((40, 48), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:02}.jpg", quality=95)
    return folder


@functools.cache
def shallow_weights() -> Weights:
    """Random weights of VGG19's first two blocks."""
    layers = itertools.takewhile(
        lambda layer: layer[0] < "block3", inputs.vgg_weights("vgg19", include_top=False)
    )
    params = {layer: {"kernel": kernel, "bias": bias} for layer, kernel, bias in layers}
    return Weights("vgg19", "caffe", params, top=False, sha256="0" * 64)


def unexpected(message: str) -> None:
    raise AssertionError(message)


def run(
    workdir: Path,
    photographs: Path | Dataset,
    *,
    steps: int = STEPS,
    recipe: TrainingRecipe = RECIPE,
    style: Any = STYLE,
    name: str = "mine",
    **options: Any,
) -> TrainingResult:
    """Trains a style, by default without a word of warning."""
    if isinstance(photographs, Path):
        photographs = open_dataset(f"folder:{photographs}")
    with _shared_programs():
        return train(
            name,
            style,
            photographs,
            recipe=override(recipe, steps=steps),
            weights=shallow_weights(),
            workdir=workdir,
            **{"checkpoint_every": EVERY, "init": _init(), "warn": unexpected, **options},
        )


@functools.cache
@jax.enable_x64(False)  # whoever asks first
def _shapes() -> Any:
    return jax.eval_shape(lambda: init_state(RECIPE))


@functools.cache
def _init() -> Any:
    """Parameters to start from: compiling the drawing of random ones takes longer than training."""
    rng = np.random.default_rng(0)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        if leaf.ndim == 4:
            limit = (6 / (np.prod(leaf.shape[:2]) * sum(leaf.shape[2:]))) ** 0.5
            return rng.uniform(-limit, limit, leaf.shape).astype(np.float32)
        return np.full(leaf.shape, "scale" in str(path[-1]), np.float32)

    return jax.tree_util.tree_map_with_path(draw, _shapes().params)


@contextlib.contextmanager
def _shared_programs() -> Iterator[None]:
    """Keeps compiled programs for the processes that `start` starts."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # this is one of them, or they have a place
        yield
        return
    before = {name.lower(): getattr(jax.config, name.lower()) for name in _sharing()}
    try:
        for name, value in _sharing().items():
            jax.config.update(name.lower(), value)
        reset_cache()
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        reset_cache()


@functools.cache
def _sharing() -> dict[str, Any]:
    """JAX's settings for that, as it reads them from the environment."""
    folder = tempfile.mkdtemp(prefix="nstjax-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
    }


@functools.cache
@jax.enable_x64(True)
def exact_gradient() -> dict[str, np.ndarray]:
    """The gradient of a step on all devices of all processes in float64, by parameter.

    In float32 rounding decides now and then on which side of a ReLU's kink a value lies, and that
    moves a gradient by much more than rounding.
    """
    weights, side = shallow_weights(), RECIPE.image_size
    structure = replace(structure_of(RECIPE, weights.preprocessing), precision="float64")
    params, init = (
        jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tree)
        for tree in (network_params(RECIPE, weights), _init())
    )
    style = style_targets(structure, params, jnp.asarray(STYLE.pixels, jnp.float64))
    objective = Inputs(params, Targets({}, style), weights_of(RECIPE))
    batch = np.random.default_rng(1).random((RECIPE.batch_size, side, side, 3))
    mine = np.split(batch, jax.process_count())[jax.process_index()]
    state, go_on = init_state(RECIPE, init), np.zeros(jax.local_device_count(), np.float32)
    step = make_parallel_step(RECIPE, structure)
    state, _ = step(replicate(state), shard(mine), replicate(objective), go_on)
    # Adam's first moment is a tenth of the first gradient.
    moment = jax.tree.leaves_with_path(optax.tree.get(unreplicate(state.opt_state), "mu"))
    return {jax.tree_util.keystr(path): 10 * value for path, value in moment}


def newest(workdir: Path) -> Restored:
    """What the newest checkpoint holds."""
    with Checkpoints(workdir / "mine" / "checkpoints", warn=unexpected) as checkpoints:
        restored = checkpoints.restore(_shapes())
    assert restored is not None
    assert restored.step == restored.state.step
    return restored


def bits(tree: Any) -> list[tuple]:
    """What is the same for the same bits: hashes, as pytest takes minutes to compare long bytes."""
    arrays = map(np.asarray, jax.tree.leaves(tree))
    return [(a.dtype, a.shape, hashlib.sha256(a.tobytes()).hexdigest()) for a in arrays]


def saved_steps(workdir: Path) -> list[int]:
    """The steps of all checkpoints; nothing else may lie there."""
    return sorted(int(path.name) for path in (workdir / "mine" / "checkpoints").iterdir())


def tell_steps(progress: TrainingProgress) -> None:
    """A callback for those who watch a process."""
    print(progress.step, flush=True)


def start(code: str, *arguments: object) -> subprocess.Popen:
    """Starts a program that has this module, with paths and numbers as `argv[1:]`."""
    here = str(Path(__file__).parent)
    program = f"import sys; sys.path.insert(0, {here!r})\nfrom training import *\n{code}"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**{name: str(value) for name, value in _sharing().items()}, **os.environ},
    )


def finish(process: subprocess.Popen) -> str:
    """Waits for a program to end well; returns what it printed."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "Traceback" not in err
    return out


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
