"""Accuracy, plasticity, stability and forgetting are what their definitions say."""

from pathlib import Path

import pandas as pd
import pytest

from grmp.report import continual
from grmp.report.results import Results


def test_measures_of_known_numbers():
    """Three databases; the first falls from 0.9 over 0.7 to 0.5, the second rises from 0.6 to 0.8."""
    rows = [
        (0, "a", "a", 0.9),
        (1, "b", "a", 0.7),
        (1, "b", "b", 0.6),
        (2, "c", "a", 0.5),
        (2, "c", "b", 0.8),
        (2, "c", "c", 0.3),
    ]
    table = pd.DataFrame(rows, columns=["step", "learned", "database", "srcc"]).assign(strategy="gate", split=0)
    (found,) = continual.measures(table).itertuples()
    assert found.accuracy == pytest.approx((0.5 + 0.8 + 0.3) / 3)
    assert found.plasticity == pytest.approx((0.9 + 0.6 + 0.3) / 3)
    assert found.stability == pytest.approx((0.7 + 0.5 + 0.8) / 3)
    assert found.forgetting == pytest.approx(((0.9 - 0.5) + (0.6 - 0.8)) / 2)


def test_only_what_forgets_is_said_to_forget(whole: Results):
    table = continual.summary(whole)
    forgotten = table.data.query("measure == 'forgetting'").set_index("strategy")["median"]
    assert forgotten["sequential"] == pytest.approx(0.15, abs=0.02)
    assert forgotten[["gate", "joint"]].abs().max() < 0.02
    assert list(table.shown["Strategy"]) == list(continual.STRATEGIES.values())


def test_a_split_without_a_score_is_not_passed_over_in_silence(world: Path):
    path = world / "results/continual.csv"
    table = pd.read_csv(path)
    last = (table["strategy"] == "gate") & (table["split"] == 2) & (table["step"] == 2) & (table["database"] == "gamma")
    table.assign(srcc=table["srcc"].mask(last)).to_csv(path, index=False)
    shown = continual.summary(Results.open(world)).shown.set_index("Strategy")
    gate = shown.loc["one model each, gated"]
    assert gate["Accuracy"].endswith("] (3 of 4 splits)")
    assert gate["Stability"].endswith("]")


def test_nothing_run_is_no_table(empty: Results):
    assert continual.summary(empty) is None
