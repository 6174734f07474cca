"""``grmp verify``: fresh results against the reference in results/, score by score and conclusion by conclusion."""

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


def reference_folder(params: Params, root: Path) -> Path:
    """Where the reference results of the pipeline folder ``root`` are kept: results/demo of the code's folder for demo/."""
    code, place = (root / params.paths.code).resolve(), root.resolve()
    name = place.relative_to(code) if place.is_relative_to(code) else place.name
    return code / "results" / ("paper" if place == code else name)


def verify(results: Path, reference: Path, tolerance: float, level: float) -> dict[str, Any]:
    """Compare scores.csv (SRCC and PLCC of every run and split) and pairs.csv (where intervals lie) of two folders.

    ``level`` is that of the intervals.

    Returns ``reproduced``, ``tolerance``, the number of ``scores`` and ``conclusions`` of the reference, and those that are
    ``different`` or ``changed``: what, reference, found (None: missing or NaN). UserError if a table is missing.
    """
    for folder in (results, reference):
        if not (folder / "scores.csv").is_file():
            raise UserError(f"{folder / 'scores.csv'} not found; run `dvc repro`, or name the folder of a reference")
    both = (read_table(folder / "scores.csv").set_index([*CELL, "split"]) for folder in (reference, results))
    before, after = (table[["srcc", "plcc"]].astype(float) for table in both)
    after = after.reindex(before.index)
    apart = ~np.isclose(before, after, rtol=0, atol=tolerance, equal_nan=True)
    different = []
    for row, column in zip(*np.nonzero(apart), strict=True):
        *cell, split = before.index[row]
        was, now = (None if pd.isna(v) else round(float(v), 4) for v in (t.iat[row, column] for t in (before, after)))
        what = f"{before.columns[column].upper()} of {' '.join(map(str, cell))}, split {split}"
        different.append({"what": what, "reference": was, "found": now})
    old, new = _conclusions(reference, level), _conclusions(results, level)
    changed = [{"what": k, "reference": v, "found": new.get(k)} for k, v in old.items() if new.get(k) != v]
    counts = {"scores": len(before), "within": int((~apart).all(axis=1).sum()), "conclusions": len(old)}
    found = {"reproduced": not different and not changed, "tolerance": tolerance}
    return found | counts | {"different": different, "changed": changed}


def _conclusions(folder: Path, level: float) -> dict[str, str]:
    """Of every comparison, where its interval lies, and whether a primary endpoint differs after Holm's correction."""
    rows = list(read_table(folder / "pairs.csv").itertuples())
    names = [f"{r.metric.upper()} of {r.protocol} {r.database} {r.shots}, {r.method} - {r.against}" for r in rows]
    found = [side(r.low, r.high, r.status) + ", also after Holm's correction" * (r.p_holm <= 1 - level) for r in rows]
    return dict(zip(names, found, strict=True))


def lines(found: dict[str, Any]) -> str:
    """What :func:`verify` found, in words."""
    rows = [*found["different"], *found["changed"]]
    text = "{within} of {scores} scores within {tolerance:g}, ".format(**found)
    text += f"{found['conclusions'] - len(found['changed'])} of {found['conclusions']} conclusions the same"
    shown = [f"  {row['what']}: {row['found']} instead of {row['reference']}" for row in rows[:SHOWN]]
    shown += [f"  and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    return "\n".join([f"{'reproduced' if found['reproduced'] else 'not reproduced'}: {text}", *shown])
