"""`nstjax train`: a painting and many photographs in, a trained style out."""

import argparse
import dataclasses
from pathlib import Path

import jax

import nstjax
from nstjax.assets import PAINTINGS, find_painting
from nstjax.cli.dry_run import dry_run, stand_in
from nstjax.cli.exits import message_of
from nstjax.cli.settings_options import add_settings, given_settings, print_recipes
from nstjax.cli.style_image import load_style_image
from nstjax.cli.training_run import Job, train_style
from nstjax.errors import NstjaxError, unknown_choice
from nstjax.fast import (
    DEFAULT_TRAINING_RECIPE,
    TRAINING_RECIPES,
    Architecture,
    Dataset,
    TrainingRecipe,
    get_training_recipe,
    load_style,
    open_dataset,
)
from nstjax.fast.data import check_selection
from nstjax.fast.network import Params
from nstjax.fast.parallel import connect
from nstjax.fast.train import check_run
from nstjax.fields import checked_number
from nstjax.files import check_writable
from nstjax.images import Picture
from nstjax.settings import override
from nstjax.vgg import load_weights

_AUTO = "auto"
_HELD_OUT = 20  # photographs, for samples and benchmarks
_HELD_OUT_SHARE = 10  # of as many, one may be held out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments; those of a recipe come from `TrainingRecipe`'s fields."""
    parser.add_argument(
        "--style",
        metavar="NAME",
        help=f"the style's name: {', '.join(PAINTINGS)}, or any other with --style-image",
    )
    parser.add_argument("--style-image", metavar="PAINTING", help="its file or address")
    parser.add_argument(
        "--recipe",
        default=DEFAULT_TRAINING_RECIPE,
        help=f"settings by name; 'list' prints the names (default: {DEFAULT_TRAINING_RECIPE})",
    )
    settings = parser.add_argument_group(
        "settings", "Each replaces the recipe's. A layer without a weight gets an equal share."
    )
    for group in (TrainingRecipe, Architecture):
        add_settings(settings, group)
    _add_data(parser.add_argument_group("photographs"))
    _add_folder(parser.add_argument_group("the run's folder"))
    _add_processes(parser.add_argument_group("several processes"))
    parser.add_argument("--vgg-weights", metavar="FILE", help="Keras .h5 or .safetensors")
    parser.add_argument("--dry-run", action="store_true", help="say what it would be, and end")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--version", action="version", version=f"nstjax {nstjax.__version__}")


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dataset",
        default="coco/2014",
        help="coco/2014, coco/2017, tfds:NAME[:SPLIT] or folder:PATH (default: coco/2014)",
    )
    group.add_argument("--data-dir", metavar="FOLDER", help="of tfds")
    group.add_argument("--manual-dir", metavar="FOLDER", help="with COCO's zip file, if at hand")
    group.add_argument("--limit", type=int, metavar="N", help="train on N of the photographs")


def _add_folder(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--workdir", default="runs", metavar="FOLDER", help="of all runs (default: runs)"
    )
    group.add_argument(
        "--checkpoint-every",
        type=int,
        default=500,
        metavar="N",
        help="save a checkpoint every N steps (default: 500)",
    )
    group.add_argument(
        "--keep", type=int, default=3, metavar="N", help="keep the last N of them (default: 3)"
    )
    group.add_argument(
        "--sample-every",
        type=int,
        default=500,
        metavar="N",
        help="paint held-out photographs every N steps; 0: never (default: 500)",
    )
    group.add_argument(
        "--allow-change",
        action="append",
        default=[],
        metavar="NAME",
        help="go on although this setting is another now; may be repeated",
    )
    group.add_argument(
        "--init-from", metavar="STYLE", help="start from a trained style: its name, file or folder"
    )


def _add_processes(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--coordinator",
        metavar="HOST:PORT",
        help=f"of process 0; {_AUTO} where a cluster's environment says it",
    )
    group.add_argument("--num-processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process-id", type=int, metavar="I", help="which one this is, from 0")


def run(options: argparse.Namespace) -> int:
    """Trains a style, or says what that would take."""
    if options.recipe == "list":
        print_recipes(TRAINING_RECIPES, DEFAULT_TRAINING_RECIPE)
        return 0
    recipe = recipe_from(options)
    _check(options)
    _connect(options)
    try:
        job = _prepare(options, recipe)
        return dry_run(job) if options.dry_run else train_style(job)
    except Exception as error:
        if isinstance(error, NstjaxError) or message_of(error) is None:
            raise
        raise NstjaxError(
            "there is too little memory for that: use a smaller --batch-size or --image-size, or "
            "end other programs that take some of it, on the GPU where there is one"
        ) from error


def recipe_from(options: argparse.Namespace) -> TrainingRecipe:
    """Returns the recipe that the arguments name, with the settings that they change."""
    recipe = get_training_recipe(options.recipe)
    given = given_settings(options, TrainingRecipe)
    if "steps" in given and "epochs" in given:
        raise NstjaxError("--steps and --epochs both say how long to train: give one of them")
    architecture = given_settings(options, Architecture)
    if architecture:
        given["architecture"] = dataclasses.replace(recipe.architecture, **architecture)
    return override(recipe, **given)


def _check(options: argparse.Namespace) -> None:
    """Reports what is wrong with the options by themselves."""
    if not options.style:
        raise NstjaxError(
            f"no style is named: add --style NAME, one of {', '.join(PAINTINGS)}, or any other "
            "with --style-image PAINTING"
        )
    check_run(options.style, options.checkpoint_every, options.keep)
    check_selection(options.limit, holdout=0)
    checked_number("sample every", options.sample_every, int, least=0)
    if options.style_image is None and options.style not in PAINTINGS:
        raise NstjaxError(
            f"{unknown_choice('style', options.style, PAINTINGS)}, or any other name with "
            "--style-image PAINTING"
        )


def _connect(options: argparse.Namespace) -> None:
    given = options.coordinator, options.num_processes, options.process_id
    if any(value is not None for value in given):
        connect(None if options.coordinator == _AUTO else options.coordinator, *given[1:])


def _prepare(options: argparse.Namespace, recipe: TrainingRecipe) -> Job:
    """Loads everything, what may take long at last."""
    leader = jax.process_index() == 0
    progress = leader and not options.quiet
    folder = Path(options.workdir) / options.style
    style = _style_image(options, progress)
    recipe, init = _start(options, recipe)
    if leader:
        _check_folder(folder)
    dataset = None
    if options.dry_run:
        dataset = stand_in(options.dataset, options.data_dir, options.limit)
    if dataset is None:
        dataset = _open_dataset(options, recipe, progress)
    weights = load_weights(recipe.network, path=options.vgg_weights, progress=progress)
    return Job(
        folder=folder,
        style=style,
        dataset=dataset,
        recipe=recipe,
        weights=weights,
        init=init,
        checkpoint_every=options.checkpoint_every,
        keep=options.keep,
        sample_every=options.sample_every,
        allow_change=tuple(options.allow_change),
        leader=leader,
        quiet=not progress,
    )


def _style_image(options: argparse.Namespace, progress: bool) -> Picture:
    source = options.style_image
    if source is None:
        source = find_painting(options.style, check=load_style_image, progress=progress)
    return load_style_image(source)


def _start(
    options: argparse.Namespace, recipe: TrainingRecipe
) -> tuple[TrainingRecipe, Params | None]:
    """Where training starts: the network of `--init-from`, with its architecture."""
    if options.init_from is None:
        return recipe, None
    style = load_style(options.init_from)
    for name, value in given_settings(options, Architecture).items():
        there = getattr(style.architecture, name)
        if value != there:
            raise NstjaxError(
                f"--{name} is {value} and the network of --init-from {options.init_from} has "
                f"{there}: leave one of the two out"
            )
    return override(recipe, architecture=style.architecture), style.params


def _check_folder(folder: Path) -> None:
    """Checks that the run's folder can be written, without creating it."""
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        check_writable(there / "metrics.jsonl")
    except (OSError, NstjaxError) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or error
        raise NstjaxError(
            f"cannot write in {folder} ({reason}): choose another --workdir"
        ) from error


def _open_dataset(options: argparse.Namespace, recipe: TrainingRecipe, progress: bool) -> Dataset:
    """Opens the photographs, a few of them held out if there are enough."""
    dataset = open_dataset(
        options.dataset,
        data_dir=options.data_dir,
        manual_dir=options.manual_dir,
        progress=progress,
    )
    held_out = min(_HELD_OUT, len(dataset) // _HELD_OUT_SHARE)
    if len(dataset) - held_out < recipe.batch_size:
        held_out = 0
    return dataset.select(limit=options.limit, seed=recipe.seed, holdout=held_out)
