"""Published numbers keep their source; a blank stays blank; users add rows."""

from pathlib import Path

import pandas as pd
import pytest

from grmp.errors import UserError
from grmp.report.published import COLUMNS, published, published_scores
from grmp.report.results import Results
from tests.report.sample import ROOT, make_settings

HEAD = ",".join(COLUMNS)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_settings(tmp_path)


def test_the_package_carries_the_paper(empty: Results):
    table = published(empty)
    ours = published_scores(empty, "few_shot", "livec", [50, 100])
    row = ours[ours["method"] == "GRMP-IQA"]
    assert row[["shots", "metric", "value"]].to_numpy().tolist() == [[50, "srcc", 0.836]]
    assert table["source"].str.len().min() > 0
    assert published_scores(empty, "few_shot", "sim_wild", [50]).empty


def test_it_is_the_collected_facts(shared: Path):
    facts = pd.read_csv(shared / "facts/published.csv", keep_default_na=False, dtype=str)
    ours = pd.read_csv(ROOT / "grmp/report/published.csv", keep_default_na=False, dtype=str)
    merged = facts.merge(ours, how="left", indicator=True)
    assert (merged["_merge"] == "both").all()  # ours may hold more, never less


def test_users_add_rows(root: Path):
    (root / "published.csv").write_text(
        f"{HEAD}\nfew_shot,mine,50,Ours,srcc,0.9,our paper,\nfew_shot,mine,50,Theirs,srcc,,unread,\n"
    )
    rows = published_scores(Results.open(root), "few_shot", "mine", [50])
    assert rows["method"].tolist() == ["Ours", "Theirs"]
    assert rows["value"].iloc[0] == 0.9
    assert pd.isna(rows["value"].iloc[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "needs the columns table, dataset"),
        (f"{HEAD}\nfew_shot,mine,50,Ours,srcc,good,our paper,\n", "line 2: 'good' is not a number"),
        (f"{HEAD}\nfew_shot,mine,50,Ours,srcc,0.9,,\n", "line 2: a row needs its source"),
        ("", "is corrupt"),
    ],
)
def test_bad_rows_are_named(root: Path, text: str, message: str):
    (root / "published.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        published(Results.open(root))


def test_papers_names_of_settings_are_ours(empty: Results):
    rows = published_scores(empty, "full", "livec", ["20pct", "100pct"])
    assert rows[rows["method"] == "GRMP-IQA"][["shots", "metric", "value"]].to_numpy().tolist() == [
        ["100pct", "srcc", 0.897],
        ["100pct", "plcc", 0.916],
    ]
    assert set(rows["shots"]) == {"20pct", "100pct"}
    across = published_scores(empty, "cross", "koniq10k_to_livec", ["100pct"])
    assert across["value"].tolist() == [0.785, 0.794, 0.811, 0.846]
    assert published_scores(empty, "cross", "livec", ["100pct"]).empty
