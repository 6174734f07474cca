"""The matrix across databases holds medians; the diagonal is the run within one database."""

from pathlib import Path

from grmp.report.cross_dataset import matrix, transfer
from grmp.report.results import Results
from tests.report.sample import CROSS


def test_the_matrix_holds_the_medians(collected: Path):
    results = Results.open(collected)
    table = matrix(results, 50)
    assert table is not None
    assert CROSS in set(table.data["database"])
    for row in table.data.itertuples():
        one = results.summary.query(f"database == '{row.database}' and method == '{row.method}' and shots == 50")
        assert row.median == one.query("metric == 'srcc'")["median"].iloc[0]
    assert transfer(results) is None  # a single pair is a table
