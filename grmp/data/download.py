"""One file from one address: resumed, retried, bounded, and either whole or not there."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from grmp.data.sources import HUB
from grmp.errors import UserError

ATTEMPTS = 5  # in a row without a new byte
BACKOFF = 1.0  # seconds before the second attempt; doubled for each that follows
TIMEOUT = (15, 60)  # to connect, and between two reads
CHUNK = 1 << 20


class SourceFailed(Exception):
    """This address does not give the file; another may. The message is a clause without a full stop."""


def download(url: str, target: Path, limit: int, size: int | None = None) -> Path:
    """Fetch ``url`` to ``target``; what arrived so far waits in ``target.part``, and the next call goes on from there.

    Parameters
    ----------
    limit
        Bytes after which an endless body is cut off.
    size
        The exact size, where it is known.

    Returns
    -------
    The file: ``target``, or for an ``hf://datasets/`` address the file in the Hub client's own cache (whose usual environment
    variables for token, proxy, cache and offline use hold).

    Raises
    ------
    SourceFailed
        If the address refuses, or does not give a file of that size. Nothing is left that looks whole.
    UserError
        If the disk is full.
    """
    if url.startswith(HUB):
        owner, repository, file = url.removeprefix(HUB).split("/", 2)
        return from_hub(f"{owner}/{repository}", file, "dataset")
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _resume(url, part, limit, size)
    except OSError as error:
        raise UserError(f"cannot write {part}: {error.strerror or error}; free some space and run it again") from None
    part.replace(target)
    return target


def from_hub(repository: str, file: str, kind: str | None = None) -> Path:
    """A file of a Hugging Face repository (``kind`` dataset, or None for a model), in the Hub client's cache.

    Raises
    ------
    SourceFailed
        If it cannot be had, after the client's own retries and resumption, and ours around them.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(ATTEMPTS):
        try:
            return Path(hf_hub_download(repository, file, repo_type=kind))
        except Exception as error:  # the client raises many kinds; each means "not to be had"
            cause = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else error
            reason = " ".join((str(cause).strip().splitlines() or [type(cause).__name__])[0].split())
            answer = cause.response if isinstance(cause, HfHubHTTPError) else None
            for_good = answer is not None and answer.status_code < 500 and answer.status_code != 429
            if for_good or attempt == ATTEMPTS - 1:
                raise SourceFailed(reason[:200]) from None
            time.sleep(BACKOFF * 2**attempt)
    raise AssertionError("unreachable")


def _session() -> requests.Session:
    """Connections and busy servers are retried by urllib3, which heeds Retry-After; broken bodies are resumed by us."""
    retry = Retry(
        ATTEMPTS, read=0, backoff_factor=BACKOFF, status_forcelist=(429, 500, 502, 503, 504), retry_after_max=300
    )
    retry.raise_on_status = False
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=retry))
    session.mount("https://", HTTPAdapter(max_retries=retry))
    return session


def _resume(url: str, part: Path, limit: int, size: int | None) -> None:
    """Bring ``part`` to completion."""
    best, idle = 0, 0
    with _session() as session, tqdm(unit="B", unit_scale=True, desc=part.stem, total=size, disable=None) as bar:
        while True:
            try:
                if _attempt(session, url, part, limit, size, bar):
                    return
                reason = "the connection broke off"
            except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
                reason = f"the connection broke off ({type(error).__name__})"
            except requests.RequestException as error:
                raise SourceFailed(" ".join(str(error).split())[:200]) from None
            have = part.stat().st_size if part.exists() else 0
            idle = 0 if have > best else idle + 1
            best = max(best, have)
            if idle >= ATTEMPTS:
                raise SourceFailed(f"{reason} {idle} times without a new byte, at {have:,} bytes")
            time.sleep(min(BACKOFF * 2**idle, 60))


def _attempt(session: requests.Session, url: str, part: Path, limit: int, size: int | None, bar: tqdm) -> bool:
    """One request; True when ``part`` is whole."""
    have = part.stat().st_size if part.exists() else 0
    # no compression on the way: an offset counts bytes of the file
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # there is nothing after what we have: it is whole, or it is not this file
            if have == (size or _total(answer)):
                return True
            part.unlink()
            return False
        if answer.status_code not in (200, 206):
            raise SourceFailed(f"answered {answer.status_code} {answer.reason}")
        if "text/html" in answer.headers.get("Content-Type", "") and not urlsplit(url).path.endswith((".html", "/")):
            raise SourceFailed("answered with a web page instead of the file")
        if answer.status_code == 200:  # the server knows no ranges: from the start
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        if size is not None and total not in (None, size):
            part.unlink(missing_ok=True)
            raise SourceFailed(f"offers {total:,} bytes, not {size:,}")
        bound = size or total or limit
        bar.total, bar.n = size or total, have
        with part.open("ab" if have else "wb") as file:
            while chunk := answer.raw.read1(
                CHUNK
            ):  # what has come, not a full chunk: a broken connection loses nothing
                have += len(chunk)
                if have > min(bound, limit):
                    break
                file.write(chunk)
                bar.update(len(chunk))
    if have > min(bound, limit):
        part.unlink()
        raise SourceFailed(f"sends more than {min(bound, limit):,} bytes")
    if total is None and size is None:
        return True  # a body without a length ends where the server ends it
    return have == (size or total)


def _total(answer: requests.Response) -> int:
    """The size after the slash of ``Content-Range: bytes */N``; -1 if the server does not say."""
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else -1
