"""`nstjax styles`: the trained styles that come with the package, and the paintings by name."""

import argparse

from nstjax.assets import BUNDLED_STYLES, PAINTINGS, sample_path
from nstjax.cli.exits import DONE
from nstjax.fast import load_style, stylize_fast
from nstjax.images import load_image
from nstjax.report import check_report, contact_sheet

_SHEET_SIZE = 384


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--sheet", metavar="FILE.png", help="save the sample picture in every trained style"
    )


def run(options: argparse.Namespace) -> int:
    """Prints a line for each style, and saves the sheet if asked to."""
    if options.sheet is not None:
        check_report(options.sheet)
    for name, painting in PAINTINGS.items():
        trained = "trained" if name in BUNDLED_STYLES else "       "
        print(f"{name:16} {trained}  {painting.title}, {painting.painter}, {painting.year}")
        print(f"{'':16} {'':7}  {painting.source}")
    print("trained: one pass with --style NAME; the others by the pixel route, or train.py")
    if options.sheet is not None:
        photograph = load_image(sample_path(), size=_SHEET_SIZE)
        images = [photograph.pixels]
        images += [stylize_fast(photograph, load_style(name)).image for name in BUNDLED_STYLES]
        names = ["photograph", *BUNDLED_STYLES]
        contact_sheet(options.sheet, [images], column_labels=names, size=_SHEET_SIZE)
        print(f"{options.sheet}: {', '.join(names)}")
    return DONE
