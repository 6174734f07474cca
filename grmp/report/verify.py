"""``grmp verify``: fresh results against the reference in results/, score by score and conclusion by conclusion."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grmp.errors import UserError
from grmp.params import Params
from grmp.report.pairs import CELL
from grmp.report.results import read_table
from grmp.report.table import side

SHOWN = 20  # differences that are printed


@dataclass(frozen=True)
class Comparison:
    """Scores (one a run and split: SRCC and PLCC) and conclusions (one a row of pairs.csv) of the reference."""

    tolerance: float
    scores: int
    conclusions: int
    different: list[dict[str, Any]]  # what, reference, found (None: missing), in each row
    changed: list[dict[str, Any]]

    @property
    def reproduced(self) -> bool:
        """Whether every score is within the tolerance and every conclusion the same."""
        return not self.different and not self.changed

    def json(self) -> dict[str, Any]:
        """All fields and ``reproduced``."""
        return {"reproduced": self.reproduced} | asdict(self)

    def lines(self) -> str:
        """What a person wants to know."""
        same, kept = self.scores - len(self.different), self.conclusions - len(self.changed)
        found = [
            f"{'reproduced' if self.reproduced else 'not reproduced'}: {same} of {self.scores} scores within "
            f"{self.tolerance:g}, {kept} of {self.conclusions} conclusions the same"
        ]
        rows = [*self.different, *self.changed]
        found += [f"  {row['what']}: {row['found']} instead of {row['reference']}" for row in rows[:SHOWN]]
        return "\n".join([*found, *([f"  and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else [])])


def reference_folder(params: Params, root: Path) -> Path:
    """Where the reference results of the pipeline folder ``root`` are kept: results/demo of the code's folder for demo/."""
    code, place = (root / params.paths.code).resolve(), root.resolve()
    name = place.relative_to(code) if place.is_relative_to(code) else place.name
    return code / "results" / ("paper" if place == code else name)


def verify(results: Path, reference: Path, tolerance: float) -> Comparison:
    """Compare scores.csv and pairs.csv of two folders; SRCC and PLCC may differ by ``tolerance``.

    Raises UserError if a table is missing.
    """
    for folder in (results, reference):
        if not (folder / "scores.csv").is_file():
            raise UserError(
                f"{folder / 'scores.csv'} not found; run `dvc repro` first, or name the folder of a reference"
            )
    old, new = (read_table(folder / "scores.csv").set_index([*CELL, "split"]) for folder in (reference, results))
    new = new.reindex(old.index)
    different = []
    for key, row, other in zip(old.index, old.itertuples(), new.itertuples(), strict=True):
        for metric in ("srcc", "plcc"):
            a, b = getattr(row, metric), getattr(other, metric)
            if not np.isclose(a, b, rtol=0, atol=tolerance, equal_nan=True):
                what = f"{metric.upper()} of {' '.join(map(str, key[:-1]))}, split {key[-1]}"
                different.append({"what": what, "reference": _value(a), "found": _value(b)})
                break
    before, after = (_conclusions(read_table(folder / "pairs.csv")) for folder in (reference, results))
    changed = [
        {"what": what, "reference": value, "found": after.get(what)}
        for what, value in before.items()
        if after.get(what) != value
    ]
    return Comparison(tolerance, len(old), len(before), different, changed)


def _value(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


def _conclusions(pairs: pd.DataFrame) -> dict[str, str]:
    """Of every comparison, where its interval lies."""
    return {
        f"{r.metric.upper()} of {r.protocol} {r.database} {r.shots}, {r.method} minus {r.against}": side(
            r.low, r.high, r.status
        )
        for r in pairs.itertuples()
    }
