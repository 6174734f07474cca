"""One file from one address by the Hugging Face Hub's client, either complete or not there. And archives, unpacked safely."""

import lzma
import socket
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from grmp.errors import UserError, one_line

HUB = "hf://datasets/"
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
    with _asking(address):
        facts = get_hf_file_metadata(address, retry_on_errors=True)
    etag = facts.etag or ""
    return Remote(address, facts.size, etag if len(etag) == 64 else "", build_hf_headers())


def from_hub(repository: str, file: str) -> Path:
    """A file of a Hugging Face model repository, in the Hub client's cache.

    Raises SourceFailed if the Hub cannot be reached or refuses, after the client's own retries.
    """
    from huggingface_hub import constants, hf_hub_download

    with suppress(Exception):  # the client raises many kinds
        return Path(hf_hub_download(repository, file, local_files_only=True))
    with _asking(constants.ENDPOINT):
        return Path(hf_hub_download(repository, file))


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """SourceFailed with one line for what the client raises; at once if there is a proxy that cannot be reached."""
    from huggingface_hub.errors import HfHubHTTPError

    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
        place = urlsplit(proxy if "//" in proxy else f"//{proxy}")
        try:
            socket.create_connection((place.hostname, place.port or 80), timeout=5).close()
        except OSError as error:
            raise SourceFailed(
                f"the proxy {place.hostname}:{place.port or 80} cannot be reached ({error.strerror or error}); correct or "
                f"unset {parts.scheme.upper()}_PROXY"
            ) from None
    try:
        yield
    except (UserError, SourceFailed):
        raise
    except Exception as error:  # the client raises many kinds; each means "not available"
        cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
        raise SourceFailed(one_line(str(cause).strip().partition("\n")[0] or type(cause).__name__, 200)) from None


def download(remote: Remote, target: Path) -> Path:
    """Download to ``target``. What has arrived waits in ``target.part``, from where the next call continues.

    Raises SourceFailed if the address refuses or does not deliver a file of that size; UserError if the file cannot be
    written.
    """
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    headers = remote.headers | {"Accept-Encoding": "identity"}  # uncompressed: offsets count bytes of the file
    with _asking(remote.url):
        try:
            with part.open("ab") as file:
                http_get(remote.url, file, resume_size=file.tell(), headers=headers, expected_size=remote.size)
        except HfHubHTTPError as error:
            if error.response.status_code != 416:
                raise
            part.unlink()  # what an earlier call left is longer than the file
            return download(remote, target)
        except OSError as error:
            if error.errno:
                raise UserError(f"cannot write {part}: {error.strerror}; free some space and run it again") from None
            part.unlink()
            raise SourceFailed(f"does not send the {remote.size:,} bytes of the file") from None
    part.replace(target)
    return target


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into ``folder``. Nothing is written or linked outside of it.

    Raises SourceFailed if the archive is corrupt or unsafe; UserError if the format is not supported, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    bar = partial(tqdm, desc=f"unpack {archive.name}", unit="file", disable=None)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as source:
                for name in bar(source.namelist()):
                    source.extract(name, folder)  # drops "..", drives and links itself
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                for member in bar(tar):
                    tar.extract(member, folder, filter="data")
        else:
            with archive.open("rb") as file:
                start = file.read(512)
            if start[:4] == b"Rar!" or archive.suffix.lower() in (".rar", ".7z"):
                raise UserError(f"cannot unpack {archive}; unpack it yourself and give the folder with --from")
            page = start.lstrip()[:1] == b"<"
            raise SourceFailed("is a web page, not an archive" if page else "is not a complete zip or tar archive")
    except tarfile.FilterError as error:
        raise SourceFailed(f"is not safe to unpack ({str(error)[:200]})") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, NotImplementedError) as error:
        raise SourceFailed(f"is corrupt or incomplete ({one_line(error, 200)})") from None
    except OSError as error:
        if error.errno is None:  # gzip and bz2 report corrupt data as a bare OSError
            raise SourceFailed(f"is corrupt ({error})") from None
        raise UserError(f"cannot unpack {archive} into {folder}: {error.strerror}; free some space") from None
