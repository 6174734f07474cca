"""``grmp evaluate``: predictions of a method outside this project, on the same splits as ours and by the same statistics."""

import re
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from grmp.data import splits, tables
from grmp.errors import UserError, some
from grmp.experiments import identity, record
from grmp.experiments.record import FinishedSplit, Record, read_record
from grmp.files import write_text
from grmp.methods.context import split_file
from grmp.params import Params, RunKey
from grmp.params.load import EXTERNAL
from grmp.report.collect import score_table, summary_table
from grmp.report.pairs import CELL, Differences
from grmp.report.results import Results, title
from grmp.report.table import amount, number, signed, with_interval

SHOWN = ("srcc", "plcc")


def evaluate(params: Params, root: Path, file: Path, key: RunKey, against: str, label: str) -> dict[str, Any]:
    """Compare the predictions in ``file`` with the record of the method ``against``.

    Plain data: the ``key``, ``label``, ``splits``, ``problems`` (status -> splits), and by metric ``medians`` and
    ``differences`` (empty if ours was not run). ``key.method`` is what the method will be called in files, ``label`` in print.
    Raises UserError if another method has the name, there is no method ``against``, the table does not predict every test
    image of every split once, or the splits and ratings of the database are not here.
    """
    if against not in params.methods:
        raise UserError(f"--against {against}: no such method; known: {', '.join(params.methods)}")
    if key.method in params.methods and params.methods[key.method].computed:
        raise UserError(
            f"'{key.method}' is a method of params.yaml; rename the file, or choose another name with --add"
        )
    if key.method == against:
        raise UserError(f"'{label}' has the name of the method that it is compared with; choose another with --add")
    results = Results(root, params.under(key.protocol))
    ours, database = results.record(key.database, against, key.shots), results.dataset(key.target)
    with tempfile.TemporaryDirectory() as place:
        _write(Path(place), results, file, key, ours)
        theirs = read_record(key.folder(Path(place)))
    known = [theirs, ours] if ours else [theirs]
    scores = score_table(known, {key.target: database} if database else {})
    mine = scores[scores["method"] == key.method]
    table = summary_table(mine, params.evaluate).set_index("metric")
    values = Differences(params, results.dataset, dict(iter(scores.groupby(CELL))))
    found = {metric: values.of([(theirs, ours)], metric) for metric in SHOWN} if ours else {}
    medians = {metric: table.loc[metric].to_dict() for metric in SHOWN}
    named = {**key._asdict(), "label": label, "splits": theirs.run.splits}
    named["problems"] = mine.loc[mine["status"] != "ok", "status"].value_counts().to_dict()
    return named | {"medians": medians, "against": results.label(against), "differences": found}


def text(found: dict[str, Any]) -> str:
    """What ``evaluate`` found in lines for people, the last one a row for a table in Markdown."""
    database, label, shots = title(found["database"]), found["label"], amount(found["shots"])
    shown = [with_interval(*(v[c] for c in ("median", "median_low", "median_high"))) for v in found["medians"].values()]
    lines = [f"{label} on {database}, {shots} labels, {found['protocol']}, {found['splits']} splits"]
    lines += [f"median {m.upper()}  {value}" for m, value in zip(found["medians"], shown, strict=True)]
    lines += [f"{count} of {found['splits']} splits: {status}" for status, count in found["problems"].items()]
    for m, d in found["differences"].items():
        lines.append(
            f"minus {found['against']}: mean {m.upper()} {signed(d['mean'], d['low'], d['high'])}, better on {d['won']} of "
            f"{d['scored']} splits, p = {number(d['p'])} ({d['rule']})"
        )
    return "\n".join([*lines, f"| {database} | {label} | {shots} | {' | '.join(shown)} |"])


def add(params: Params, root: Path, file: Path, key: RunKey, against: str, label: str) -> None:
    """Write the predictions as a run record and name the method in external.yaml, which every command reads.

    Raises UserError if no grid of params.yaml has this cell, or a method with another label has the same name in files.
    """
    grids = {
        name: grid
        for name, grid in params.run.grids().items()
        if key.protocol in grid.protocols and key.database in grid.databases and key.shots in grid.shots
    }
    if not grids:
        raise UserError(f"no grid of params.yaml has {key.database} with {key.shots} labels under {key.protocol}")
    results = Results(root, params.under(key.protocol))
    path = root / EXTERNAL
    entries = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}) if path.is_file() else {}
    if (known := entries.get(key.method, {}).get("label", label)) != label:
        raise UserError(
            f"'{label}' and '{known}' are both called {key.method} in files; choose another name with --add"
        )
    _write(root, results, file, key, results.record(key.database, against, key.shots))
    listed = dict.fromkeys([*entries.get(key.method, {}).get("grids", []), *grids])
    entries[key.method] = {"label": label, "against": against, "grids": list(listed)}
    write_text(path, yaml.safe_dump(entries, sort_keys=True, allow_unicode=True))


def name_of(label: str) -> str:
    """The name of a method in files, from its name in print."""
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")[:60] or "external"


def _write(place: Path, results: Results, file: Path, key: RunKey, ours: Record | None) -> None:
    """The record of the predictions in ``file``, below ``place``."""
    truth, inputs = _truth(results, key, ours)
    rows = _read(file, truth, key, split_file(results.root, key.target, key.protocol))
    count = int(truth["split"].max()) + 1
    found = identity.RunIdentity({"method": {"kind": "external"}, "splits": count, "shots": key.shots}, inputs)
    finished = [
        FinishedSplit(**{name: part[name].tolist() for name in ("image", "quality", "score")})
        for _, part in rows.groupby("split")
    ]
    record.write(place, key, found, finished, "external", 1, {})


def _truth(results: Results, key: RunKey, ours: Record | None) -> tuple[pd.DataFrame, dict[str, str]]:
    """``split, image, quality`` of every test image, from our record or the prepared database; and their sha256."""
    if ours:
        same = {name: digest for name, digest in ours.run.inputs.items() if name.startswith(("database", "splits"))}
        return ours.predictions[["split", "image", "quality"]], same
    database, parts = results.dataset(key.target), split_file(results.root, key.target, key.protocol)
    if database is None:
        of = f"{key.target} --params {results.root / 'params.yaml'}"
        raise UserError(
            f"the ratings of {key.target} are not here; run: grmp data fetch {of} && grmp data prepare {of}"
        )
    same = identity.data(results.params, results.root, key)
    drawn = splits.load(parts, database.index["image"])
    if key.source != key.target:  # trained elsewhere: every image of the target is a test image
        source = pd.read_csv(split_file(results.root, key.source, key.protocol), nrows=1)
        drawn = drawn.whole(source.filter(like="split_").shape[1])
    each = [database.index.iloc[drawn.test(i)][["image", "quality"]].assign(split=i) for i in range(drawn.count)]
    return pd.concat(each), same


def _read(path: Path, truth: pd.DataFrame, key: RunKey, drawn: Path) -> pd.DataFrame:
    """``truth``, which the file ``drawn`` has, too, with the column ``score``: each test image of each split predicted once."""
    found = tables.read(path, ("split", "image", "score"))
    found = found.assign(**{name: tables.numbers(path, found, name) for name in ("split", "score")})
    if (twice := found.duplicated(["split", "image"])).any():
        one = found.loc[twice.idxmax()]
        raise UserError(
            f"{path}, line {twice.idxmax()}: split {one['split']:g} has {one['image']} a second time ({twice.sum()} such rows)"
        )
    both = truth.merge(found[["split", "image", "score"]], how="outer", on=["split", "image"], indicator=True)
    for side, what in (
        ("right_only", f"rows that are not test images of {key.database} under protocol {key.protocol}"),
        ("left_only", "missing test images"),
    ):
        rows = both[both["_merge"] == side]
        if len(rows):
            first = some([f"split {row.split:g} {row.image}" for row in rows.itertuples()])
            raise UserError(f"{path}: {len(rows)} {what}: {first}; {drawn} lists the test images of each split")
    return both.sort_values(["split", "image"], ignore_index=True)
