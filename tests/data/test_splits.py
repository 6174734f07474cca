"""Splits: nested, by source, written to files and read back; files of other images are refused."""

import numpy as np
import pandas as pd
import pytest

from grmp.data import databases, splits
from grmp.errors import UserError
from tests.conftest import ROOT

INDEX = pd.DataFrame({"image": [f"{i:02}" for i in range(40)], "reference": [f"r{i // 4}" for i in range(40)]})


@pytest.mark.parametrize("by", ["reference", "image"])
def test_sides_are_disjoint_and_shots_nested(tmp_path, by):
    splits.make(INDEX, tmp_path / "s.csv", 5, 0.2, 1, by)
    drawn = splits.load(tmp_path / "s.csv", INDEX["image"])
    assert drawn.count == 5
    for split in range(5):
        train, test = drawn.train(split, None), drawn.test(split)
        assert sorted([*train, *test]) == list(range(40))
        assert len(test) == 8
        assert list(drawn.train(split, 5)) == list(train[:5])
        assert list(drawn.train(split, "25pct")) == list(train[:8])
        shared = set(INDEX["reference"][train]) & set(INDEX["reference"][test])
        assert not shared or by == "image"
    assert len({tuple(drawn.test(i)) for i in range(5)}) > 2


@pytest.mark.parametrize("name", ["koniq10k", "livec", "pipal"])
def test_the_released_ten(tmp_path, name):
    """The committed files, row by row what finetune.py draws for 50, 100 and 200 labels."""
    committed = ROOT / f"data/splits/{name}/published.csv"
    images = pd.read_csv(committed, dtype=str)["image"]
    splits.make(images.to_frame(), tmp_path / name / "made.csv", 10, 0.2, 2024, "image")
    assert (tmp_path / name / "made.csv").read_bytes() == committed.read_bytes()
    read, of = splits.load(committed, images), databases.get(name)
    place = pd.Series(range(len(images)), sorted(images, key=of.order)).loc[images].to_numpy()  # in the score file
    for shots in (50, 100, 200):
        rng, ind = np.random.RandomState(2024), np.arange(len(images))
        for split in range(10):
            rng.shuffle(ind)
            at = int(len(ind) * 0.8)
            assert (rng.choice(ind[:at], size=shots, replace=False) == place[read.train(split, shots)]).all()
            assert sorted(ind[at:]) == sorted(place[read.test(split)])


def test_other_views_of_splits():
    drawn = splits.Splits(np.array([[0, 1, -1, -2], [1, -1, 0, -2]]))
    assert [list(drawn.whole(3).test(i)) for i in range(3)] == [[0, 1, 2]] * 3


def test_a_split_of_the_publisher(tmp_path):
    table = INDEX.assign(set=["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    splits.make_official(table, tmp_path / "o.csv", 1)
    drawn = splits.load(tmp_path / "o.csv", INDEX["image"])
    assert (sorted(drawn.train(0, None)), list(drawn.test(0))) == (list(range(20)), list(range(30, 40)))
    splits.make_official(table.assign(set=""), tmp_path / "o.csv", 1)
    assert not (tmp_path / "o.csv").exists()


def test_files_of_other_images_are_refused(tmp_path):
    splits.make(INDEX, tmp_path / "s.csv", 2, 0.3, 1, "image")
    with pytest.raises(UserError, match="does not match the prepared images"):
        splits.load(tmp_path / "s.csv", INDEX["image"].iloc[1:])
    (tmp_path / "s.csv").write_text("image,split_0\n00,first\n")
    with pytest.raises(UserError, match="corrupt"):
        splits.load(tmp_path / "s.csv", INDEX["image"])
