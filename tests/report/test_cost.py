"""Cost per protocol and method."""

from dataclasses import replace
from pathlib import Path

from grmp.report.cost import cost_figure, cost_table
from grmp.report.results import Results


def test_times_are_summed_over_runs_and_divided_by_splits(collected: Path):
    results = Results.open(collected)
    table, cost = cost_table(results), results.cost
    row = table.data.query("protocol == 'sound' and method == 'GRMP-IQA'").iloc[0]
    given = cost.query("protocol == 'sound' and method == 'grmp'")
    assert (row["runs"], round(row["seconds"], 6)) == (len(given), round(given["seconds"].sum(), 6))
    assert row["seconds_per_split"] == (given["seconds"] / 5).median()
    assert table.shown["Protocol"].ne("").sum() == cost["protocol"].nunique()


def test_the_legend_fits_the_figure_of_a_single_database(collected: Path):
    results = Results.open(collected)
    few = results.params.run.few_shot
    alone = few.model_copy(update={"databases": few.databases[:1]})
    run = results.params.run.model_copy(update={"few_shot": alone})
    figure = cost_figure(replace(results, params=results.params.model_copy(update={"run": run})), few.shots[0])
    figure.canvas.draw()
    (legend,) = figure.legends
    assert len(figure.axes) == 2
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= figure.bbox.x1
