"""The service scores as `grmp score` does, refuses what is too large in one line, and loses no request."""

import io
import json
import re
import socket
import struct
import urllib.request
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import pytest
from PIL import Image

from grmp.errors import UserError
from grmp.finetune.scorer import QualityModel
from grmp.use import serve
from tests.use.conftest import serving


@pytest.fixture(scope="module")
def address(model: QualityModel) -> Iterator[str]:
    with serving(serve.service(model)) as found:
        yield found


def post(address: str, data: bytes) -> dict:
    with urllib.request.urlopen(f"{address}/score", data=data, timeout=250) as answer:
        return json.load(answer)


def test_scores_are_those_of_the_command(address: str, model: QualityModel, photographs: Path):
    data = (photographs / "coffee.jpg").read_bytes()
    found = post(address, data)
    assert found["quality"] == model.score([data])[0]
    assert found["low"] < found["predicted_rating"] < found["high"]
    assert model.card["sha256"].startswith(found["model"])
    with urllib.request.urlopen(f"{address}/openapi.json") as answer:
        assert "/score" in json.load(answer)["paths"]


def png(width: int, height: int) -> bytes:
    """A file that states its size and holds no pixels: a decompression bomb if it were decoded."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IDAT")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"no image", 422, "not an image in a supported format"),
        (b"", 422, "not an image in a supported format"),
        (png(30_000, 30_000), 413, "more than 64 million pixels"),
        (b"x" * (serve.LARGEST + 1), 413, "more than 32 MB"),
    ],
    ids=["text", "empty", "bomb", "large"],
)
def test_refusals_are_one_line(address: str, data: bytes, code: int, words: str):
    with pytest.raises(HTTPError) as caught:
        post(address, data)
    with caught.value as error:
        assert error.code == code
        assert words in json.load(error)["detail"]


def test_a_request_that_does_not_arrive_ends(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serve, "PATIENCE", 0.2)
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert b" 408 " in client.recv(1000)


@pytest.mark.slow
def test_two_hundred_requests_at_once_lose_nothing(address: str, model: QualityModel):
    def grey(value: int) -> bytes:
        data = io.BytesIO()
        Image.new("L", (64, 64), value).save(data, "PNG")
        return data.getvalue()

    images = [grey(value) for value in range(200)]
    with ThreadPoolExecutor(200) as pool:
        found = list(pool.map(lambda data: post(address, data)["quality"], images))
    assert found == model.score(images).tolist()


def test_an_address_in_use_is_named():
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(
            UserError,
            match=r"cannot listen at 127\.0\.0\.1, port \d+: Address already in use; choose another with --port",
        ),
    ):
        serve.listen(serve.FastAPI(), "127.0.0.1", taken.getsockname()[1], "at {}")
    with pytest.raises(UserError, match=r"port 8000: .*; choose another with --host"):
        serve.listen(serve.FastAPI(), "192.0.2.1", 8000, "at {}")


@pytest.mark.parametrize(
    ("host", "shown"), [("::1", r"http://\[::1\]:\d+ "), ("127.0.0.1", r"http://127\.0\.0\.1:\d+ ")]
)
def test_the_printed_address_can_be_opened(host: str, shown: str, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(serve.uvicorn.Server, "run", lambda self, sockets: sockets[0].close())
    try:
        serve.listen(serve.FastAPI(), host, 0, "at {}")
    except UserError:
        pytest.skip("no IPv6 here")
    assert re.match(f"at {shown}", capsys.readouterr().out)
