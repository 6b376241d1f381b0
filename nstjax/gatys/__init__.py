"""The pixel route: an optimiser on the picture itself."""

from nstjax.gatys.history import Callback, History, Progress, Recorder
from nstjax.gatys.start import load_init
from nstjax.gatys.stylize import StylizeResult, run_settings, stylize

__all__ = [
    "Callback",
    "History",
    "Progress",
    "Recorder",
    "StylizeResult",
    "load_init",
    "run_settings",
    "stylize",
]
