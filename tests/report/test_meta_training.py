"""Tables of pre-training say what their files hold."""

import pandas as pd

from grmp.report import meta_training
from grmp.report.results import Results


def test_steps_are_means_over_types(whole: Results):
    table, given = meta_training.inner_curves_table(whole), pd.read_csv(whole.root / "results/inner_curves/reptile.csv")
    part = given.query("start == 'random' and database == 'alpha' and steps == 2")
    row = table.shown.query("Database == 'alpha' and Start == 'random'").iloc[0]
    assert row["Loss, 2"] == f"{part['query_loss'].mean():.3f}"
    assert row["Pre-trained on"] == "no"
    assert row["Types"] == part["task"].nunique()
