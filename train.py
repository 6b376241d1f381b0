"""`python train.py …` is `nstjax train …`."""

import sys

from nstjax.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
