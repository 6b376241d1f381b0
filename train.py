"""`python train.py …` is `nstjax train …`."""

import sys

from nstjax.launch import launch

if __name__ == "__main__":
    sys.exit(launch("train"))
