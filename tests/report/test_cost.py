"""Cost per protocol and method."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from grmp.report.cost import BESIDE, _moves, cost_figure, cost_table
from grmp.report.results import Results
from tests.report.sample import METHODS


def test_cost_is_what_the_records_say(whole: Results):
    table = cost_table(whole)
    row = table.data.query("protocol == 'sound' and method == 'GRMP-IQA'").iloc[0]
    assert row[["runs", "seconds", "trained_parameters"]].tolist() == [9, 9 * 7.5, 12345]
    assert row["seconds_per_split"] == pytest.approx(1.5)
    assert row["peak_memory_mb"] == pytest.approx(400)
    assert table.shown["Protocol"].ne("").sum() == 2
    figure = cost_figure(whole, 50)
    assert [a.get_xlabel() for a in figure.axes] == ["trained parameters"] * 3 + ["seconds per split"] * 3
    *markers, strokes = figure.axes[3].lines
    assert strokes.get_xdata() == pytest.approx(1.5)
    points = [line.get_xdata()[0] for line in markers]
    assert points == sorted(set(points)), "equal times stand side by side"
    assert np.exp(np.mean(np.log(points))) == pytest.approx(1.5)
    assert points[-1] / points[0] < 1.15
    assert len(points) == len(METHODS)


def test_markers_that_would_overlap_are_moved_apart():
    ratio = 1000.0
    along = np.array([0.30, 0.31, 0.30, 0.34, 0.5])  # of the axis; the fourth is too close to what the others need
    values = pd.Series([0.0, *ratio**along])
    moved = values * ratio ** _moves(values, ratio)
    assert moved[0] == 0.0
    assert moved[5] == pytest.approx(values[5]), "what stands alone is not moved"
    places = np.log(moved[[1, 3, 2, 4]]) / np.log(ratio)  # in the order of their values, then of their rows
    assert np.diff(places) == pytest.approx([BESIDE] * 3)
    assert places.mean() == pytest.approx(along[:4].mean())
    assert _moves(pd.Series([0.0]), ratio).tolist() == [0.0]


def test_the_legend_fits_the_figure_of_a_single_database(whole: Results):
    few = whole.params.run.few_shot
    alone = few.model_copy(update={"databases": few.databases[:1]})
    run = whole.params.run.model_copy(update={"few_shot": alone})
    figure = cost_figure(replace(whole, params=whole.params.model_copy(update={"run": run})), few.shots[0])
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(figure.axes) == 2
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= figure.bbox.x1
