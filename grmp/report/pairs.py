"""Paired differences of runs on the same splits, and whether they hold for other images.

A difference has two intervals. The one over splits tells how far it depends on the draw of the splits of this database. The one
that ``low``, ``high`` and ``p`` state covers other images too (``rule``), and alone decides what is called above 0.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from grmp.data.dataset import Dataset, source_ids
from grmp.experiments.record import Record, Run
from grmp.metrics import NO_TEST, corrected_t, correlations, draw, holm, interval, two_way
from grmp.params import ACROSS, Params, RunKey

SAME_INPUTS = ("backbone", "database", "splits", "database.target", "splits.target")  # what two compared runs share
ALL = "all"  # as database and shots: the mean over the databases and numbers of labels of run.few_shot
CELL = list(RunKey._fields)
DIFFERENCE = [*interval([], 0.95, 10, 0), "won", *NO_TEST, "rule"]
COLUMNS = ["question", *CELL, "against", "metric", *DIFFERENCE, "role", "p_holm", "status"]
RESAMPLES = 400  # of the images; enough for a standard error


@dataclass
class Differences:
    """Compares records of one pipeline folder."""

    params: Params
    prepared: Callable[[str], Dataset | None]  # a database by its name, or None where it is not prepared
    scores: dict[RunKey, pd.DataFrame]  # rows of scores.csv
    _drawn: dict[str, tuple[pd.Index, np.ndarray, int] | None] = field(default_factory=dict)
    _resampled: dict[tuple[RunKey, str], np.ndarray] = field(default_factory=dict)

    def of(self, pairs: Sequence[tuple[Record, Record]], metric: str) -> dict[str, Any]:
        """Of the mean over ``pairs`` of first minus second record: DIFFERENCE, ``differences`` (one per split) and ``status``.

        The status is "ok", or says how many splits have no score.
        """
        settings = self.params.evaluate
        values = {
            r.run.key: self.scores[r.run.key].sort_values("split")[metric].to_numpy(float) for p in pairs for r in p
        }
        apart = np.mean([values[a.run.key] - values[b.run.key] for a, b in pairs], axis=0)
        found: dict[str, Any] = interval(apart, settings.level, settings.resamples, settings.seed)
        found |= {"won": int(np.count_nonzero(apart > 0)), "differences": apart[np.isfinite(apart)].tolist()}
        lost = found["splits"] - found["scored"]
        found["status"] = f"{lost} of {found['splits']} splits have no score" if lost else "ok"
        if all(isinstance(a.run.key.shots, str) and ACROSS not in a.run.key.database for a, _ in pairs):
            share = min(int(str(a.run.key.shots).removesuffix("pct")) for a, _ in pairs) / 100
            tested = corrected_t(apart, settings.level, self.params.splits.test, share)
            return found | tested | {"rule": "corrected t"}
        drawn = [self._draw(name) for name in {a.run.key.target for a, _ in pairs}]
        if None in drawn:
            return found | NO_TEST | {"rule": "the images are not prepared here"}
        each = [self._images(a, metric) - self._images(b, metric) for a, b in pairs]
        resampled = [pd.DataFrame(one[np.isfinite(apart)]).mean() for one in each]  # over splits; NaN is skipped
        sources = sum(one[2] for one in drawn if one)
        learned = any("prompts" in record.run.inputs for pair in pairs for record in pair)
        runs = min(self.params.pretrain.seeds, len(apart)) if learned else 0
        tested = two_way(apart, np.mean(resampled, axis=0), sources, settings.level, runs)
        return found | tested | {"rule": "two-way bootstrap"}

    def _draw(self, database: str) -> tuple[pd.Index, np.ndarray, int] | None:
        """Names of the images, how often each is drawn, and the number of sources."""
        found = self.prepared(database) if database not in self._drawn else None
        if found:
            sources = source_ids(found.index)
            weights = draw(sources, RESAMPLES, [self.params.evaluate.seed, *database.encode()])
            self._drawn[database] = pd.Index(found.index["image"]), weights, int(sources.max()) + 1
        return self._drawn.setdefault(database, None)

    def _images(self, record: Record, metric: str) -> np.ndarray:
        """(splits, RESAMPLES) the metric with images drawn anew, the same ones for all records and splits."""
        key = record.run.key, metric
        if key not in self._resampled:
            names, weights, _ = self._draw(record.run.key.target)  # type: ignore[misc]
            self._resampled[key] = np.full((record.run.splits, RESAMPLES), np.nan)
            for split, part in record.predictions.groupby("split"):
                rows = names.get_indexer(part["image"])
                if rows.min() >= 0:  # -1: the record holds images of another database
                    self._resampled[key][split] = correlations(part["quality"], part["score"], weights[:, rows], metric)
        return self._resampled[key]


def pair_table(
    params: Params, known: Mapping[str, Dataset], records: Iterable[Record], scores: pd.DataFrame
) -> pd.DataFrame:
    """Every question of ``evaluate.pairs`` in every cell where both sides have been run, and the mean over cells (``ALL``).

    The mean of SRCC under the first protocol is the primary endpoint of a question about methods of ``run.few_shot``; these
    alone are tested, as one family (``p_holm``). All other rows are exploratory. ``status`` says how many splits have no score,
    or why a comparison may not be made, which then has no number. ``known`` are the databases that are prepared here.
    """
    by_cell, rows = {record.run.key: record for record in records}, []
    differences = Differences(params, known.get, dict(iter(scores.groupby(CELL))))
    few = params.run.few_shot
    for pair in params.evaluate.pairs:
        groups = {c: [c] for c in by_cell if c.method == pair.method and c._replace(method=pair.against) in by_cell}
        for protocol in few.protocols:
            whole = [RunKey(protocol, database, pair.method, k) for database in few.databases for k in few.shots]
            if {pair.method, pair.against} <= {*few.methods} and any(cell in groups for cell in whole):
                groups[RunKey(protocol, ALL, pair.method, ALL)] = whole
        for cell, members in groups.items():
            each = [(by_cell[c], by_cell[c._replace(method=pair.against)]) for c in members if c in groups]
            apart = [f"not comparable: {why}" for a, b in each if (why := incomparable(params, a.run, b.run))]
            missing = len(members) - len(each)
            status = f"{missing} of {len(members)} comparisons are missing" if missing else next(iter(apart), "ok")
            for metric in ("srcc", "plcc"):
                primary = (cell.database, cell.protocol, metric) == (ALL, params.protocol, "srcc")
                found = differences.of(each, metric) if status == "ok" else {"status": status}
                rows.append(
                    {"question": pair.question, **cell._asdict(), "against": pair.against, "metric": metric}
                    | {"role": "primary" if primary else "exploratory"}
                    | found
                )
    table = pd.DataFrame(rows, columns=COLUMNS)
    primary = table["role"] == "primary"
    table.loc[primary, "p_holm"] = holm(table.loc[primary, "p"].astype(float).tolist())
    return table


def incomparable(params: Params, a: Run, b: Run) -> str:
    """Why two runs may not be compared, or an empty string.

    They must have seen the same images, splits and backbone, and may differ in the settings of adaptation only where one of
    the two methods sets a value for itself (``set``).
    """
    for name in SAME_INPUTS:
        both = name in a.inputs and name in b.inputs  # a method of others has no backbone
        if both and a.inputs[name] != b.inputs[name]:
            return f"another {name}"
    if a.inputs.keys() & b.inputs.keys() >= {"backbone"} and a.parameters.get("tf32") != b.parameters.get("tf32"):
        return "another precision (GRMP_TF32)"
    own = {key for run in (a, b) for key in getattr(params.methods[run.method], "set", {})}
    for group in sorted((set(a.parameters) & set(b.parameters)) - {"method", "teacher"}):
        one, other = (run.parameters[group] for run in (a, b))
        if not isinstance(one, dict):
            one, other = {"": one}, {"": other}
        for key in sorted(one.keys() | other.keys()):
            name = f"{group}.{key}".rstrip(".")  # as in params.yaml: adapt.epochs
            if name not in own and one.get(key) != other.get(key):
                return f"other settings ({name})"
    return ""
