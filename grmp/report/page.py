"""HTML pages: one look for notebooks and site, light and dark, readable without network and on a phone."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

HERE = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """A template of this folder with page.css put in."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    css = Markup((HERE / "page.css").read_text())
    return environment.get_template(template).render(css=css, **values)


def script() -> Markup:
    """The site's one script, to be put into the page."""
    return Markup((HERE / "site.js").read_text())


def picture(source: str, note: Mapping[str, Any]) -> str:
    """An img element of a figure's size and words."""
    return Markup('<img src="{}" alt="{}" width="{}" height="{}" loading="lazy">').format(
        source, note["alt"], note["width"], note["height"]
    )


def notebook_page(notebook: NotebookNode, name: str) -> str:
    """An executed notebook as an HTML page in results/notebooks; its figures are the files in results/figures."""
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            note = output.get("metadata", {}).get("grmp", {})
            if note.get("kind") == "figure":
                output.data = {"text/html": picture(f"../figures/{name}/{note['name']}.svg", note)}

    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True, exclude_anchor_links=True
    )
    body, _ = exporter.from_notebook_node(notebook)
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return render("notebook.html.j2", name=name, body=Markup(body), light=Markup(light), dark=Markup(dark))
