"""`nstjax stylize`: photographs and a style in, stylised pictures out, by either route."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import nstjax
from nstjax.assets import (
    BUNDLED_STYLES,
    DEFAULT_STYLE,
    PAINTINGS,
    find_painting,
    sample_path,
)
from nstjax.cli.earlier_pictures import find_begun, find_finished
from nstjax.cli.exits import BAD_INPUT, DONE, INTERRUPTED, fail, message_of
from nstjax.cli.name_lock import reserved
from nstjax.cli.outputs import (
    Outputs,
    default_path,
    is_folder,
    output_paths,
    painted_before,
    per_picture,
    resume_file,
)
from nstjax.cli.overwriting import refuse_overwriting
from nstjax.cli.run import Ended, paint_one, stylize_one
from nstjax.cli.settings_options import add_settings, given_settings, print_recipes
from nstjax.cli.style_image import load_style_image
from nstjax.errors import NstjaxError, unknown_choice
from nstjax.fast import load_style
from nstjax.fields import checked_number
from nstjax.files import check_writable
from nstjax.gatys import EVERY_S, load_sources, run_settings
from nstjax.images import find_images, is_url, load_image
from nstjax.memory import parse_limit, parse_tile
from nstjax.parse import parse_numbers
from nstjax.recipes import DEFAULT_RECIPE, RECIPES, get_recipe
from nstjax.report import check_report
from nstjax.settings import Recipe, check_init, override
from nstjax.targets import checked_style_weights
from nstjax.vgg import load_weights

METHODS = ("auto", "gatys", "fast")
_SHARED = ("size", "tile", "memory_limit")  # settings that both routes have


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments; those of a recipe come from `Recipe`'s fields."""
    parser.add_argument(
        "contents",
        nargs="*",
        metavar="PHOTO",
        help="files, folders or addresses (default: the picture that comes with the package)",
    )
    parser.add_argument(
        "--style",
        dest="styles",
        action="append",
        metavar="STYLE",
        help=f"a trained style ({', '.join(BUNDLED_STYLES)}, a .safetensors file, or a training's "
        "folder), or a painting: a file, an address, or one of "
        f"{', '.join(PAINTINGS)} (default: {DEFAULT_STYLE}); given again, another painting to mix "
        "it with",
    )
    parser.add_argument(
        "--style-weights",
        metavar="WEIGHT,…",
        help="of several paintings, in their order (default: equal)",
    )
    parser.add_argument("--output", metavar="PATH", help="a file, or a folder ending in /")
    parser.add_argument(
        "--method",
        default="auto",
        metavar="|".join(METHODS),
        help="fast: one pass of a network trained for the style; gatys: the pixel route, for any "
        "painting; auto: fast where --style is a trained one",
    )
    parser.add_argument(
        "--recipe",
        help=f"settings of the pixel route by name; 'list' prints the names "
        f"(default: {DEFAULT_RECIPE})",
    )
    settings = parser.add_argument_group(
        "settings of the pixel route",
        "Each replaces the recipe's; --size, --tile and --memory-limit are for both routes. A "
        "layer without a weight gets an equal share.",
    )
    add_settings(settings, Recipe)
    _add_records(parser)
    parser.add_argument("--vgg-weights", metavar="FILE", help="Keras .h5 or .safetensors")
    parser.add_argument("--bits", type=int, default=8, help="8, or 16 for PNG and TIFF")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument("--version", action="version", version=f"nstjax {nstjax.__version__}")


def _add_records(parser: argparse.ArgumentParser) -> None:
    """Declares what the pixel route keeps of a run besides its picture."""
    parser.add_argument("--save-every", type=int, metavar="N", help="keep a picture every N steps")
    parser.add_argument("--history", metavar="FILE.jsonl", help="write one object a step")
    parser.add_argument("--report", metavar="FILE.png", help="draw a sheet of the run")
    parser.add_argument(
        "--resume",
        action="store_true",
        default=None,
        help="go on from the snapshot that a run which did not end left beside its output, and "
        "leave pictures that are finished",
    )
    parser.add_argument(
        "--snapshot-every",
        type=float,
        metavar="SECONDS",
        help=f"time between two snapshots (default: {EVERY_S:g}; 0: none)",
    )


def run(options: argparse.Namespace) -> int:
    """Stylises each picture; a bad one is reported and the others are still done."""
    if options.recipe == "list":
        print_recipes(RECIPES, DEFAULT_RECIPE)
        return DONE
    _check(options)
    if not options.contents:
        options.contents = [str(sample_path())]
    options.styles = options.styles or [DEFAULT_STYLE]
    make_painter = _pixel_route if route_of(options) == "gatys" else _fast_route
    inputs = [path for path in (options.init, options.vgg_weights) if path is not None]
    contents, failed = _expand(options.contents)
    several = len(contents) + len(failed) > 1
    if not contents:
        return BAD_INPUT
    paths = output_paths(
        options.output,
        contents,
        options.styles,
        bits=options.bits,
        other_inputs=inputs,
    )
    inputs += [*contents, *options.styles]
    refuse_overwriting([_outputs_at(path, options, several) for path in paths], inputs)
    paint = make_painter(options, several, inputs)
    return _paint_each(contents, paths, paint, failed, several)


# Stylises a picture and saves it at a path.
_Painter = Callable[[Path | str, Path], Ended]


def _paint_each(
    contents: list[Path | str],
    paths: list[Path],
    paint: _Painter,
    failed: list[str],
    several: bool,
) -> int:
    total = len(contents) + len(failed)
    for content, path in zip(contents, paths, strict=True):
        try:
            ended = paint(content, path)
        except Exception as error:
            if (message := message_of(error)) is None:
                raise
            failed.append(str(content))
            fail(message)
            continue
        if ended.interrupted:
            return fail(ended.message, INTERRUPTED)
        if ended.problem:
            failed.append(str(content))
            fail(ended.message)
    if failed and several:
        names = ", ".join(dict.fromkeys(failed))
        fail(f"{total - len(failed)} of {total} pictures done; failed: {names}")
    return BAD_INPUT if failed else DONE


def _outputs_at(path: Path, options: argparse.Namespace, several: bool) -> Outputs:
    """What the run of one picture writes."""
    return Outputs(
        picture=path,
        bits=options.bits,
        save_every=options.save_every,
        history=per_picture(options.history, path, several=several),
        report=per_picture(options.report, path, several=several),
        resume=bool(options.resume),
        snapshot_every=EVERY_S if options.snapshot_every is None else options.snapshot_every,
    )


def _pixel_route(
    options: argparse.Namespace, several: bool, inputs: Sequence[Path | str]
) -> _Painter:
    """What paints a picture by optimisation."""
    recipe = recipe_from(options)
    styles = [load_image(_painting(style, quiet=options.quiet)) for style in options.styles]
    weights = load_weights(recipe.network, path=options.vgg_weights, progress=not options.quiet)
    written: list[Outputs] = []
    finished: list[Path] = []

    def paint(content: Path | str, path: Path) -> Ended:
        shares = _style_weights(options)
        sources = load_sources(recipe, content, styles, style_weights=shares)
        may_be_numbered = options.output is None
        if options.resume:
            # Photographs of the same name make pictures of the same name; snapshots tell which.
            names = painted_before(options.output, content, options.styles)
            own, refused = find_begun(names, recipe, weights, sources)
            if own is None:
                before = [_outputs_at(there, options, several) for there in names]
                settings = run_settings(recipe, weights, sources, recipe.steps, complete=True)
                found = find_finished(before, settings, options.bits)
                if found is not None:
                    finished.append(found)
                    _say_finished(found, quiet=options.quiet)
                    return Ended()
            if begun := own or refused:  # `stylize` says why one is refused
                path, may_be_numbered = begun, False
            elif options.output is not None and is_folder(options.output):
                others = [*finished, *(outputs.picture for outputs in written)]
                # A snapshot there is of another photograph.
                may_be_numbered = path in others or os.path.exists(resume_file(path))
        name = default_path(options.output, content, options.styles) if may_be_numbered else None
        with reserved(path, name) as held:
            outputs = _outputs_at(held, options, several)
            refuse_overwriting([*written, outputs], [*inputs, *finished])
            written.append(outputs)
            return stylize_one(sources, recipe, weights, outputs, quiet=options.quiet)

    return paint


def _say_finished(picture: Path, *, quiet: bool) -> None:
    if not quiet:
        print(f"{picture}: made before, of the same pictures with the same settings")


def _painting(style: str, *, quiet: bool) -> str:
    """The file or address of a painting, which may be named."""
    if style not in PAINTINGS or os.path.exists(style):
        return style
    return str(find_painting(style, check=load_style_image, progress=not quiet))


def _style_weights(options: argparse.Namespace) -> list[float]:
    given = None if options.style_weights is None else parse_numbers(options.style_weights)
    return checked_style_weights(len(options.styles or [DEFAULT_STYLE]), given)


def _fast_route(
    options: argparse.Namespace, several: bool, inputs: Sequence[Path | str]
) -> _Painter:
    """What paints a picture in one pass."""
    others = ("recipe", "save_every", "history", "report", "vgg_weights")
    others += ("resume", "snapshot_every", "style_weights")
    style, *more = options.styles
    if more:
        raise NstjaxError(
            f"--method fast paints in one style and {len(options.styles)} are given: leave out "
            "all but one, or add --method gatys with paintings"
        )
    given = [*given_settings(options, Recipe), *others]
    for name in given:
        if name not in _SHARED and getattr(options, name) is not None:
            raise NstjaxError(
                f"--{name.replace('_', '-')} is of the pixel route and {style} is a "
                "trained style: leave it out, or add --method gatys with a painting"
            )
    trained = load_style(style)
    settings = {name: getattr(options, name) for name in ("size", "memory_limit")}
    settings["tile"] = options.tile if options.tile is not None else "auto"
    parse_tile(settings["tile"])
    parse_limit(options.memory_limit)

    def paint(content: Path | str, path: Path) -> Ended:
        name = default_path(None, content, options.styles) if options.output is None else None
        with reserved(path, name) as held:
            bits, quiet = options.bits, options.quiet
            return paint_one(content, trained, held, settings, bits=bits, quiet=quiet)

    return paint


def route_of(options: argparse.Namespace) -> str:
    """Returns the route that `--method` and `--style` mean: `"gatys"` or `"fast"`."""
    if options.method not in METHODS:
        raise unknown_choice("method", options.method, METHODS)
    if options.method != "auto":
        return options.method
    routes = {style: _route_of_style(style) for style in options.styles}
    trained = [style for style, route in routes.items() if route == "fast"]
    if trained and len(options.styles) > 1:
        raise NstjaxError(
            f"several styles are mixed by the pixel route, from paintings, and {trained[0]} is a "
            "trained style: leave out all but one, or add --method gatys, which takes paintings, "
            "also those that nstjax styles names"
        )
    return "fast" if trained else "gatys"


def _route_of_style(style: str) -> str:
    is_trained = style.endswith(".safetensors") or os.path.isdir(style)
    if is_trained or (style in BUNDLED_STYLES and not os.path.exists(style)):
        return "fast"
    if style not in PAINTINGS and not os.path.splitext(style)[1] and not os.path.exists(style):
        names = dict.fromkeys([*BUNDLED_STYLES, *PAINTINGS])
        raise unknown_choice("style, nor a file,", style, names)
    return "gatys"


def recipe_from(options: argparse.Namespace) -> Recipe:
    """Returns the recipe that the arguments name, with the settings that they change."""
    return override(get_recipe(options.recipe or DEFAULT_RECIPE), **given_settings(options, Recipe))


def _check(options: argparse.Namespace) -> None:
    """Reports what would go wrong later, before anything is loaded or computed."""
    if (options.contents and not options.styles) or "" in (options.styles or []):
        raise NstjaxError(
            f"no style is named: add --style PAINTING, a file or an address, or a trained style "
            f"(one of {', '.join(BUNDLED_STYLES)})"
        )
    for style in options.styles or []:
        if "," in style and not os.path.exists(style) and not is_url(style):
            raise NstjaxError(
                f"--style {style} is no file: give each of several paintings its own --style, as "
                "in --style A.jpg --style B.jpg"
            )
    _style_weights(options)
    if options.save_every is not None:
        checked_number("--save-every", options.save_every, int, least=1)
    if options.snapshot_every is not None:
        checked_number("--snapshot-every", options.snapshot_every, float, least=0)
    if options.init is not None:
        check_init(options.init)
    if options.history is not None:
        check_writable(Path(options.history))
    if options.report is not None:
        check_report(options.report)


def _expand(entries: list[str]) -> tuple[list[Path | str], list[str]]:
    """The pictures that files, folders and addresses stand for, and the entries without any."""
    contents: list[Path | str] = []
    failed: list[str] = []
    for entry in entries:
        try:
            contents += find_images([entry])
        except NstjaxError as error:
            failed.append(entry)
            fail(str(error))
    return contents, failed
