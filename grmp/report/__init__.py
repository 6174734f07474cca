"""Tables and figures from run records. One module per notebook, with the same name; the others are shared by several."""

from grmp.report.notebook import NotebookPage

__all__ = ["NotebookPage"]
