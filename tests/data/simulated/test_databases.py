import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from grmp.data.simulated import databases as world
from grmp.data.simulated.distortions import KINDS, distort
from grmp.errors import UserError


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "sim_syn1"
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
        # in this process: what is patched here is not patched in the workers of ``render``
        rows = {n: world._make(design, folder, range(design.contents)) for n, design in world._DESIGNS.items()}
    return {name: pd.DataFrame(of).replace("", np.nan) for name, of in rows.items()}


def test_layout_and_scores(rendered: Path) -> None:
    table = pd.read_csv(rendered / "scores.csv")
    assert list(table) == ["image", "mos", "mos_std", "reference", "distortion", "level"]
    assert sorted(p.name for p in (rendered / "images").iterdir()) == table.image.tolist()
    assert len(table) == 750
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
    clean = world._photograph("coffee", 0).picture
    assert all(np.array_equal(p, distort(clean, "jpeg", level, 0)) for level, p in enumerate(pictures, 1))


def test_same_bytes_again_whatever_process_makes_them(rendered: Path, tmp_path: Path) -> None:
    design = world._DESIGNS["sim_syn1"]
    some = [0, 1, 2, 17, design.contents - 1]  # photographs and drawn scenes
    rows = pd.DataFrame(world._make(design, tmp_path, some))
    assert len(rows) == len(some) * len(design.kinds) * 5
    for name in rows["image"]:
        assert (tmp_path / name).read_bytes() == (rendered / "images" / name).read_bytes(), name
    table = (
        pd.read_csv(rendered / "scores.csv", dtype={"level": int}).set_index("image").loc[rows["image"]].reset_index()
    )
    pd.testing.assert_frame_equal(table, rows)


def test_no_source_has_two_roles(scores: dict[str, pd.DataFrame]) -> None:
    sources = {name: set(table.reference) for name, table in scores.items()}
    counts = {"train": 60, "validation": 60, "heldout": 60}
    sources |= {role: {c.reference for c in world.contents(role, count)} for role, count in counts.items()}
    for (a, of_a), (b, of_b) in itertools.combinations(sources.items(), 2):
        training = {"train", "sim_pre1", "sim_pre2"}
        if {a, b} <= training:
            assert not {r for r in of_a & of_b if "-" in r}, (a, b)  # only photographs serve twice
        else:
            assert not of_a & of_b, (a, b)


def test_databases_can_be_split_by_source(scores: dict[str, pd.DataFrame]) -> None:
    assert 3500 <= sum(map(len, scores.values())) <= 4500
    for name, table in scores.items():
        assert table.image.is_unique
        sizes = table.reference.value_counts()
        if name in ("sim_syn1", "sim_syn2", "sim_wild"):
            assert len(sizes) >= 20
            assert sizes.max() <= 0.05 * len(table)
            assert 0.2 * len(sizes) // 1 * sizes.median() >= 150  # a test side of 20 % of the sources
    for name in ("sim_pre1", "sim_pre2"):
        tasks = scores[name].groupby("distortion")
        assert tasks.ngroups == 25
        assert (tasks["level"].nunique() == 5).all()
    assert scores["sim_wild"][["distortion", "level"]].isna().all(axis=None)


def test_contents_are_drawn_by_position_alone() -> None:
    few, many = world.contents("validation", 3), world.contents("validation", 12)
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(few, many, strict=False))
    assert len({c.picture.tobytes() for c in many}) == 12
    assert sorted({c.scene for c in many}) == world.scenes_of("validation")


def test_quality_has_known_ends() -> None:
    clean = world.contents("train", 1)[0].picture
    assert world.quality(clean, clean) == 5
    assert world.quality(255 - clean, clean) < 2


def test_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown simulated database 'sim_sin'; choose one of: sim_pre1"):
        world.render("sim_sin", tmp_path / "x")
    with pytest.raises(UserError, match="unknown role 'syn1'"):
        world.contents("syn1", 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    monkeypatch.setattr(world, "_DESIGNS", {"sim_syn1": world._Design("syn1", 1, ("jpeg",))})
    with pytest.raises(UserError, match="No space left on device; free some space"):
        world.render("sim_syn1", tmp_path / "full")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "number", "first", "mean", "sd", "mos"),
    [
        ("sim_pre1", 7, "page-of-text-pre1-0004_01_1.png", 191.92, 56.95, 3.208),
        ("sim_syn1", 0, "coffee_01_1.png", 78.79, 73.84, 3.004),
        ("sim_syn2", 5, "cloudy-sky-syn2-0003_01_1.png", 159.86, 45.83, 2.603),
        ("sim_wild", 3, "camera-crop3_mix.png", 193.46, 52.66, 3.15),
        ("sim_wild", 700, "heap-of-leaves-wild-0684_mix.png", 117.89, 59.77, 3.0),
    ],
)
def test_images_and_ratings_are_the_recorded_ones(name, number, first, mean, sd, mos) -> None:
    """Values of the first release; processors may differ in the last bit of a pixel, so not a checksum."""
    made = list(world._pictures(world._DESIGNS[name], number))
    pixels = [image for _, image in made]
    assert made[0][0]["image"] == first
    assert (np.mean(pixels), np.std(pixels)) == pytest.approx((mean, sd), abs=0.02)
    assert np.mean([row["mos"] for row, _ in made]) == pytest.approx(mos, abs=0.01)
