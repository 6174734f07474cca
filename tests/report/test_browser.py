"""The site as a reader meets it, in a headless Chromium (skipped where there is none; see CONTRIBUTING.md)."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from tests.conftest import ROOT
from tests.report.browser import PROGRAM, Browser, browser

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on the path; on Debian: apt install chromium"),
    pytest.mark.timeout(300),
]
LOADED = """Promise.all([...document.images].map(i => { i.loading = "eager";
  return i.complete ? 0 : new Promise(done => { i.onload = i.onerror = done; }); }))"""
PICTURES = """[...document.images].map(i => ({source: i.currentSrc, alt: i.alt, width: i.getAttribute("width"),
  height: i.getAttribute("height"), natural: i.naturalWidth, shown: i.getBoundingClientRect().width}))"""
LINKS = "[...document.querySelectorAll('a[href]')].map(a => a.href)"
WIDEST = "document.documentElement.scrollWidth"
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module", params=["sample", "demo"])
def results(request: pytest.FixtureRequest) -> Path:
    """Of the sample world, and of the demo as it is committed."""
    if request.param == "demo":
        return ROOT / "demo/results"
    return Path(request.getfixturevalue("executed")) / "results"


def pages(results: Path) -> list[Path]:
    return [results / "site/index.html", *sorted((results / "notebooks").glob("*.html"))]


def search(tab: Browser, words: str) -> list[dict[str, str]]:
    typed = (
        f"const box = document.getElementById('words'); box.value = {words!r}; box.dispatchEvent(new Event('input'));"
    )
    return list(tab.ask(f"(() => {{ {typed} return {FOUND} }})()"))


FOUND = "[...document.querySelectorAll('#found a')].map(a => ({text: a.textContent, link: a.getAttribute('href')}))"


def test_every_page_loads_whole_and_without_complaint(tab: Browser, results: Path):
    for page in pages(results):
        tab.open(page)
        tab.ask(LOADED)
        assert tab.complaints() == [], page.name
        assert all(urlparse(address).scheme in {"file", "data"} for address in tab.requests()), page.name
        for picture in tab.ask(PICTURES):
            assert picture["natural"] > 0, picture
            assert len(picture["alt"]) > 20, picture
            assert int(picture["width"]) > 100, picture
            assert int(picture["height"]) > 50, picture


def test_every_link_leads_somewhere(tab: Browser, results: Path):
    for page in pages(results):
        tab.open(page)
        links = tab.ask(LINKS)
        assert links
        ids = set(tab.ask("[...document.querySelectorAll('[id]')].map(e => e.id)"))
        for link in links:
            parts = urlparse(link)
            assert parts.scheme == "file", link
            target = Path(unquote(parts.path))
            assert target.is_file(), link
            if parts.fragment and target == page.resolve():
                assert unquote(parts.fragment) in ids, link


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_scrolls_sideways(tab: Browser, results: Path, width: int):
    for page in pages(results):
        tab.open(page, width)
        tab.ask(LOADED)
        tab.ask("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert tab.ask(WIDEST) <= width, page.name
        assert all(picture["shown"] <= width for picture in tab.ask(PICTURES)), page.name


def test_light_and_dark(tab: Browser, results: Path):
    page = pages(results)[0]
    tab.open(page)
    tab.ask("localStorage.clear()")
    tab.open(page)
    light = tab.ask(GROUND)
    tab.ask("document.getElementById('look').click()")
    dark = tab.ask(GROUND)
    assert light != dark
    tab.open(page)  # the choice is kept
    assert tab.ask(GROUND) == dark
    tab.ask("localStorage.clear()")
    tab.open(page, dark=True)
    assert tab.ask(GROUND) == dark
    for notebook in pages(results)[1:]:
        tab.open(notebook, dark=True)
        assert tab.ask(GROUND) == dark, notebook.name


def test_search_finds(tab: Browser, results: Path):
    tab.open(pages(results)[0])
    assert search(tab, "") == []
    for words, kind in (
        ("few labels", "Notebook"),
        ("SRCC labelled", "Figure"),
        ("paired", "Table"),
        ("resamples:", "Setting"),
    ):
        found = search(tab, words)
        assert any(f["text"].startswith(kind) for f in found), (words, found)
    assert search(tab, "no such words anywhere") == []
    assert tab.ask("document.getElementById('count').textContent") == "0 found"
    assert search(tab, "<img src=x onerror=alert(1)>") == []
    (first, *_) = search(tab, "resamples:")
    tab.ask(f"location.hash = {first['link']!r}")
    tab.ask("new Promise(done => setTimeout(done, 200))")
    assert tab.ask("document.querySelector(':target').closest('details').open") is True
    assert tab.complaints() == []


def test_every_figure_and_table_says_where_it_comes_from(tab: Browser, results: Path):
    tab.open(pages(results)[0])
    shown = tab.ask("document.querySelectorAll('figure, div[data-find^=Table]').length")
    origins = tab.ask("[...document.querySelectorAll('.origin')].map(o => o.textContent)")
    assert shown == len(origins) > 5
    for text in origins:
        for word in (
            "notebooks/",
            "grmp notebooks ",
            "Parameters",
            "Made from",
            "Run records",
            "settings",
            "code",
        ):
            assert word in text
