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

from grmp.data.dataset import Dataset, prepared
from grmp.experiments.record import EXCLUDED, Record, read_records
from grmp.files import write_json, write_text
from grmp.metrics import METRICS, interval, scores, srcc
from grmp.params import Evaluate, Params, RunKey
from grmp.report import pairs
from grmp.report.pairs import CELL, pair_table

COLUMNS = {
    "scores.csv": [*CELL, "split", *METRICS, "status", "identity"],
    "summary.csv": [*CELL, "metric", *interval([], 0.95, 10, 0), "status"],
    "distortions.csv": [*CELL, "split", "distortion", "level", "images", "srcc", "status"],
    "pairs.csv": pairs.COLUMNS,
    "excluded.csv": EXCLUDED,
}
COST = ("device", "threads", "trained_values", "peak_bytes")  # of run.json, in cost.json


def score_table(records: list[Record], known: dict[str, Dataset]) -> pd.DataFrame:
    """One row a run and split: the metrics and a status; rmse is NaN for a database that is not among the ``known``."""
    rows = []
    for record in tqdm(records, "scores", unit="run", delay=5, disable=None):
        database = known.get(record.run.key.target)
        low, high = database.info["range"] if database else (math.nan, math.nan)
        by_split = dict(iter(record.predictions.groupby("split")))
        for split, status in enumerate(record.run.status):
            found: dict[str, Any] = {"status": status}
            if status == "ok":
                part = by_split[split]
                found = dict(scores(part["quality"], part["score"], low, high))
            rows.append(record.run.key._asdict() | {"split": split, "identity": record.run.identity[:12]} | found)
    return pd.DataFrame(rows, columns=COLUMNS["scores.csv"])


def summary_table(table: pd.DataFrame, settings: Evaluate) -> pd.DataFrame:
    """One row a run and metric: median and mean over splits with their intervals."""
    rows = []
    for cell, part in table.groupby(CELL, sort=False):
        troubles = part["status"][part["status"] != "ok"].value_counts(sort=False).sort_index()
        status = "; ".join(f"{n} of {len(part)} splits: {text}" for text, n in troubles.items()) or "ok"
        for metric in METRICS:
            found = interval(part[metric], settings.level, settings.resamples, settings.seed)
            rows.append(RunKey(*cell)._asdict() | {"metric": metric, "status": status} | found)
    return pd.DataFrame(rows, columns=COLUMNS["summary.csv"])


def collect(params: Params, results: Path) -> None:
    """Write the tables of all records below ``results/runs``."""
    records, left_out = read_records(params, results)
    targets = dict.fromkeys(record.run.key.target for record in records)
    known = {d: found for d in targets if (found := prepared(results.parent, d))}
    table = score_table(records, known)
    summary, differences = summary_table(table, params.evaluate), pair_table(params, known, records, table)
    written = (table, summary, distortion_table(records, known), differences, left_out)
    for name, one in zip(COLUMNS, written, strict=True):
        write_text(results / name, one.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    write_json(results / "metrics.json", _metrics(params, summary, differences))
    runs = [record.run for record in records if params.methods[record.run.method].computed]
    cost = [run.model_dump(include={*CELL, *COST}) | {"seconds": round(sum(run.seconds), 1)} for run in runs]
    write_json(results / "cost.json", cost)
    for row in left_out.itertuples():
        print(f"left out: results/runs/{row.record}: {row.reason}")


def distortion_table(records: list[Record], known: dict[str, Dataset]) -> pd.DataFrame:
    """SRCC within one distortion type (``level`` empty) and within one level, one row a run and split.

    A group of fewer than five test images has no correlation, and a ``status`` that says so.
    """
    rows = []
    for record in records:
        database = known.get(record.run.key.target)
        if database is None or database.index["distortion"].isna().all():
            continue
        joined = record.predictions.merge(database.index[["image", "distortion", "level"]], on="image")
        for split, part in joined.groupby("split"):
            groups = [(kind, "", g) for kind, g in part.groupby("distortion")]
            groups += [("", level, g) for level, g in part.dropna(subset="level").groupby("level")]
            for kind, level, group in groups:
                correlation = srcc(group["quality"], group["score"])
                rows.append((*record.run.key, split, kind, level, len(group), *correlation))
    return pd.DataFrame(rows, columns=COLUMNS["distortions.csv"])


def _metrics(params: Params, summary: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, Any]:
    """The headline for ``dvc metrics``, first protocol alone; everything else is in summary.csv and pairs.csv.

    Median SRCC of each method that a question of ``evaluate.pairs`` is about, and the primary endpoint of each question;
    null where there is none.
    """
    asked = {pair.method for pair in params.evaluate.pairs} or set(params.methods)
    rows = summary[(summary["metric"] == "srcc") & (summary["protocol"] == params.protocol)].itertuples()
    found = {f"{r.protocol} {r.database} {r.method} {r.shots}": r.median for r in rows if r.method in asked}
    primary = pairs[pairs["role"] == "primary"]
    found |= {f"{r.protocol} {r.method} - {r.against}": r.mean for r in primary.itertuples()}
    return {name: round(value, 4) if np.isfinite(value) else None for name, value in found.items()}
