"""Cost per protocol and method."""

from pathlib import Path

from grmp.report.cost import cost_table
from grmp.report.results import Results


def test_times_are_summed_over_runs_and_divided_by_splits(collected: Path):
    results = Results.open(collected)
    table, cost = cost_table(results), results.cost
    row = table.data.query("protocol == 'sound' and method == 'GRMP-IQA'").iloc[0]
    given = cost.query("protocol == 'sound' and method == 'grmp'")
    assert (row["runs"], round(row["seconds"], 6)) == (len(given), round(given["seconds"].sum(), 6))
    assert row["seconds_per_split"] == (given["seconds"] / 5).median()
    assert table.shown["Protocol"].ne("").sum() == cost["protocol"].nunique()
