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
    points = [line.get_xdata()[0] for line in figure.axes[3].lines]
    assert points == sorted(set(points)), "equal times stand side by side"
    assert np.exp(np.mean(np.log(points))) == pytest.approx(1.5)
    assert points[-1] / points[0] < 1.15
    assert len(points) == len(METHODS)


def test_markers_that_would_overlap_stand_side_by_side():
    values, ratio = pd.Series([0.0, 48.0, 46.0, 90.0, 46.0]), 1000.0
    moved = values * ratio ** _moves(values, ratio)
    assert moved[[0, 3]].tolist() == [0.0, 90.0], "what stands alone is not moved"
    along = np.log(moved[[2, 4, 1]]) / np.log(ratio)  # in the order of their values, then of their rows
    assert np.diff(along) == pytest.approx([BESIDE, BESIDE])
    assert np.exp(np.log(moved[[1, 2, 4]]).mean()) == pytest.approx(np.exp(np.log(values[[1, 2, 4]]).mean()))


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
