"""Selection: far apart in content and quality, no near-duplicates, the same images for the same seed."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data
from typer.testing import CliRunner

from grmp.cli import app
from grmp.errors import UserError
from grmp.use import select as room


def test_each_of_four_distant_groups_is_chosen_once():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(4), 25)
    x = 10 * np.eye(4)[group] + rng.normal(0, 0.01, (100, 4))
    for seed in range(5):
        assert sorted(group[room.choose(x, np.zeros(100), 4, seed)]) == [0, 1, 2, 3]


def test_quality_counts_as_much_as_content():
    rng = np.random.default_rng(1)
    x, quality = rng.normal(0, 1, (100, 3)), np.repeat([0.1, 0.9], 50)
    chosen = [np.ptp(quality[room.choose(x, quality, 2, seed)]) > 0.5 for seed in range(40)]
    blind = [np.ptp(quality[room.choose(x, np.zeros(100), 2, seed)]) > 0.5 for seed in range(40)]
    assert sum(chosen) > sum(blind)
    assert (room.choose(x, quality, 9, 3) == room.choose(x, quality, 9, 3)).all()


def test_one_of_two_copies_is_chosen_and_ratings_are_never_overwritten(tmp_path: Path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("chelsea", "coffee", "rocket"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    Image.fromarray(data.coffee()).save(folder / "more/again.jpg", quality=92)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").touch()
    found = CliRunner().invoke(app, ["select", str(folder), "-n", "3"], catch_exceptions=False)
    assert f"{folder / 'broken.jpg'}: not an image" in found.output
    assert "3 of 4 images; 1 others are nearly like one of them\nleft out: 1 .txt\n" in found.output
    table = pd.read_csv(folder / "ratings.csv")
    assert table["mos"].isna().all()
    assert {"chelsea.png", "rocket.png"} < set(table["image"])
    (copies,) = table.loc[~table["image"].isin(["chelsea.png", "rocket.png"]), "duplicates"]
    assert copies == 1
    again = CliRunner().invoke(app, ["select", str(folder), "-n", "3"])
    assert "may hold ratings" in str(again.exception)
    with pytest.raises(UserError, match="has 3 different images; choose -n 3 or fewer"):
        room.select(folder, folder / "four.csv", 4, 0)
    again = CliRunner().invoke(app, ["select", str(folder), "-n", "3", "--json", "-o", str(folder / "r.csv")])
    assert json.loads(again.stdout)["images"] == table["image"].tolist()
    with pytest.raises(UserError, match="would not lie above its images"):
        room.select(folder, tmp_path / "r.csv", 3, 0)
    missing = CliRunner().invoke(app, ["select", str(tmp_path / "nowhere")])
    assert "nowhere not found" in str(missing.exception)
    assert not (tmp_path / "nowhere").exists()
