"""The site of a miniature pipeline folder: its numbers, its links, its provenance, and the same bytes twice."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import pandas as pd
import pytest
import yaml

from grmp.errors import UserError
from grmp.params import load
from grmp.report.notebook import execute
from grmp.report.results import title
from grmp.report.site import build, landing_page, reference_page, render_notebook
from grmp.report.table import with_interval
from tests.report.sample import CROSS, NOTEBOOKS, edit, editing, make_settings


class Page(HTMLParser):
    """Tags with their attributes, and the ids of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def links(self) -> list[str]:
        found = [attributes.get("href" if name in ("a", "link") else "src") for name, attributes in self.tags]
        return [link for link in found if link]

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.tags}


def test_every_link_leads_to_a_file_on_this_disk(built: Path):
    site = built / "results/site"
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > len(NOTEBOOKS) + 10
    for path, page in pages.items():
        for name, attributes in page.tags:
            if name in {"script", "img", "link", "iframe"}:  # what a browser loads by itself
                assert urlparse(attributes.get("src") or attributes.get("href") or "").scheme in {"", "data"}, path
        for link in (urlparse(link) for link in page.links() if not link.startswith("data:")):
            if link.scheme:
                assert link.scheme in {"http", "https"}, link
            elif link.path:
                target = (path.parent / unquote(link.path)).resolve()
                assert target.exists() or "code" in target.parts, (path, link.path)
                if link.fragment and target in pages:
                    assert unquote(link.fragment) in pages[target].ids(), (path, link)


def test_two_builds_same_bytes(built: Path, tmp_path: Path):
    root = shutil.copytree(built, tmp_path / "root")
    build(load(root / "params.yaml"), root / "results", packages=["clip"])
    first, second = built / "results/site", root / "results/site"
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    assert [str(f) for f in files if (first / f).read_bytes() != (second / f).read_bytes()] == []
    assert sum((first / f).stat().st_size for f in files) < 5e6


def test_the_landing_page_takes_its_numbers_from_the_results(built: Path):
    text = landing_page(load(built / "params.yaml"), built / "results")
    assert "66 of 66 runs are complete" in text
    assert "The ratings of alpha and beta are **simulated**" in text
    assert "../figures/few_shot/curves_srcc.svg" in text
    where = "protocol == 'sound' and database == 'gamma' and shots == '50' and metric == 'srcc' and method == 'grmp'"
    row = pd.read_csv(built / "results/summary.csv", dtype={"shots": str}).query(where).iloc[0]
    assert with_interval(row["median"], row["median_low"], row["median_high"]) in text
    row = pd.read_csv(built / "results/pairs.csv", dtype={"shots": str}).query(where).iloc[0]
    assert with_interval(row["mean"], row["low"], row["high"]) in text


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_figure_and_table_has_its_provenance(built: Path, name: str):
    text = (built / f"results/site/notebooks/{name}.html").read_text()
    origins = re.findall(r'<details class="provenance">.*?</details>', text, re.DOTALL)
    saved = {
        str(p.with_suffix("")).removesuffix("_short")
        for kind in ("figures", "tables")
        for p in (built / "results" / kind / name).iterdir()
    }
    assert len(origins) == len(saved)
    for origin in origins:
        assert re.search(rf"notebook <code>{name}</code>.*parameters: .*read: .*settings \w{{12}} .* code ", origin)
    images = [a for tag, a in Page(built / f"results/site/notebooks/{name}.html").tags if tag == "img"]
    assert all(len(a["alt"] or "") > 20 and a["width"] and a["height"] for a in images)


def test_a_folder_without_results_says_how_to_make_them(tmp_path: Path):
    make_settings(tmp_path)
    with editing(tmp_path) as raw:
        raw["report"] |= {"notebooks": ["databases", "few_shot"], "title": "Nothing & more"}
    execute("few_shot", tmp_path / "params.yaml")
    build(load(tmp_path / "params.yaml"), tmp_path / "results", packages=[])
    site = tmp_path / "results/site"
    assert "0 of 66 runs are complete" in (site / "index.html").read_text()
    assert "<h1>Nothing &amp; more" in (site / "index.html").read_text()
    assert "Not run yet" in (site / "results.html").read_text()
    assert "<code>dvc repro sweep</code>" in (site / "notebooks/few_shot.html").read_text()


def test_runs_that_only_others_can_make_are_not_waited_for(world: Path):
    external = {"label": "Theirs", "against": "grmp", "grids": ["few_shot"]}
    (world / "external.yaml").write_text(yaml.safe_dump({"theirs": external}))
    assert "66 of 66 runs are complete" in landing_page(load(world / "params.yaml"), world / "results")
    runs = world / "results/runs/sound/gamma"
    edit(shutil.copytree(runs / "grmp/50", runs / "theirs/50"), method="theirs")
    shutil.rmtree(runs / "ridge/50")
    assert "66 of 67 runs are complete" in landing_page(load(world / "params.yaml"), world / "results")


def test_a_claim_that_one_protocol_tests_is_tested(tmp_path: Path):
    make_settings(tmp_path)
    place = tmp_path / "results/tables/summary/claims.csv"
    place.parent.mkdir(parents=True)
    place.write_text(
        "claim,verdict\nit is good,not run\nit is good,reproduced\nit is cheap,not run\nit is cheap,not run\n"
    )
    text = landing_page(load(tmp_path / "params.yaml"), tmp_path / "results")
    assert text.count("* it is cheap") == 1
    assert "it is good" not in text


def test_the_front_page_of_databases_that_are_crossed_says_so(built: Path):
    params = load(built / "params.yaml")
    without, run = {"databases": []}, params.run
    run = run.model_copy(update={"few_shot": run.few_shot.model_copy(update=without)})
    text = landing_page(params.model_copy(update={"run": run}), built / "results")
    assert f"each given 50 labelled images of {title(CROSS)} and tested" in text
    assert f"The ratings of {CROSS.split('_to_')[0]} are **simulated**" in text
    run = run.model_copy(update={"cross": run.cross.model_copy(update=without)})
    assert "each given" not in landing_page(params.model_copy(update={"run": run}), built / "results")


def test_a_corrupt_notebook_is_named(tmp_path: Path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/few_shot.ipynb").write_text('{"cells": 3}')
    with pytest.raises(UserError, match=r"few_shot\.ipynb is corrupt .*run it again with: grmp notebooks few_shot"):
        render_notebook(tmp_path, "few_shot")


def test_the_reference_has_modules_and_no_commands():
    text = reference_page("data")
    assert ".. automodule:: grmp.data.decode" in text
    assert "grmp.data.cli" not in text
