"""Every official and mirror layout, miniature: fetched from a local server, prepared, split."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grmp.data import dataset as prepared
from grmp.data import fetch, registry, sources, splits
from grmp.data import prepare as images
from tests.conftest import ROOT
from tests.data import layouts
from tests.data.server import Served, Site

SMALL = ("live", "csiq", "tid2013", "livec")
OFFICIAL = [
    (name, "official") for name in ("live", "csiq", "tid2013", "kadid10k", "koniq10k", "livec", "spaq", "pipal")
]
MIRRORS = [
    (entry.name, source.label)
    for entry in registry.DATABASES.values()
    for source in entry.sources
    if source.label != "official"
]
CASES = [
    pytest.param(*case, marks=() if case[0] in (*SMALL, "kadid10k", "koniq10k") else pytest.mark.slow)
    for case in OFFICIAL
]
CASES += [pytest.param("flive", "official", marks=pytest.mark.slow)]
CASES += [pytest.param(*case, marks=() if case[0] in SMALL else pytest.mark.slow) for case in MIRRORS]


def official(name: str, shared: Path, folder: Path) -> dict[str, Path]:
    """File name on the page -> a miniature of it."""
    made = getattr(layouts, name)(shared)
    if name in ("csiq", "koniq10k"):
        paths = {}
        for file, content in made.items():
            if isinstance(content, bytes):
                (folder / file).write_bytes(content)
                paths[file] = folder / file
            else:
                paths[file] = layouts.pack(content, folder / file)
        return paths
    return {f"{name}.zip": layouts.pack(made, folder / f"{name}.zip")}


def serve(site: Site, entry: registry.Database, label: str, shared: Path, folder: Path) -> registry.Database:
    """Put miniatures where the source has its files; the entry with that source alone, its sizes and checksums."""
    source = next(s for s in entry.sources if s.label == label)
    if label == "official":
        made = {f: p.read_bytes() for f, p in official(entry.name, shared, folder).items()}
    elif label == "Waterloo mirror":
        tree, scores = layouts.waterloo(shared, entry.name)
        archive = layouts.pack(tree, folder / "archive.tar").read_bytes()
        made = {Path(source.files[0].url).name: archive, Path(source.files[1].url).name: scores}
    else:
        first = Path(source.files[0].url).name
        if label == "CityU mirror" and len(source.files) == 1:  # pictures and scores as published
            tree, scores = getattr(layouts, entry.name)(shared), b""
        else:
            tree, scores = layouts.meta(shared, entry.name)
        made = {first: layouts.pack(tree, folder / first).read_bytes()} | {
            Path(f.url).name: scores for f in source.files[1:]
        }
    files = []
    for file in source.files:
        content = made[Path(file.url).name]
        if file.url.startswith(sources.HUB):
            owner, repository, name = file.url.removeprefix(sources.HUB).split("/")
            site.files[f"/datasets/{owner}/{repository}/resolve/main/{name}"] = Served(content)
            url = file.url
        else:
            url = f"{site.url}/{entry.name}/{Path(file.url).name}"
            site.files[f"/{entry.name}/{Path(file.url).name}"] = Served(content)
        files.append(sources.File(url, len(content), "", True))
    return replace(entry, sources=(sources.Source(label, tuple(files)),))


@pytest.mark.parametrize(("name", "label"), CASES)
def test_fetch_prepare_split(name, label, shared, site, tmp_path, monkeypatch, capsys):
    raw, out, entry = tmp_path / "data/raw", tmp_path / "data/prepared", registry.get(name)
    if label == "official" and not any(
        s.label == "official" for s in entry.sources
    ):  # a form, or pages that no program reads
        origin = next(iter(official(name, shared, tmp_path).values()))
        fetch.fetch(name, raw, origin)
    else:
        monkeypatch.setitem(registry.DATABASES, name, serve(site, entry, label, shared, tmp_path))
        fetch.fetch(name, raw)
        shown = capsys.readouterr().out
        assert entry.terms in shown
        assert "by hand" in shown
        assert len((tmp_path / "data/checksums.json").read_text()) > 64
    assert not list(raw.glob(".*.partial"))
    table = images.prepare(name, raw, out, 12, "squash")
    made = prepared.load(out / name)
    assert made.images.shape == (entry.count, 3, 12, 12)
    assert made.index["quality"].min() == 0
    assert made.index["quality"].max() == pytest.approx(1, abs=1e-5)
    sign = 1 if entry.higher_better else -1
    assert sign * np.corrcoef(made.index["mos"], made.index["quality"])[0, 1] == pytest.approx(1)
    splits.make(table, path := tmp_path / f"data/splits/{name}/sound.csv", 10, 0.2, 2024, "reference")
    drawn = splits.load(path, made.index["image"])
    committed = ROOT / f"data/splits/{name}/sound.csv"
    assert path.read_bytes() == committed.read_bytes(), "every copy of a database gives the committed splits"
    for split in range(10):
        train, test = drawn.train(split, None), drawn.test(split)
        assert len(train) + len(test) == entry.count
        assert not set(train) & set(test)
        assert set(drawn.train(split, 50)) < set(drawn.train(split, 100)) < set(drawn.train(split, 200))
        if made.index["reference"].notna().all():
            references = made.index["reference"]
            assert not set(references.iloc[train]) & set(references.iloc[test])
    if name == "koniq10k" and label == "IQA-PyTorch mirror":
        large = images.picture(next((raw / name).rglob("1024x768/*.jpg")), 12, "squash")
        assert (made.images[5] == large).all(), "the full-size copy is taken"
    shutil.rmtree(tmp_path)


def test_live_by_info_txt(shared, tmp_path):
    """A copy whose refnames_all.mat and orgs have 779 entries in another order gives the same references."""
    from grmp.data import labels as scores

    entry = registry.get("live")
    tables = []
    for whole in (True, False):
        tree = {k: v for k, v in layouts.live(shared, whole).items() if k.endswith((".mat", ".txt"))}
        tables.append(scores.read(entry, layouts.unpack(tree, tmp_path / str(whole))))
    a, b = tables
    pd.testing.assert_frame_equal(a, b)
    truth = layouts.real(shared, "live").set_index("dis_img_path")["ref_img_path"]
    assert a["reference"].tolist() == [truth["LIVE/" + n].split("/")[-1][:-4] for n in a["image"]]
