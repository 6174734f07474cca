"""Fetching a database: sources, checksums, receipts, local copies, interruptions."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from grmp.data import databases, dataset, fetch
from grmp.data.databases._entry import Database, File, Scores, Source
from grmp.data.download import unpack
from grmp.data.prepare import prepare
from grmp.errors import UserError
from grmp.files import write_json
from tests.conftest import ROOT
from tests.data import layouts, toys
from tests.data.server import Served, Site

IMAGES = {f"d/p{i}.png": layouts.picture(".png", i) for i in range(3)}
TABLE = layouts.rated(*(f"p{i}.png,{1 + i},0.1,,," for i in range(3)))
ARCHIVE = layouts.pack_bytes(IMAGES | {"d/scores.csv": TABLE})


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, site: Site) -> Database:
    """A database with two sources on the local server: /a.zip and /b.zip."""
    site.files["/a.zip"], site.files["/b.zip"] = Served(ARCHIVE), Served(ARCHIVE)
    both = tuple(Source(n, (File(f"{site.url}/{n}.zip", len(ARCHIVE)),)) for n in ("a", "b"))
    entry = replace(
        databases.get("sim_pre1"), name="toy", kind="authentic", sources=both, scores=Scores(0, 1.0, 3.0), disk=10_000
    )
    monkeypatch.setitem(databases.known(), "toy", entry)
    monkeypatch.setattr(fetch, "SLACK", 10_000)
    return entry


def leftovers(folder: Path) -> list[str]:
    """What a next stage could take for whole."""
    return sorted(p.name for p in folder.glob("*") if not p.name.startswith("."))


# -------------------------------------------------------------------------------------------------------------- archives


@pytest.mark.parametrize(
    "first",
    [
        Served(ARCHIVE, status=[403], stuck=True),
        Served(ARCHIVE, endless=True),
        Served(ARCHIVE[:-400]),
        Served(b"<!doctype html>" + b" " * (len(ARCHIVE) - 15)),
    ],
    ids=["403", "endless", "short", "html in disguise"],
)
def test_falls_over_to_the_next_source(toy, site, tmp_path, first):
    site.files["/a.zip"] = first
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "b"
    assert leftovers(tmp_path / "raw") == ["toy", "toy.json"]
    assert (tmp_path / "raw/toy/d/scores.csv").read_bytes() == TABLE


@pytest.mark.parametrize("wrong", [layouts.rated("p0.png,9,0.1,,,"), TABLE], ids=["scores", "missing images"])
def test_content_that_prepare_would_reject_is_not_accepted(toy, site, tmp_path, wrong):
    tree = {"d/p0.png": layouts.picture(".png", 0), "d/scores.csv": wrong}
    site.files["/a.zip"] = Served(layouts.pack_bytes(tree))
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "b"


def test_a_source_with_a_corrupt_image_is_not_accepted_unless_it_is_the_last(toy, site, tmp_path, capsys):
    tree = IMAGES | {"d/p1.png": IMAGES["d/p1.png"][:100], "d/scores.csv": TABLE}
    site.files["/a.zip"] = Served(layouts.pack_bytes(tree))
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "b"
    assert "toy: a: 1 of 3 images are corrupt: p1.png (corrupt" in capsys.readouterr().out
    databases.known()["toy"] = replace(toy, sources=toy.sources[:1])
    fetch.fetch("toy", tmp_path / "only")
    with pytest.raises(UserError, match=r"1 of 3 .*p1\.png \(corrupt.*--allow-missing 1"):
        prepare("toy", tmp_path / "only", tmp_path / "out", 8, "squash")
    assert len(prepare("toy", tmp_path / "only", tmp_path / "out", 8, "squash", allow_missing=1)) == 2


def test_resized_copy_is_not_accepted(toy, site, tmp_path):
    databases.known()["toy"] = replace(toy, side=9)  # the images are 10 x 8
    with pytest.raises(UserError, match=r"shorter side of 8 pixels, those of toy 9 or more: a resized copy"):
        fetch.fetch("toy", tmp_path / "raw")
    assert list((tmp_path / "raw").rglob("*.zip")) == [], "a useless archive takes no space"
    (tmp_path / "a.zip").write_bytes(ARCHIVE)
    fetch.fetch("toy", tmp_path / "raw", tmp_path / "a.zip")
    with pytest.raises(UserError, match="a resized copy; get the original"):
        prepare("toy", tmp_path / "raw", tmp_path / "out", 8, "squash")


def test_a_simulated_database_has_no_other_origin(tmp_path):
    with pytest.raises(UserError, match="sim_wild is rendered on this machine; leave out --from"):
        fetch.fetch("sim_wild", tmp_path / "raw", tmp_path)


def test_simulated_database_is_rendered_again_when_its_code_changes(tmp_path, monkeypatch):
    from grmp.data.simulated import databases as simulated

    rendered = []

    def render(name, folder):
        rendered.append(name)
        table = layouts.rated(*(f"p{i}.png,{1 + i},0.1,r,blur,{i}" for i in range(3)))
        layouts.unpack(IMAGES | {"scores.csv": table}, folder)

    monkeypatch.setattr(simulated, "render", render)
    for digest, times in (("1", 1), ("1", 1), ("2", 2)):
        monkeypatch.setattr(fetch, "code_digest", lambda module, digest=digest: digest)
        fetch.fetch("sim_wild", tmp_path)
        assert len(rendered) == times
        found = fetch.receipt("sim_wild", tmp_path)
        assert (found["code"], found["source"]) == (digest, "rendered here")
    prepare("sim_wild", tmp_path, tmp_path / "out", 8, "squash")
    made = dataset.load(tmp_path / "out/sim_wild").index
    assert made["quality"].tolist() == [0, 0.25, 0.5]
    assert made["level"].tolist() == [0, 1, 2]


def test_every_source_fails_in_one_line(toy, site, tmp_path):
    site.files["/a.zip"] = Served(b"", status=[403], stuck=True)
    del site.files["/b.zip"]
    with pytest.raises(UserError, match=r"a: answered 403.*b: answered 404.*--from PATH") as error:
        fetch.fetch("toy", tmp_path / "raw")
    assert "\n" not in str(error.value)
    assert leftovers(tmp_path / "raw") == []


def test_wrong_checksum(toy, site, tmp_path, monkeypatch):
    stated = replace(toy.sources[0].files[0], sha256="0" * 64)
    monkeypatch.setitem(databases.known(), "toy", replace(toy, sources=(Source("a", (stated,)),)))
    with pytest.raises(UserError, match="expected 0000"):
        fetch.fetch("toy", tmp_path / "raw")
    assert leftovers(tmp_path / "raw") == []
    assert not list(tmp_path.rglob("a.zip*")), "the wrong file does not wait to be taken for the right one"


def test_first_seen_checksum_is_insisted_on(toy, site, tmp_path):
    raw = tmp_path / "data/raw"
    fetch.fetch("toy", raw)
    seen = json.loads((tmp_path / "data/checksums.json").read_text())
    assert seen == {f"{site.url}/a.zip": hashlib.sha256(ARCHIVE).hexdigest()}
    (raw / "toy.json").unlink()
    (raw / "toy").rename(tmp_path / "elsewhere")
    changed = bytearray(ARCHIVE)
    changed[50] ^= 1
    site.files["/a.zip"] = Served(bytes(changed))
    del site.files["/b.zip"]
    with pytest.raises(UserError, match=r"expected [0-9a-f]{64}: corrupt, or published anew"):
        fetch.fetch("toy", raw)


def test_first_seen_checksums_are_of_what_was_accepted_and_of_all_databases(toy, site, tmp_path, monkeypatch):
    """A source with other content is free to mend it, and a database that is fetched meanwhile keeps its own."""
    seen, real = tmp_path / "data/checksums.json", fetch._check
    del site.files["/b.zip"]
    monkeypatch.setattr(fetch, "_check", lambda *_: (_ for _ in ()).throw(fetch.SourceFailed("lacks images")))
    with pytest.raises(UserError, match="lacks images"):
        fetch.fetch("toy", tmp_path / "data/raw")
    assert not seen.exists()

    def check(*arguments):
        write_json(seen, {"another": "0" * 64})
        real(*arguments)

    monkeypatch.setattr(fetch, "_check", check)
    fetch.fetch("toy", tmp_path / "data/raw")
    assert sorted(json.loads(seen.read_text())) == ["another", f"{site.url}/a.zip"]


def test_second_fetch_is_a_no_op_unless_the_folder_has_changed(toy, site, tmp_path, capsys):
    fetch.fetch("toy", tmp_path / "raw")
    before = (tmp_path / "raw/toy.json").read_bytes()
    asked = len(site.files["/a.zip"].requests)
    fetch.fetch("toy", tmp_path / "raw")
    assert "already fetched" in capsys.readouterr().out
    assert (tmp_path / "raw/toy.json").read_bytes() == before
    assert len(site.files["/a.zip"].requests) == asked
    (tmp_path / "raw/toy/d/p1.png").unlink()
    with pytest.raises(UserError, match="has changed since it was fetched"):
        fetch.fetch("toy", tmp_path / "raw")


def test_full_disk_is_reported_before_the_first_byte(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match=r"toy: needs 0\.0 GB at .*, 0\.0 GB free"):
        fetch.check_disk([toy], tmp_path / "raw")
    begun = tmp_path / "raw/.downloads/toy/a/a.zip"  # by an interrupted call
    begun.parent.mkdir(parents=True)
    begun.write_bytes(bytes(toy.disk + toy.download))
    assert fetch.check_disk([toy], tmp_path / "raw") == (toy.download, 0)
    begun.unlink()
    (tmp_path / "raw/toy").mkdir()  # by hand: it is accepted as it is
    assert fetch.check_disk([toy], tmp_path / "raw") == (0, 0)
    (tmp_path / "raw/toy").rmdir()
    (tmp_path / "raw/toy.json").touch()  # a receipt without its database
    with pytest.raises(UserError, match="toy: needs"):
        fetch.check_disk([toy], tmp_path / "raw")


def test_from_archive_folder_and_folder_of_archives(toy, tmp_path):
    (tmp_path / "box").mkdir()
    (tmp_path / "box/a.zip").write_bytes(ARCHIVE)
    unpack(tmp_path / "box/a.zip", tmp_path / "open", 10**6)
    for number, origin in enumerate(("box/a.zip", "box", "open")):
        fetch.fetch("toy", tmp_path / f"raw{number}", tmp_path / origin)
        assert (tmp_path / f"raw{number}/toy/d/scores.csv").read_bytes() == TABLE
        prepare("toy", tmp_path / f"raw{number}", tmp_path / f"out{number}", 8, "squash")
    same = {(tmp_path / f"out{n}/toy/images.npy").read_bytes() for n in range(3)}
    assert len(same) == 1
    assert (tmp_path / "open/d/scores.csv").is_file(), "a linked folder is left alone"
    with pytest.raises(UserError, match="nowhere not found"):
        fetch.fetch("toy", tmp_path / "raw9", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("photos/a.png", IMAGES["d/p0.png"], "no score file"),
        ("tid2013.rar", b"Rar!\x1a\x07\x00" + bytes(100), "unpack it yourself and give the folder with --from"),
        ("a.zip", ARCHIVE[:-200], "get it again, or unpack it yourself"),
    ],
    ids=["no database", "rar", "cut"],
)
def test_what_is_no_database_is_refused_and_leaves_nothing(toy, tmp_path, path, content, said):
    layouts.unpack({path: content}, tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        fetch.fetch("toy", tmp_path / "raw", tmp_path / Path(path).parts[0])
    assert ".partial" not in str(caught.value)
    assert list((tmp_path / "raw").iterdir()) == []


def test_another_origin_is_not_ignored(toy, tmp_path):
    (tmp_path / "a.zip").write_bytes(ARCHIVE)
    for _ in range(2):
        fetch.fetch("toy", tmp_path / "raw", tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"is here already, from .*a\.zip; to replace it, delete"):
        fetch.fetch("toy", tmp_path / "raw", tmp_path)


def test_a_linked_folder_that_is_gone_is_not_downloaded(toy, site, tmp_path):
    (tmp_path / "a.zip").write_bytes(ARCHIVE)
    unpack(tmp_path / "a.zip", tmp_path / "drive", 10**6)
    fetch.fetch("toy", tmp_path / "raw", tmp_path / "drive")
    (tmp_path / "drive").rename(tmp_path / "unmounted")
    for use in (lambda: fetch.fetch("toy", tmp_path / "raw"), lambda: fetch.receipt("toy", tmp_path / "raw")):
        with pytest.raises(
            UserError, match=r"raw/toy links to .*drive, which is not there; mount it, or delete the link"
        ):
            use()
    (tmp_path / "unmounted").rename(tmp_path / "drive")
    assert fetch.receipt("toy", tmp_path / "raw")["source"].startswith("linked from")


def test_a_folder_put_in_place_by_hand_is_taken_as_it_is(toy, tmp_path):
    (tmp_path / "a.zip").write_bytes(ARCHIVE)
    unpack(tmp_path / "a.zip", tmp_path / "raw/toy", 10**6)
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "found in place"


@pytest.mark.slow
def test_killed_at_many_moments(site, tmp_path):
    content = layouts.pack(toys.archive(), tmp_path / "toy.tgz").read_bytes()
    site.files["/toy.tgz"] = Served(content, pace=0.01)
    run = subprocess.run(
        [sys.executable, "-m", "tests.data.toys", f"{site.url}/toy.tgz", str(tmp_path / "work"), "12"],
        cwd=ROOT,
        env=os.environ | {"TOY_SIZE": str(len(content))},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    phases = json.loads(run.stdout.splitlines()[-1])
    assert len(phases) == 12
    assert {"downloading", "unpacking", "preparing"} <= set(phases), phases
