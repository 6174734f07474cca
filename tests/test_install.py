"""What `pip install grmp` gives: it works without the extras, and imports without the modules that only Linux has."""

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image
from skimage import data

from tests.conftest import ROOT

PIPELINE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["pipeline"]
NAMES = {"scikit-image": "skimage", "opencv-python-headless": "cv2"}  # packages whose module has another name
HEAVY = [NAMES.get(name, name.replace("-", "_")) for name in (line.split("==")[0] for line in PIPELINE)]
HIDE = """
import sys
from importlib.machinery import PathFinder as real
find = real.find_spec
real.find_spec = lambda name, *more: None if name.partition(".")[0] in {hidden} else find(name, *more)
"""


def run(code: str, folder: Path) -> str:
    """What a fresh Python prints."""
    here = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten crops of a photograph with ratings."""
    (tmp_path / "photos").mkdir()
    lines = ["image,mos"]
    for i in range(10):
        Image.fromarray(data.astronaut()[40 * i :, : 300 + 10 * i]).save(tmp_path / f"photos/{i}.png")
        lines.append(f"{i}.png,{1 + i % 5}")
    (tmp_path / "photos/ratings.csv").write_text("\n".join(lines))
    return tmp_path


def test_the_commands_for_own_images_need_no_extra(photos: Path):
    commands = (
        ["train", "photos/ratings.csv", "--method", "ridge", "--folds", "0"],
        ["score", "photos/3.png", "--model", "photos/ratings.safetensors"],
        ["select", "photos", "-n", "3", "-o", "photos/chosen.csv"],
    )
    calls = "".join(f"app({words}, standalone_mode=False)\n" for words in commands)
    said = run(f"{HIDE.format(hidden=HEAVY)}from grmp.cli import app\n{calls}import grmp.use.rate", photos)
    ((quality, percentile),) = re.findall(r"photos/3\.png,([\d.]+),([\d.]+),", said)
    assert 0 < float(quality) < 1
    assert 0 <= float(percentile) <= 100  # among photographs that come with the package
    assert "3 of 10 images" in said


def test_every_module_imports_and_scores_without_what_only_linux_has(photos: Path):
    hide = HIDE.format(hidden=["fcntl", "resource", "pwd", "grp", "termios"])
    # psutil has a module for each system
    hide = "import os, psutil" + hide + "del os.sched_getaffinity, sys.modules['resource']\n"
    code = """
import importlib, pkgutil, grmp
for module in pkgutil.walk_packages(grmp.__path__, "grmp."):
    importlib.import_module(module.name)
print(grmp.load().score(["photos/3.png"]))
"""
    assert run(hide + code, photos).splitlines()[-1].startswith("[0.")


def closure(requirements: list[str]) -> set[str]:
    """Names of the packages that these need, without their extras."""
    found: set[str] = set()
    while requirements:
        wanted = Requirement(requirements.pop())
        if wanted.name not in found and (not wanted.marker or wanted.marker.evaluate({"extra": ""})):
            found.add(wanted.name)
            requirements += requires(wanted.name) or []
    return found


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_scores_an_image(photos: Path):
    """The environment has what `pip install` of the wheel brings, as links to the files installed here, and nothing else."""
    source, place = photos / "source", photos / "empty"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    wheel = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(photos), str(source)]
    subprocess.run(wheel, check=True)
    (built,) = photos.glob("*.whl")
    venv.create(place, symlinks=True, with_pip=False)
    (libraries,) = place.glob("lib/*/site-packages")
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in closure(stated):
        for top in {file.parts[0] for file in distribution(name).files or []} - {"..", "__pycache__"}:
            if not (libraries / top).exists():  # several packages share a folder, nvidia
                (libraries / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    install = [*pip, "--python", str(place / "bin/python"), "install", "-q", "--no-deps", str(built)]
    # a tree on PYTHONPATH would count as installed
    subprocess.run(install, env={n: v for n, v in os.environ.items() if n != "PYTHONPATH"}, check=True)

    def alone(*arguments: str) -> str:
        here = {"PATH": "/usr/bin:/bin", "HOME": str(photos)}
        done = subprocess.run(arguments, cwd=photos, env=here, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    grmp, python = str(place / "bin/grmp"), str(place / "bin/python")
    assert str(place) in alone(python, "-c", "import grmp; print(grmp.__file__)")
    assert "photos/3.png" in alone(grmp, "score", "photos/3.png")
    alone(grmp, "train", "photos/ratings.csv", "--method", "ridge", "--folds", "0")
    alone(grmp, "export", "--onnx", "photo.onnx")
    assert json.loads(alone(grmp, "rate", "photos", "--json"))["images"] == 10
    alone(python, "-c", "from grmp.clip.shipped import Path, prompts; prompts('small', 'fomaml', Path('p'))")
    alone(python, "-c", "import grmp.use.serve")
    alone(python, "-c", "from importlib.util import find_spec; assert not find_spec('dvc')")
