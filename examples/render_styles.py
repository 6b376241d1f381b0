"""Paints photographs in every style that comes with the package, on one sheet.

Usage: python examples/render_styles.py PHOTO … [--size 320] [--sheet examples/styles.jpg]
"""

import argparse

from nstjax.assets import BUNDLED_STYLES
from nstjax.fast import load_style, stylize_fast
from nstjax.images import load_image
from nstjax.report import contact_sheet


def main() -> None:
    """Reads the command line, paints, and writes the sheet: a column for each style."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photographs", nargs="+", metavar="PHOTO")
    parser.add_argument("--size", type=int, default=320, help="of the longest side, in pixels")
    parser.add_argument("--sheet", default="examples/styles.jpg", metavar="FILE")
    options = parser.parse_args()
    styles = [load_style(name) for name in BUNDLED_STYLES]
    grid = []
    for path in options.photographs:
        photograph = load_image(path, size=options.size)
        painted = [stylize_fast(photograph, style).image for style in styles]
        grid.append([photograph.pixels, *painted])
    labels = ["photograph", *(style.name for style in styles)]
    contact_sheet(options.sheet, grid, column_labels=labels, size=options.size)


if __name__ == "__main__":
    main()
