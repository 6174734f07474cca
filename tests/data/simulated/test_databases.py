import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage
from PIL import Image

from grmp.data.simulated import databases as world
from grmp.data.simulated.distortions import KINDS, distort
from grmp.errors import UserError


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "sim_syn1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(world._DESIGNS, "sim_syn1", replace(world._DESIGNS["sim_syn1"], contents=3))
        world.render("sim_syn1", folder)
    return folder


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """scores.csv of all databases, with flat pictures in place of drawn ones: only the design is looked at."""
    grey = np.full((world.SIZE, world.SIZE, 3), 128, np.uint8)
    folder = tmp_path_factory.mktemp("design")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "render_scene", lambda *_: grey)
        patch.setattr(world, "distort", lambda image, *_, **__: image)
        patch.setattr(world, "quality", lambda *_: 3.0)
        patch.setattr(Image.Image, "save", lambda *_, **__: None)
        # in this process: what is patched here is not patched in the workers of ``render``
        rows = {n: world._make(n, folder, range(design.contents)) for n, design in world._DESIGNS.items()}
    return {name: pd.DataFrame(of).replace("", np.nan) for name, of in rows.items()}


def test_layout_and_scores(rendered: Path) -> None:
    table = pd.read_csv(rendered / "scores.csv")
    assert list(table) == ["image", "mos", "mos_std", "reference", "distortion", "level"]
    assert sorted(p.name for p in (rendered / "images").iterdir()) == table.image.tolist()
    assert len(table) == 75
    assert table.mos.between(1, 5).all()
    assert table.mos.std() > 0.5
    assert (table.mos_std > 0).any()
    with Image.open(rendered / "images" / table.image[0]) as picture:
        assert (picture.size, picture.mode) == ((world.SIZE, world.SIZE), "RGB")
    for _, group in table.groupby("distortion"):  # in the mean over sources, every level is rated below the one before
        assert (group.groupby("level").mos.mean().diff().dropna() < 0).all()
    assert "SIMULATED" in (rendered / "README.txt").read_text()


def test_the_picture_is_the_distortion_it_is_named_for(rendered: Path) -> None:
    table = pd.read_csv(rendered / "scores.csv")
    assert [KINDS[int(name.split("_")[-2]) - 1] for name in table.image] == table.distortion.tolist()
    assert [int(name.split("_")[-1][0]) for name in table.image] == table.level.tolist()
    # JPEG draws nothing at random, so that the file can be made again from the clean crop alone
    coffee = table[(table.reference == "coffee") & (table.distortion == "jpeg")].sort_values("level")
    pictures = [np.asarray(Image.open(rendered / "images" / name)) for name in coffee.image]
    clean = world._photograph("coffee.png", 0)
    assert all(np.array_equal(p, distort(clean, "jpeg", level, 0)) for level, p in enumerate(pictures, 1))


def test_same_bytes_again_whatever_process_makes_them(rendered: Path, tmp_path: Path) -> None:
    some = [0, 2]  # a photograph and a rendered scene
    rows = pd.DataFrame(world._make("sim_syn1", tmp_path, some))
    assert len(rows) == len(some) * 5 * 5
    for name in rows["image"]:
        assert (tmp_path / name).read_bytes() == (rendered / "images" / name).read_bytes(), name
    table = (
        pd.read_csv(rendered / "scores.csv", dtype={"level": int}).set_index("image").loc[rows["image"]].reset_index()
    )
    pd.testing.assert_frame_equal(table, rows)


def test_no_source_is_in_two_databases(scores: dict[str, pd.DataFrame]) -> None:
    sources = {name: set(table.reference) for name, table in scores.items()}
    for a, b in itertools.combinations(sources, 2):
        assert not sources[a] & sources[b], (a, b)


def test_pre_training_databases_hold_photographs_alone(scores: dict[str, pd.DataFrame]) -> None:
    """Photographs that scikit-image ships, which no database of photographs contains."""
    shipped = {path.stem for path in (Path(skimage.__file__).parent / "data").iterdir()}
    for name in ("sim_pre1", "sim_pre2"):
        assert set(scores[name].reference) <= shipped
        assert scores[name].reference.nunique() == 4


def test_databases_can_be_split_by_source(scores: dict[str, pd.DataFrame]) -> None:
    for name, table in scores.items():
        assert table.image.is_unique
        sizes = table.reference.value_counts()
        if name in ("sim_syn1", "sim_wild"):
            assert len(sizes) >= 20
            assert sizes.max() <= 0.05 * len(table)
            assert 0.2 * len(sizes) // 1 * sizes.median() >= 90  # a test side of 20 % of the sources
    for name in ("sim_pre1", "sim_pre2"):
        tasks = scores[name].groupby("distortion")
        assert tasks.ngroups == 25
        assert (tasks["level"].nunique() == 5).all()
    assert scores["sim_wild"][["distortion", "level"]].isna().all(axis=None)


def test_quality_has_known_ends() -> None:
    clean = world._photograph("chelsea.png", 0)
    assert world.quality(clean, clean) == 5
    assert world.quality(255 - clean, clean) < 2


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world, "work", full)
    with pytest.raises(UserError, match="No space left on device; free some space"):
        world.render("sim_syn1", tmp_path / "full")
    assert list(tmp_path.iterdir()) == []
