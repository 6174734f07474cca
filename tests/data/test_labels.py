"""The readers on the real score files: counts, ranges and directions of the published databases; faults are named."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat

from grmp.data import labels as scores
from grmp.data import registry, splits
from grmp.errors import UserError
from tests.conftest import ROOT
from tests.data import layouts

NINE = ("live", "csiq", "tid2013", "kadid10k", "koniq10k", "livec", "spaq", "flive", "pipal")
# name: pictures, lowest, highest, higher is better, references, distortions - as published
PUBLISHED = {
    "live": (779, -2.64, 111.77, False, 29, 5),
    "csiq": (866, 0.0, 1.0, False, 30, 6),
    "tid2013": (3000, 0.24, 7.21, True, 25, 24),
    "kadid10k": (10125, 1.0, 4.93, True, 81, 25),
    "koniq10k": (10073, 1.10, 4.31, True, 0, 0),
    "livec": (1162, 3.42, 92.43, True, 0, 0),
    "spaq": (11125, 2.0, 96.0, True, 0, 0),
    "flive": (39810, 0.0, 94.33, True, 0, 0),
    "pipal": (23200, 916.71, 1835.99, True, 200, 7),
}


def folder_of(name, shared, tmp_path):
    """A folder with the real score file of a database and nothing else."""
    real = shared / "real/scores"
    if name == "livec":
        return shared / "real/clive/ChallengeDB_release/Data"
    if name == "flive":
        shutil.copy(real / "flive_labels_image.csv", tmp_path / "labels_image.csv")
    elif name == "koniq10k":
        shutil.copy(real / "koniq10k_distributions_sets.csv", tmp_path)
    elif name == "live":
        for path, content in layouts.live(shared).items():
            if path.endswith(".mat"):
                (tmp_path / path.rpartition("/")[2]).write_bytes(content)
        shutil.copy(real / "live_dmos_realigned.mat", tmp_path / "dmos_realigned.mat")
    else:
        shutil.copy(real / f"lists/{layouts.LISTS[name]}.txt", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NINE)
def test_counts_ranges_and_directions(name, shared, tmp_path):
    count, low, high, better, references, distortions = PUBLISHED[name]
    t = scores.read(registry.get(name), folder_of(name, shared, tmp_path))
    assert len(t) == count
    assert list(t["image"]) == sorted(t["image"])
    assert (round(t["mos"].min(), 2), round(t["mos"].max(), 2)) == (low, high)
    assert (t["quality"].min(), round(t["quality"].max(), 5)) == (0, 1)
    best = t.loc[t["mos"].idxmax() if better else t["mos"].idxmin()]
    assert best["quality"] == t["quality"].max()
    assert t["reference"].nunique() == references
    assert t["distortion"].nunique() == distortions


@pytest.mark.parametrize("name", NINE)
def test_committed_splits_are_made_again(name, shared, tmp_path):
    t = scores.read(registry.get(name), folder_of(name, shared, tmp_path))
    whole = scores.read(registry.get(name), folder_of(name, shared, tmp_path), keep_training=True)
    for protocol, by, table in (("sound", "reference", t), ("published", "image", whole)):
        splits.make(table, tmp_path / "made.csv", 10, 0.2, 2024, by)
        committed = ROOT / f"data/splits/{name}/{protocol}.csv"
        assert (tmp_path / "made.csv").read_bytes() == committed.read_bytes()
    out = scores.training_pictures(name, whole["image"])
    assert len(out) == len(whole) - len(t)
    splits.make(whole, tmp_path / f"{name}/made.csv", 10, 0.2, 2024, "reference", left_out=out)
    assert (tmp_path / f"{name}/made.csv").read_bytes() == (ROOT / f"data/splits/{name}/sound.csv").read_bytes()
    loaded = splits.load(tmp_path / f"{name}/made.csv", whole["image"])
    assert set(whole["image"][(loaded.ranks[0] == -2)]) == set(out), "what is left out is on neither side"
    if name == "koniq10k":
        assert splits.make_official(t, tmp_path / "official.csv", 2024)
        assert (tmp_path / "official.csv").read_bytes() == (ROOT / "data/splits/koniq10k/official.csv").read_bytes()
        official = splits.load(tmp_path / "official.csv", t["image"])
        assert (len(official.train(0, None)), len(official.test(0))) == (7058, 2015)
        assert set(t["set"].iloc[official.test(0)]) == {"test"}
        assert set(t["set"].iloc[official.train(0, None)]) == {"training"}
    else:
        assert not splits.make_official(t, tmp_path / "official.csv", 2024)


def test_livec_equals_the_mat_files_exactly(shared):
    data = shared / "real/clive/ChallengeDB_release/Data"
    t = scores.read(registry.get("livec"), data).set_index("image")
    names = [str(c[0]) for c in loadmat(data / "AllImages_release.mat")["AllImages_release"].ravel()][7:]
    assert (t.loc[names, "mos"].to_numpy() == loadmat(data / "AllMOS_release.mat")["AllMOS_release"].ravel()[7:]).all()
    std = loadmat(data / "AllStdDev_release.mat")["AllStdDev_release"].ravel()[7:]
    assert (t.loc[names, "mos_std"].to_numpy() == std).all()
    assert not t.index.str.startswith("t").any()
    kept = scores.read(registry.get("livec"), data, keep_training=True)
    assert len(kept) == 1169


def test_live_equals_its_list(shared, tmp_path):
    """The realigned scores of the .mat file land on the pictures that the Waterloo list gives them to."""
    t = scores.read(registry.get("live"), folder_of("live", shared, tmp_path)).set_index("image")
    truth = layouts.real(shared, "live")
    names = truth["dis_img_path"].str.removeprefix("LIVE/")
    np.testing.assert_allclose(t.loc[names, "mos"], truth["score"], rtol=0, atol=1e-12)


def test_koniq_scales_agree(shared, tmp_path):
    """Both official files and the list give the same MOS on the 1-5 scale, to rounding."""
    out = []
    files = layouts.koniq10k(shared)["koniq10k_scores_and_distributions.zip"]
    for number, tree in enumerate(
        (files, {"KonIQ-10k.txt": (shared / "real/scores/lists/KonIQ-10k.txt").read_bytes()})
    ):
        out.append(scores.read(registry.get("koniq10k"), layouts.unpack(tree, tmp_path / str(number))))
    (tmp_path / "sets").mkdir()
    out.append(scores.read(registry.get("koniq10k"), folder_of("koniq10k", shared, tmp_path / "sets")))
    for other in out[1:]:
        assert list(other["image"]) == list(out[0]["image"])
        np.testing.assert_allclose(other["mos"], out[0]["mos"], rtol=0, atol=1e-10)


def kadid(**changes):
    t = pd.DataFrame(
        {"dist_img": ["I01_01_01.png", "I01_01_02.png"], "ref_img": "I01.png", "dmos": [4.0, 2.0], "var": 0.25}
    )
    for column, values in changes.items():
        t[column] = values
    return t


SMALL = replace(registry.get("kadid10k"), count=2, low=2.0, high=4.0, mean=3.0, sd=1.0)


def test_a_small_table(tmp_path):
    kadid().to_csv(tmp_path / "dmos.csv", index=False)
    t = scores.read(SMALL, tmp_path)
    assert t["quality"].tolist() == [1.0, 0.0]
    assert t["mos_std"].tolist() == [0.5, 0.5]
    assert t.loc[0, ["reference", "distortion", "level"]].tolist() == ["I01", "01 gaussian blur", 1]
    down = scores.read(replace(SMALL, higher_better=False), tmp_path)
    assert down["quality"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dmos": [4.0, np.nan]}, "'I01_01_02.png' has no score"),
        ({"dmos": [40.0, 20.0]}, "another scale or version"),
        ({"dmos": [4.0, 3.9]}, "another scale or version"),
        ({"dmos": ["good", "bad"]}, "could not be read|could not convert"),
        ({"dist_img": ["I01_01_01.png"] * 2}, "scored twice"),
        ({"dist_img": ["I01_01_01.png", "holiday.png"]}, "none of this database"),
        ({"dist_img": ["I01_01_01.png", "I01_99_02.png"]}, "none of this database"),
    ],
)
def test_wrong_scores_are_refused(tmp_path, changes, words):
    kadid(**changes).to_csv(tmp_path / "dmos.csv", index=False)
    with pytest.raises(UserError, match=words) as error:
        scores.read(SMALL, tmp_path)
    assert "\n" not in str(error.value)


def test_count_and_absence_are_told(tmp_path):
    with pytest.raises(UserError, match="no score file below"):
        scores.read(SMALL, tmp_path)
    kadid().to_csv(tmp_path / "dmos.csv", index=False)
    with pytest.raises(UserError, match="has 2 pictures, not 10125"):
        scores.read(registry.get("kadid10k"), tmp_path)
    (tmp_path / "dmos.csv").write_bytes(b"\x00\x01\x02 not a table")
    with pytest.raises(UserError, match="could not be read"):
        scores.read(SMALL, tmp_path)


def test_unknown_database():
    with pytest.raises(UserError, match="no database 'life'; known: live, csiq"):
        registry.get("life")


@pytest.mark.parametrize("entry", registry.DATABASES.values(), ids=registry.DATABASES)
def test_entries_are_complete(entry):
    assert set(entry.readers) <= set(scores.READERS)
    assert entry.terms
    assert entry.citation
    assert entry.low < entry.high
    for source in entry.sources:
        for file in source.files:
            assert file.size > 0
            assert len(file.sha256) in (0, 64)
    assert entry.kind == "simulated" or (entry.sources and entry.count and entry.sd and entry.by_hand)
