"""The ``collect`` stage: run records -> scores, summary, pairs, distortions and excluded.csv, metrics.json, cost.json.

A record that is corrupt, or that params.yaml does not ask for, is named in excluded.csv and left out. The same predictions
give the same bytes; what a run took, which differs from run to run, stands apart in cost.json.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.errors import UserError, one_line
from grmp.experiments.record import EXCLUDED, Record, Run, read_records
from grmp.files import read_json, write_json, write_text
from grmp.metrics import METRICS, interval, scores, srcc
from grmp.params import Evaluate, Params, RunKey
from grmp.report import pairs
from grmp.report.pairs import CELL, index_of, pair_table

COLUMNS = {
    "scores.csv": [*CELL, "split", *METRICS, "status", "identity"],
    "summary.csv": [*CELL, "metric", *interval([], 0.95, 10, 0), "status"],
    "distortions.csv": [*CELL, "split", "distortion", "level", "pictures", "srcc", "status"],
    "pairs.csv": pairs.COLUMNS,
    "excluded.csv": EXCLUDED,
}


def score_table(records: list[Record], ranges: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """One row a run and split: the metrics and a status.

    ``ranges`` are the databases' score ranges; rmse is NaN for a database that is not there.
    """
    rows = []
    for record in tqdm(records, "scores", unit="run", delay=5, disable=None):
        low, high = ranges.get(record.target, (math.nan, math.nan))
        by_split = dict(iter(record.predictions.groupby("split")))
        for split, status in enumerate(record.run.status):
            found: dict[str, Any] = {"status": f"failed: {status}"}
            if status == "ok":
                part = by_split[split]
                found = dict(scores(part["quality"], part["score"], low, high))
            rows.append(record.cell._asdict() | {"split": split, "identity": record.run.identity[:12]} | found)
    return pd.DataFrame(rows, columns=COLUMNS["scores.csv"])


def summary_table(table: pd.DataFrame, settings: Evaluate) -> pd.DataFrame:
    """One row a run and metric: median and mean over splits with their intervals."""
    rows = []
    for cell, part in table.groupby(CELL, sort=False):
        for metric in METRICS:
            found = interval(part[metric], settings.level, settings.resamples, settings.seed)
            rows.append(RunKey(*cell)._asdict() | {"metric": metric, "status": _states(part["status"])} | found)
    return pd.DataFrame(rows, columns=COLUMNS["summary.csv"])


def _states(status: pd.Series) -> str:
    """The distinct troubles with their counts, or ok."""
    counts = status[status != "ok"].value_counts(sort=False).sort_index()
    return "; ".join(f"{n} of {len(status)} splits: {text}" for text, n in counts.items()) or "ok"


def collect(params: Params, results: Path) -> None:
    """Write the tables of all records below ``results/runs``.

    Raises UserError if the disk is full or the folder cannot be written.
    """
    records, left_out = read_records(params, results)
    targets = dict.fromkeys(record.target for record in records)
    table = score_table(records, {d: found for d in targets if (found := score_range(results.parent, d))})
    summary = summary_table(table, params.evaluate)
    differences = pair_table(params, results.parent, records, table)
    indices = {d: found for d in targets if (found := index_of(results.parent, d)) is not None}
    kinds = {d: index.drop(columns="reference") for d, index in indices.items() if index["distortion"].notna().any()}
    written = (table, summary, distortion_table(records, kinds), differences, left_out)
    for name, one in zip(COLUMNS, written, strict=True):
        write_text(results / name, one.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    write_json(results / "metrics.json", _metrics(params, summary, differences))
    write_json(results / "cost.json", [_cost(r.run) for r in records if params.methods[r.run.method].computed])
    for row in left_out.itertuples():
        print(f"left out: results/runs/{row.record}: {row.reason}")


def score_range(root: Path, database: str) -> tuple[float, float] | None:
    """Score range of a prepared database, from its info.json; None where it is not prepared here."""
    path = root / "data/prepared" / database / "info.json"
    try:
        low, high = read_json(path)["range"]
        return float(low), float(high)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        remedy = f"regenerate it with: dvc repro -f prepare@{database}"
        raise UserError(f"{path} is corrupt ({one_line(error)}); {remedy}") from None


def distortion_table(records: list[Record], kinds: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """SRCC within one distortion type (``level`` empty) and within one level, one row a run and split.

    A group of fewer than five test images has no correlation, and a ``status`` that says so.
    """
    rows = []
    for record in records:
        if record.target not in kinds:
            continue
        joined = record.predictions.merge(kinds[record.target], on="image")
        for split, part in joined.groupby("split"):
            groups = [(kind, "", g) for kind, g in part.groupby("distortion")]
            groups += [("", level, g) for level, g in part.dropna(subset="level").groupby("level")]
            for kind, level, group in groups:
                of = {"split": split, "distortion": kind, "level": level, "pictures": len(group)}
                value, status = srcc(group["quality"], group["score"])
                rows.append(record.cell._asdict() | of | {"srcc": value, "status": status})
    return pd.DataFrame(rows, columns=COLUMNS["distortions.csv"])


def _metrics(params: Params, summary: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
    """The headline for ``dvc metrics``, first protocol alone; everything else is in summary.csv and pairs.csv.

    Median SRCC of each method that a question of ``evaluate.pairs`` is about, and the primary endpoint of each question;
    null where there is none.
    """
    asked = {pair.method for pair in params.evaluate.pairs} or set(params.methods)
    rows = summary[(summary["metric"] == "srcc") & (summary["protocol"] == params.protocol)]
    rows = rows[rows["method"].isin(asked)]
    found = {f"{r.protocol} {r.database} {r.method} {r.shots}": r.median for r in rows.itertuples()}
    primary = pairs[pairs["role"] == "primary"]
    found |= {f"{r.protocol} {r.method} - {r.against}": r.mean for r in primary.itertuples()}
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in found.items()}


def _cost(run: Run) -> dict[str, Any]:
    """What one run took."""
    same = ("device", "threads", "trained_values", "peak_bytes")
    return run.key._asdict() | {"seconds": round(sum(run.seconds), 1)} | {name: getattr(run, name) for name in same}
