"""Fetching a database: sources, checksums, receipts, local copies, interruptions."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from grmp.data import databases, fetch
from grmp.data.databases._entry import Database, File, Scores, Source
from grmp.data.download import unpack
from grmp.data.prepare import prepare
from grmp.errors import UserError
from tests.conftest import ROOT
from tests.data import layouts, toys
from tests.data.server import Served, Site


def table(rows: int = 3) -> bytes:
    head = "image,mos,mos_std,reference,distortion,level\n"
    return (head + "".join(f"p{i}.png,{1 + i},0.1,,,\n" for i in range(rows))).encode()


def archive(tree: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in (
            tree or {f"d/p{i}.png": layouts.picture(".png", i) for i in range(3)} | {"d/scores.csv": table()}
        ).items():
            made.writestr(name, content)
    return out.getvalue()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, site: Site) -> Database:
    """A database with two sources on the local server: /a.zip and /b.zip."""
    good = archive()
    site.files["/a.zip"], site.files["/b.zip"] = Served(good), Served(good)
    both = tuple(Source(n, (File(f"{site.url}/{n}.zip", len(good)),)) for n in ("a", "b"))
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
        Served(archive(), status=[403], stuck=True),
        Served(archive(), status=[404], stuck=True),
        Served(archive(), status=[500], stuck=True),
        Served(archive(), endless=True),
        Served(archive()[:-400]),
        Served(b"<!doctype html>" + b" " * (len(archive()) - 15)),
    ],
    ids=["403", "404", "500", "endless", "short", "html in disguise"],
)
def test_falls_over_to_the_next_source(toy, site, tmp_path, first):
    site.files["/a.zip"] = first
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "b"
    assert leftovers(tmp_path / "raw") == ["toy", "toy.json"]
    assert (tmp_path / "raw/toy/d/scores.csv").read_bytes() == table()


@pytest.mark.parametrize("wrong", [b"image,mos,mos_std,reference,distortion,level\np0.png,9,0.1,,,\n", None])
def test_content_that_prepare_would_reject_is_not_accepted(toy, site, tmp_path, wrong):
    tree = {"d/p0.png": layouts.picture(".png", 0), "d/scores.csv": wrong or table()}  # other scores, or missing images
    site.files["/a.zip"] = Served(content := layouts.pack_bytes(tree))
    file = replace(toy.sources[0].files[0], size=len(content))
    databases.known()["toy"] = replace(toy, sources=(Source("a", (file,)), toy.sources[1]))
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "b"


def test_a_source_with_a_corrupt_image_is_not_accepted_unless_it_is_the_last(toy, site, tmp_path, capsys):
    whole = layouts.picture(".png", 1)
    tree = {f"d/p{i}.png": whole for i in range(3)} | {"d/p1.png": whole[:100], "d/scores.csv": table()}
    site.files["/a.zip"] = Served(content := layouts.pack_bytes(tree))
    first = Source("a", (replace(toy.sources[0].files[0], size=len(content)),))
    databases.known()["toy"] = replace(toy, sources=(first, toy.sources[1]))
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "b"
    assert "toy: a: 1 of 3 images are corrupt: p1.png (corrupt" in capsys.readouterr().out
    databases.known()["toy"] = replace(toy, sources=(first,))
    fetch.fetch("toy", tmp_path / "only")
    with pytest.raises(UserError, match=r"1 of 3 .*p1\.png \(corrupt.*--allow-missing 1"):
        prepare("toy", tmp_path / "only", tmp_path / "out", 8, "squash")
    assert len(prepare("toy", tmp_path / "only", tmp_path / "out", 8, "squash", allow_missing=1)) == 2


def test_resized_copy_is_not_accepted(toy, site, tmp_path):
    databases.known()["toy"] = replace(toy, side=9)  # the images are 10 x 8
    with pytest.raises(UserError, match=r"shorter side of 8 pixels, those of toy 9 or more: a resized copy"):
        fetch.fetch("toy", tmp_path / "raw")
    (tmp_path / "a.zip").write_bytes(archive())
    fetch.fetch("toy", tmp_path / "raw", tmp_path / "a.zip")
    with pytest.raises(UserError, match="a resized copy; get the original"):
        prepare("toy", tmp_path / "raw", tmp_path / "out", 8, "squash")


def test_simulated_database_is_rendered_again_when_its_code_changes(tmp_path, monkeypatch):
    from grmp.data.simulated import databases as simulated

    rendered = []

    def render(name, folder):
        rendered.append(name)
        layouts.unpack({"images/a.png": b"a", "scores.csv": table()}, folder)

    monkeypatch.setattr(simulated, "render", render)
    for digest, times in (("1", 1), ("1", 1), ("2", 2)):
        monkeypatch.setattr(fetch, "code_digest", lambda module, digest=digest: digest)
        fetch.fetch("sim_wild", tmp_path)
        assert len(rendered) == times
        assert fetch.receipt("sim_wild", tmp_path)["code"] == digest


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
    assert seen == {f"{site.url}/a.zip": hashlib.sha256(archive()).hexdigest()}
    (raw / "toy.json").unlink()
    (raw / "toy").rename(tmp_path / "elsewhere")
    changed = bytearray(archive())
    changed[50] ^= 1
    site.files["/a.zip"] = Served(bytes(changed))
    del site.files["/b.zip"]
    with pytest.raises(UserError, match=r"expected [0-9a-f]{64}: corrupt, or published anew"):
        fetch.fetch("toy", raw)


def test_second_fetch_is_a_no_op(toy, site, tmp_path, capsys):
    fetch.fetch("toy", tmp_path / "raw")
    before = (tmp_path / "raw/toy.json").read_bytes()
    asked = len(site.files["/a.zip"].requests)
    fetch.fetch("toy", tmp_path / "raw")
    assert "already fetched" in capsys.readouterr().out
    assert (tmp_path / "raw/toy.json").read_bytes() == before
    assert len(site.files["/a.zip"].requests) == asked


def test_a_changed_folder_is_not_taken_for_whole(toy, site, tmp_path):
    fetch.fetch("toy", tmp_path / "raw")
    (tmp_path / "raw/toy/d/p1.png").unlink()
    with pytest.raises(UserError, match="has changed since it was fetched"):
        fetch.fetch("toy", tmp_path / "raw")


def test_full_disk_is_reported_before_the_first_byte(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match=r"toy: needs 0\.0 GB at .*, 0\.0 GB free"):
        fetch.check_disk([toy], tmp_path / "raw")


def test_from_archive_folder_and_folder_of_archives(toy, tmp_path):
    (tmp_path / "box").mkdir()
    (tmp_path / "box/a.zip").write_bytes(archive())
    unpack(tmp_path / "box/a.zip", tmp_path / "open", 10**6)
    for number, origin in enumerate(("box/a.zip", "box", "open")):
        fetch.fetch("toy", tmp_path / f"raw{number}", tmp_path / origin)
        assert (tmp_path / f"raw{number}/toy/d/scores.csv").read_bytes() == table()
        prepare("toy", tmp_path / f"raw{number}", tmp_path / f"out{number}", 8, "squash")
    same = {(tmp_path / f"out{n}/toy/images.npy").read_bytes() for n in range(3)}
    assert len(same) == 1
    assert (tmp_path / "open/d/scores.csv").is_file(), "a linked folder is left alone"
    with pytest.raises(UserError, match="nowhere not found"):
        fetch.fetch("toy", tmp_path / "raw9", tmp_path / "nowhere")


def test_a_folder_that_is_no_database_is_refused(toy, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(layouts.picture(".png", 0))
    with pytest.raises(UserError, match="no score file"):
        fetch.fetch("toy", tmp_path / "raw", tmp_path / "photos")
    assert leftovers(tmp_path / "raw") == []


def test_another_origin_is_not_ignored(toy, tmp_path):
    (tmp_path / "a.zip").write_bytes(archive())
    for _ in range(2):
        fetch.fetch("toy", tmp_path / "raw", tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"is here already, from .*a\.zip; to replace it, delete"):
        fetch.fetch("toy", tmp_path / "raw", tmp_path)


def test_a_folder_put_in_place_by_hand_is_taken_as_it_is(toy, tmp_path):
    (tmp_path / "a.zip").write_bytes(archive())
    unpack(tmp_path / "a.zip", tmp_path / "raw/toy", 10**6)
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "found in place"


def test_rar_says_what_to_do(toy, tmp_path):
    (tmp_path / "tid2013.rar").write_bytes(b"Rar!\x1a\x07\x00" + bytes(100))
    with pytest.raises(UserError, match="unpack it yourself and give the folder with --from"):
        fetch.fetch("toy", tmp_path / "raw", tmp_path / "tid2013.rar")
    assert leftovers(tmp_path / "raw") == []


def test_bad_archive_by_hand_leaves_nothing(toy, tmp_path):
    (tmp_path / "a.zip").write_bytes(archive()[:-200])
    with pytest.raises(UserError, match="get it again, or unpack it yourself"):
        fetch.fetch("toy", tmp_path / "raw", tmp_path / "a.zip")
    assert leftovers(tmp_path / "raw") == []


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
