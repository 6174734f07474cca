"""Figures and tables say what the records hold, and no more."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection

from grmp.data import databases as registry
from grmp.report import comparisons, cost, databases, few_shot, meta_training, predictions
from grmp.report.results import Results, kind_title
from tests.report.sample import DATABASES, DISTORTIONS, METHODS, SHOTS, edit, editing, recollect
from tests.report.test_plotting import texts_apart


def test_every_split_is_a_dot(whole: Results):
    figure = few_shot.curves(whole, "few_shot", SHOTS)
    assert len(figure.axes) == len(DATABASES)
    for axes, database in zip(figure.axes, DATABASES, strict=True):  # noqa: B007
        dots = np.concatenate([c.get_offsets()[:, 1] for c in axes.collections if isinstance(c, PathCollection)])
        expected = whole.scores.query("database == @database and shots in @SHOTS")["srcc"]
        assert sorted(dots) == pytest.approx(sorted(expected))


def test_markers_are_medians(whole: Results):
    axes = few_shot.curves(whole, "few_shot", SHOTS, "plcc").axes[0]
    colour = next(line for line in axes.lines if line.get_label() == "Ridge on embeddings").get_color()
    found = [line.get_ydata()[0] for line in axes.lines if line.get_color() == colour]
    expected = whole.summary.query("database == 'alpha' and method == 'ridge' and metric == 'plcc'")["median"]
    assert found == pytest.approx(expected.to_numpy())


def test_a_method_keeps_its_colour(whole: Results):
    one = {line.get_label(): line.get_color() for line in few_shot.curves(whole, "few_shot", SHOTS).axes[0].lines}
    panel = predictions.scatter(whole, ["grmp"], 50, 0).axes[0]
    assert panel.lines[0].get_color() == one["GRMP-IQA"]


def test_simulated_opinions_are_called_so(whole: Results):
    names = [a.get_xlabel() for a in databases.histograms(whole).axes]
    assert names == ["simulated rating"] * 3 + ["MOS"]
    left = [a.get_ylabel() for a in predictions.scatter(whole, list(METHODS), 50, 0).axes if a.get_ylabel()]
    assert left == ["alpha\nsimulated rating", "beta\nsimulated rating", "gamma\nMOS"]
    assert "not human ratings" in databases.database_table(whole).note


def test_losses_task_by_task(whole: Results):
    figure = meta_training.task_losses(whole, "pre")
    assert [a.get_title("left") for a in figure.axes] == [kind_title(kind) for kind in sorted(DISTORTIONS)]
    line = figure.axes[0].lines[0]
    expected = whole.csv("results/pretrain/reptile.csv").query("task == 'blur'")["query_loss"]
    assert line.get_ydata() == pytest.approx(expected.to_numpy())


def test_fourteen_methods_have_room(tmp_path: Path, collected: Path):
    """Long names: the records of five methods, copied under other names."""
    shutil.copy(collected / "params.yaml", tmp_path)
    shutil.copytree(collected / "results", tmp_path / "results")
    more = [f"more_{i}" for i in range(9)]
    with editing(tmp_path) as raw:
        for name in more:
            raw["methods"][name] = raw["methods"]["random"] | {"label": f"A quality-trained teacher, {name}"}
        raw["run"]["few_shot"]["methods"] += more
    for name in ("scores.csv", "summary.csv"):
        table = pd.read_csv(collected / "results" / name)
        copies = [table[table["method"] == "random"].assign(method=n) for n in more]
        pd.concat([table, *copies]).to_csv(tmp_path / "results" / name, index=False)
    opened = Results.open(tmp_path)
    for figure in (few_shot.curves(opened, "few_shot", SHOTS), cost.cost_figure(opened, 50)):
        assert len(figure.legends[0].get_texts()) == 14
        assert texts_apart(figure)
    shutil.copytree(collected / "results/runs/sound/alpha/random", tmp_path / "results/runs/sound/alpha/more_0")
    assert texts_apart(predictions.scatter(opened, ["zero_shot", "meta", *more[:3]], 50, 0))


def test_one_database_has_its_legend_beside_it(world: Path):
    with editing(world) as raw:
        raw["run"]["few_shot"]["databases"] = ["gamma"]
    opened = recollect(world)
    for figure in (few_shot.curves(opened, "few_shot", SHOTS), comparisons.forest(opened, comparisons.answers(opened))):
        assert texts_apart(figure)
        FigureCanvasAgg(figure).draw()
        assert all(axes.get_position().width > 0.3 for axes in figure.axes)


def test_few_shot_table_says_what_summary_says(whole: Results):
    table = few_shot.score_table(whole, "few_shot", SHOTS)
    shown = table.shown
    assert len(shown) == len(DATABASES) * len(METHODS)
    one = whole.summary.query("database == 'beta' and method == 'ridge' and shots == 50 and metric == 'plcc'").iloc[0]
    assert shown["PLCC, 50"].iloc[6] == f"{one['median']:.3f} [{one['median_low']:.3f}, {one['median_high']:.3f}]"
    assert shown["Database"].tolist()[:6] == ["alpha", "", "", "", "", "beta"]
    assert sum("**" in cell for cell in shown["SRCC, 25"]) == len(DATABASES)
    assert "across random splits" in table.note


@pytest.mark.parametrize("change", [{"teacher": "quality"}, {"set": {"adapt.select": "test"}}])
def test_a_method_that_reads_more_than_its_labels_is_not_in_bold(world: Path, change: dict):
    def bold() -> tuple[list[bool], str]:
        table = few_shot.score_table(Results.open(world), "few_shot", [25], ["srcc"])
        return ["**" in cell for cell in table.shown["SRCC, 25"][: len(METHODS)]], table.note

    assert bold()[0] == [name == "grmp" for name in METHODS], "it has the highest median"
    with editing(world) as raw:
        raw["methods"]["grmp"] |= change
        raw["continual"]["method"] = "meta"
    now, note = bold()
    assert now == [name == "meta" for name in METHODS]
    assert "are not in bold" in note


def test_where_all_methods_choose_on_the_test_split_none_of_them_is_in_bold(whole: Results):
    table = few_shot.score_table(whole.under("published"), "few_shot", [25], ["srcc"])
    bold = table.shown["SRCC, 25"].str.contains("**", regex=False)
    assert bold.any()
    assert set(table.shown.loc[bold, "Method"]) <= {whole.label("zero_shot"), whole.label("ridge")}
    assert "choose their epoch on the test split" in table.note


def test_published_numbers_stand_beside_ours(world: Path):
    (world / "published.csv").write_text(
        "table,dataset,setting,method,metric,value,source,note\n"
        "few_shot,alpha,25,GRMP-IQA,srcc,0.9,a paper,\nfew_shot,alpha,50,GRMP-IQA,srcc,,a paper,\n"
    )
    opened = Results.open(world)
    table = few_shot.score_table(opened, "few_shot", SHOTS)
    row = table.shown.iloc[5]
    assert row.tolist() == ["", "GRMP-IQA, published", "0.900", "n.p.", "n.p.", "n.p."]
    assert "n.p.: not published where we could read it." in table.note
    stars = [line for line in few_shot.curves(opened, "few_shot", SHOTS).axes[0].lines if line.get_marker() == "*"]
    assert [float(s.get_ydata()[0]) for s in stars] == [0.9]


def test_holes_name_their_command(world: Path):
    shutil.rmtree(world / "results/runs/published")
    shutil.rmtree(world / "results/runs/sound/beta/grmp")
    opened = recollect(world)
    table = few_shot.score_table(opened, "few_shot", SHOTS)
    assert table.shown.iloc[9].tolist() == ["", "GRMP-IQA", "–", "–", "–", "–"]
    assert "`grmp run beta grmp 25 --protocol sound`, `grmp run beta grmp 50 --protocol sound`" in table.note
    assert "0.000" not in table.markdown()
    assert not (opened.pairs.query("database == 'beta'")["method"] == "grmp").any()
    scatter = predictions.scatter(opened, ["meta", "grmp"], 50, 0)
    assert [t.get_text() for a in scatter.axes for t in a.texts].count("not run") == 1


def test_tables_of_an_empty_world(empty: Results):
    prepared, scores = databases.database_table(empty), few_shot.score_table(empty, "few_shot", SHOTS)
    answers = comparisons.answer_table(empty)
    assert "`dvc repro prepare@pre`" in prepared.note
    assert "`dvc repro backbone`" in databases.backbone_table(empty).note
    assert "`dvc repro pretrain@reptile`" in meta_training.loss_table(empty).note
    assert "30 runs are missing" in scores.note
    assert "Not run" in answers.note
    assert few_shot.excluded_table(empty) is None
    assert "`grmp run alpha grmp 50 --protocol sound`" in predictions.measures(empty, ["grmp"], 50).note
    for table in (prepared, scores, answers):
        assert table.markdown()
        assert table.tex("x")


def test_measures_are_the_medians(whole: Results):
    table = predictions.measures(whole, ["ridge", "grmp"], 50)
    assert table.shown["Method"].tolist() == ["Ridge on embeddings", "GRMP-IQA"] * 3
    one = whole.summary.query("database == 'beta' and method == 'grmp' and shots == 50 and metric == 'rmse'").iloc[0]
    assert table.data["rmse"].iloc[3] == one["median"]
    assert table.shown["RMSE after the fit"].iloc[3] == f"{one['median']:.3f}"


def test_missing_splits_are_counted_in_the_cell(world: Path):
    for other in ("published", "sound/beta", "sound/gamma"):
        shutil.rmtree(world / "results/runs" / other)
    edit(world / "results/runs/sound/alpha/meta/25", status=["failed: loss is not finite"] + ["ok"] * 4)
    opened = recollect(world)
    table = few_shot.score_table(opened, "few_shot", SHOTS)
    assert table.shown["SRCC, 25"].iloc[3].endswith("(4 of 5 splits)"), "and not in bold"
    pairs = opened.pairs.query("shots == 25 and database == 'alpha' and metric == 'srcc'").set_index("method")
    assert pairs.loc["meta", "status"] == "1 of 5 splits have no score"
    text = "alpha, Meta-learned prompts, 25 labels: 1 of 5 splits: failed: loss is not finite"
    assert text in table.note


def test_sources_that_pretraining_has_seen(whole: Results, monkeypatch):
    assert few_shot.shared_table(whole, "few_shot", SHOTS) is None
    names = tuple(f"r{i:02d}.png" for i in range(12))
    entry = replace(registry.get("live"), shared={whole.params.pretrain.databases[0]: names})
    monkeypatch.setitem(registry.known(), "alpha", entry)
    table = few_shot.shared_table(whole, "few_shot", SHOTS, ["grmp", "ridge"])
    assert set(table.data["database"]) == {"alpha"}
    assert set(table.data["method"]) == {"grmp", "ridge"}
    index = whole.dataset("alpha").index.set_index("image")
    row = table.data[(table.data["method"] == "grmp") & (table.data["shots"] == 50)].iloc[0]
    for group, wanted in (("all", {True, False}), ("shared", {True}), ("others", {False})):
        each = []
        for _, part in whole.record("alpha", "grmp", 50).predictions.groupby("split"):
            part = part[index.loc[part["image"], "reference"].isin(names).isin(wanted).to_numpy()]
            each.append(part["quality"].corr(part["score"], method="spearman"))
        assert row[group] == pytest.approx(np.median(each), abs=1e-9)
    assert list(table.shown.columns)[-3:] == ["All sources", "Shared with pre-training", "Other sources"]
    monkeypatch.setitem(registry.known(), "gamma", entry)
    full = few_shot.shared_table(whole, "full", ["20pct"])  # full supervision has one of its own
    assert set(full.data["database"]) == {"gamma"}
