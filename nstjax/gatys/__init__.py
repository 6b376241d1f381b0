"""The pixel route: an optimiser on the picture itself."""

from nstjax.gatys.history import Callback, History, Progress, Recorder
from nstjax.gatys.snapshot import EVERY_S
from nstjax.gatys.stylize import StylizeResult, stylize

__all__ = ["EVERY_S", "Callback", "History", "Progress", "Recorder", "StylizeResult", "stylize"]
