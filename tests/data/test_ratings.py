"""Forms of ratings: votes, pairs, and tables that are not complete yet."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from grmp.data import ratings
from grmp.errors import UserError


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_rows_without_a_rating_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = ratings.read(written(tmp_path / "r.csv", "image,mos,reference\na.png,3,x\nb.png,,y\nc.png,4.5,x\n"))
    assert found[["image", "mos", "reference"]].to_numpy().tolist() == [["a.png", 3, "x"], ["c.png", 4.5, "x"]]
    assert list(found.index) == [2, 4]  # lines of the file
    assert "1 of 3 rows have no rating yet" in capsys.readouterr().out


def test_votes_are_averaged_over_raters(tmp_path: Path):
    rows = "image,rater,mos\na,Ann,1\na,Bob,4\na,Ann,3\nb,Ann,5\nb,Bob,\n"
    found = ratings.read(written(tmp_path / "v.csv", rows)).set_index("image")
    assert found.loc["a", "mos"] == 3  # Ann: 2, Bob: 4
    assert found.loc["a", "mos_std"] == pytest.approx(np.sqrt(2))
    assert (found.loc["b", "mos"], found.loc["b", "raters"]) == (5, 1)


def test_weights_are_inverse_variances():
    """The variance of all is 6, those of the images (3 * 4 + 4 * 6) / 7, (3 * 8 + 4 * 6) / 7 and 6: v is 9/7, 12/7 and 6."""
    table = pd.DataFrame({"mos_std": [2, np.sqrt(8), np.nan], "raters": [4, 4, 1]})
    expected = 1 / (3 + np.array([9 / 7, 12 / 7, 6]))
    assert ratings.weights(table) == pytest.approx(expected / expected.mean())
    assert np.isfinite(ratings.weights(table.assign(raters=[0, 4, 1]))).all()
    alone = ratings.weights(table.drop(columns="raters"))  # nothing known of the third: like the mean of the others
    assert alone == pytest.approx(np.array([1 / 10, 1 / 14, 1 / 12]) / np.mean([1 / 10, 1 / 14, 1 / 12]))
    unknown = ratings.weights(table.assign(raters=[4, 4, 9]))  # raters who left no spread: as one
    assert unknown == pytest.approx(ratings.weights(table))
    assert ratings.weights(table.assign(mos_std=np.nan)) is None
    assert ratings.weights(table.assign(mos_std=0.0)) is None
    assert ratings.weights(table.drop(columns="mos_std")) is None


@pytest.mark.parametrize("columns", ["reference,Reference", "sd,mos_std", "raters,raters"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, columns: str):
    with pytest.raises(UserError, match=f"has the column '{columns.split(',')[-1].lower()}' twice"):
        ratings.read(written(tmp_path / "r.csv", f"image,note,note,{columns},mos\na.png,,,1,1,3\n"))


@pytest.mark.parametrize("column", ["mos_std", "std", "sd"])
def test_a_column_of_standard_deviations_is_read(tmp_path: Path, column: str):
    found = ratings.read(written(tmp_path / "r.csv", f"image,mos,{column}\na.png,3.5,0.5\nb.png,4.5,1.0\n"))
    assert found["mos_std"].tolist() == [0.5, 1]
    assert ratings.weights(found) == pytest.approx(np.array([1.625, 0.875]) / 1.25)  # 1/(0.625 + 0.25), 1/(0.625 + 1)


def test_a_deviation_may_be_missing(tmp_path: Path):
    """As pandas writes it for one rating."""
    found = ratings.read(written(tmp_path / "r.csv", "image,mos,std\na.png,3.5,0.5\nb.png,4.5,\n"))
    assert found["mos_std"].isna().tolist() == [False, True]
    with pytest.raises(UserError, match="line 3: 'raters' is not a number"):
        ratings.read(written(tmp_path / "r.csv", "image,mos,std,raters\na.png,3.5,0.5,9\nb.png,4.5,,\n"))


def test_comparisons_recover_known_strengths(tmp_path: Path):
    rng, strength = np.random.default_rng(0), np.linspace(-2, 2, 12)
    a, b = (rng.integers(0, 12, 3000) for _ in range(2))
    a, b = a[a != b], b[a != b]
    wins = rng.random(len(a)) < expit(strength[a] - strength[b])
    better, worse = np.where(wins, a, b), np.where(wins, b, a)
    pd.DataFrame({"better": [f"{i:02}" for i in better], "worse": [f"{i:02}" for i in worse]}).to_csv(
        tmp_path / "p.csv", index=False
    )
    found = ratings.read(tmp_path / "p.csv")
    assert found["image"].tolist() == [f"{i:02}" for i in range(12)]
    assert found["mos"].to_numpy() == pytest.approx(strength, abs=0.35)  # standard errors are about 0.12


def test_pairs_that_say_nothing_are_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"line 3: compares an image with itself"):
        ratings.read(written(tmp_path / "p.csv", "better,worse\na,b\na,a\n"))
    with pytest.raises(UserError, match=r"nothing links a to c; compare images of the 2 separate groups"):
        ratings.read(written(tmp_path / "p.csv", "better,worse\na,b\nc,d\n"))
    with pytest.raises(UserError, match=r"p\.csv has no comparisons"):
        ratings.read(written(tmp_path / "p.csv", "better,worse\n"))


def test_one_column_of_a_comparison_is_a_further_column(tmp_path: Path):
    assert ratings.read(written(tmp_path / "r.csv", "image,better,mos\na.png,yes,3\n"))["mos"].tolist() == [3]


def test_votes_keep_their_reference(tmp_path: Path):
    text = "image,rater,reference,mos\na.png,Ann,x,3\na.png,Bob,x,5\nb.png,Ann,x,2\n"
    found = ratings.read(written(tmp_path / "r.csv", text))
    assert found[["image", "mos", "reference"]].to_numpy().tolist() == [["a.png", 4, "x"], ["b.png", 2, "x"]]
    later = ratings.read(written(tmp_path / "r.csv", text.replace("Ann,x,3", "Ann,,3")))
    assert later["reference"].tolist() == ["x", "x"], "one row of an image has it"
    with pytest.raises(UserError, match="line 2: gives an image a second reference"):
        ratings.read(written(tmp_path / "r.csv", text.replace("Bob,x", "Bob,y")))


def test_a_selection_that_was_filled_in_is_read(tmp_path: Path):
    text = "image,duplicates,mos\na.png,0,3\nb.png,1,5\n"  # the columns that `grmp select` writes
    assert ratings.read(written(tmp_path / "r.csv", text))["mos"].tolist() == [3, 5]


@pytest.mark.parametrize(
    ("column", "value"), [("mos_std", "-1"), ("raters", "0"), ("raters", "0.5"), ("rater", ""), ("rater", " ")]
)
def test_spreads_and_raters_that_cannot_be(tmp_path: Path, column: str, value: str):
    other = "x" if column == "mos_std" else "mos_std"
    (tmp_path / "t.csv").write_text(f"image,{other},{column},mos\na.jpg,1,2,3\nb.jpg,1,{value},4\n")
    with pytest.raises(UserError, match=f"line 3: (has no |'){column}"):
        ratings.read(tmp_path / "t.csv")
