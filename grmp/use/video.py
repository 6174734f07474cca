"""``grmp score clip.mp4``: the quality of sampled frames, and their mean and low percentile for the whole video.

Video quality models such as Ada-DQA (Liu et al., ACM MM 2023, arXiv 2308.00729) also look at motion. This does not: a video
that stutters but has clear frames gets a high score.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grmp.data.find import VIDEOS, claim_output, printable
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.files import write_text
from grmp.finetune.scorer import load

LOW = 10  # percentile over frames
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet; read when OpenCV loads FFmpeg


def is_video(path: Path) -> bool:
    """Whether the ending of a file is that of a video."""
    return path.suffix.lower() in VIDEOS


def frames(path: Path, count: int) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, frame (H, W, 3) uint8 RGB) of at most ``count`` frames at equal distances.

    Raises UserError if OpenCV is missing, the file is not a video, or a frame cannot be decoded.
    """
    try:
        import cv2
    except ImportError:
        raise UserError("videos need OpenCV: pip install opencv-python-headless") from None
    if not path.is_file():
        raise UserError(f"{path} not found; give video files")
    name: Any = os.fsencode(path)  # a str that is not UTF-8 crashes OpenCV
    capture = cv2.VideoCapture(name)
    try:
        total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if capture.isOpened() and total < 1:  # as browsers record: no duration is stated
            total = sum(1 for _ in iter(capture.grab, False))
            capture.open(name)
        if not capture.isOpened() or total < 1:
            raise UserError(f"{printable(path)}: not a video that can be decoded, or it has no frames")
        wanted = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
        for index in range(total):
            if not capture.grab():  # containers may promise more frames than they hold
                if index == 0:
                    raise UserError(f"{printable(path)}: its first frame cannot be decoded")
                return
            if index in wanted:
                decoded, frame = capture.retrieve()
                if not decoded:
                    raise UserError(f"{printable(path)}: frame {index} cannot be decoded")
                yield capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, np.ascontiguousarray(frame[:, :, ::-1])
    finally:
        capture.release()


def score(paths: Sequence[Path], name: str, count: int, device: str, out: Path | None) -> int:
    """Print one row per video: the mean over frames, the low percentile, and the rating that the mean predicts.

    With ``out`` the table is written to that file, and one with a row per frame beside it. A video that cannot be decoded has
    a row without scores; returns how many there are. Raises UserError if a path is not a video.
    """
    import pandas as pd
    from tqdm import tqdm

    if others := [path for path in paths if not is_video(path)]:
        raise UserError(f"{others[0]} is not a video; score images and videos in two calls")
    each = out and out.parent / f"{out.stem}.frames.csv"
    for file in filter(None, (out, each)):
        claim_output(file)
    model = load(name, choose_device(device, 1))
    rows, every = [], list[tuple[str, float, float]]()
    for path in paths:
        video, bar = printable(path), tqdm(frames(path, count), path.name, unit="frame", delay=5, disable=None)
        try:
            scored = [(video, seconds, float(model.score([frame])[0])) for seconds, frame in bar]
        except UserError as error:
            print(error, file=sys.stderr)
            rows.append((video, 0, np.nan, np.nan, np.nan))
            continue
        every += scored
        found = [quality for _, _, quality in scored]
        mean = float(np.mean(found))
        rating = float(model.scale.mos(np.array([mean]))[0])
        rows.append((video, len(found), mean, float(np.percentile(found, LOW)), rating))
    tables = {out: pd.DataFrame(rows, columns=["video", "frames", "quality", "quality_p10", "predicted_rating"])}
    if each:
        tables[each] = pd.DataFrame(every, columns=["video", "seconds", "quality"])
    for place, table in tables.items():
        text = table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
        write_text(place, text) if place else print(text, end="")
    return sum(not decoded for _, decoded, *_ in rows)
