"""Tables, figures, provenance and the site, from run records alone."""

from grmp.report import figures, tables
from grmp.report.sheet import Sheet

__all__ = ["Sheet", "figures", "tables"]
