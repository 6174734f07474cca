"""The page is whole by itself, sorted, filters in a browser, and is readable at two widths, light and dark."""

from pathlib import Path

import numpy as np
import pytest

from grmp.data.scale import Scale
from grmp.use import html
from tests.report import browser


def row(name: str, quality: float) -> dict:
    low = quality - 0.1
    return {
        "image": name,
        "quality": quality,
        "percentile": 50.0,
        "predicted_rating": quality,
        "low": low,
        "high": low + 0.2,
    }


@pytest.fixture(scope="module")
def page(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, files = tmp_path_factory.mktemp("page") / "report.html", sorted(photographs.iterdir())
    scored = [(file, row(f"<{file.stem}>", (7 - i) / 10)) for i, file in enumerate(files)]
    scored += [(Path("deleted.jpg"), row("deleted since it was scored", 0.45))]
    html.write(
        path, [*scored, (Path("broken.jpg"), row("broken", np.nan))], Scale(0, 1, True), "meaning of the columns"
    )
    return path


def test_the_page_is_self_contained(page: Path):
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 6
    assert "http" not in text
    assert "&lt;chelsea&gt;" in text
    assert "Unreadable: 2" in text
    assert "deleted since" not in text


@pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium on the path")
def test_the_page_works_in_a_browser(page: Path):
    with browser.browser() as tab:
        for width in (390, 1200):
            for dark in (False, True):
                tab.open(page, width=width, dark=dark)
                assert tab.ask("document.documentElement.scrollWidth <= innerWidth")
        shown = "[...document.querySelectorAll('li:not([hidden])')].map(item => Number(item.dataset.quality))"
        assert tab.ask(shown) == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
        tab.ask("most.value = 0.35; most.dispatchEvent(new Event('input'))")
        assert tab.ask(shown) == pytest.approx([0.2, 0.3])
        assert tab.ask("document.getElementById('count').textContent") == "2 shown"
        assert tab.complaints() == []
