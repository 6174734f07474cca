"""Images into the array: what each value is, and what happens to corrupt and missing ones."""

import errno
import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from skimage import data

from grmp.data import databases, dataset, decode, fetch
from grmp.data.prepare import prepare
from grmp.errors import UserError
from grmp.files import allocate, sha256
from tests.data import layouts
from tests.data.conftest import N


def run(folder, **options):
    return prepare("toy", folder / "raw", folder / "prepared", 8, "squash", **options)


def refetch(folder):
    """The folder as it is now."""
    (folder / "raw/toy.json").unlink()
    fetch.fetch("toy", folder / "raw")


def small(number):
    """What one of the images becomes."""
    with Image.open(io.BytesIO(layouts.picture(".png", number, (30, 20)))) as opened:
        return np.asarray(opened.resize((8, 8), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def test_rows_are_the_images(fetched):
    run(fetched)
    made = dataset.load(fetched / "prepared/toy")
    assert made.index["image"].tolist() == [f"p{i}.png" for i in range(N)]
    assert (made.images == [small(i) for i in range(N)]).all()
    assert made.info["range"] == [1.0, 9.0]
    assert made.info["sha256"]["images.npy"] == sha256(fetched / "prepared/toy/images.npy")


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_image_cut_in_half_is_named(fetched, ending):
    (fetched / "raw/toy/deep/er/P4.PNG").write_bytes(layouts.picture(ending, 4, (30, 20))[:300])
    refetch(fetched)
    with pytest.raises(UserError, match=r"1 of 9 .*p4\.png \(corrupt.*delete data/raw/toy.*set data\.allow_missing: 1"):
        run(fetched)
    assert not (fetched / "prepared/toy").exists()
    table = run(fetched, allow_missing=1)
    made = dataset.load(fetched / "prepared/toy")
    assert made.index["image"].tolist() == table["image"].tolist() == [f"p{i}.png" for i in range(N) if i != 4]
    assert made.info["left_out"] == ["p4.png"]
    assert (made.images[4] == small(5)).all(), "the rows after it have moved up together with their images"
    assert table["quality"].tolist() == made.index["quality"].tolist()
    with pytest.raises(UserError, match="1 of 9"):  # what was allowed once is not allowed for ever
        run(fetched)


def test_missing_images_are_named(fetched):
    for i in (2, 7):
        (fetched / f"raw/toy/deep/er/P{i}.PNG").unlink()
    refetch(fetched)
    with pytest.raises(UserError, match=r"2 of 9 .*p2\.png \(missing\), p7\.png \(missing\)"):
        run(fetched)
    with pytest.raises(UserError, match="2 of 9"):
        run(fetched, allow_missing=1)
    assert len(run(fetched, allow_missing=2)) == 7


def test_no_room_for_the_images_that_are_left(fetched, capsys, monkeypatch):
    """The space is taken before the first write, and what is decoded is kept."""
    (fetched / "raw/toy/deep/er/P4.PNG").unlink()
    refetch(fetched)

    def full(path):
        if path.name == "kept.npy":
            raise OSError(errno.ENOSPC, "No space left on device")
        allocate(path)

    with monkeypatch.context() as patched:
        patched.setattr("grmp.data.prepare.allocate", full)
        with pytest.raises(OSError, match="No space left"):
            run(fetched, allow_missing=1)
    assert len(run(fetched, allow_missing=1)) == N - 1
    assert "decoding 0 of 9 images" in capsys.readouterr().out


def test_second_time_is_a_no_op_and_settings_are_heeded(fetched, capsys):
    run(fetched)
    stamp = (fetched / "prepared/toy/images.npy").stat().st_mtime_ns
    run(fetched)
    assert "already prepared" in capsys.readouterr().out
    assert (fetched / "prepared/toy/images.npy").stat().st_mtime_ns == stamp
    prepare("toy", fetched / "raw", fetched / "prepared", 10, "squash")
    assert dataset.load(fetched / "prepared/toy").images.shape == (N, 3, 10, 10)
    with (fetched / "prepared/toy/images.npy").open("r+b") as file:
        file.seek(-5, 2)
        file.write(b"x")
    prepare("toy", fetched / "raw", fetched / "prepared", 10, "squash")
    assert dataset.load(fetched / "prepared/toy").info["sha256"]["images.npy"] == sha256(
        fetched / "prepared/toy/images.npy"
    )


def test_an_array_for_each_view(fetched, capsys):
    run(fetched, views=["opencv", "pillow", "query", "support"])
    folder = fetched / "prepared/toy"
    assert {p.name for p in folder.iterdir()} == {"index.csv", "info.json", *map(dataset.array, decode.VIEWS)}
    for view in decode.VIEWS:
        made = dataset.load(folder, view)
        path = fetched / "raw/toy/deep/er/P5.PNG"
        expected = decode.resized(path, decode.load(path, displayed=False), view, 8, "squash")
        assert (made.images[5] == expected).all()
        assert made.info["sha256"][dataset.array(view)] == sha256(folder / dataset.array(view))
    assert len({sha256(folder / dataset.array(view)) for view in decode.VIEWS}) == 4
    run(fetched)
    assert not (folder / dataset.array("opencv")).exists(), "an array that nobody reads goes"
    with pytest.raises(
        UserError, match=r"images_opencv\.npy not found; run: grmp data fetch toy && grmp data prepare toy"
    ):
        dataset.load(folder, "opencv")


def test_the_original_sizes_are_part_of_what_a_record_depends_on(fetched):
    """Grey images of another size give the same array."""
    known = []
    for size in ((30, 20), (60, 40)):
        for path in sorted((fetched / "raw/toy/deep/er").iterdir()):
            Image.new("RGB", size, (90, 90, 90)).save(path, "PNG")
        refetch(fetched)
        run(fetched)
        known.append(dataset.load(fetched / "prepared/toy").info)
    assert known[0]["sha256"] == known[1]["sha256"]
    assert known[1]["pixels"] == dict.fromkeys(("smallest", "median", "largest"), "60x40")
    assert known[0]["views"] != known[1]["views"]


def test_the_kind_of_a_database_is_part_of_what_a_record_depends_on(fetched, monkeypatch):
    """It decides the size of a batch."""
    known = []
    for kind in ("authentic", "synthetic"):
        monkeypatch.setitem(databases.known(), "toy", replace(databases.get("toy"), kind=kind))
        run(fetched)
        known.append(dataset.load(fetched / "prepared/toy").info)
        shutil.rmtree(fetched / "prepared/toy")
    assert known[0]["sha256"] == known[1]["sha256"]
    assert known[0]["views"] != known[1]["views"]


def test_not_fetched(tmp_path):
    with pytest.raises(UserError, match="livec is not fetched; run: grmp data fetch livec"):
        prepare("livec", tmp_path, tmp_path / "prepared", 8, "squash")


def test_copies_and_sizes_get_a_comment(fetched, capsys, monkeypatch):
    run(fetched)
    assert "copies" not in capsys.readouterr().out
    for i in (3, 4):
        (fetched / f"raw/toy/deep/er/P{i}.PNG").write_bytes((fetched / "raw/toy/deep/er/P5.PNG").read_bytes())
    shutil.rmtree(fetched / "prepared")
    monkeypatch.setitem(databases.known(), "toy", replace(databases.get("toy"), pixels="512x384"))
    run(fetched)
    said = capsys.readouterr().out
    assert "toy: 2 of 9 images are copies of others" in said
    assert "toy: images of 30x20; official are 512x384" in said


def test_photographs_that_look_alike_are_counted(fetched, capsys):
    """A photograph and its copy of half the size; the others are noise."""
    photo = Image.fromarray(data.coffee())
    photo.save(fetched / "raw/toy/deep/er/P3.PNG")
    photo.reduce(2).save(fetched / "raw/toy/deep/er/P4.PNG")
    refetch(fetched)
    prepare("toy", fetched / "raw", fetched / "prepared", 64, "squash")
    assert (
        "toy: images that look like another one (perceptual hash): 1; splits may part them" in capsys.readouterr().out
    )
