"""Known-bad files for each reader of files from outside: one line that names the problem, and nothing written elsewhere."""

import io
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from grmp.clip import checkpoints
from grmp.clip.model import tokenize
from grmp.data import custom, labels
from grmp.data.databases.koniq10k import KONIQ10K
from grmp.data.databases.livec import LIVEC
from grmp.data.decode import read_images
from grmp.errors import UserError
from grmp.finetune.scorer import QualityModel, load
from tests import worlds
from tests.data import layouts

PNG = layouts.picture(".png", size=(64, 48))
JPEG = layouts.picture(".jpg", size=(64, 48))


@contextmanager
def refused() -> Iterator[None]:
    """What is inside ends with an error of one line."""
    with pytest.raises(UserError) as caught:
        yield
    text = str(caught.value)
    assert text.strip()
    assert "\n" not in text
    assert len(text) < 1000


# --- images -------------------------------------------------------------------------------------------------------------

IMAGES = {  # what tests/data/test_reading.py does not contain
    "page": b"<html></html>",
    "png header only": PNG[:33],
    "jpeg start only": JPEG[:20],
    "png of no width": PNG[:16] + bytes(4) + PNG[20:],
    "huge png": PNG[:16] + struct.pack(">II", 10**6, 10**6) + PNG[24:],
}


@pytest.mark.parametrize("name", IMAGES)
def test_images(tmp_path: Path, name: str):
    path = tmp_path / "a.png"
    path.write_bytes(IMAGES[name])
    _, unread = read_images([path], 32, "squash")
    assert "\n" not in unread[path]


# --- ratings ------------------------------------------------------------------------------------------------------------

ROWS = "".join(f"p{i}.png,{i % 5}\n" for i in range(12))
RATINGS = {  # what tests/data/test_tables.py does not contain
    "no header": ROWS.encode(),
    "no name": b"image,mos\n" + ROWS.encode() + b",1\n",
    "all equal": b"image,mos\n" + b"".join(b"p%d.png,3\n" % i for i in range(12)),
    "leads out": b"image,mos\n" + ROWS.replace("p0.png", "../../p0.png").encode(),
    "not there": b"image,mos\n" + ROWS.replace("p0.png", "q0.png").encode(),
}


@pytest.mark.parametrize("name", RATINGS)
def test_ratings(tmp_path: Path, name: str):
    layouts.unpack({f"p{i}.png": layouts.PICTURES[".png", i % 7] for i in range(12)}, tmp_path)
    (tmp_path / "r.csv").write_bytes(RATINGS[name])
    with refused():
        custom.read(tmp_path / "r.csv", 8, "squash", None, higher_better=True)


# --- score files --------------------------------------------------------------------------------------------------------

SCORES = pd.DataFrame({"image_name": [f"{i}.jpg" for i in range(4)], "MOS": [1.5, 2.25, 3.0, 4.75], "SD": 0.3})
SCORES = SCORES.assign(**{f"c{i}": 0.2 for i in range(1, 6)}, MOS_zscore=SCORES["MOS"])
MATLAB = layouts.mat(AllMOS_release=np.array([[1.5, 2.0, 3.0, 4.0]]))


def rows(**changed: object) -> bytes:
    return SCORES.assign(**changed).to_csv(index=False).encode()


CSV = {  # what tests/data/test_labels.py does not contain
    "empty": b"",
    "binary": bytes(range(256)),
    "no column": SCORES.drop(columns="MOS").to_csv(index=False).encode(),
    "infinite": rows(MOS=np.inf),
    "outside the range": rows(MOS=[1.5, 2.25, 3.0, 47.5]),
}
MAT = {
    "empty": b"",
    "text": b"no matlab",
    "cut": MATLAB[: len(MATLAB) // 2],
    "header only": MATLAB[:128],
    "another version": MATLAB[:124] + b"\x00\x02IM" + MATLAB[128:],
    "flipped": MATLAB[:128] + bytes(b ^ 255 for b in MATLAB[128:]),
    "other variable": layouts.mat(other=np.array([[1.0]])),
}


@pytest.mark.parametrize("name", CSV)
def test_score_tables(tmp_path: Path, name: str):
    entry = replace(KONIQ10K, scores=replace(KONIQ10K.scores, count=4, low=1.0, high=5.0, mean=0.0, sd=0.0))
    (tmp_path / "koniq10k_scores_and_distributions.csv").write_bytes(CSV[name])
    with refused():
        labels.read(entry, tmp_path)


@pytest.mark.parametrize("name", MAT)
def test_score_files_of_matlab(tmp_path: Path, name: str):
    names = [f"{i}.jpg" for i in range(4)]
    (tmp_path / "AllImages_release.mat").write_bytes(layouts.mat(AllImages_release=layouts.cells(names)))
    (tmp_path / "AllStdDev_release.mat").write_bytes(layouts.mat(AllStdDev_release=np.array([[0.1] * 4])))
    (tmp_path / "AllMOS_release.mat").write_bytes(MAT[name])
    with refused():
        labels.read(LIVEC, tmp_path)


# --- models -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("model")
    worlds.build(folder / "w")
    backbone = checkpoints.load(folder / "w")
    card = {"size": worlds.SIZE, "aspect": "squash", "scale": {"low": 1.0, "high": 5.0, "higher_better": True}}
    made = QualityModel.of(backbone.weights, backbone.shape, tokenize(["good", "bad"]))
    replace(made, card=card).save(folder / "m.safetensors")
    assert load(folder / "m.safetensors").card["size"] == worlds.SIZE
    return (folder / "m.safetensors").read_bytes()


def header(data: bytes, change) -> bytes:
    """The file with a changed safetensors header."""
    (size,) = struct.unpack("<Q", data[:8])
    text = json.loads(data[8 : 8 + size])
    change(text)
    made = json.dumps(text).encode()
    return struct.pack("<Q", len(made)) + made + data[8 + size :]


def _pickle(_: bytes) -> bytes:
    out = io.BytesIO()
    torch.save({"a": torch.ones(2)}, out)
    return out.getvalue()


MODELS = {
    "empty": lambda d: b"",
    "text": lambda d: b"no model",
    "cut": lambda d: d[:-100],
    "header only": lambda d: d[:100],
    "endless header": lambda d: struct.pack("<Q", 2**62) + d[8:],
    "no json": lambda d: d[:8] + b"x" * 20 + d[28:],
    "pickle": _pickle,
    "no card": lambda d: header(d, lambda t: t.pop("__metadata__")),
    "card of no json": lambda d: header(d, lambda t: t.update(__metadata__=dict.fromkeys(t["__metadata__"], "{"))),
    "tensor missing": lambda d: header(d, lambda t: t.pop(next(k for k in t if "resblocks.1" in k))),
    "tensor renamed": lambda d: header(d, lambda t: t.update(x=t.pop("text"))),
}


@pytest.mark.parametrize("name", MODELS)
def test_models(tmp_path: Path, model: bytes, name: str):
    (tmp_path / "m.safetensors").write_bytes(MODELS[name](model))
    with refused():
        load(tmp_path / "m.safetensors")
