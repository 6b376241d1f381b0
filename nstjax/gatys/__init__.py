"""The pixel route: an optimiser on the picture itself."""

from nstjax.gatys.history import Callback, History, Progress, Recorder
from nstjax.gatys.memory import Tiling
from nstjax.gatys.snapshot import EVERY_S, identity_of, read_identity
from nstjax.gatys.sources import Sources, load_sources
from nstjax.gatys.stages import stages_of
from nstjax.gatys.stylize import StylizeResult, run_settings, stylize, stylize_sources

__all__ = [
    "EVERY_S",
    "Callback",
    "History",
    "Progress",
    "Recorder",
    "Sources",
    "StylizeResult",
    "Tiling",
    "identity_of",
    "load_sources",
    "read_identity",
    "run_settings",
    "stages_of",
    "stylize",
    "stylize_sources",
]
