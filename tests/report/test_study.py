"""The study's page: its places are filled from a world's tables, and what has not been run is said."""

import runpy

import pytest

from grmp.report.results import Results
from tests.conftest import ROOT

PAGE = runpy.run_path(str(ROOT / "study/page.py"))
BOTH = "Before\n<!-- scores sound -->\nOUTDATED\n<!-- end -->\nbetween\n<!-- reading -->\n<!-- end -->\nafter\n"


def test_places_are_filled_and_the_words_between_stay(collected):
    world = Results.open(collected)
    filled = PAGE["fill"](BOTH, world)
    assert "OUTDATED" not in filled
    assert "Zero-shot" in filled
    assert "Not run; fill with `make study FROM=...`." in filled
    assert filled.startswith("Before\n<!-- scores sound -->\n")
    assert "<!-- end -->\nbetween\n<!-- reading -->" in filled
    assert filled.endswith("<!-- end -->\nafter\n")
    assert PAGE["fill"](filled, world) == filled


def test_unknown_place_is_named(collected):
    with pytest.raises(KeyError, match="scores strict"):
        PAGE["fill"]("<!-- scores strict -->\n<!-- end -->\n", Results.open(collected))


def test_every_place_of_the_page_is_known():
    places = [name for _, name, _ in PAGE["PLACE"].findall((ROOT / "docs/study.md").read_text())]
    assert places
    assert set(places) <= set(PAGE["TABLES"])
