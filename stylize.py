"""`python stylize.py …` is `nstjax stylize …`."""

import sys

from nstjax.cli import main

if __name__ == "__main__":
    sys.exit(main(["stylize", *sys.argv[1:]]))
