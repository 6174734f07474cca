"""Looks that can be told apart, labels that do not overlap, and bytes that stay."""

import re
from io import BytesIO
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from grmp.params import load
from grmp.report import (
    ablation,
    comparisons,
    continual,
    cost,
    databases,
    distortions,
    few_shot,
    gradient,
    meta_training,
    predictions,
    selection,
    where_it_looks,
)
from grmp.report.plotting import COLUMN, FORMATS, draw_splits, line_styles, method_styles, save, styled
from grmp.report.results import Results
from tests.conftest import ROOT
from tests.report.sample import DATABASES, METHODS, SHARES, SHOTS, TARGETS


def texts_apart(figure: Figure) -> bool:
    """No two texts overlap and none leaves the picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [t for legend in figure.legends for t in legend.get_texts()]
    for axes in figure.axes:
        texts += [axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            texts += [t.label1 for t in axis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_visible()]
    texts = [t for t in texts if t.get_text().strip()]
    boxes = [(t.get_text(), t.get_window_extent(canvas.get_renderer())) for t in texts]
    width, height = canvas.get_width_height()
    overlaps = [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.shrunk(0.98, 0.85).overlaps(other)]
    outside = [a for a, box in boxes if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1]
    assert not overlaps, overlaps
    assert not outside, outside
    return len(boxes) > 3


FEW = ["zero_shot", "random", "meta", "grmp"]
DRAWN = {
    "histograms": databases.histograms,
    "samples": databases.samples,
    "losses": meta_training.losses,
    "tasks": lambda w: meta_training.task_losses(w, "pre"),
    "steps": lambda w: meta_training.inner_curves_figure(w, "reptile", "pre"),
    "curves": lambda w: few_shot.curves(w, "few_shot", SHOTS),
    "shares": lambda w: few_shot.curves(w, "full", SHARES),
    "forest": lambda w: comparisons.forest(w, comparisons.answers(w)),
    "parts": lambda w: comparisons.forest(w, comparisons.effects(w, w.params.report.parts), shared=True),
    "sweeps": lambda w: ablation.sweep_figure(w, ablation.sweeps(w.params), TARGETS, "25"),
    "strength": lambda w: gradient.strength(w, "grmp", TARGETS, "25"),
    "angles": lambda w: gradient.angles(w, ["grmp", "meta", "prograd"], TARGETS, "25"),
    "protocols": lambda w: selection.protocol_figure(w, "published", "sound", 25),
    "scatter": lambda w: predictions.scatter(w, list(METHODS), 50, 0),
    "failures": lambda w: predictions.failures(w, "grmp", list(DATABASES), 25),
    "agreement": lambda w: predictions.agreement(w, "grmp", list(DATABASES), 25),
    "heat map": lambda w: distortions.heat_map(w, FEW, 25),
    "levels": lambda w: distortions.by_level(w, FEW, 25),
    "cost": lambda w: cost.cost_figure(w, 50),
    "continual": continual.curves,
    "maps": lambda w: where_it_looks.maps(w, "alpha"),
    "embeddings": lambda w: where_it_looks.embeddings(w, "alpha"),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_labels_do_not_overlap_and_nothing_run_is_no_figure(ablated: Results, empty: Results, draw):
    assert texts_apart(draw(ablated))
    assert draw(empty) is None


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


def test_fonts_are_embedded_and_widths_are_those_of_the_paper(kept: dict[str, bytes]):
    assert b"/FontFile2" in kept["pdf"]  # TrueType, inside
    assert b"/Type3" not in kept["pdf"]
    assert b"<text" not in kept["svg"]  # letters are outlines
    assert not re.search(rb"<dc:date>|CreationDate", kept["svg"] + kept["pdf"])
    assert f'width="{72 * COLUMN:.1f}pt"' in kept["svg"].decode()


def test_a_png_is_light_and_keeps_its_colours(kept: dict[str, bytes]):
    png = Image.open(BytesIO(kept["png"]))
    assert png.mode == "P"
    pixels = np.asarray(png.convert("RGB")).reshape(-1, 3)
    for look in line_styles("abcdefghijklmnop").values():
        wanted = np.array(to_rgb(look["color"])) * 255
        assert np.abs(pixels - wanted).max(axis=1).min() <= 6, look


def test_sixteen_methods_look_different():
    found = line_styles([f"m{i}" for i in range(16)])
    assert len({s["color"] for s in found.values()}) == 16
    in_grey = {(s["marker"], s["markerfacecolor"] == "white") for s in found.values()}
    assert len(in_grey) == 16
    for style in found.values():  # dark enough on white
        r, g, b = to_rgb(style["color"])
        assert 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.75


def test_colours_that_come_round_have_other_markers():
    found = line_styles([f"m{i}" for i in range(128)])
    assert len({(s["color"], s["marker"]) for s in found.values()}) == 128


@pytest.mark.parametrize("folder", [".", "demo", "real/livec", "real/biq2021"])
def test_methods_that_are_drawn_together_differ(folder: str):
    params = load(ROOT / folder / "params.yaml")
    few = method_styles(params, params.run.few_shot.methods).values()
    rules = method_styles(params, [name for _, name in gradient.ablation_of(params, "grmp", "rule").points]).values()
    for together in (few, rules):
        assert len(together) > 2
        assert len({style["color"] for style in together}) == len(together)
    assert len({(style["marker"], style["markerfacecolor"] == "white") for style in few}) == len(few)


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
