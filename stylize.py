"""`python stylize.py …` is `nstjax stylize …`."""

import sys

from nstjax.launch import launch

if __name__ == "__main__":
    sys.exit(launch("stylize"))
