"""Tables and figures from run records. One module per notebook, with the same name; the others are shared by several."""

from grmp.report.page import NotebookPage

__all__ = ["NotebookPage"]
