"""``grmp score``: rows, filters, exit codes, and an interrupted call that continues."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from grmp.cli import app
from grmp.data.find import find
from grmp.errors import UserError
from grmp.finetune.scorer import QualityModel
from grmp.use.score import caution, score

COLUMNS = ["image", "quality", "percentile", "predicted_rating", "low", "high"]


def run(*arguments: object):
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_folder_needs_no_model(photographs: Path, tmp_path: Path):
    found = run(photographs, "-o", tmp_path / "s.csv")
    assert found.exit_code == 0
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table.columns) == COLUMNS
    assert len(table) == 6
    quality = table["quality"].to_numpy()
    assert (quality[::2] > quality[1::2]).all()  # each photograph before its blurred copy


def test_a_trained_model_predicts_ratings_with_intervals(photographs: Path, trained: Path):
    found = rows(run(photographs, "--model", trained, "--json").stdout)
    assert list(found[0]) == COLUMNS
    for row in found:
        assert row["predicted_rating"] == pytest.approx(1 + 4 * row["quality"], abs=3e-4)
        assert 1 <= row["low"] < row["predicted_rating"] < row["high"] <= 5
        assert 0 <= row["percentile"] <= 100
    assert rows(run(trained, photographs, "--json").stdout) == found  # the former order of arguments


def test_worst_and_below_filter(photographs: Path, trained: Path, tmp_path: Path):
    every = rows(run(photographs, "--model", trained, "--json").stdout)
    ratings = sorted(row["predicted_rating"] for row in every)
    worst = rows(run(photographs, "--model", trained, "--json", "--worst", 2).stdout)
    assert [row["predicted_rating"] for row in worst] == ratings[:2]
    between = (ratings[2] + ratings[3]) / 2
    below = run(photographs, "--model", trained, "--json", "--below", between)
    assert below.exit_code == 3
    assert sorted(row["predicted_rating"] for row in rows(below.stdout)) == ratings[:3]
    none = run(photographs, "--model", trained, "--below", 1)
    assert (none.exit_code, none.stdout) == (0, "")
    assert run(photographs, "--model", trained, "--below", 1, "-o", tmp_path / "none.csv").exit_code == 0
    assert (tmp_path / "none.csv").read_text() == ",".join(COLUMNS) + "\n"
    outside = run(photographs, "--below", 2.5)  # of the default model
    assert str(outside.exception) == "--below 2.5: ratings of this model are 0 to 1"


def test_crops_show_what_resizing_hides(photographs: Path):
    sharp, blurred = rows(
        run(photographs / "coffee.jpg", photographs / "coffee_blurred.jpg", "--json", "--crops", 3).stdout
    )
    assert sharp["crops_min"] <= sharp["crops_mean"]
    assert blurred["crops_mean"] < sharp["crops_mean"]


def test_one_file_cannot_be_table_and_page(photographs: Path, tmp_path: Path):
    out = tmp_path / "scores"
    with pytest.raises(UserError, match=r"-o and --html both name .*; name two files"):
        score([photographs], "small-rated", "cpu", out=out, html=tmp_path / "x/../scores")
    assert not out.exists()


def test_unreadable_images_are_named_and_cost_the_exit_code(photographs: Path, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    found = run(tmp_path, photographs, "--json")
    assert f"{tmp_path / 'broken.jpg'}: not an image in a supported format" in found.stderr
    assert isinstance(found.exception, UserError)
    assert [row["quality"] is None for row in rows(found.stdout)] == [True] + [False] * 6


def test_an_interrupted_call_continues(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "s.csv"
    score([photographs], "small-rated", "cpu", out=tmp_path / "whole.csv")
    rate, asked = QualityModel.rate, []

    def stops_after_two(self, sources, crops):
        yield from (found for found, _ in zip(rate(self, sources, crops), range(2), strict=False))
        raise KeyboardInterrupt

    monkeypatch.setattr(QualityModel, "rate", stops_after_two)
    with pytest.raises(KeyboardInterrupt):
        score([photographs], "small-rated", "cpu", out=out)
    assert not out.exists()
    with next(tmp_path.glob(".s.csv.*.notes")).open("ab") as notes:
        notes.write(b'["cut \xff')

    def again(self, sources, crops):
        (photographs / "astronaut.jpg").touch()  # its noted score stays that of its row
        asked.extend(sources)
        return rate(self, sources, crops)

    monkeypatch.setattr(QualityModel, "rate", again)
    score([photographs], "small-rated", "cpu", out=out)
    assert len(asked) == 4
    assert out.read_text() == (tmp_path / "whole.csv").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.csv", "whole.csv"]


def test_an_image_that_is_gone_meanwhile_is_a_row_without_a_score(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(photographs, folder := tmp_path / "photographs")
    found = find([folder])
    (folder / "coffee.jpg").unlink()
    monkeypatch.setattr("grmp.use.score.find", lambda *_: found)
    unread, _ = score([folder], "small-rated", "cpu", out=tmp_path / "s.csv")
    scores = pd.read_csv(tmp_path / "s.csv", index_col="image")["quality"]
    assert unread == 1
    assert scores.isna().to_dict() == {str(path): path.name == "coffee.jpg" for path in found}


def test_no_interval_is_invented(photographs: Path):
    """A model without rated images has a percentile among shipped photographs, and no interval: null, not numbers."""
    (row,) = rows(run(photographs / "coffee.jpg", "--model", "small", "--json").stdout)
    assert 0 <= row["percentile"] <= 100
    assert (row["low"], row["high"]) == (None, None)
    assert np.isfinite(row["quality"])


def test_scores_without_spread_get_a_notice(tmp_path: Path):
    for i in range(10):
        Image.new("RGB", (64, 64), (128, 128, 128)).save(tmp_path / f"{i}.png")
    assert "all scores lie within 0.0000" in run(tmp_path).stderr
    assert "all scores" not in run(*sorted(tmp_path.iterdir())[:9]).stderr


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("latin-1", marks=pytest.mark.slow)])
def test_any_file_name_in_any_locale(tmp_path, encoding):
    """Bytes that are not UTF-8, other scripts, separators and line ends: one row per file, and pandas reads them back."""
    names = [b"caf\xe9.png", "日本.png".encode(), b"a\nb.png", b"NA", b'q"uo,te.png', b" lead.png", b"=1+1.png"]
    Image.effect_noise((64, 64), 50).convert("RGB").save(tmp_path / "one.png")
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes((tmp_path / "one.png").read_bytes())
    code = "import sys; from grmp.cli import main; sys.argv[0] = 'grmp'; main()"
    environment = os.environ | {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": encoding,
    }
    done = subprocess.run(
        [sys.executable, "-c", code, "score", str(tmp_path / "in"), "--device", "cpu"],
        env=environment,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(io.BytesIO(done.stdout), keep_default_na=False)
    assert sorted(Path(name).name for name in table["image"]) == sorted(
        [r"caf\xe9.png", "日本.png", r"a\x0ab.png", "NA", 'q"uo,te.png', " lead.png", "=1+1.png"]
    )
    assert table["quality"].nunique() == 1


def test_a_model_that_may_be_chance_says_so():
    row = {"method": "ridge", "srcc": 0.12, "low": 0.03, "high": 0.3}
    assert caution({"method": "ridge", "comparison": [row]}) == caution({}) == ""
    assert "SRCC is 0.12 [-0.10, 0.30]" in caution({"method": "ridge", "comparison": [row | {"low": -0.1}]})
