"""A server that misbehaves and archives that do: the right bytes, or one clear line and nothing half-written left."""

import hashlib
import io
import random
import tarfile
import time
import zipfile

import pytest

from grmp.data import download
from grmp.data.download import Remote, SourceFailed, unpack
from tests.data import layouts
from tests.data.server import Served

BODY = random.Random(1).randbytes(300_000)


def get(site, folder, size=None, min_rate=0):
    return download.download(Remote(f"{site.url}/f.bin", size), folder / "f.bin", 10**6, min_rate)


def test_drops_at_ten_random_offsets(site, tmp_path):
    drops = sorted(random.Random(2).sample(range(1, len(BODY)), 10))
    site.files["/f.bin"] = served = Served(BODY, drops=list(drops))
    get(site, tmp_path, len(BODY))
    assert (tmp_path / "f.bin").read_bytes() == BODY
    assert served.requests == ["", *(f"bytes={d}-" for d in drops)], "every byte is sent once"


def test_resumes_what_an_earlier_run_left(site, tmp_path):
    (tmp_path / "f.bin.part").write_bytes(BODY[:1000])
    site.files["/f.bin"] = served = Served(BODY)
    get(site, tmp_path)
    assert (tmp_path / "f.bin").read_bytes() == BODY
    assert served.requests == ["bytes=1000-"]


@pytest.mark.parametrize(
    ("part", "served"),
    [
        (BODY, Served(BODY)),
        (BODY + b"more", Served(BODY)),
        (b"", Served(BODY, ranges=False, drops=[1000, 200_000])),
        (b"", Served(BODY, status=[503, 500, 429])),
        (b"", Served(BODY, length=len(BODY) + 10)),
    ],
    ids=["whole part", "part longer than the file", "200 to a range request", "busy", "length that is taken back"],
)
def test_the_right_bytes_arrive(site, tmp_path, part, served):
    (tmp_path / "f.bin.part").write_bytes(part)
    site.files["/f.bin"] = served
    assert get(site, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("served", "size", "words"),
    [
        (Served(BODY, status=[403], stuck=True), None, "answered 403"),
        (Served(BODY, status=[500], stuck=True), None, "answered 500"),
        (Served(BODY, length=len(BODY) + 10), len(BODY), f"offers {len(BODY) + 10:,} bytes"),
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
        get(site, tmp_path, size)
    assert not (tmp_path / "f.bin").exists()


def test_hub_file_is_resumed_and_its_sha256_is_asked_first(site, tmp_path):
    digest = hashlib.sha256(BODY).hexdigest()
    site.files["/datasets/o/r/resolve/main/f.bin"] = Served(BODY, drops=[1000, 200_000], etag=digest)
    remote = download.on_hub("hf://datasets/o/r/f.bin")
    assert (remote.size, remote.sha256) == (len(BODY), digest)
    assert download.download(remote, tmp_path / "f.bin", 10**6).read_bytes() == BODY
    with pytest.raises(SourceFailed, match="404"):
        download.on_hub("hf://datasets/o/r/none.bin")


def test_model_file_comes_through_the_hubs_cache(site):
    site.files["/o/r/resolve/main/f.bin"] = Served(BODY)
    assert download.from_hub("o/r", "f.bin").read_bytes() == BODY


@pytest.mark.parametrize("proxy", ["http://me:secret@[::1", "http://me:secret@proxy:port", "proxy:99999"])
def test_a_proxy_that_is_no_address_is_named(tmp_path, monkeypatch, proxy):
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(
        SourceFailed, match=r"the proxy .* cannot be reached \(.*\); correct or unset HTTPS_PROXY"
    ) as said:
        download.download(Remote("https://example.org/f.bin", None), tmp_path / "f.bin", 10**6)
    assert "secret" not in str(said.value)


def test_an_unreachable_proxy_is_named_at_once(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    start = time.monotonic()
    with pytest.raises(
        SourceFailed, match=r"the proxy 127.0.0.1:9 cannot be reached \(.*\); correct or unset HTTPS_PROXY"
    ):
        download.from_hub("o/not-there", "f.bin")
    with pytest.raises(SourceFailed, match=r"the proxy 127.0.0.1:9 cannot be reached"):
        download.download(Remote("https://example.org/f.bin", None), tmp_path / "f.bin", 10**6)
    assert time.monotonic() - start < 10
    assert capfd.readouterr() == ("", "")


def test_slow_source_is_given_up(site, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "WINDOW", 0.05)
    site.files["/f.bin"] = Served(BODY, pace=0.04)
    with pytest.raises(SourceFailed, match=r"sends only \d+ kB/s"):
        get(site, tmp_path, min_rate=1e9)
    site.files["/f.bin"].pace = 0
    assert get(site, tmp_path).read_bytes() == BODY, "what arrived is not lost"


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


LOCKED = bytearray(zip_with("a"))
LOCKED[6] |= 1  # in the header of the file, and in the directory
LOCKED[LOCKED.index(b"PK\1\2") + 8] |= 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bytes(LOCKED), "cannot be unpacked here .*password required"),
        (tar(member("../evil.txt")), "outside the destination"),
        (tar(member("/evil.txt", type=tarfile.SYMTYPE, linkname="/x")), "link"),
        (tar(member("d/../../evil.txt"), mode="w:gz"), "outside the destination"),
        (tar(member("link", 0, type=tarfile.SYMTYPE, linkname="/etc/passwd")), "link"),
        (tar(member("link", 0, type=tarfile.SYMTYPE, linkname="../..")), "link"),
        (tar(member("hard", 0, type=tarfile.LNKTYPE, linkname="../../evil.txt")), "link|outside"),
        (tar(member("fifo", 0, type=tarfile.FIFOTYPE)), "special file"),
        (tar(member("device", 0, type=tarfile.CHRTYPE)), "special file"),
        (tar(member("bomb", 2_000_000), mode="w:gz"), "unpacks to more than"),
        (zip_with("bomb", b"0" * 2_000_000), "unpacks to more than"),
        (layouts.pack_bytes({"a": b"x"})[:-30], "not a complete zip or tar archive"),
        (tar(member("a", 5000), mode="w:gz")[:-20], "corrupt or incomplete"),
        (tar(member("a", 50_000))[:20_000], "corrupt or incomplete"),
        (b"<html><body>Sign in</body></html>", "is a web page"),
        (b"", "not a complete zip or tar archive"),
        (BODY, "not a complete zip or tar archive"),
    ],
    ids=lambda value: (
        "" if isinstance(value, bytes) else value.replace(" ", "-")
    ),  # a gzip holds the time: no stable name
)
def test_unsafe_or_corrupt_archives(tmp_path, content, words):
    path, folder = tmp_path / "in.bin", tmp_path / "deep/er/out"
    path.write_bytes(content)
    with pytest.raises(SourceFailed, match=words):
        unpack(path, folder, 1_000_000)
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and folder not in p.parents and p != path]
    assert outside == []


def test_corrupt_bytes_in_a_zip_are_noticed(tmp_path):
    content = bytearray(zip_with("a", bytes(range(256)) * 50))
    content[60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(SourceFailed, match="corrupt"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 10**6)


@pytest.mark.parametrize("name", ["../evil.txt", "a/../../../evil.txt", "/tmp/evil.txt", "C:/evil.txt", "..\\evil.txt"])
def test_zip_entries_stay_inside_the_folder(tmp_path, name):
    (tmp_path / "in.zip").write_bytes(raw_name(name))
    unpack(tmp_path / "in.zip", tmp_path / "deep/er/out", 1000)
    (found,) = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".zip"]
    assert tmp_path / "deep/er/out" in found.parents


def test_link_in_a_zip_becomes_a_file(tmp_path):
    (tmp_path / "in.zip").write_bytes(zip_with("link", b"/etc/passwd", 0o120777))
    unpack(tmp_path / "in.zip", tmp_path / "out", 1000)
    assert not (tmp_path / "out/link").is_symlink()
