"""Which files a call scores, and what it says of the others."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grmp.data.decode import concerns
from grmp.data.find import claim_output, find, for_table, tally
from grmp.errors import UserError


def test_images_are_found_by_content_and_the_others_counted(tmp_path: Path):
    for name in ("a.JPG", "b.webp", "c.tif", "d.gif", "e.jfif", "f.avif", "sub/g.png", "@eaDir/a.jpg/t.jpg", ".h.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        kind = {"e.jfif": "JPEG"}.get(name)
        Image.new("RGB", (8, 8)).save(tmp_path / name, format=kind)
    Image.new("RGB", (8, 8)).save(tmp_path / "without", format="PNG")
    Image.new("RGB", (8, 8)).save(tmp_path / "raw.dng", format="TIFF", tiffinfo={50706: b"\1\4\0\0"})
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    for ours in ("a.explained.png", "livec.sheet.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / ours)
    (tmp_path / "broken.jpg").write_text("no image")
    left_out = Counter()
    found = find([tmp_path / "a.JPG", tmp_path], left_out)
    assert [p.relative_to(tmp_path).as_posix() for p in found] == [
        *("a.JPG", "b.webp", "broken.jpg", "c.tif", "d.gif", "e.jfif", "f.avif", "sub/g.png", "without")
    ]
    assert left_out == {
        **dict.fromkeys(("in @eaDir", "hidden", "given twice", ".dng", ".txt"), 1),
        "broken links or no files": 2,
        "made by grmp": 2,
    }
    present = sum(not p.is_dir() for p in tmp_path.rglob("*"))
    assert len(found) + left_out.total() - left_out["given twice"] == present
    assert (
        tally(left_out)
        == "left out: 1 .dng, 1 .txt, 2 broken links or no files, 1 given twice, 1 hidden, 1 in @eaDir, 2 made by grmp"
    )


def test_names_that_no_table_can_hold_are_named():
    assert for_table(["日本.jpg", "a\nb"]) == ["日本.jpg", "a\nb"]
    for name, shown in (
        (os.fsdecode(b"b/caf\xe9.jpg"), r"b/caf\\xe9.jpg"),
        (" a.jpg", " a.jpg"),
        ("a\r.jpg", r"a\\x0d.jpg"),
    ):
        with pytest.raises(UserError, match=f"a table cannot name '{shown}', which .*; rename the file"):
            for_table(["a.jpg", name])


def test_folders_without_images_say_what_they_hold(tmp_path: Path):
    (tmp_path / "a.txt").touch()
    (tmp_path / "a.b\nc").touch()
    with pytest.raises(UserError, match=r"has no images \(left out: 1 .b\\x0ac, 1 .txt\)"):
        find([tmp_path])
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.MP4").touch()
    with pytest.raises(UserError, match=r"name videos for `grmp score` one by one$"):
        find([tmp_path / "clips"])
    with pytest.raises(UserError, match="not found; give image files"):
        find([tmp_path / "none"])


def test_what_the_preparation_hides_is_said(tmp_path: Path):
    def about(width: int, height: int, aspect: str = "squash") -> str:
        Image.new("RGB", (width, height)).save(tmp_path / "a.png")
        return "; ".join(concerns(tmp_path / "a.png", 64, aspect, 16))

    assert about(200, 150) == about(257, 256) == ""
    assert "more than 4 times as large as the 64 pixels" in about(400, 300)
    assert "panoramas" in about(200, 90, "keep")
    assert about(200, 90) == ""
    assert "smaller than a patch of 16 pixels" in about(15, 40)


def test_an_output_never_replaces_photographs_or_ratings(tmp_path: Path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.jpg")
    (tmp_path / "ratings.csv").write_text("image,mos\n")
    (tmp_path / "mine.csv").write_text('"Image";"MOS"\n')
    (tmp_path / "pairs.csv").write_text("better,worse\n")
    (tmp_path / "table.csv").write_text("image,mos\n", encoding="utf-16")
    (tmp_path / "excel.csv").write_text("sep=;\n\nimage;mos\n")
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    (tmp_path / "mine.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{}")
    ratings = ("ratings.csv", "mine.csv", "pairs.csv", "table.csv", "excel.csv")
    for name in ("a.jpg", *ratings, "clip.mp4", "mine.safetensors"):
        with pytest.raises(UserError, match="was not written by this command"):
            claim_output(tmp_path / name)
    (tmp_path / "scores.csv").write_text("image,quality,percentile,predicted_rating,low,high\n")
    claim_output(tmp_path / "scores.csv")  # of a former call
    claim_output(tmp_path / "mine.safetensors", ".safetensors")
    with pytest.raises(UserError, match=r"mymodel: give it the ending \.safetensors$"):  # a second call would refuse it
        claim_output(tmp_path / "mymodel", ".safetensors")
