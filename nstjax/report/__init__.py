"""Sheets that show a run at a glance, and grids of pictures with their names.

An image is float32, shape (1, height, width, 3): RGB in [0, 1].
"""

from nstjax.report.grid import contact_sheet
from nstjax.report.run import save_report
from nstjax.report.sheet import check_report

__all__ = ["check_report", "contact_sheet", "save_report"]
