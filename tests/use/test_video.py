"""Videos: sampled frames, pooling, and files that are no videos."""

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from grmp.cli import app
from grmp.errors import UserError
from grmp.finetune.scorer import load
from grmp.use.video import frames, is_video, score


def write(path: Path, images: list[np.ndarray], rate: float = 10.0) -> Path:
    """A video in Motion JPEG, which OpenCV writes and reads without another program."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (width, height))
    for image in images:
        writer.write(image[:, :, ::-1])
    writer.release()
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Twenty frames whose red channel rises from 0 to 190."""
    levels = [np.full((48, 64, 3), (10 * i, 100, 30), np.uint8) for i in range(20)]
    return write(tmp_path / "clip.avi", levels)


def test_frames_are_at_equal_distances_and_rgb(clip: Path):
    found = list(frames(clip, 5))
    assert [round(seconds, 1) for seconds, _ in found] == [0.0, 0.5, 1.0, 1.4, 1.9]
    red = [float(frame[:, :, 0].mean()) for _, frame in found]
    assert np.allclose(red, [0, 50, 100, 140, 190], atol=6)
    assert len(list(frames(clip.rename(clip.with_name(os.fsdecode(b"caf\xe9\n.avi"))), 100))) == 20


def test_a_video_without_a_stated_duration_is_counted(clip: Path, monkeypatch: pytest.MonkeyPatch):
    """As a browser records; OpenCV says -9e16 frames, and a rate of 1000."""
    whole, capture = [seconds for seconds, _ in frames(clip, 5)], cv2.VideoCapture

    class Unstated:
        def __init__(self, name):
            self.of = capture(name)

        def get(self, what):
            unstated = {cv2.CAP_PROP_FRAME_COUNT: -9.2e16, cv2.CAP_PROP_FPS: 1000.0}
            return unstated[what] if what in unstated else self.of.get(what)

        def __getattr__(self, name):
            return getattr(self.of, name)

    monkeypatch.setattr(cv2, "VideoCapture", Unstated)
    assert [seconds for seconds, _ in frames(clip, 5)] == whole


def test_a_video_is_the_mean_of_its_frames(clip: Path, tmp_path: Path):
    model, out = load("small-rated", "cpu"), tmp_path / "clips.csv"
    score([clip], "small-rated", 4, "cpu", out)
    row, table = pd.read_csv(out).iloc[0], pd.read_csv(tmp_path / "clips.frames.csv")
    alone = [model.score([frame])[0] for _, frame in frames(clip, 4)]
    assert np.allclose(table["quality"], alone, atol=1e-4)
    assert row["frames"] == 4
    assert row["quality"] == pytest.approx(np.mean(alone), abs=1e-4)
    assert row["quality_p10"] == pytest.approx(np.percentile(alone, 10), abs=1e-4)


def test_one_corrupt_video_does_not_lose_the_others(clip: Path, tmp_path: Path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert score([tmp_path / "broken.mp4", clip], "small-rated", 2, "cpu", tmp_path / "clips.csv") == 1
    table = pd.read_csv(tmp_path / "clips.csv").set_index("video")
    assert np.isnan(table.loc[str(tmp_path / "broken.mp4"), "quality"])
    assert table.loc[str(clip), "frames"] == 2
    assert "broken.mp4: not a video" in capsys.readouterr().err


def test_a_table_in_the_place_of_the_frames_is_not_replaced(clip: Path, tmp_path: Path):
    (tmp_path / "clips.frames.csv").write_text("image,mos\na.png,3\n")
    with pytest.raises(UserError, match=r"clips\.frames\.csv exists and was not written by this command"):
        score([clip], "small-rated", 2, "cpu", tmp_path / "clips.csv")


@pytest.mark.parametrize("content", [b"", b"no video", b"RIFF\0\0\0\0AVI "])
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes, capfd):
    path = tmp_path / "broken.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.mp4: not a video"):
        list(frames(path, 3))
    with pytest.raises(UserError, match="not found"):
        list(frames(tmp_path / "none.mp4", 3))
    assert "@" not in capfd.readouterr().err  # as in lines of FFmpeg


def test_a_cut_video_gives_the_frames_that_are_there(clip: Path, tmp_path: Path):
    data = clip.read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) * 2 // 3])
    assert 0 < len(list(frames(cut, 100))) <= 20


def test_without_opencv_it_says_what_to_install(clip: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match="pip install opencv"):
        list(frames(clip, 3))


def test_endings():
    assert is_video(Path("a.MP4"))
    assert not is_video(Path("a.jpg"))


@pytest.mark.parametrize(
    "option", [["--below", "0.5"], ["--json"], ["--worst", "1"], ["--crops", "2"], ["--html", "x.html"]]
)
def test_an_option_for_images_is_not_ignored(clip: Path, option: list[str]):
    with pytest.raises(UserError, match="are for images"):
        CliRunner().invoke(app, ["score", str(clip), *option], catch_exceptions=False)
