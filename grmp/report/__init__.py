"""Tables, figures, provenance and the site, from run records alone."""

from grmp.report import claims, cost, figures, scores, selection, tables, transfer
from grmp.report.notebook_page import NotebookPage

__all__ = ["NotebookPage", "claims", "cost", "figures", "scores", "selection", "tables", "transfer"]
