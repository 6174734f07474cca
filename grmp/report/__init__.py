"""Tables, figures, provenance and the site, from run records alone."""

from grmp.report import claims, cost, figures, scores, selection, tables, transfer
from grmp.report.sheet import Sheet

__all__ = ["Sheet", "claims", "cost", "figures", "scores", "selection", "tables", "transfer"]
