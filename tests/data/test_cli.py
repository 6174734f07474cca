"""The commands, on 627 real photographs and on the whole of LIVE Challenge in miniature."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from grmp.data import databases, dataset, splits
from grmp.data.cli import app
from grmp.errors import UserError
from grmp.params import read as read_params
from tests.conftest import ROOT
from tests.data import layouts


def settings(folder, published=False):
    """params.yaml with images of 36 x 36; ``published``: whether that protocol keeps excluded images."""
    raw = read_params(ROOT / "params.yaml")
    raw["data"]["size"] = 36
    raw["protocols"]["published"]["data"]["keep_excluded"] = published
    raw["pretrain"]["variants"] = raw["inner_curves"]["variants"] = ["fomaml"]  # scikit-image's resizing takes long
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return ["--params", str(folder / "params.yaml")]


def command(*words):
    done = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_real_livec(shared, tmp_path):
    """627 real photographs: the scores are those of the .mat files to the last bit; card, sheet, list and no-ops work."""
    here, origin = settings(tmp_path), shared / "real/clive/ChallengeDB_release"
    command("fetch", "livec", "--from", origin, *here)
    assert "already fetched" in command("fetch", "livec", *here)
    with pytest.raises(UserError, match=r"535 of 1162 images are missing or corrupt: 10\.bmp \(missing\)"):
        command("prepare", "livec", *here)
    command("prepare", "livec", "--allow-missing", 535, *here)
    made = dataset.load(tmp_path / "data/prepared/livec")
    truth = layouts.release(shared).set_index("img_name")["mos"]
    assert len(made.index) == 627
    assert (made.index["mos"].to_numpy() == truth[made.index["image"]].to_numpy()).all()
    assert made.index["mos"].mean() == pytest.approx(56.7, abs=0.05)
    assert made.index["mos"].std() == pytest.approx(21.1, abs=0.05)
    drawn = splits.load(tmp_path / "data/splits/livec/sound.csv", made.index["image"])
    assert (drawn.count, len(drawn.test(0)), len(drawn.train(0, 50))) == (10, 126, 50)
    shown = command("show", "livec", *here)
    for words in ("1162", "627 images of 36 x 36, 535 left out", "3.42 .. 92.43", "Ghadiyaram", "copyright notice"):
        assert words in shown
    with Image.open(tmp_path / "data/raw/livec.sheet.png") as sheet:
        assert sheet.size == (1280, 534)
        assert np.asarray(sheet).std() > 30
    listed = command("list", *here)
    assert "livec     authentic       1162    326 MB    600 MB  in params.yaml, fetched, prepared" in listed
    assert "7 databases, 17.2 GB to download, 23.6 GB unpacked" in listed
    rows = [json.loads(line) for line in command("list", "--json", *here).splitlines()]
    assert [row["name"] for row in rows if row["prepared"]] == ["livec"]


def test_settings_that_are_not_there_are_named(tmp_path, monkeypatch):
    for words in (["fetch", "livec"], ["list"]):
        with pytest.raises(UserError, match=r"typo/params\.yaml not found"):
            command(*words, "--params", tmp_path / "typo/params.yaml")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    assert "livec" in command("list")


def test_excluded_images_are_kept_when_asked(shared, tmp_path, monkeypatch):
    monkeypatch.setitem(databases.known(), "livec", replace(databases.get("livec"), side=0))  # the miniatures are small
    here, origin = settings(tmp_path, published=True), layouts.unpack(layouts.livec(shared), tmp_path / "origin")
    command("fetch", "livec", "--from", origin, *here)
    command("prepare", "livec", *here)
    made = dataset.load(tmp_path / "data/prepared/livec")
    assert len(made.index) == 1169
    training = made.index["image"].str.match(r"t\d\.bmp").to_numpy()
    assert training.sum() == 7
    for protocol, side in (("sound", -2), ("published", -1)):
        drawn = splits.load(tmp_path / f"data/splits/livec/{protocol}.csv", made.index["image"])
        assert (drawn.ranks[:, training] == -2).all() == (side == -2), "the sound protocol has them on neither side"
        assert len(drawn.whole(3).test(2)) == 1162 + 7 * (side == -1)
