"""Ratings of one's own: what a table may say, which pictures it means, and folds that keep sources together."""

import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from grmp.data.custom import folds, most_folds, read
from grmp.data.dataset import source_ids
from grmp.errors import UserError

COUNT = 12


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Twelve grey pictures in a folder below, the brighter the better."""
    (tmp_path / "photos").mkdir()
    for i in range(COUNT):
        Image.new("RGB", (20, 16), (20 * i,) * 3).save(tmp_path / f"photos/p{i:02}.png")
    rows = [(f"p{i:02}.png", 1 + 4 * i / (COUNT - 1), f"s{i // 3}") for i in reversed(range(COUNT))]
    path = tmp_path / "ratings.csv"
    pd.DataFrame(rows, columns=["image", "mos", "reference"]).to_csv(path, index=False)
    return path


def test_pictures_are_found_below_the_table_in_the_order_of_their_names(table: Path):
    rated = read(table, 8, "squash", None, higher_better=True)
    assert rated.index["image"].tolist() == [f"p{i:02}.png" for i in range(COUNT)]
    assert rated.index["quality"].to_numpy() == pytest.approx(np.arange(COUNT) / (COUNT - 1))
    assert rated.images.shape == (COUNT, 3, 8, 8)
    assert rated.images.mean((1, 2, 3)).tolist() == [20 * i for i in range(COUNT)]
    assert read(table, 8, "squash", (0, 10), higher_better=False).index["quality"][0] == pytest.approx(0.9)


def test_the_better_image_of_a_comparison_is_better_whatever_the_scale(table: Path, capsys):
    rows = [f"p{i:02}.png,p{i - 1:02}.png" for i in range(1, COUNT)]
    table.write_text("\n".join(["better,worse", *rows]))
    quality = read(table, 8, "squash", None, higher_better=False).index["quality"]
    assert quality.is_monotonic_increasing
    assert "--lower-is-better, or what the model to continue says of them, are not used" in capsys.readouterr().out


def test_errors_in_votes_name_their_line(table: Path):
    table.write_text("image,rater,mos\np00.png,a,1\n,a,2\n")
    with pytest.raises(UserError, match="line 3: has no image name"):
        read(table, 8, "squash", None, higher_better=True)


def change(table: Path, text: str, into: str) -> None:
    table.write_text(table.read_text().replace(text, into))


@pytest.mark.parametrize(
    ("text", "into", "said"),
    [
        ("p10.png", "p11.png", "line 3: rates an image a second time"),
        ("p09.png", "", "line 4: has no image name"),
        ("p11.png", "q11.png", "1 of 12 images are not below .*: q11.png"),
        ("p11.png", 300 * "q", "1 of 12 images are not below .*: qqq"),
        (
            "p11.png",
            "photos/P10.PNG",
            "photos/P10.PNG and p10.png are the same file|p10.png and photos/P10.PNG are the same",
        ),
        ("p11.png,5.0", "p11.png,6.0", "p11.png is rated 6, outside the scale 1 to 5"),
    ],
)
def test_what_cannot_be_used_is_named(table: Path, text: str, into: str, said: str):
    change(table, text, into)
    with pytest.raises(UserError, match=said):
        read(table, 8, "squash", (1, 5), higher_better=True)


def test_broken_pictures_are_named(table: Path):
    (table.parent / "photos/p02.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1 of 12 images cannot be used: p02.png \(not an image in a supported format"):
        read(table, 8, "squash", None, higher_better=True)


@pytest.mark.parametrize(
    ("rated", "codes"),
    [
        ([1, 2, 3], []),
        ([1, 2, 3, 4], []),
        ([1, 2, 4, 5], []),
        ([1, 2, 3, 4, 5, 6.5], []),
        ([1, 2, 3, 4, 5, 99], ["99"]),
        ([-1, 1, 2, 3, 4, 5], ["-1"]),
    ],
)
def test_a_rating_far_from_all_others_may_be_a_code(table: Path, capsys: pytest.CaptureFixture[str], rated, codes):
    table.write_text("image,mos\n" + "".join(f"p{i:02}.png,{rated[i % len(rated)]}\n" for i in range(COUNT)))
    read(table, 8, "squash", None, higher_better=True)
    assert re.findall(r"is (\S+) a rating, or a code", capsys.readouterr().out) == codes


def test_tables_that_say_too_little(table: Path):
    with pytest.raises(UserError, match="not found; give a CSV file with the columns image, mos"):
        read(table.with_name("none.csv"), 8, "squash", None, higher_better=True)
    rows = table.read_text().splitlines()
    table.write_text("\n".join(rows[:6]))
    with pytest.raises(UserError, match="rates 5 images; at least 10 are required"):
        read(table, 8, "squash", None, higher_better=True)
    table.write_text("\n".join(["image,mos", *(f"p{i:02}.png,{3 + 1e-9 * i}" for i in range(COUNT))]))
    with pytest.raises(UserError, match="all ratings are 3; there is nothing to learn"):
        read(table, 8, "squash", None, higher_better=True)
    with pytest.raises(UserError, match="--scale 5 1: give the lower end first"):
        read(table, 8, "squash", (5, 1), higher_better=True)


def test_a_name_that_fits_several_files_is_refused(table: Path):
    (table.parent / "more").mkdir()
    shutil.copy(table.parent / "photos/p05.png", table.parent / "more/p05.png")
    with pytest.raises(UserError, match=r"p05.png may be more/p05.png, photos/p05.png; write more of its path"):
        read(table, 8, "squash", None, higher_better=True)
    for whole in ("more/p05.png", "./more/p05.png", str(table.parent / "more/p05.png")):
        text = table.read_text()
        change(table, "p05.png", whole)
        assert len(read(table, 8, "squash", None, higher_better=True).images) == COUNT
        table.write_text(text)


def test_two_spellings_of_one_file_are_refused(table: Path):
    table.write_text("\n".join(["image,rater,mos", "P05.PNG,Bob,4", *(f"p{i:02}.png,Ann,{i}" for i in range(COUNT))]))
    with pytest.raises(UserError, match=r"P05.PNG and p05.png are the same file; write its name in one way everywhere"):
        read(table, 8, "squash", None, higher_better=True)


def test_sources_are_joined_by_name_and_by_look(table: Path, capsys: pytest.CaptureFixture[str]):
    """Twelve photographs; one is there twice, another again as a JPEG, and a source is spelled in two ways."""
    whole = Image.fromarray(data.hubble_deep_field())
    for i in range(COUNT):
        tile = whole.crop((80 * i, 0, 80 * i + 80, 80)).resize((64, 64))
        tile.save(table.parent / f"photos/p{i:02}.png")
        if i == 3:
            tile.save(table.parent / "photos/copy.png")
            tile.save(table.parent / "photos/again.jpg", quality=60)
    names = [f"p{i:02}.png" for i in range(COUNT)]
    rows = [
        (name, 1 + i % 5, ["S 1 ", "s\N{NO-BREAK SPACE}1", "NA", ""][min(i, 3)])
        for i, name in enumerate([*names, "copy.png", "again.jpg"])
    ]
    pd.DataFrame(rows, columns=["image", "mos", "reference"]).to_csv(table, index=False)
    rated = read(table, 64, "squash", None, higher_better=True)
    assert rated.info["sources"] == source_ids(rated.index).max() + 1 == COUNT - 1
    assert rated.info["merged"] == 2
    of = dict(zip(rated.index["image"], source_ids(rated.index), strict=True))
    assert of["p00.png"] == of["p01.png"] != of["p02.png"]
    assert of["p03.png"] == of["copy.png"] == of["again.jpg"]
    said = capsys.readouterr().out
    assert "14 names of sources are 13 without letter case, spaces" in said
    assert "13 sources are counted as 11, because images look alike: " in said
    assert read(table, 64, "squash", None, higher_better=True, merge=False).info["sources"] == 13


def test_folds_are_even_cover_all_and_keep_sources_together():
    index = pd.DataFrame({"image": [f"{i:02}" for i in range(90)], "reference": [f"s{i // 3}" for i in range(90)]})
    index["quality"] = np.random.default_rng(0).uniform(size=90)
    splits = folds(index, 5, seed=1)
    tested = [splits.test(i) for i in range(5)]
    assert sorted(np.concatenate(tested).tolist()) == list(range(90))
    assert {len(t) for t in tested} == {18}
    means = [index["quality"].to_numpy()[t].mean() for t in tested]
    assert np.ptp(means) < 0.1  # 0.2 and more where folds are drawn without a look at quality
    for number, test in enumerate(tested):
        assert not set(source_ids(index)[test]) & set(source_ids(index)[splits.train(number, None)])
        assert sorted([*test, *splits.train(number, "100pct")]) == list(range(90))
    assert (folds(index, 5, seed=1).ranks == splits.ranks).all()
    assert (folds(index, 5, seed=2).ranks != splits.ranks).any()
    with pytest.raises(
        UserError, match="30 sources cannot be divided into 7 folds of at least 5; choose --folds 6, or 0"
    ):
        folds(index, 7, seed=1)
    with pytest.raises(UserError, match="choose --folds 0 for none"):
        folds(index[:24], 2, seed=1)
    assert folds(index, most_folds(30), seed=1).count == 6
    assert [most_folds(sources) for sources in (9, 10, 24, 25)] == [0, 2, 4, 5]


def test_comparisons_fit_no_scale(table: Path, capsys: pytest.CaptureFixture[str]):
    names = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
    rows = [f"{a},{b}" for a, b in pairwise(names)]
    table.write_text("better,worse\n" + "\n".join(rows) + "\n")
    found = read(table, 32, "squash", (1, 5), higher_better=True)
    assert found.index["quality"].between(0, 1).all()
    assert "comparisons have no rating scale" in capsys.readouterr().out
