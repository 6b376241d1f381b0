"""The pixel route: an optimiser on the picture itself."""

from nstjax.gatys.history import Callback, History, Progress, Recorder
from nstjax.gatys.snapshot import EVERY_S
from nstjax.gatys.stages import stages_of
from nstjax.gatys.start import load_init
from nstjax.gatys.stylize import StylizeResult, run_settings, stylize

__all__ = [
    "EVERY_S",
    "Callback",
    "History",
    "Progress",
    "Recorder",
    "StylizeResult",
    "load_init",
    "run_settings",
    "stages_of",
    "stylize",
]
