"""A server that misbehaves: each case ends in the right bytes, or in one clear line with nothing half-written left."""

import hashlib
import io
import json
import random
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from grmp.data import download, fetch, registry, sources
from grmp.data import prepare as images
from grmp.data.archives import BadArchive, unpack
from grmp.data.download import SourceFailed
from grmp.errors import UserError
from tests.data.server import Served, Site

BODY = random.Random(1).randbytes(300_000)


def table(rows: int = 3) -> bytes:
    head = "image,mos,mos_std,reference,distortion,level\n"
    return (head + "".join(f"p{i}.png,{1 + i},0.1,,,\n" for i in range(rows))).encode()


def archive(tree: dict[str, bytes] | None = None) -> bytes:
    from tests.data.layouts import picture

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in (
            tree or {f"d/p{i}.png": picture(".png", i) for i in range(3)} | {"d/scores.csv": table()}
        ).items():
            made.writestr(name, content)
    return out.getvalue()


def tar(*members: tarfile.TarInfo, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as made:
        for member in members:
            made.addfile(member, io.BytesIO(b"x" * member.size))
    return out.getvalue()


def member(name: str, size: int = 1, **facts: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    for key, value in facts.items():
        setattr(info, key, value)
    return info


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, site: Site) -> registry.Database:
    """A database with two sources on the local server: /a.zip and /b.zip."""
    good = archive()
    site.files["/a.zip"], site.files["/b.zip"] = Served(good), Served(good)
    both = tuple(sources.Source(n, (sources.File(f"{site.url}/{n}.zip", len(good), exact=True),)) for n in ("a", "b"))
    entry = replace(
        registry.get("sim_pre1"), name="toy", kind="authentic", sources=both, low=1.0, high=3.0, disk=10_000
    )
    monkeypatch.setitem(registry.DATABASES, "toy", entry)
    return entry


def leftovers(folder: Path) -> list[str]:
    """What a next stage could take for whole."""
    return sorted(p.name for p in folder.glob("*") if not p.name.startswith("."))


# -------------------------------------------------------------------------------------------------------------- one file


def test_drops_at_ten_random_offsets(site, tmp_path):
    drops = sorted(random.Random(2).sample(range(1, len(BODY)), 10))
    site.files["/f.bin"] = served = Served(BODY, drops=list(drops))
    download.download(f"{site.url}/f.bin", tmp_path / "f.bin", 10**6, len(BODY))
    assert (tmp_path / "f.bin").read_bytes() == BODY
    assert served.requests == ["", *(f"bytes={d}-" for d in drops)], "every byte is sent once"


def test_resumes_what_an_earlier_run_left(site, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(BODY[:1000])
    site.files["/f.bin"] = served = Served(BODY)
    download.download(f"{site.url}/f.bin", tmp_path / "f.bin", 10**6)
    assert (tmp_path / "f.bin").read_bytes() == BODY
    assert served.requests == ["bytes=1000-"]


def test_whole_part_needs_no_byte(site, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(BODY)
    site.files["/f.bin"] = Served(BODY)
    assert download.download(f"{site.url}/f.bin", tmp_path / "f.bin", 10**6).read_bytes() == BODY


def test_part_longer_than_the_file(site, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(BODY + b"more")
    site.files["/f.bin"] = Served(BODY)
    assert download.download(f"{site.url}/f.bin", tmp_path / "f.bin", 10**6).read_bytes() == BODY


def test_200_to_a_range_request(site, tmp_path):
    site.files["/f.bin"] = Served(BODY, ranges=False, drops=[1000, 200_000])
    assert download.download(f"{site.url}/f.bin", tmp_path / "f.bin", 10**6).read_bytes() == BODY


def test_busy_server_is_asked_again(site, tmp_path):
    site.files["/f.bin"] = Served(BODY, status=[503, 500, 429])
    assert download.download(f"{site.url}/f.bin", tmp_path / "f.bin", 10**6).read_bytes() == BODY


@pytest.mark.parametrize(
    ("served", "size", "words"),
    [
        (Served(BODY, status=[403], stuck=True), None, "answered 403"),
        (Served(BODY, status=[500], stuck=True), None, "answered 500"),
        (Served(BODY, length=len(BODY) + 10), len(BODY), f"offers {len(BODY) + 10:,} bytes"),
        (Served(BODY, length=len(BODY) - 10), len(BODY), f"offers {len(BODY) - 10:,} bytes"),
        (Served(BODY), len(BODY) + 1, f"offers {len(BODY):,} bytes, not {len(BODY) + 1:,}"),
        (Served(BODY, endless=True), None, "sends more than 1,000,000 bytes"),
        (Served(BODY, endless=True), len(BODY), f"sends more than {len(BODY):,} bytes"),
        (Served(b"<html>please log in</html>", kind="text/html; charset=utf-8"), None, "web page instead"),
        (Served(BODY, drops=[7] * 100), None, "without a new byte, at 7 bytes"),
    ],
)
def test_refused(site, tmp_path, served, size, words):
    site.files["/f.bin"] = served
    with pytest.raises(SourceFailed, match=words):
        download.download(f"{site.url}/f.bin", tmp_path / "f.bin", 10**6, size)
    assert not (tmp_path / "f.bin").exists()


def test_length_that_the_server_takes_back(site, tmp_path):
    site.files["/f.bin"] = Served(BODY, length=len(BODY) + 10)
    assert download.download(f"{site.url}/f.bin", tmp_path / "f.bin", 10**6).read_bytes() == BODY


def test_404(site, tmp_path):
    with pytest.raises(SourceFailed, match="answered 404"):
        download.download(f"{site.url}/none.bin", tmp_path / "none.bin", 10**6)
    assert not list(tmp_path.glob("none*"))


def test_hub_is_resumed_and_refusals_are_told(site, tmp_path):
    site.files["/datasets/o/r/resolve/main/f.bin"] = Served(BODY, drops=[1000, 200_000])
    path = download.download("hf://datasets/o/r/f.bin", tmp_path / "unused", 10**6)
    assert path.read_bytes() == BODY
    with pytest.raises(SourceFailed, match="404"):
        download.download("hf://datasets/o/r/none.bin", tmp_path / "unused", 10**6)


# ------------------------------------------------------------------------------------------------------------ a database


@pytest.mark.parametrize(
    "first",
    [
        Served(archive(), status=[403], stuck=True),
        Served(archive(), status=[404], stuck=True),
        Served(archive(), status=[500], stuck=True),
        Served(archive(), endless=True),
        Served(archive()[:-400]),
        Served(b"<!doctype html>" + b" " * (len(archive()) - 15)),
        Served(archive() + b"tail"),
    ],
    ids=["403", "404", "500", "endless", "short", "html in disguise", "long"],
)
def test_falls_over_to_the_next_source(toy, site, tmp_path, first):
    site.files["/a.zip"] = first
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "b"
    assert leftovers(tmp_path / "raw") == ["toy", "toy.json"]
    assert (tmp_path / "raw/toy/d/scores.csv").read_bytes() == table()


def test_every_source_fails_in_one_line(toy, site, tmp_path):
    site.files["/a.zip"] = Served(b"", status=[403], stuck=True)
    del site.files["/b.zip"]
    with pytest.raises(UserError, match=r"a: answered 403.*b: answered 404.*--from PATH") as error:
        fetch.fetch("toy", tmp_path / "raw")
    assert "\n" not in str(error.value)
    assert leftovers(tmp_path / "raw") == []


def test_wrong_checksum(toy, site, tmp_path, monkeypatch):
    stated = replace(toy.sources[0].files[0], sha256="0" * 64)
    monkeypatch.setitem(registry.DATABASES, "toy", replace(toy, sources=(sources.Source("a", (stated,)),)))
    with pytest.raises(UserError, match="the registry says 0000"):
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
    with pytest.raises(UserError, match=r"checksums\.json says"):
        fetch.fetch("toy", raw)


def test_file_changed_between_two_halves_is_fetched_anew(toy, site, tmp_path, monkeypatch):
    good = archive()
    stated = replace(toy.sources[0].files[0], sha256=hashlib.sha256(good).hexdigest())
    monkeypatch.setitem(registry.DATABASES, "toy", replace(toy, sources=(sources.Source("a", (stated,)),)))
    part = tmp_path / "raw/.downloads/toy" / fetch.sha256_of(stated.url)[:8] / "a.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"the start of last year's file")
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["files"][0]["sha256"] == stated.sha256


def test_second_fetch_is_a_no_op(toy, site, tmp_path, capsys):
    fetch.fetch("toy", tmp_path / "raw")
    before = (tmp_path / "raw/toy.json").read_bytes()
    asked = len(site.files["/a.zip"].requests)
    fetch.fetch("toy", tmp_path / "raw")
    assert "already fetched" in capsys.readouterr().out
    assert (tmp_path / "raw/toy.json").read_bytes() == before
    assert len(site.files["/a.zip"].requests) == asked


def test_terms_are_shown_once(toy, site, tmp_path, capsys):
    good = site.files.pop("/a.zip"), site.files.pop("/b.zip")
    with pytest.raises(UserError):
        fetch.fetch("toy", tmp_path / "raw")
    assert toy.terms in capsys.readouterr().out
    site.files["/a.zip"], site.files["/b.zip"] = good
    fetch.fetch("toy", tmp_path / "raw")
    assert toy.terms not in capsys.readouterr().out


def test_a_changed_folder_is_not_taken_for_whole(toy, site, tmp_path):
    fetch.fetch("toy", tmp_path / "raw")
    (tmp_path / "raw/toy/d/p1.png").unlink()
    with pytest.raises(UserError, match="has changed since it was fetched"):
        fetch.fetch("toy", tmp_path / "raw")


def test_full_disk_is_told_before_the_first_byte(toy, site, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(UserError, match=r"toy: 0\.0 GB needed at .*, 0\.0 GB free"):
        fetch.fetch("toy", tmp_path / "raw")
    assert site.files["/a.zip"].requests == []


def test_from_archive_folder_and_folder_of_archives(toy, tmp_path):
    (tmp_path / "box").mkdir()
    (tmp_path / "box/a.zip").write_bytes(archive())
    unpack(tmp_path / "box/a.zip", tmp_path / "open", 10**6)
    for number, origin in enumerate(("box/a.zip", "box", "open")):
        fetch.fetch("toy", tmp_path / f"raw{number}", tmp_path / origin)
        assert (tmp_path / f"raw{number}/toy/d/scores.csv").read_bytes() == table()
        images.prepare("toy", tmp_path / f"raw{number}", tmp_path / f"out{number}", 8, "squash")
    same = {(tmp_path / f"out{n}/toy/images.npy").read_bytes() for n in range(3)}
    assert len(same) == 1
    assert (tmp_path / "open/d/scores.csv").is_file(), "a linked folder is left alone"
    with pytest.raises(UserError, match="no such file or folder"):
        fetch.fetch("toy", tmp_path / "raw9", tmp_path / "nowhere")


def test_a_folder_put_in_place_by_hand_is_taken_as_it_is(toy, tmp_path):
    (tmp_path / "a.zip").write_bytes(archive())
    unpack(tmp_path / "a.zip", tmp_path / "raw/toy", 10**6)
    fetch.fetch("toy", tmp_path / "raw")
    assert fetch.receipt("toy", tmp_path / "raw")["source"] == "found in place"


# -------------------------------------------------------------------------------------------------------------- archives


def zip_with(name: str, content: bytes = b"x", mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        made.writestr(info, content)
    return out.getvalue()


def raw_name(name: str) -> bytes:
    """A zip whose entry has exactly this name (the writer would have cleaned it)."""
    return zip_with("x" * len(name)).replace(b"x" * len(name), name.encode())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tar(member("../evil.txt")), "outside the destination"),
        (tar(member("/evil.txt")), "would leave the folder"),
        (tar(member("d/../../evil.txt"), mode="w:gz"), "outside the destination"),
        (tar(member("link", 0, type=tarfile.SYMTYPE, linkname="/etc/passwd")), "link"),
        (tar(member("link", 0, type=tarfile.SYMTYPE, linkname="../..")), "link"),
        (tar(member("hard", 0, type=tarfile.LNKTYPE, linkname="../../evil.txt")), "link|outside"),
        (tar(member("fifo", 0, type=tarfile.FIFOTYPE)), "neither file, folder nor link"),
        (tar(member("bomb", 2_000_000), mode="w:gz"), "unpacks to more than"),
        (zip_with("bomb", b"0" * 2_000_000), "unpacks to more than"),
        (raw_name("../evil.txt"), "would leave the folder"),
        (raw_name("/tmp/evil.txt"), "would leave the folder"),
        (raw_name("C:/evil.txt"), "would leave the folder"),
        (raw_name("..\\evil.txt"), "would leave the folder"),
        (zip_with("link", b"/etc/passwd", 0o120777), "is a link"),
        (archive()[:-300], "not a whole zip or tar archive"),
        (tar(member("a", 5000), mode="w:gz")[:-20], "damaged or cut off"),
        (tar(member("a", 50_000))[:20_000], "damaged or cut off"),
        (b"<html><body>Sign in</body></html>", "is a web page"),
        (b"", "not a whole zip or tar archive"),
        (BODY, "not a whole zip or tar archive"),
    ],
    ids=lambda value: (
        "" if isinstance(value, bytes) else value.replace(" ", "-")
    ),  # a gzip holds the time: no stable name
)
def test_unsafe_or_damaged_archives(tmp_path, content, words):
    path, folder = tmp_path / "in.bin", tmp_path / "deep/er/out"
    path.write_bytes(content)
    with pytest.raises(BadArchive, match=words):
        unpack(path, folder, 1_000_000)
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and folder not in p.parents and p != path]
    assert outside == []


def test_damaged_picture_bytes_in_a_zip_are_noticed(tmp_path):
    content = bytearray(zip_with("a", bytes(range(256)) * 50))
    content[60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BadArchive, match="damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 10**6)


def test_rar_says_what_to_do(toy, tmp_path):
    (tmp_path / "tid2013.rar").write_bytes(b"Rar!\x1a\x07\x00" + BODY)
    with pytest.raises(UserError, match="unpack it yourself and give the folder with --from"):
        fetch.fetch("toy", tmp_path / "raw", tmp_path / "tid2013.rar")
    assert leftovers(tmp_path / "raw") == []


def test_bad_archive_by_hand_leaves_nothing(toy, tmp_path):
    (tmp_path / "a.zip").write_bytes(archive()[:-200])
    with pytest.raises(UserError, match="get it again, or unpack it yourself"):
        fetch.fetch("toy", tmp_path / "raw", tmp_path / "a.zip")
    assert leftovers(tmp_path / "raw") == []
