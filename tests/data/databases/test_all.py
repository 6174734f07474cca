"""Every database in the layouts of its publisher and of every mirror: fetched from a local server, prepared, split."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from grmp.data import databases, dataset, fetch, labels, splits
from grmp.data.databases import csiq, flive, kadid10k, koniq10k, live, livec, pipal, simulated, spaq, tid2013
from grmp.data.databases._entry import Database, File, Source
from grmp.data.decode import fit, load
from grmp.data.download import HUB
from grmp.data.prepare import prepare
from grmp.errors import UserError
from tests.conftest import ROOT
from tests.data import layouts
from tests.data.server import Served, Site

SMALL = ("live", "csiq", "livec")
NINE = ("live", "csiq", "tid2013", "kadid10k", "koniq10k", "livec", "spaq", "flive", "pipal")
# BIQ2021, whose sources are a git repository and its archive, has a test file of its own
CASES = [  # slow: large databases, and CityU's archives, which hold what those of the IQA-PyTorch mirror do
    pytest.param(name, label, marks=() if name in SMALL and label != "CityU mirror" else pytest.mark.slow)
    for name in NINE
    for label in (*(s.label for s in databases.get(name).sources), "--from")
]
# name: images, lowest, highest, higher is better, references, distortions - as published
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
        return shared / layouts.LIVEC
    if name == "flive":
        shutil.copy(real / "flive_labels_image.csv", tmp_path / "labels_image.csv")
    elif name == "koniq10k":
        shutil.copy(real / "koniq10k_distributions_sets.csv", tmp_path)
    elif name == "live":
        for path, content in layouts.live(shared)["databaserelease2.zip"].items():
            if path.endswith(".mat"):
                (tmp_path / path.rpartition("/")[2]).write_bytes(content)
        shutil.copy(real / "live_dmos_realigned.mat", tmp_path / "dmos_realigned.mat")
    else:
        shutil.copy(real / f"lists/{layouts.LISTS[name]}.txt", tmp_path)
    return tmp_path


def official(name: str, shared: Path, folder: Path) -> Path:
    """Miniatures of the files of the publisher's page, in a new folder."""
    folder.mkdir()
    made = getattr(layouts, name)(shared)
    for file, content in (made if name in ("live", "csiq", "koniq10k") else {f"{name}.zip": made}).items():
        if isinstance(content, bytes):
            (folder / file).write_bytes(content)
        else:
            layouts.pack(content, folder / file)
    return folder


def serve(site: Site, entry: Database, label: str, shared: Path, folder: Path) -> Database:
    """Put miniatures where the source has its files; the entry with that source alone, its sizes and checksums."""
    source = next(s for s in entry.sources if s.label == label)
    if label == "official page":
        made = {p.name: p.read_bytes() for p in official(entry.name, shared, folder / "official").iterdir()}
    else:
        if label == "Waterloo mirror":
            tree, scores = layouts.waterloo(shared, entry.name)
        else:
            tree, scores = layouts.live_mirror(shared) if entry.name == "live" else layouts.meta(shared, entry.name)
        archive, *lists = (Path(f.url).name for f in source.files)
        made = {archive: layouts.pack(tree, folder / archive).read_bytes()} | dict.fromkeys(lists, scores)
    files = []
    for file in source.files:
        name, url = Path(file.url).name, file.url
        path = f"/{entry.name}/{name}"
        if url.startswith(HUB):
            owner, repository, _ = url.removeprefix(HUB).split("/")
            path = f"/datasets/{owner}/{repository}/resolve/main/{name}"
        else:
            url = site.url + path
        site.files[path] = Served(made[name])
        files.append(File(url, len(made[name])))
    return replace(entry, sources=(Source(label, tuple(files)),))


@pytest.mark.parametrize(("name", "label"), CASES)
def test_fetch_prepare_split(name, label, shared, site, tmp_path, monkeypatch, capsys):
    raw, out = tmp_path / "data/raw", tmp_path / "data/prepared"
    entry = replace(databases.get(name), side=0, disk=0)  # the miniatures are small
    monkeypatch.setitem(databases.known(), name, entry)
    if label == "--from":  # as the publisher has it
        fetch.fetch(name, raw, official(name, shared, tmp_path / "origin"))
    else:
        monkeypatch.setitem(databases.known(), name, serve(site, entry, label, shared, tmp_path))
        fetch.fetch(name, raw)
        shown = capsys.readouterr().out
        assert entry.terms in shown
        assert "by hand" in shown
        assert len((tmp_path / "data/checksums.json").read_text()) > 64
    assert not list(raw.glob(".*.partial"))
    table = prepare(name, raw, out, 12, "squash")
    made = dataset.load(out / name)
    assert made.images.shape == (entry.scores.count, 3, 12, 12)
    assert made.index["quality"].min() == 0
    assert made.index["quality"].max() == pytest.approx(1, abs=1e-5)
    sign = 1 if entry.scores.higher_better else -1
    assert sign * np.corrcoef(made.index["mos"], made.index["quality"])[0, 1] == pytest.approx(1)
    splits.make(table, path := tmp_path / f"data/splits/{name}/sound.csv", 10, 0.2, 2024, "reference")
    committed = ROOT / f"data/splits/{name}/sound.csv"
    assert path.read_bytes() == committed.read_bytes(), "every copy of a database gives the committed splits"
    if name == "koniq10k" and label == "IQA-PyTorch mirror":
        splits.make_official(table, tmp_path / "official.csv", 2024)
        assert (tmp_path / "official.csv").read_bytes() == (ROOT / "data/splits/koniq10k/official.csv").read_bytes()
        large = fit(load(next((raw / name).rglob("1024x768/*.jpg")), displayed=False), 12, "squash")
        assert (made.images[5] == large).all(), "the full-size copy is taken"
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("name", NINE)
def test_scores_and_splits_are_those_published(name, shared, tmp_path):
    count, low, high, better, references, distortions = PUBLISHED[name]
    entry, folder = databases.get(name), folder_of(name, shared, tmp_path)
    t = labels.read(entry, folder)
    assert len(t) == count
    assert list(t["image"]) == sorted(t["image"])
    assert (round(t["mos"].min(), 2), round(t["mos"].max(), 2)) == (low, high)
    assert (t["quality"].min(), round(t["quality"].max(), 5)) == (0, 1)
    best = t.loc[t["mos"].idxmax() if better else t["mos"].idxmin()]
    assert best["quality"] == t["quality"].max()
    assert t["reference"].nunique() == references
    assert t["distortion"].nunique() == distortions
    whole = labels.read(entry, folder, keep_excluded=True) if entry.exclude else t
    for protocol, by, table in (("sound", "reference", t), ("published", "image", whole)):
        splits.make(table, tmp_path / f"{name}/made.csv", 10, 0.2, 2024, by)
        committed = ROOT / f"data/splits/{name}/{protocol}.csv"
        assert (tmp_path / f"{name}/made.csv").read_bytes() == committed.read_bytes()
    out = databases.excluded(name, whole["image"])
    assert len(out) == len(whole) - len(t)
    loaded = splits.load(ROOT / f"data/splits/{name}/sound.csv", whole["image"])
    assert set(whole["image"][(loaded.ranks[0] == -2)]) == set(out), "what is left out is on neither side"
    for split in range(10):
        train, test = loaded.train(split, None), loaded.test(split)
        assert len({*train, *test}) == len(train) + len(test) == count
        if references:
            assert not set(whole["reference"][train]) & set(whole["reference"][test])
    if name == "koniq10k":
        splits.make_official(t, tmp_path / "official.csv", 2024)
        assert (tmp_path / "official.csv").read_bytes() == (ROOT / "data/splits/koniq10k/official.csv").read_bytes()
        official = splits.load(tmp_path / "official.csv", t["image"])
        assert (len(official.train(0, None)), len(official.test(0))) == (7058, 2015)
        assert set(t["set"].iloc[official.test(0)]) == {"test"}
        assert set(t["set"].iloc[official.train(0, None)]) == {"training"}
    else:
        splits.make_official(t, tmp_path / "official.csv", 2024)
        assert not (tmp_path / "official.csv").exists()


def test_unknown_database():
    with pytest.raises(UserError, match="unknown database 'life'; choose one of: biq2021, csiq"):
        databases.get("life")


@pytest.mark.parametrize("entry", databases.known().values(), ids=databases.known())
def test_entries_are_complete(entry):
    assert entry.terms
    assert entry.citation
    assert entry.scores.low < entry.scores.high
    for source in entry.sources:
        for file in source.files:
            assert file.size > 0
            assert len(file.sha256) in (0, 64)
    assert entry.kind == "simulated" or (entry.sources and entry.scores.count and entry.scores.sd and entry.by_hand)


@pytest.mark.parametrize(
    ("module", "path", "name"),
    [
        (live, "LIVE/jp2k/img1.bmp", ("jp2k/img1.bmp", "", "jp2k", "")),
        (csiq, "dst_imgs/jpeg2000/1600.JPEG2000.3.png", ("1600.jpeg2000.3.png", "1600", "jpeg2000", "3")),
        (tid2013, "I04_12_5.BMP", ("i04_12_5.bmp", "i04", "12 jpeg transmission errors", "5")),
        (kadid10k, "images/I01_25_02.png", ("I01_25_02.png", "I01", "25 contrast change", "2")),
        (koniq10k, "1024x768/826373.jpg", ("826373.jpg", "", "", "")),
        (livec, "Images/3.bmp", ("3.bmp", "", "", "")),
        (spaq, "TestImage/00001.jpg", ("00001.jpg", "", "", "")),
        (flive, "database/voc_emotic_ava/JPEGImages__1.jpg", ("voc_emotic_ava/JPEGImages__1.jpg", "", "", "")),
        (pipal, "A0001_02_05.bmp", ("A0001_02_05.bmp", "A0001", "type 02", "")),
        (simulated, "coffee_01_1.png", ("coffee_01_1.png", "", "", "")),
    ],
)
def test_image_names(module, path, name):
    entry = next(v for v in vars(module).values() if isinstance(v, Database))
    assert databases.get(entry.name) is entry
    assert tuple(entry.parse(path)) == name


TOY = '''"""A database of a user: the whole integration is this file."""

import pandas as pd

from grmp.data.databases._entry import Database, Files, Name, Scores


def toy_txt(files: Files) -> pd.DataFrame:
    return pd.read_csv(files["toy.txt"], sep=";", names=["name", "mos"])


def parse(path: str) -> Name:
    return Name(path, reference=path.split("_")[0], distortion="blur", level=path[-5])


TOY = Database(
    "toy",
    "Toys",
    kind="synthetic",
    scores=Scores(10, 0.0, 9.0),
    sources=(),
    readers=(toy_txt,),
    parse=parse,
    disk=1000,
    page="https://example.org",
    by_hand="ask the author",
    terms="free",
    citation="A. Author: Toys. 2026.",
)
'''


def test_one_file_adds_a_database(tmp_path):
    """In a copy of the package: the new database is listed, fetched from a folder, prepared and split."""
    shutil.copytree(ROOT / "grmp", tmp_path / "grmp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "grmp/data/databases/toy.py").write_text(TOY)
    tree = {f"toys/r{i // 2}_{i % 2}.png": layouts.picture(".png", i) for i in range(10)}
    tree["toys/toy.txt"] = "\n".join(f"r{i // 2}_{i % 2}.png;{i}" for i in range(10)).encode()
    layouts.unpack(tree, tmp_path)
    commands = "from grmp.data.cli import app\n"
    for words in (["fetch", "toy", "--from", "toys"], ["prepare", "toy"], ["show", "toy"], ["list"]):
        commands += f"app({words}, standalone_mode=False)\n"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", commands]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "toy       synthetic" in done.stdout
    made = dataset.load(tmp_path / "data/prepared/toy")
    assert made.index["reference"].tolist() == [f"r{i // 2}" for i in range(10)]
    drawn = splits.load(tmp_path / "data/splits/toy/sound.csv", made.index["image"])
    assert (drawn.count, len(drawn.test(0))) == (10, 2)
