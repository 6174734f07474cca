"""The matrix across databases holds medians; the diagonal is the run within one database."""

from grmp.report.cross_dataset import matrix, transfer
from grmp.report.results import Results
from tests.report.sample import CROSS


def test_the_matrix_holds_the_medians(whole: Results):
    table = matrix(whole, 50)
    assert CROSS in set(table.data["database"])
    for row in table.data.itertuples():
        one = whole.summary.query(f"database == '{row.database}' and method == '{row.method}' and shots == 50")
        assert row.median == one.query("metric == 'srcc'")["median"].iloc[0]
    assert table.shown["Trained on"].tolist() == ["alpha", "alpha"]
    medians = table.data.query("method == 'grmp'").set_index("database")["median"]
    assert table.shown["tested on gamma"].iloc[1].startswith(f"{medians[CROSS]:.3f} [")
    assert table.shown["tested on alpha"].iloc[1].startswith(f"{medians['alpha']:.3f} [")
    assert transfer(whole) is None  # a single pair is a table
