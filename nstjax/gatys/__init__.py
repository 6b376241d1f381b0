"""The pixel route: an optimiser on the picture itself."""

from nstjax.gatys.history import Callback, History, Progress, Recorder
from nstjax.gatys.memory import Tiling
from nstjax.gatys.snapshot import EVERY_S
from nstjax.gatys.stages import stages_of
from nstjax.gatys.start import load_init
from nstjax.gatys.stylize import StylizeResult, held_bytes, run_settings, stylize

__all__ = [
    "EVERY_S",
    "Callback",
    "History",
    "Progress",
    "Recorder",
    "StylizeResult",
    "Tiling",
    "held_bytes",
    "load_init",
    "run_settings",
    "stages_of",
    "stylize",
]
