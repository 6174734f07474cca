"""Looks that can be told apart, and bytes that stay."""

import re
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from grmp.report.plotting import COLUMN, FORMATS, draw_splits, line_styles, save, styled


@styled
def picture() -> Figure:
    figure = Figure((COLUMN, 2), layout="constrained")
    axes = figure.subplots()
    for name, look in line_styles("abcdefghijklmnop").items():
        axes.plot([0, 1], [ord(name), ord(name) + 1], label=name, **look)
    axes.set_title("SRCC − Ångström")
    axes.fill_between([0, 1], [0, 1], alpha=0.3, hatch="/")
    axes.legend()
    return figure


def saved(folder: Path) -> dict[str, bytes]:
    save(picture(), folder / "picture")
    return {kind: (folder / f"picture.{kind}").read_bytes() for kind in FORMATS}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return saved(tmp_path_factory.mktemp("saved"))


def test_two_runs_same_bytes(kept: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(mpl.rcParams, "font.family", ["No Such Font"])  # a user's own style is no matter
    monkeypatch.setitem(mpl.rcParams, "lines.linewidth", 9)
    assert saved(tmp_path) == kept


def test_fonts_are_embedded(kept: dict[str, bytes]):
    assert b"/FontFile2" in kept["pdf"]  # TrueType, inside
    assert b"/Type3" not in kept["pdf"]
    assert b"<text" not in kept["svg"]  # letters are outlines
    assert not re.search(rb"<dc:date>|CreationDate", kept["svg"] + kept["pdf"])


def test_a_png_is_light_and_keeps_its_colours(kept: dict[str, bytes]):
    png = Image.open(BytesIO(kept["png"]))
    assert png.mode == "P"
    pixels = np.asarray(png.convert("RGB")).reshape(-1, 3)
    for look in line_styles("abcdefghijklmnop").values():
        wanted = np.array(to_rgb(look["color"])) * 255
        assert np.abs(pixels - wanted).max(axis=1).min() <= 6, look


def test_widths_are_those_of_the_paper(kept: dict[str, bytes]):
    svg = kept["svg"].decode()
    assert f'width="{72 * COLUMN:.1f}pt"' in svg


def test_sixteen_methods_look_different():
    found = line_styles([f"m{i}" for i in range(16)])
    everything = {(s["color"], s["marker"], str(s["linestyle"]), s["markerfacecolor"]) for s in found.values()}
    assert len(everything) == 16
    assert len({s["color"] for s in found.values()}) == 16
    in_grey = {(s["marker"], s["markerfacecolor"] == "white") for s in found.values()}
    assert len(in_grey) == 16
    for style in found.values():  # dark enough on white
        r, g, b = to_rgb(style["color"])
        assert 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.75


def test_colours_that_come_round_have_other_markers():
    found = line_styles([f"m{i}" for i in range(128)])
    assert len({(s["color"], s["marker"]) for s in found.values()}) == 128


def test_a_look_hangs_on_the_place_alone():
    assert line_styles(["a", "b", "c"])["b"] == line_styles(["x", "b"])["b"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(Exception, match="No space left"):
        save(picture(), tmp_path / "picture")
    assert list(tmp_path.iterdir()) == []


def test_an_interval_far_wider_than_the_splits_ends_in_an_arrow():
    figure = Figure()
    axis = figure.subplots()
    scores = pd.DataFrame({"shots": [0, 0, 1, 1], "method": "a", "srcc": [0.0, 0.1, 0.0, 0.2]})
    middles = pd.DataFrame({"shots": [0, 1], "method": "a", "median": [0.05, 0.1]})
    middles = middles.assign(median_low=[-9, 0.0], median_high=[9, 0.2])
    draw_splits(axis, scores, middles, "shots", "srcc", [0, 1], line_styles("a"), horizontal=True)
    assert axis.get_xlim()[1] < 0.5, "the wide interval does not set the scale"
    arrows = [line.get_marker() for line in axis.lines if line.get_marker() in "<>"]
    assert sorted(arrows) == ["<", ">"], "one interval is cut, the other is not"
