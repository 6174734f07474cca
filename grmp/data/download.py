"""One file from one address: resumed, retried, bounded, and either complete or not there. And archives, unpacked safely."""

import lzma
import socket
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from grmp.errors import UserError, one_line

HUB = "hf://datasets/"
ATTEMPTS = 6  # in a row without a new byte
BACKOFF = 1.0  # seconds before the next attempt after a new byte; doubled for each without one
BUSY = (429, 500, 502, 503, 504)  # answers that may be better next time
TIMEOUT = (15, 60)  # seconds to connect, and between two reads
CHUNK = 1 << 20
WINDOW = 60.0  # seconds over which the rate is measured
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".rar", ".7z")


class SourceFailed(Exception):
    """This address or archive is unusable; another may work. The message is a clause without a full stop."""


@dataclass(frozen=True)
class Remote:
    """What a server says about a file before it is downloaded."""

    url: str
    size: int | None = None  # bytes, where known
    sha256: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def on_hub(url: str) -> Remote:
    """Ask the Hugging Face Hub about an ``hf://datasets/<owner>/<repository>/<file>`` address.

    HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE apply. The sha256 is known for large files only. Raises SourceFailed if the
    Hub cannot be reached or refuses.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    owner, repository, name = url.removeprefix(HUB).split("/", 2)
    address = hf_hub_url(f"{owner}/{repository}", name, repo_type="dataset")
    facts = _hub(lambda: get_hf_file_metadata(address, retry_on_errors=True))
    etag = facts.etag or ""
    return Remote(address, facts.size, etag if len(etag) == 64 else "", build_hf_headers())


def from_hub(repository: str, file: str) -> Path:
    """A file of a Hugging Face model repository, in the Hub client's cache.

    Raises SourceFailed if the Hub cannot be reached or refuses, after the client's own retries.
    """
    from huggingface_hub import hf_hub_download

    with suppress(Exception):  # the client raises many kinds
        return Path(hf_hub_download(repository, file, local_files_only=True))
    return Path(_hub(lambda: hf_hub_download(repository, file)))


def _check_proxy(url: str) -> None:
    """SourceFailed at once, before any retry, if there is a proxy for ``url`` and it cannot be reached."""
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if proxy:
        where = proxy.rpartition("@")[2]  # without a password
        try:
            place = urlsplit(proxy if "//" in proxy else f"//{proxy}")
            where = f"{place.hostname}:{place.port or 80}"
            socket.create_connection((place.hostname, place.port or 80), timeout=5).close()
        except (OSError, ValueError) as error:
            raise SourceFailed(
                f"the proxy {where} cannot be reached ({getattr(error, 'strerror', None) or error}); correct or "
                f"unset {urlsplit(url).scheme.upper()}_PROXY"
            ) from None


def _hub(ask: Callable[[], Any]) -> Any:
    """What the Hub's client answers, after its own retries."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.errors import HfHubHTTPError

    _check_proxy(ENDPOINT)
    try:
        return ask()
    except Exception as error:  # the client raises many kinds; each means "not available"
        cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
        raise SourceFailed(one_line(str(cause).strip().partition("\n")[0] or type(cause).__name__, 200)) from None


def download(remote: Remote, target: Path, limit: int, min_rate: float = 0) -> Path:
    """Download to ``target``. What has arrived waits in ``target.part``, from where the next call continues.

    A body of unknown length is cut off after ``limit`` bytes. Raises SourceFailed if the address refuses, sends less than
    ``min_rate`` bytes per second over a minute, or does not deliver a file of the size it states; UserError if the file
    cannot be written.
    """
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    _check_proxy(remote.url)
    part = target.with_name(target.name + ".part")
    try:
        _resume(remote, part, limit, min_rate)
    except OSError as error:
        raise UserError(f"cannot write {part}: {error.strerror or error}; free some space and run it again") from None
    part.replace(target)
    return target


def _resume(remote: Remote, part: Path, limit: int, min_rate: float) -> None:
    """Complete ``part``. Busy servers and broken connections are tried again, with increasing delays while no byte arrives."""
    best, idle = 0, 0
    with requests.Session() as session, tqdm(unit="B", unit_scale=True, desc=part.stem, disable=None) as bar:
        while True:
            try:
                reason = _attempt(session, remote, part, limit, min_rate, bar)
                if not reason:
                    return
            except requests.exceptions.SSLError as error:  # an expired certificate does not get better
                raise SourceFailed(f"has no valid certificate ({one_line(error, 150)})") from None
            except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
                reason = f"the connection broke off ({type(error).__name__})"
            except requests.RequestException as error:
                raise SourceFailed(one_line(error, 200)) from None
            have = _size(part)
            idle = 0 if have > best else idle + 1
            best = max(best, have)
            if idle >= ATTEMPTS:
                raise SourceFailed(f"{reason} {idle} times without a new byte, at {have:,} bytes")
            time.sleep(min(BACKOFF * 2**idle, 60))


def _attempt(session: requests.Session, remote: Remote, part: Path, limit: int, min_rate: float, bar: tqdm) -> str:
    """One request; why another one is needed, or nothing when ``part`` is complete."""
    have, size = _size(part), remote.size
    headers = remote.headers | {"Accept-Encoding": "identity"}  # uncompressed: offsets count bytes of the file
    if have:
        headers["Range"] = f"bytes={have}-"
    with session.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing after what we have: complete, or not this file
            stated = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if str(have) == str(size or stated):
                return ""
            part.unlink()
            return "has another length"
        if answer.status_code in BUSY:
            return f"answered {answer.status_code} {answer.reason}"
        if answer.status_code not in (200, 206):
            raise SourceFailed(f"answered {answer.status_code} {answer.reason}")
        page = "text/html" in answer.headers.get("Content-Type", "")
        if page and not urlsplit(remote.url).path.endswith((".html", "/")):
            raise SourceFailed("answered with a web page instead of the file")
        if answer.status_code == 200:  # the server does not support ranges: from the start
            have = 0
        length = answer.headers.get("Content-Length")
        offered = have + int(length) if length and length.isdigit() else None
        if size is not None and offered not in (None, size):
            part.unlink(missing_ok=True)
            raise SourceFailed(f"offers {offered:,} bytes, not {size:,}")
        total, most = size or offered, min(size or offered or limit, limit)
        bar.total, bar.n = total, have
        since, before = time.monotonic(), have
        with part.open("ab" if have else "wb") as file:
            while chunk := answer.raw.read1(CHUNK):  # not a full chunk: a broken connection loses nothing
                have += len(chunk)
                if have > most:
                    break
                file.write(chunk)
                bar.update(len(chunk))
                if (seconds := time.monotonic() - since) > WINDOW:
                    if have - before < min_rate * seconds:
                        raise SourceFailed(f"sends only {(have - before) / seconds / 1000:.0f} kB/s")
                    since, before = time.monotonic(), have
    if have > most:
        part.unlink()
        raise SourceFailed(f"sends more than {most:,} bytes")
    # a body without a length ends where the server ends it
    return "" if total is None or have == total else "the connection broke off"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def unpack(archive: Path, folder: Path, limit: int) -> None:
    """Unpack a zip or tar archive into ``folder``. Nothing is written or linked outside of it.

    Raises SourceFailed if the archive is corrupt, unsafe, or unpacks to more than ``limit`` bytes; UserError if the
    format is not supported, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as source:  # extract() drops "..", drives and links itself
                _extract(archive, source.infolist(), lambda m: m.file_size, lambda m: source.extract(m, folder), limit)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                _extract(archive, tar, lambda m: m.size, lambda m: tar.extract(m, folder, filter="data"), limit)
        else:
            with archive.open("rb") as file:
                start = file.read(512)
            if start[:4] == b"Rar!" or archive.suffix.lower() in (".rar", ".7z"):
                raise UserError(f"cannot unpack {archive}; unpack it yourself and give the folder with --from")
            page = start.lstrip()[:1] == b"<"
            raise SourceFailed("is a web page, not an archive" if page else "is not a complete zip or tar archive")
    except tarfile.FilterError as error:
        raise SourceFailed(f"is not safe to unpack ({str(error)[:200]})") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise SourceFailed(f"is corrupt or incomplete ({one_line(error, 200)})") from None
    except RuntimeError as error:  # of zipfile: a password, or a compression that it does not know
        raise SourceFailed(f"cannot be unpacked here ({one_line(error, 200)})") from None
    except OSError as error:
        if error.errno is None:  # gzip and bz2 report corrupt data as a bare OSError
            raise SourceFailed(f"is corrupt ({error})") from None
        raise UserError(f"cannot unpack {archive} into {folder}: {error.strerror}; free some space") from None


def _extract(
    archive: Path, members: Iterable[Any], size: Callable[[Any], int], extract: Callable[[Any], object], limit: int
) -> None:
    total = 0
    for member in tqdm(members, desc=f"unpack {archive.name}", unit="file", disable=None):
        total += size(member)
        if total > limit:
            raise SourceFailed(f"unpacks to more than {limit:,} bytes")
        extract(member)
