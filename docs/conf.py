"""Sphinx settings of the site. ``sphinx-build docs OUT`` renders the documentation; ``grmp site`` adds the results."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
project, author, html_title = "grmp", "The grmp authors", "grmp: GRMP-IQA, reproduced"
autodoc_preserve_defaults = True  # as written: a default that is a path would show where the package is installed
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_static"]
nb_execution_mode = "off"  # notebooks were executed by `grmp notebooks`
nb_render_markdown_format = "myst"
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
suppress_warnings = ["mystnb.unknown_mime_type", "myst.xref_missing", "docutils"]

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_search_summary = False  # a summary is fetched: not from a disk
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_align": "left",
    "logo": {"text": "grmp"},
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
}
copyright = f"{author}. MIT licence"


def to_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Links of a page to files outside docs/ lead to the files of this repository, seen from the built page."""
    here = Path(app.outdir, page).parent

    def link(found: re.Match[str]) -> str:
        place = os.path.relpath(ROOT / found["path"], here)
        if found["image"]:
            return f'<img src="{place}" alt="{found["text"]}">'
        return f'<a href="{place}">{found["text"].replace("`", "")}</a>'

    source[0] = re.sub(r"(?P<image>!?)\[(?P<text>[^\]]+)\]\(\.\./(?P<path>[^)]+)\)", link, source[0])


def short_signature(app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str) -> Any:
    """A group of settings is documented by params.yaml; its signature would fill a screen."""
    return ("", None) if what == "class" and issubclass(obj, BaseModel) else None


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", short_signature)
    app.connect("source-read", to_files)
