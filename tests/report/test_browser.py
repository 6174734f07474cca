"""The site as a reader meets it, in a headless Chromium (skipped where there is none; see CONTRIBUTING.md)."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from tests.report.browser import PROGRAM, Browser, browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no chromium on the path; on Debian: apt install chromium"),
    pytest.mark.timeout(300),
]
LOADED = """Promise.all([...document.images].map(i => { i.loading = "eager";
  return i.complete ? 0 : new Promise(done => { i.onload = i.onerror = done; }); }))"""
IMAGES = """[...document.images].map(i => ({source: i.currentSrc, natural: i.naturalWidth,
  shown: i.getBoundingClientRect().width}))"""
WIDEST = "document.documentElement.scrollWidth"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def site(built: Path) -> Path:
    return built / "results/site"


PAGES = ("index.html", "results.html", "notebooks/few_shot.html", "study.html", "api/clip.html", "files.html")


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_load_without_a_complaint_or_a_request(tab: Browser, site: Path, width: int, dark: bool):
    for page in PAGES:
        tab.open(site / page, width, dark)
        tab.ask(LOADED)
        assert tab.complaints() == [], page
        assert all(urlparse(address).scheme in {"file", "data"} for address in tab.requests()), page
        assert tab.ask(WIDEST) <= width, page
        images = tab.ask(IMAGES)
        assert all(image["natural"] > 0 and image["shown"] <= width for image in images), (page, images)


def test_light_and_dark(tab: Browser, site: Path):
    grounds = []
    for dark in (False, True):
        tab.open(site / "index.html", dark=dark)
        grounds.append(tab.ask("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


@pytest.mark.parametrize(("words", "page"), [("quality", "notebooks/few_shot.html"), ("resamples", "files.html")])
def test_search_finds(tab: Browser, site: Path, words: str, page: str):
    tab.open(site / "search.html", query=f"?q={words}")
    tab.ask("""new Promise(done => { const wait = setInterval(() => { if (
      document.querySelector('#search-results li a')) { clearInterval(wait); done(); } }, 100); })""")
    tab.ask("new Promise(done => setTimeout(done, 1000))")
    links = tab.ask("[...document.querySelectorAll('#search-results li a')].map(a => a.getAttribute('href'))")
    assert any(link.startswith(page) for link in links), links
    assert tab.complaints() == []


def test_the_header_leads_to_results(tab: Browser, site: Path):
    tab.open(site / "index.html")
    links = tab.ask(
        "[...document.querySelectorAll('.bd-header .bd-navbar-elements .nav-link')].map(a => [a.textContent.trim(), a.href])"
    )
    assert [name for name, _ in links] == ["Results", "Guide", "API reference", "Files"]
    assert all(Path(unquote(urlparse(link).path)).is_file() for _, link in links)
