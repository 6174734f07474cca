"""What `pip install grmp` gives: it works without the extras, and imports without the modules that only Linux has."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
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
GRMP = "sys.argv = ['grmp', *{arguments}]; from grmp.cli import main; main()"


def run(code: str, folder: Path, **environment: str) -> str:
    """What a fresh Python prints."""
    here = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")} | environment
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
    hide = HIDE.format(hidden=HEAVY)
    train = ["train", "photos/ratings.csv", "--method", "ridge", "--folds", "0"]
    run(hide + GRMP.format(arguments=train), photos)
    score = ["score", "photos/3.png", "--model", "photos/ratings.safetensors"]
    assert "photos/3.png" in run(hide + GRMP.format(arguments=score), photos)
    run(hide + "import grmp.use.select, grmp.use.rate", photos)


def test_the_package_imports_without_the_modules_of_linux(tmp_path: Path):
    modules = [
        "cli",
        "data.cli",
        "use.score",
        "use.select",
        "use.rate",
        "experiments.crossval",
        "locks",
        "pool",
        "device",
    ]
    hide = HIDE.format(hidden=["fcntl", "resource", "pwd", "grp", "termios"])
    run(hide + "\n".join(f"import grmp.{module}" for module in modules), tmp_path)


@pytest.mark.slow
def test_a_wheel_in_an_empty_folder_scores_an_image(photos: Path):
    """With its data: weights, settings and pages."""
    place, pip = photos / "site", [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    source = photos / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    wheel = [*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(photos), str(source)]
    subprocess.run(wheel, check=True)
    (built,) = photos.glob("*.whl")
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", str(place), str(built)], check=True)
    alone = {"PYTHONPATH": str(place)}
    assert str(place) in run("import grmp; print(grmp.__file__)", photos, **alone)
    score = GRMP.format(arguments=["score", "photos/3.png"])
    assert "photos/3.png" in run("import sys; " + score, photos, **alone)
    run("from pathlib import Path; from grmp.use.settings import own; own()", photos, **alone)
    run(
        "from pathlib import Path; from grmp.use.rate import Session, application as a; a(Session(Path('photos')))",
        photos,
        **alone,
    )
