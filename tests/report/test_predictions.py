"""Failures and agreement say what the records hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grmp.metrics import fit_logistic, logistic
from grmp.report import predictions
from grmp.report.results import Results
from tests.report.sample import editing, run_here


def test_a_picture_counts_once_with_its_mean(whole: Results):
    record = whole.record("beta", "grmp", 25)
    table = predictions.by_image(record)
    given = record.predictions
    image = given["image"].value_counts().index[0]
    expected = []
    for _, part in given.groupby("split"):
        fit = fit_logistic(part["quality"], part["score"])
        expected += logistic(part.loc[part["image"] == image, "score"].to_numpy(), *fit).tolist()
    row = table.loc[image]
    assert row["tested"] == len(expected) > 1
    assert [row["mean"], row["least"], row["greatest"]] == pytest.approx(
        [np.mean(expected), min(expected), max(expected)]
    )
    assert row["sd"] == pytest.approx(np.std(expected, ddof=1))


def test_failures_are_the_furthest_from_opinion(whole: Results):
    table = predictions.by_image(whole.record("alpha", "grmp", 25))
    miss = (table["mean"] - table["quality"]).sort_values()
    figure = predictions.failures(whole, "grmp", ["alpha"], 25, count=4)
    shown = [axes.get_xlabel() for axes in figure.axes]
    wanted = table.loc[[miss.index[-1], miss.index[-2], miss.index[1], miss.index[0]]]
    assert sorted(shown) == sorted(f"predicted {r.mean:.2f}\nrating {r.quality:.2f}" for r in wanted.itertuples())
    assert [a.get_title("left") for a in figure.axes[::2]] == ["overestimated", "underestimated"]


def test_the_method_that_the_page_is_about_is_on_it(world: Path):
    with editing(world) as raw:
        more = [f"ridge_{i}" for i in range(4)]
        raw["methods"] |= dict.fromkeys(more, raw["methods"]["ridge"])
        raw["run"]["few_shot"]["methods"] += more
    run_here("predictions", world, figures=False)
    table = pd.read_csv(world / "results/tables/predictions/measures.csv")
    assert table["method"].unique().tolist() == ["zero_shot", "grmp", *more[1:]]


def test_predictions_without_an_increasing_fit_are_left_out(whole: Results):
    record = whole.record("alpha", "grmp", 25)
    broken = record.predictions.copy()
    broken.loc[broken["split"] == 2, "score"] = np.nan
    broken.loc[broken["split"] == 3, "score"] = 0.5
    against = broken["split"] == 4
    broken.loc[against, "score"] = -broken.loc[against, "quality"]
    found = predictions.by_image(replace(record, predictions=broken))
    kept = predictions.by_image(replace(record, predictions=broken[broken["split"] < 2]))
    pd.testing.assert_frame_equal(found, kept)
    assert len(found)
