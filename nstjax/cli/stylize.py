"""`nstjax stylize`: photographs and a painting in, stylised pictures out."""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import get_args, get_type_hints

import nstjax
from nstjax.cli.main import BAD_INPUT, DONE, INTERRUPTED, fail, message_of
from nstjax.cli.outputs import Outputs, output_paths, per_picture
from nstjax.cli.run import stylize_one
from nstjax.errors import NstjaxError, unknown_choice
from nstjax.files import check_writable
from nstjax.images import find_images, load_image
from nstjax.recipes import DEFAULT_RECIPE, RECIPES, get_recipe
from nstjax.report import check_report
from nstjax.settings import Recipe, check_init, override
from nstjax.vgg import load_weights

METHODS = ("auto", "gatys")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments; those of a recipe come from `Recipe`'s fields."""
    parser.add_argument("contents", nargs="*", metavar="PHOTO", help="files, folders or addresses")
    parser.add_argument("--style", metavar="PAINTING", help="the style image: a file or address")
    parser.add_argument("--output", metavar="PATH", help="a file, or a folder ending in /")
    parser.add_argument(
        "--method",
        default="auto",
        help="auto, or gatys, the pixel route, which is all there is yet",
    )
    parser.add_argument(
        "--recipe",
        default=DEFAULT_RECIPE,
        help=f"settings by name; 'list' prints the names (default: {DEFAULT_RECIPE})",
    )
    settings = parser.add_argument_group(
        "settings", "Each replaces the recipe's. A layer without a weight gets an equal share."
    )
    for field in recipe_fields():
        choices = field.metadata["choices"]
        settings.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=_number_or_text(field),
            metavar="|".join(choices) or field.name.rsplit("_", 1)[-1].upper(),
            help=field.metadata["help"],
        )
    parser.add_argument("--save-every", type=int, metavar="N", help="keep a picture every N steps")
    parser.add_argument("--history", metavar="FILE.jsonl", help="write one object a step")
    parser.add_argument("--report", metavar="FILE.png", help="draw a sheet of the run")
    parser.add_argument("--vgg-weights", metavar="FILE", help="Keras .h5 or .safetensors")
    parser.add_argument("--bits", type=int, default=8, help="8, or 16 for PNG and TIFF")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--version", action="version", version=f"nstjax {nstjax.__version__}")


def recipe_fields() -> list[dataclasses.Field]:
    """The fields of `Recipe` that the command line offers: those with a help text."""
    return [field for field in dataclasses.fields(Recipe) if field.metadata.get("help")]


def _number_or_text(field: dataclasses.Field) -> type:
    hint = get_type_hints(Recipe)[field.name]
    for kind in (int, float):
        if hint is kind or kind in get_args(hint):
            return kind
    return str


def run(options: argparse.Namespace) -> int:
    """Stylises each picture; a bad one is reported and the others are still done."""
    if options.recipe == "list":
        return _print_recipes()
    recipe = recipe_from(options)
    _check(options)
    contents, failed = _expand(options.contents)
    several = len(contents) + len(failed) > 1
    if not contents:
        return BAD_INPUT
    inputs = [path for path in (options.init, options.vgg_weights) if path is not None]
    style = load_image(options.style)
    paths = output_paths(
        options.output, contents, options.style, bits=options.bits, other_inputs=inputs
    )
    _check_apart(options, [*contents, options.style, *inputs, *paths])
    weights = load_weights(recipe.network, path=options.vgg_weights, progress=not options.quiet)
    for content, path in zip(contents, paths, strict=True):
        outputs = Outputs(
            picture=path,
            bits=options.bits,
            save_every=options.save_every,
            history=per_picture(options.history, path, several=several),
            report=per_picture(options.report, path, several=several),
        )
        try:
            run_ended = stylize_one(content, style, recipe, weights, outputs, quiet=options.quiet)
        except Exception as error:
            if (message := message_of(error)) is None:
                raise
            failed.append(str(content))
            fail(message)
            continue
        if run_ended.interrupted:
            done = f"after {run_ended.step} of {recipe.steps} steps"
            return fail(f"interrupted: the picture {done} is in {run_ended.saved}", INTERRUPTED)
        if run_ended.problem:
            failed.append(str(content))
            fail(run_ended.problem)
    if failed and several:
        total = len(set(map(str, contents)) | set(failed))
        fail(f"{total - len(failed)} of {total} pictures done; failed: {', '.join(failed)}")
    return BAD_INPUT if failed else DONE


def recipe_from(options: argparse.Namespace) -> Recipe:
    """Returns the recipe that the arguments name, with the settings that they change."""
    given = {field.name: getattr(options, field.name) for field in recipe_fields()}
    settings = {name: value for name, value in given.items() if value is not None}
    return override(get_recipe(options.recipe), **settings)


def _check(options: argparse.Namespace) -> None:
    """Finds what would go wrong later, before anything is loaded or computed."""
    if not options.contents:
        raise NstjaxError("no photograph is named: nstjax stylize PHOTO --style PAINTING")
    if not options.style:
        raise NstjaxError("no style image is named: add --style PAINTING, a file or an address")
    if options.method not in METHODS:
        raise unknown_choice("method", options.method, METHODS)
    if options.save_every is not None and options.save_every < 1:
        raise NstjaxError(f"--save-every is {options.save_every}: it must be at least 1")
    if options.init is not None:
        check_init(options.init)
    if options.history is not None:
        check_writable(Path(options.history))
    if options.report is not None:
        check_report(options.report)


def _check_apart(options: argparse.Namespace, others: list[Path | str]) -> None:
    """Raises an error for people if the history or the report is a file that has another use."""
    taken = {os.path.realpath(path) for path in others}
    for option in ("history", "report"):
        path = getattr(options, option)
        if path is not None and os.path.realpath(path) in taken:
            raise NstjaxError(
                f"--{option} {path} would overwrite an input or another output: choose another name"
            )
        taken |= set() if path is None else {os.path.realpath(path)}


def _expand(entries: list[str]) -> tuple[list[Path | str], list[str]]:
    """The pictures that files, folders and addresses mean, and the entries that mean none."""
    contents: list[Path | str] = []
    failed: list[str] = []
    for entry in entries:
        try:
            contents += find_images([entry])
        except NstjaxError as error:
            failed.append(entry)
            fail(str(error))
    return contents, failed


def _print_recipes() -> int:
    width = max(map(len, RECIPES))
    for name, recipe in RECIPES.items():
        mark = "  (default)" if name == DEFAULT_RECIPE else ""
        print(f"{name:{width}}  {recipe.source}{mark}")
    return DONE
