"""Sheets that show a run at a glance, grids of pictures with their names, and a training's losses.

An image is float32, shape (1, height, width, 3): RGB in [0, 1].
"""

from nstjax.report.grid import contact_sheet
from nstjax.report.run import save_report
from nstjax.report.sheet import check_report
from nstjax.report.tensorboard import TensorBoardLog
from nstjax.report.training import save_training_plot

__all__ = [
    "TensorBoardLog",
    "check_report",
    "contact_sheet",
    "save_report",
    "save_training_plot",
]
