"""The pixel route: an optimiser on the picture itself."""

from nstjax.gatys.history import Callback, History, Progress, Recorder
from nstjax.gatys.stylize import StylizeResult, stylize

__all__ = ["Callback", "History", "Progress", "Recorder", "StylizeResult", "stylize"]
