"""BIQ2021: from a git repository, a git directory, an archive; with the traps of the real one."""

import io
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grmp.data import databases, dataset, fetch, splits
from grmp.data.databases import biq2021
from grmp.data.databases._entry import File, Scores, Source
from grmp.data.prepare import prepare
from grmp.errors import UserError
from tests.data import layouts
from tests.data.server import Served

NAMES = ["ss01 (1).jpg", "ss01 (2).jpg", "ss02 (1013).jpg", "ss02 (1014).jpg", "ss03 (7805).jpg"]


def jpeg(number: int) -> bytes:
    """The last one is an MPO file of an odd size: two JPEGs in one."""
    images = [Image.fromarray(np.full((40 + n, 50, 3), 40 * number + 20, np.uint8)) for n in (number, number)]
    out = io.BytesIO()
    if number == len(NAMES) - 1:
        images[0].save(out, "MPO", save_all=True, append_images=images[1:])
    else:
        images[0].save(out, "JPEG")
    return out.getvalue()


def files() -> dict[str, bytes]:
    tree = {f"Images/{name.replace('1014).jpg', '1014).JPG')}": jpeg(i) for i, name in enumerate(NAMES)}
    train = "Image Name,MOS,,\n" + "".join(f"{name},{i / 4},,\n" for i, name in enumerate(NAMES[:4]))
    tree["Train (Images and MOS).csv"] = train.encode()
    tree["Test (Images and MOS).csv"] = f"Image Name,MOS\n{NAMES[4]},1.0\n".encode()
    return tree


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git directory of a miniature, and the entry pointing to it."""
    commit, tree = layouts.commit(files(), tmp_path / "work")
    subprocess.run(["git", "clone", "-q", "--bare", tmp_path / "work", tmp_path / "bare"], check=True)
    source = Source("repository", (File(f"git+file://{tmp_path}/bare@{commit}", 10_000),), tree)
    scores = Scores(len(NAMES), 0.0, 1.0)
    entry = replace(biq2021.BIQ2021, sources=(source,), scores=scores, disk=10_000)
    monkeypatch.setitem(databases.known(), "biq2021", entry)
    return tmp_path / "bare"


@pytest.mark.parametrize("origin", ["download", "bare", "work"])
def test_every_way_gives_the_same(bare, tmp_path, origin):
    raw = tmp_path / "data/raw"
    fetch.fetch("biq2021", raw, None if origin == "download" else tmp_path / origin)
    table = prepare("biq2021", raw, tmp_path / "data/prepared", 8, "squash")
    made = dataset.load(tmp_path / "data/prepared/biq2021")
    assert made.index["image"].tolist() == NAMES
    assert made.index["quality"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert made.images.mean((1, 2, 3)) == pytest.approx(np.arange(20, 200, 40), abs=1)
    splits.make_official(table, tmp_path / "official.csv", 1)
    drawn = splits.load(tmp_path / "official.csv", made.index["image"])
    assert (sorted(drawn.train(0, None)), list(drawn.test(0))) == ([0, 1, 2, 3], [4])


def test_the_second_source_is_an_archive_of_the_same_content(bare, tmp_path, site, monkeypatch):
    entry = databases.get("biq2021")
    archive = layouts.pack_bytes({f"BIQ2021-0/{name}": content for name, content in files().items()})
    site.files["/a.zip"] = Served(archive)
    gone = Source("repository", (File(f"git+file://{tmp_path}/gone@{'0' * 40}", 10_000),), entry.sources[0].tree)
    zipped = Source("archive", (File(f"{site.url}/a.zip", 10_000),), entry.sources[0].tree)
    monkeypatch.setitem(databases.known(), "biq2021", replace(entry, sources=(gone, zipped)))
    fetch.fetch("biq2021", tmp_path / "raw")
    assert fetch.receipt("biq2021", tmp_path / "raw")["source"] == "archive"
    assert not (tmp_path / "checksums.json").exists(), "the content is pinned, not the archive's bytes"


def test_other_content_is_rejected(bare, tmp_path, monkeypatch):
    entry = databases.get("biq2021")
    other = replace(entry.sources[0], tree="0" * 40)
    monkeypatch.setitem(databases.known(), "biq2021", replace(entry, sources=(other,)))
    with pytest.raises(UserError, match="has other content"):
        fetch.fetch("biq2021", tmp_path / "raw")
    with pytest.raises(UserError, match=r"has other content .* clone it again"):
        fetch.fetch("biq2021", tmp_path / "raw", bare)
    assert not list((tmp_path / "raw").glob("biq*"))


def test_half_of_it_is_named(bare, tmp_path):
    (tmp_path / "work/Test (Images and MOS).csv").unlink()
    with pytest.raises(UserError, match=r"no score file .*not there: test \(images and mos\)\.csv"):
        fetch.fetch("biq2021", tmp_path / "raw", tmp_path / "work")
