"""Verdicts follow the stated rule and nothing else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grmp.errors import UserError
from grmp.metrics import interval
from grmp.report.published import published
from grmp.report.results import Results
from grmp.report.summary import COLUMNS, RULES, Evidence, claim_figure, claim_table, claims, judge, unlike, verdicts
from tests.report.sample import editing, make_settings, recollect

HEAD = ",".join(COLUMNS)
MEDIAN = Evidence(ours=0.8, low=0.75, high=0.85, others=(0.7, 0.72, 0.82, 0.9))


@pytest.mark.parametrize(
    ("kind", "value", "found", "expected"),
    [
        ("level", 0.77, MEDIAN, "reproduced"),
        ("level", 0.771, MEDIAN, "inconclusive"),
        ("level", 0.87, MEDIAN, "inconclusive"),
        ("level", 0.871, MEDIAN, "not reproduced"),
        ("level", 0.70, MEDIAN, "better"),
        ("above", 0.749, MEDIAN, "reproduced"),
        ("above", 0.75, MEDIAN, "inconclusive"),
        ("above", 0.851, MEDIAN, "not reproduced"),
        ("most", np.nan, MEDIAN, "inconclusive"),
        ("most", np.nan, replace(MEDIAN, others=(0.7, 0.72, 0.74, 0.9)), "reproduced"),
        ("most", np.nan, replace(MEDIAN, others=(0.7, 0.72, 0.86, 0.9)), "not reproduced"),  # two of four are not most
        ("most", np.nan, replace(MEDIAN, others=()), "not comparable"),
        ("better", np.nan, Evidence(0.03, 0.01, 0.05), "reproduced"),  # exploratory: no correction
        ("better", np.nan, Evidence(0.03, 0.01, 0.05, 0.04), "reproduced"),
        ("better", np.nan, Evidence(0.03, 0.01, 0.05, 0.06), "inconclusive"),
        ("better", np.nan, Evidence(0.01, -0.01, 0.03), "inconclusive"),
        ("better", np.nan, Evidence(0.001, -0.01, 0.012), "not reproduced"),
        ("better", np.nan, Evidence(0.03, 0.01, 0.05, status="1 of 10 splits have no score"), "inconclusive"),
        ("better", np.nan, Evidence(status="not comparable: another splits"), "not comparable"),
        ("better", np.nan, Evidence(), "not run"),
        ("level", 0.85, Evidence(), "not run"),
    ],
)
def test_rules(kind: str, value: float, found: Evidence, expected: str):
    assert judge(kind, value, found, "") == expected
    assert judge(kind, value, found, "another backbone") == ("not run" if expected == "not run" else "not comparable")


def test_a_noisier_run_is_never_closer_to_reproduced():
    """The true median is below the claim; ten splits, of which the deviations alone grow, and with them the interval."""
    found = [interval(x, 0.95, 400, 0) for x in np.random.default_rng(0).normal(size=(100, 10))]
    deviations = np.array([[f["median"], f["median_low"], f["median_high"]] for f in found])
    for below in (0.02, 0.04):
        reproduced = []
        for sd in (0.01, 0.02, 0.04, 0.08):
            judged = [judge("level", 0.84, Evidence(*row), "") for row in 0.84 - below + sd * deviations]
            reproduced.append(judged.count("reproduced") + judged.count("better"))
        assert max(reproduced) <= 7  # of 100
        if below == 0.02:  # at the margin, noise changes nothing
            assert len(set(reproduced)) == 1


@pytest.mark.parametrize("kind", ["level", "above", "better"])
def test_a_wider_interval_is_never_closer_to_reproduced(kind: str):
    for middle in np.linspace(0.7, 0.9, 41) if kind != "better" else np.linspace(-0.1, 0.1, 41):
        judged = [judge(kind, 0.8, Evidence(middle, middle - w, middle + w), "") for w in np.linspace(0, 0.1, 21)]
        held = [verdict in ("better", "reproduced") for verdict in judged]
        assert held == sorted(held, reverse=True)
        open_ = [verdict == "inconclusive" for verdict in judged]
        assert open_ == sorted(open_)


def test_the_papers_numbers_agree_with_the_published_ones(empty: Results):
    """Every stated level stands in published.csv too, with the same value."""
    table = published(empty)
    ours = table[(table["method"] == "GRMP-IQA") & table["table"].isin(["few_shot", "full"])]
    stated = claims(empty).query("kind == 'level'")
    assert len(stated) >= 8
    for row in stated.itertuples():
        setting = {"100pct": "80/20"}.get(row.shots, row.shots)
        found = ours[(ours["dataset"] == row.database) & (ours["setting"] == setting) & (ours["metric"] == row.metric)]
        assert found["value"].tolist() == [float(row.value)], row.claim
    assert set(claims(empty)["kind"]) == set(RULES)


@pytest.fixture
def claimed(world: Path) -> Path:
    """The sample world with claims of its own that its records can answer."""
    (world / "claims.csv").write_text(
        f"{HEAD}\n"
        "gamma is easy,level,gamma,grmp,,50,srcc,0.2,us\n"
        "gamma is perfect,level,gamma,grmp,,50,srcc,1.5,us\n"
        "alpha is easy,level,alpha,grmp,,50,srcc,0.2,us\n"
        "prompts help,better,*,meta,random,*,srcc,,us\n"
        "a share will do,most,gamma,grmp,,20pct,srcc,,us\n"
        "more labels,level,gamma,grmp,,999,srcc,0.5,us\n"
        "gamma is linear,level,gamma,grmp,,50,plcc,0.7,us\n"
    )
    (world / "published.csv").write_text(
        "table,dataset,setting,method,metric,value,source,note\n"
        "full,gamma,80/20,Other,srcc,0.1,them,\nfull,gamma,80/20,Another,srcc,0.2,them,\n"
    )
    return world


def own(world: Path) -> dict[tuple[str, str], str]:
    table = verdicts(Results.open(world)).query("source == 'us'")
    return {(r.claim, r.protocol): r.verdict for r in table.itertuples()}


def test_a_small_world_is_not_comparable(claimed: Path):
    found = own(claimed)
    assert found["gamma is easy", "sound"] == found["gamma is easy", "published"] == "not comparable"
    assert found["more labels", "sound"] == "not run"
    table = claim_table(Results.open(claimed))
    row = table.data.query("claim == 'alpha is easy'").iloc[0]
    assert row["why"] == "another backbone, simulated ratings, 5 splits instead of 10"
    assert np.isfinite(row["ours"])  # the number is shown all the same
    assert (table.data["verdict"] == "not run").sum() > 5  # the paper's databases are not here
    assert "**not run**" in table.markdown()


def test_a_world_like_the_papers_is_judged(claimed: Path):
    with editing(claimed) as raw:
        raw["splits"]["count"] = 10
        raw["backbone"] = {"source": "open_clip", "model": "ViT-B-16-quickgelu", "pretrained": "openai", "sha256": ""}
    found = own(claimed)
    assert unlike(Results.open(claimed), "gamma") == ""
    assert found["gamma is easy", "sound"] == "better"
    assert found["gamma is perfect", "sound"] == "not reproduced"
    assert found["alpha is easy", "sound"] == "not comparable"  # simulated
    assert found["a share will do", "sound"] == "reproduced"
    assert found["prompts help", "sound"] == "not comparable"  # simulated in two of three databases
    for name in ("alpha", "beta"):
        info = claimed / f"data/prepared/{name}/info.json"
        info.write_text(info.read_text().replace('"simulated"', '"authentic"'))
    found = own(claimed)
    (row,) = Results.open(claimed).pairs.query("method == 'meta' and role == 'primary'").itertuples()
    assert (found["prompts help", "sound"] == "reproduced") == (row.low > 0 and row.p_holm <= 0.05)


def test_part_of_the_images_is_what_was_left_out(world: Path):
    """Not what may be missing; without the database, the setting is all that is known."""

    def said(database: str) -> bool:
        return "part of the images" in unlike(Results.open(world), database)

    with editing(world) as raw:
        raw["data"]["allow_missing"] = 600
    assert not said("gamma")
    info = world / "data/prepared/gamma/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"left_out": ["0001.png"]}))
    assert [said(name) for name in ("alpha", "gamma", "alpha_to_gamma", "*")] == [False, True, True, True]
    with editing(world) as raw:
        raw["data"]["allow_missing"] = 0
    assert said("gamma")
    shutil.rmtree(world / "data")
    assert not said("gamma")
    with editing(world) as raw:
        raw["data"]["allow_missing"] = 1
    assert said("gamma")


def test_what_is_not_run_names_its_command(claimed: Path):
    for runs in ("published", "sound/alpha", "sound/beta", "sound/gamma/grmp/50"):
        shutil.rmtree(claimed / "results/runs" / runs)
    table = verdicts(recollect(claimed)).set_index(["claim", "protocol"])
    assert table.loc[("gamma is easy", "sound"), "why"] == "`grmp run gamma grmp 50 --protocol sound`"
    assert table.loc[("gamma is easy", "sound"), "verdict"] == "not run"
    assert table.loc[("more labels", "sound"), "why"] == "in no grid of params.yaml"


def test_nothing_run(empty: Results):
    assert set(verdicts(empty)["verdict"]) == {"not run"}
    assert claim_figure(empty) is None


def test_stars_are_the_stated_numbers(claimed: Path):
    axes = claim_figure(Results.open(claimed)).axes[0]
    stars = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "*"]
    assert sorted(set(stars)) == [0.2, 1.5]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,guess,a,b,,50,srcc,0.1,us", "line 2: kind 'guess' is unknown; use one of level"),
        ("x,level,a,b,,50,srcc,much,us", "line 2: 'much' is not a number"),
        ("x,level,a,b,,50,srcc,,us", "line 2: '' is not a number"),
    ],
)
def test_bad_claims_are_named(tmp_path: Path, row: str, message: str):
    results = Results.open(make_settings(tmp_path))
    (tmp_path / "claims.csv").write_text(f"{HEAD}\n{row}\n")
    with pytest.raises(UserError, match=message):
        claims(results)
