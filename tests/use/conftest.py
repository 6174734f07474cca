"""Photographs that scikit-image ships, the default model with and without what ``grmp train`` knows of it, and a server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image, ImageFilter
from skimage import data

from grmp import load
from grmp.finetune import trust
from grmp.finetune.scorer import QualityModel


@pytest.fixture(scope="session")
def model() -> QualityModel:
    return load(device="cpu")


@pytest.fixture(scope="session")
def trained(model: QualityModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the default model, a scale from 1 to 5, and intervals."""
    path = tmp_path_factory.mktemp("model") / "mine.safetensors"
    spread = np.linspace(0, 1, 50)
    card = {"scale": {"low": 1, "high": 5, "higher_better": True}} | trust.measure(spread, spread**2, "50 images")
    replace(model, card=model.card | card).save(path)
    return path


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six JPEG files: three photographs, and each of them blurred."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "coffee", "chelsea"):
        image = Image.fromarray(getattr(data, name)())
        image.save(folder / f"{name}.jpg", quality=95)
        image.filter(ImageFilter.GaussianBlur(5)).save(folder / f"{name}_blurred.jpg", quality=95)
    return folder


@contextmanager
def serving(api: FastAPI) -> Iterator[str]:
    """Answers requests in a thread; gives the address."""
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
