"""Seeded damage to files: cut, flipped and shuffled bytes, wrong types, huge numbers, names that lead out of the folder."""

import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
OUTSIDE = "../../escaped"
WORDS = [
    OUTSIDE,
    "/tmp/grmp-escaped",
    "..\\..\\escaped",
    "x" * 100_000,
    "\x00",
    "\x1b[31m",
    "<script>alert(1)</script>",
    "",
]
NUMBERS = ["9" * 400, "1e999", "-1", "nan", "inf", "2147483648", "1e308", "0", "-0.5", "true", "1_0"]
VALUES: list[Any] = [None, True, -1, 0, 10**30, 1e308, float("nan"), float("inf"), OUTSIDE, "x" * 10_000, [], {}]
VALUES += [[[]], {"a": {"b": 1}}, [1] * 1000, "\n", "1"]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def damage(data: bytes, name: str, rng: Rng) -> bytes:
    """The content of the file ``name``, mutated in one way."""
    ending = name.rpartition(".")[2]
    kinds = [*BYTES]
    if ending in ("csv", "txt", "json", "yaml", "ipynb", "lock"):
        kinds += [*TEXT] * 2
    kinds += [*OF.get(ending, ())] * 4
    out = data
    for _ in range(int(rng.integers(1, 3))):
        kind = kinds[rng.integers(len(kinds))]
        try:
            out = kind(out, rng)
        except (
            ValueError,
            IndexError,
            KeyError,
            struct.error,
            zipfile.BadZipFile,
            tarfile.TarError,
            zlib.error,
            EOFError,
            OSError,
            RecursionError,
            AttributeError,
            TypeError,
        ):
            out = out[: len(out) // 2]  # damaged already: it cannot be taken apart any more
    return out


def _place(data: bytes, rng: Rng) -> int:
    return int(rng.integers(len(data) + 1))


def cut(data: bytes, rng: Rng) -> bytes:
    return data[: _place(data, rng)]


def flip(data: bytes, rng: Rng) -> bytes:
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 20))):
        if out:
            out[rng.integers(len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def head(data: bytes, rng: Rng) -> bytes:
    """The first bytes, where sizes and types stand."""
    return flip(data[:128], rng) + data[128:]


def insert(data: bytes, rng: Rng) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.bytes(int(rng.integers(1, 64))) + data[place:]


def repeat(data: bytes, rng: Rng) -> bytes:
    a, b = sorted((_place(data, rng), _place(data, rng)))
    return data[:b] + data[a:b] + data[b:]


def remove(data: bytes, rng: Rng) -> bytes:
    a, b = sorted((_place(data, rng), _place(data, rng)))
    return data[:a] + data[b:]


def noise(data: bytes, rng: Rng) -> bytes:
    return rng.bytes(int(rng.integers(0, 2000)))


def _swap(pattern: str, words: list[str]) -> Callable[[bytes, Rng], bytes]:
    def do(data: bytes, rng: Rng) -> bytes:
        found = list(re.finditer(pattern.encode(), data))
        one = found[rng.integers(len(found))]
        return data[: one.start()] + words[rng.integers(len(words))].encode() + data[one.end() :]

    return do


def lines(data: bytes, rng: Rng) -> bytes:
    rows = data.splitlines(keepends=True)
    rows.insert(int(rng.integers(len(rows))), rows[rng.integers(len(rows))])
    del rows[rng.integers(len(rows))]
    return b"".join(rows)


def deep(data: bytes, rng: Rng) -> bytes:
    return b"[" * 100_000


def bomb(data: bytes, rng: Rng) -> bytes:
    """Nine levels of nine: 387 million strings, if somebody writes them out."""
    key = re.findall(rb"^(\w+):", data, re.M)
    return BOMB.encode() + data + b"\n" + key[rng.integers(len(key))] + b": *i\n"


def _put(value: Any, rng: Rng) -> Any:
    """The same value with one part of it, anywhere inside, made another thing."""
    wrong = VALUES[rng.integers(len(VALUES))]
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return wrong
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[rng.integers(len(keys))]
    out: Any = value.copy()
    action = rng.random()
    if action < 0.15:
        del out[key]
    elif action < 0.25 and isinstance(out, dict):
        out[str(WORDS[rng.integers(len(WORDS))])] = out.pop(key)
    else:
        out[key] = _put(value[key], rng)
    return out


def json_value(data: bytes, rng: Rng) -> bytes:
    return json.dumps(_put(json.loads(data), rng)).encode()


def tensors(data: bytes, rng: Rng) -> bytes:
    """The header of a safetensors file."""
    (size,) = struct.unpack("<Q", data[:8])
    if rng.random() < 0.2:
        return struct.pack("<Q", [0, 1, 2**40, 2**63][rng.integers(4)]) + data[8:]
    text = json.loads(data[8 : 8 + size])
    meta = text.get("__metadata__", {})
    if meta and rng.random() < 0.6:  # what the project itself wrote there
        name = next(iter(meta))
        meta[name] = json.dumps(_put(json.loads(meta[name]), rng))
    else:
        text = _put(text, rng)
    made = json.dumps(text).encode()
    return struct.pack("<Q", len(made)) + made + data[8 + size :]


def array(data: bytes, rng: Rng) -> bytes:
    """The header of an npy file."""
    size = struct.unpack("<H", data[8:10])[0]
    header = data[10 : 10 + size].decode()
    shape = [
        "(9, 9)",
        "(10**9, 3, 36, 36)",
        "(999999999999, 3, 36, 36)",
        "(-1, 3, 36, 36)",
        "()",
        "'x'",
        "(24, 3, 0, 0)",
    ]
    kind = ["'|O'", "'<f8'", "'|S999999999'", "[('a', '<i4')]", "'<U1'"]
    if rng.random() < 0.5:
        header = re.sub(r"\([\d, ]+\)", lambda _: shape[rng.integers(len(shape))], header)
    else:
        header = re.sub(r"'\|u1'", lambda _: kind[rng.integers(len(kind))], header)
    made = header.strip().encode() + b"\n"
    return data[:8] + struct.pack("<H", len(made)) + made + data[10 + size :]


def member(data: bytes, rng: Rng) -> bytes:
    """One file inside a zip or a workbook: its content, its name, or that it is a link."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        names = source.namelist()
        chosen, action = names[rng.integers(len(names))], rng.random()
        for name in names:
            content, info = source.read(name), zipfile.ZipInfo(name)
            if name == chosen and action < 0.5:
                kinds = [*BYTES, _swap(rb"\d+".decode(), NUMBERS), _swap(r"[A-Za-z]+", WORDS)]
                content = kinds[rng.integers(len(kinds))](content, rng)
            elif name == chosen and action < 0.75:
                info = zipfile.ZipInfo(
                    [OUTSIDE, "/tmp/grmp-escaped", "a/../../../escaped", "C:\\escaped", ""][rng.integers(5)] or "./"
                )
            elif name == chosen and action < 0.9:
                info.external_attr, content = 0o120777 << 16, b"../../escaped"
            elif name == chosen:
                content = b"0" * 30_000_000  # 30 KB when packed
            target.writestr(info, content)
    return out.getvalue()


def tar_member(data: bytes, rng: Rng) -> bytes:
    """The same in a tar: a name that leads out, or a link that does."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as source, tarfile.open(fileobj=out, mode="w") as target:
        members = source.getmembers()
        chosen = members[rng.integers(len(members))]
        for info in members:
            content = source.extractfile(info)
            if info is chosen and rng.random() < 0.6:
                info.name = [OUTSIDE, "/tmp/grmp-escaped", "a/../../../escaped", "..", "a/./../escaped"][
                    rng.integers(5)
                ]
            elif info is chosen:
                info.type = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE][rng.integers(4)]
                info.linkname, info.size, content = OUTSIDE, 0, None
            target.addfile(info, content)
    return out.getvalue()


BYTES = (cut, flip, head, insert, repeat, remove, noise)
TEXT = (_swap(r"-?\d+\.?\d*", NUMBERS), _swap(r"[A-Za-z_]+", WORDS), lines)
OF: dict[str, tuple[Callable[[bytes, Rng], bytes], ...]] = {
    "json": (json_value, json_value, deep),
    "ipynb": (json_value, deep),
    "yaml": (bomb, deep),
    "lock": (cut, cut),
    "safetensors": (tensors,),
    "npy": (array,),
    "zip": (member,),
    "xlsx": (member,),
    "npz": (member,),
    "tar": (tar_member,),
    "tgz": (tar_member,),
    "rwlock": (json_value, json_value, *TEXT),
}
