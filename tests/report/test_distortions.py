"""Scores by distortion type are medians over splits."""

import pytest

from grmp.report import distortions
from grmp.report.results import Results


def test_the_heat_map_holds_the_medians(ablated: Results):
    table = distortions.distortion_table(ablated, ["random", "meta"], 25, ("meta", "random"))
    of = ablated.distortions.query("shots == 25 and database == 'beta' and distortion == 'jpeg'")
    of = of[of["level"].isna()].pivot(index="split", columns="method", values="srcc")
    row = table.data.query("database == 'beta' and distortion == 'jpeg'").iloc[0]
    assert row["meta"] == pytest.approx(of["meta"].median())
    assert row["difference"] == pytest.approx((of["meta"] - of["random"]).mean())
    texts = [t.get_text() for t in distortions.heat_map(ablated, ["random", "meta"], 25).axes[1].texts]
    assert f"{row['meta']:.2f}".replace("-", "−") in texts
