"""The scores of a database as one table, checked against what the registry knows of it."""

from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from grmp.data.fetch import listing
from grmp.data.names import parse
from grmp.data.readers import READERS, Files
from grmp.data.registry import Database
from grmp.errors import UserError

LIVEC_TRAINING = r"t\d+\.bmp$"


def training_pictures(database: str, images: pd.Series) -> list[str]:
    """The pictures that trained the raters and were not part of the study (departure 14)."""
    return images[images.str.match(LIVEC_TRAINING)].tolist() if database == "livec" else []


def read(entry: Database, folder: Path, keep_training: bool = False) -> pd.DataFrame:
    """Scores of the database unpacked in ``folder``: ``image, mos, quality, mos_std, reference, distortion, level, set``.

    Sorted by image; ``quality`` is in [0, 1], higher better, from the registry's measured range. ``set`` is the publisher's own
    part (KonIQ's official split) or empty.

    Raises
    ------
    UserError
        If no score file is found, or what it says is not what the registry knows of this database.
    """
    files: Files = {}
    for path in sorted((Path(p) for p, _ in listing(folder)), key=lambda p: (len(p.parts), p)):
        files.setdefault(path.name.lower(), folder / path)
    for kind in entry.readers:
        try:
            found = READERS[kind](files)
            if found is not None:
                found["mos"] = found["mos"].astype(float)
                return _table(entry, found, kind, keep_training)
        except UserError:
            raise
        except Exception as error:  # a damaged file brings its parser, or the parser's parser, to any of them
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UserError(
                f"{entry.name}: its score file could not be read ({kind}: {reason}); fetch it again"
            ) from None
    raise UserError(
        f"{entry.name}: no score file below {folder} (readers: {', '.join(entry.readers)}); see {entry.page}: {entry.by_hand}"
    )


def _table(entry: Database, found: pd.DataFrame, kind: str, keep_training: bool) -> pd.DataFrame:
    """One name a picture, quality, and the checks."""
    t = found.reset_index(drop=True).reindex(
        columns=["name", "mos", "mos_std", "reference", "distortion", "level", "set"]
    )
    t["mos_std"] = pd.to_numeric(t["mos_std"], errors="coerce")
    try:
        named = [parse(entry.name, n) for n in t["name"]]
    except (ValueError, KeyError, IndexError, AttributeError):  # the last: a name that is a number
        raise UserError(
            f"{entry.name}: its score file ({kind}) names a picture that is none of this database"
        ) from None
    t["image"] = [n[0] for n in named]
    t["reference"] = t["reference"].map(lambda v: PurePosixPath(str(v)).stem, na_action="ignore")
    for i, column in enumerate(("reference", "distortion", "level"), start=1):
        t[column] = pd.Series([n[i] or None for n in named], dtype=object).fillna(t[column].astype(object))
    t["level"] = t["level"].astype(float).astype("Int64")
    t["set"] = t["set"].astype(object).fillna("")
    if entry.name == "livec":
        studied = t[~t["image"].isin(training_pictures("livec", t["image"]))]
        t = t if keep_training else studied
    else:
        studied = t
    _check(entry, studied, kind)
    scale = (t["mos"] - entry.low) / (entry.high - entry.low)
    t["quality"] = (scale if entry.higher_better else 1 - scale).round(9) + 0.0  # no -0.0
    if not t["quality"].between(0, 1).all():
        raise UserError(
            f"{entry.name}: scores leave the range {entry.low:g}..{entry.high:g}; is this the published file?"
        )
    columns = ["image", "mos", "quality", "mos_std", "reference", "distortion", "level", "set"]
    return t.sort_values("image", ignore_index=True)[columns]


def _check(entry: Database, t: pd.DataFrame, kind: str) -> None:
    """Count, range, mean and standard deviation against the registry; a wrong scale or direction shows here."""
    if t["image"].duplicated().any():
        raise UserError(f"{entry.name}: '{t['image'][t['image'].duplicated()].iloc[0]}' is scored twice ({kind})")
    if t["mos"].isna().any():
        raise UserError(f"{entry.name}: '{t['image'][t['mos'].isna()].iloc[0]}' has no score ({kind})")
    if entry.count and len(t) != entry.count:
        raise UserError(
            f"{entry.name}: its score file ({kind}) has {len(t)} pictures, not {entry.count}; get the official one"
        )
    if entry.sd:
        measured = (t["mos"].min(), t["mos"].max(), t["mos"].mean(), t["mos"].std(ddof=0))
        stated = (entry.low, entry.high, entry.mean, entry.sd)
        if not np.allclose(measured, stated, rtol=0, atol=1e-4 * (entry.high - entry.low)):
            raise UserError(
                f"{entry.name}: its scores ({kind}) have low, high, mean, sd {_four(measured)}, published are {_four(stated)}; "
                "another scale or version? get the official score file"
            )


def _four(values: tuple[float, ...]) -> str:
    return ", ".join(f"{v:.4f}" for v in values)
