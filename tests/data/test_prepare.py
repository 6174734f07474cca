"""Pictures into the array: what each value is, what happens to broken and missing ones, and the commands."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.io import loadmat
from typer.testing import CliRunner

from grmp.data import databases, dataset, fetch, splits
from grmp.data.cli import app
from grmp.data.databases._entry import Scores
from grmp.data.prepare import prepare
from grmp.errors import UserError
from grmp.files import sha256
from grmp.params import read as read_params
from tests.conftest import ROOT
from tests.data import layouts

N = 9


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A raw folder of 9 small pictures with scores, as ``raw/toy``."""
    entry = replace(databases.get("sim_pre1"), name="toy", kind="authentic", scores=Scores(0, 1.0, float(N)))
    monkeypatch.setitem(databases.known(), "toy", entry)
    rows = "".join(f"p{i}.png,{1 + i},0.1,,,\n" for i in range(N))
    tree = {f"deep/er/P{i}.PNG": layouts.picture(".png", i, (30, 20)) for i in range(N)}
    tree["scores.csv"] = b"image,mos,mos_std,reference,distortion,level\n" + rows.encode()
    layouts.unpack(tree, tmp_path / "raw/toy")
    fetch.fetch("toy", tmp_path / "raw")
    return tmp_path


def run(folder, **options):
    return prepare("toy", folder / "raw", folder / "prepared", 8, "squash", **options)


def refetch(folder):
    """The folder as it is now."""
    (folder / "raw/toy.json").unlink()
    fetch.fetch("toy", folder / "raw")


def test_rows_are_the_pictures(toy):
    run(toy)
    made = dataset.load(toy / "prepared/toy")
    assert made.index["image"].tolist() == [f"p{i}.png" for i in range(N)]
    for i in range(N):
        with Image.open(io.BytesIO(layouts.picture(".png", i, (30, 20)))) as opened:
            expected = np.asarray(opened.convert("RGB").resize((8, 8), Image.Resampling.BICUBIC))
        assert (made.images[i] == expected.transpose(2, 0, 1)).all()
    assert made.info["range"] == [1.0, 9.0]
    assert made.info["sha256"]["images.npy"] == sha256(toy / "prepared/toy/images.npy")


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
def test_picture_cut_in_half_is_named(toy, ending):
    (toy / "raw/toy/deep/er/P4.PNG").write_bytes(layouts.picture(ending, 4, (30, 20))[:300])
    refetch(toy)
    with pytest.raises(UserError, match=r"1 of 9 images are missing or corrupt: p4\.png \(corrupt.*--allow-missing 1"):
        run(toy)
    assert not (toy / "prepared/toy").exists()
    table = run(toy, allow_missing=1)
    made = dataset.load(toy / "prepared/toy")
    assert made.index["image"].tolist() == table["image"].tolist() == [f"p{i}.png" for i in range(N) if i != 4]
    assert made.info["left_out"] == ["p4.png"]
    with Image.open(toy / "raw/toy/deep/er/P5.PNG") as opened:
        expected = np.asarray(opened.convert("RGB").resize((8, 8), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert (made.images[4] == expected).all(), "the rows after it have moved up together with their pictures"
    assert table["quality"].tolist() == made.index["quality"].tolist()
    with pytest.raises(UserError, match="1 of 9"):  # what was allowed once is not allowed for ever
        run(toy)


def test_missing_pictures_are_named(toy):
    for i in (2, 7):
        (toy / f"raw/toy/deep/er/P{i}.PNG").unlink()
    refetch(toy)
    with pytest.raises(UserError, match=r"2 of 9 .*p2\.png \(missing\), p7\.png \(missing\)"):
        run(toy)
    with pytest.raises(UserError, match="2 of 9"):
        run(toy, allow_missing=1)
    assert len(run(toy, allow_missing=2)) == 7


def test_second_time_is_a_no_op_and_settings_are_heeded(toy, capsys):
    run(toy)
    stamp = (toy / "prepared/toy/images.npy").stat().st_mtime_ns
    run(toy)
    assert "already prepared" in capsys.readouterr().out
    assert (toy / "prepared/toy/images.npy").stat().st_mtime_ns == stamp
    prepare("toy", toy / "raw", toy / "prepared", 10, "squash")
    assert dataset.load(toy / "prepared/toy").images.shape == (N, 3, 10, 10)
    with (toy / "prepared/toy/images.npy").open("r+b") as file:
        file.seek(-5, 2)
        file.write(b"x")
    prepare("toy", toy / "raw", toy / "prepared", 10, "squash")
    assert dataset.load(toy / "prepared/toy").info["sha256"]["images.npy"] == sha256(toy / "prepared/toy/images.npy")


def test_not_fetched(tmp_path):
    with pytest.raises(UserError, match="livec is not fetched; run: grmp data fetch livec"):
        prepare("livec", tmp_path, tmp_path / "prepared", 8, "squash")


@pytest.mark.parametrize("file", ["index.csv", "images.npy", "info.json"])
def test_damage_is_told(toy, file):
    run(toy)
    path = toy / "prepared/toy" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="run: dvc repro prepare@toy"):
        dataset.load(toy / "prepared/toy")
    path.unlink()
    with pytest.raises(UserError, match="not found; run: dvc repro prepare@toy"):
        dataset.load(toy / "prepared/toy")


def test_splits_refuse_other_pictures(toy):
    table = run(toy)
    splits.make(table, toy / "toy.csv", 2, 0.3, 1, "image")
    with pytest.raises(UserError, match="does not match the prepared images"):
        splits.load(toy / "toy.csv", table["image"].iloc[1:])
    (toy / "toy.csv").write_text("image,split_0\np0.png,first\n")
    with pytest.raises(UserError, match="corrupt"):
        splits.load(toy / "toy.csv", table["image"])


def settings(folder, published=False, **data):
    """params.yaml of a world at 36 x 36, under the sound protocol alone or with the published one."""
    raw = read_params(ROOT / "params.yaml")
    raw["data"] |= {"size": 36} | data
    raw["protocols"]["published"]["data"]["keep_excluded"] = published
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
    data = origin / "Data"
    names = [str(c[0]) for c in loadmat(data / "AllImages_release.mat")["AllImages_release"].ravel()]
    truth = pd.Series(loadmat(data / "AllMOS_release.mat")["AllMOS_release"].ravel(), names)
    assert len(made.index) == 627
    assert (made.index["mos"].to_numpy() == truth[made.index["image"]].to_numpy()).all()
    assert made.index["mos"].mean() == pytest.approx(56.7, abs=0.05)
    assert made.index["mos"].std() == pytest.approx(21.1, abs=0.05)
    drawn = splits.load(tmp_path / "data/splits/livec/sound.csv", made.index["image"])
    assert (drawn.count, len(drawn.test(0)), len(drawn.train(0, 50))) == (10, 126, 50)
    shown = command("show", "livec", *here)
    for words in ("1162", "627 images of 36 x 36, 535 left out", "3.42 .. 92.43", "Ghadiyaram", "copyright notice"):
        assert words in shown
    with Image.open(tmp_path / "data/raw/livec-sheet.png") as sheet:
        assert sheet.size == (1280, 534)
        assert np.asarray(sheet).std() > 30
    listed = command("list", *here)
    assert "livec     authentic       1162    326 MB    600 MB  in params.yaml, fetched, prepared" in listed
    assert "6 databases, 11.2 GB to download, 26.8 GB of disk including archives" in listed


def test_training_pictures_are_kept_when_asked(shared, tmp_path):
    here = settings(tmp_path, published=True)
    command("fetch", "livec", "--from", shared / "real/clive/ChallengeDB_release", *here)
    command("prepare", "livec", "--allow-missing", 535, *here)
    made = dataset.load(tmp_path / "data/prepared/livec")
    assert len(made.index) == 634
    training = made.index["image"].str.match(r"t\d\.bmp").to_numpy()
    assert training.sum() == 7
    for protocol, side in (("sound", -2), ("published", -1)):
        drawn = splits.load(tmp_path / f"data/splits/livec/{protocol}.csv", made.index["image"])
        assert (drawn.ranks[:, training] == -2).all() == (side == -2), "the sound protocol has them on neither side"
        assert len(drawn.whole(3).test(2)) == 627 + 7 * (side == -1)


def test_simulated(tmp_path, monkeypatch):
    """A simulated database is rendered by fetch; the renderer itself is tested elsewhere."""
    from grmp.data.simulated import databases as world

    def render(name, folder):
        layouts.unpack({f"images/{name}_{i}.png": layouts.picture(".png", i) for i in range(4)}, folder)
        rows = [f"{name}_{i}.png,{1 + i},0.1,r{i % 2},blur,{i}" for i in range(4)]
        (folder / "scores.csv").write_text("image,mos,mos_std,reference,distortion,level\n" + "\n".join(rows))

    monkeypatch.setattr(world, "render", render)
    here = settings(tmp_path)
    command("fetch", "sim_syn1", *here)
    command("prepare", "sim_syn1", *here)
    made = dataset.load(tmp_path / "data/prepared/sim_syn1")
    assert made.index["quality"].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert made.index["level"].tolist() == [0, 1, 2, 3]
    assert json.loads((tmp_path / "data/raw/sim_syn1.json").read_text())["source"] == "rendered here"
