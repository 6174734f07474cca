"""Databases and backbone: samples in order, and a card without times."""

import json
from pathlib import Path

import pytest

from grmp.report import databases
from grmp.report.results import Results
from tests.report.sample import editing


def test_samples_run_from_worst_to_best(whole: Results):
    figure = databases.samples(whole, 4)
    assert len(figure.axes) == 4 * 4
    opinions = [float(a.get_xlabel()) for a in figure.axes[:4]]
    index = whole.dataset("pre").index["mos"]
    assert opinions == sorted(opinions)
    assert opinions[0] == pytest.approx(index.min(), abs=0.01)
    assert opinions[-1] == pytest.approx(index.max(), abs=0.01)


def test_every_use_of_a_database_is_named(world: Path):
    with editing(world) as raw:
        for grid in ("few_shot", "full", "cross"):
            raw["run"][grid]["databases"] = []
        raw["data"]["databases"] += ["live", "csiq"]
        raw["continual"]["sequence"] = ["beta", "live"]
        raw["inner_curves"]["databases"] = ["gamma"]
    table = databases.database_table(Results.open(world)).data.set_index("database")["used for"]
    assert table.to_dict() == {
        "pre": "pre-training",
        "alpha": "selection in pre-training",
        "beta": "continual learning",
        "gamma": "inner curves",
        "live": "continual learning",
        "csiq": "nothing",
    }


def test_backbone_card_of_released_weights(world: Path):
    (world / "results/backbone.json").write_text(json.dumps({"name": "ViT-B-16-quickgelu (openai)", "sha256": "abc"}))
    table = databases.backbone_table(Results.open(world))
    assert table.shown["Value"].tolist() == ["ViT-B-16-quickgelu (openai)", "abc"]
    assert table.caption == "The backbone"
