"""How far a few inner steps go (results/inner_curves/): for ``meta_training``."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from grmp.report.notes import holes, join
from grmp.report.panels import label_left, legend, panels
from grmp.report.results import Results
from grmp.report.style import COLOURS, styled
from grmp.report.table import Table, merged, number

LOOK: dict[str, dict[str, Any]] = {
    "random": {
        "color": COLOURS[2],
        "marker": "o",
        "linestyle": "--",
        "markerfacecolor": "white",
        "label": "random start",
    },
    "meta": {"color": COLOURS[3], "marker": "D", "linestyle": "-", "label": "meta-learned start"},
}
KINDS = {"start": str, "database": str, "task": str}


def read(results: Results, variant: str) -> pd.DataFrame | None:
    """The measured steps of one variant, or None."""
    path = results.folder / "inner_curves" / f"{variant}.csv"
    return pd.read_csv(path, dtype=KINDS) if path.is_file() else None


@styled
def steps_figure(results: Results, variant: str, database: str, measure: str = "query_loss") -> Figure | None:
    """A panel a distortion type: the measure on query pictures against the inner steps taken, from both starts."""
    table = read(results, variant)
    if table is None or database not in set(table["database"]):
        return None
    table = table[table["database"] == database]
    tasks = sorted(table["task"].unique())
    figure, axes = panels(len(tasks), 1.0, 5, 0.3, sharex=True, sharey=True)
    counts = sorted(table["steps"].unique())
    for axis, task in zip(axes, tasks, strict=True):
        for start, part in table[table["task"] == task].groupby("start", sort=False):
            x = part["steps"].map(counts.index)
            axis.plot(x, part[measure], **LOOK[start] | {"markersize": 3, "linewidth": 0.9})
        axis.set_title(textwrap.fill(task.replace("_", " "), 22), fontsize=6.5)
        axis.set_xticks(range(len(counts)), [str(k) for k in counts])
    for axis in axes[-5:]:
        axis.set_xlabel("inner steps")
    label_left(axes, {"query_loss": "query loss", "query_srcc": "query SRCC"}[measure])
    legend(figure, axes, 2)
    return figure


def steps_table(results: Results) -> Table:
    """Mean over distortion types, by variant and database: loss and SRCC on query pictures after so many steps."""
    rows, absent = [], []
    for variant in results.params.inner_curves.variants:
        table = read(results, variant)
        if table is None:
            absent.append(f"inner_curves@{variant}")
            continue
        by = table.groupby(["database", "seen", "start", "steps"], sort=False)
        means = by.agg(query_loss=("query_loss", "mean"), query_srcc=("query_srcc", "mean"), types=("task", "nunique"))
        rows.append(means.reset_index().assign(variant=variant))
    columns = ["variant", "database", "seen", "types", "start", "steps", "query_loss", "query_srcc"]
    data = pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)
    counts = sorted(set(data["steps"]))
    shown = []
    for (variant, database, seen, types, start), part in data.groupby(columns[:5], sort=False):
        row = {
            "Variant": variant,
            "Database": database,
            "Pre-trained on": "yes" if seen else "no",
            "Types": types,
            "Start": start,
        }
        for name, measure in (("Loss", "query_loss"), ("SRCC", "query_srcc")):
            values = part.set_index("steps")[measure]
            row |= {f"{name}, {k}": number(values.get(k, float("nan"))) for k in counts}
        shown.append(row)
    frame = pd.DataFrame(shown, columns=list(shown[0]) if shown else ["Variant", "Database", "Start"])
    for head in ("Variant",):
        frame[head] = merged(frame[head])
    text = (
        "Means over distortion types on query pictures, after so many inner steps on support pictures. The random start is "
        "the one from which pre-training set out; on a database that it has seen, its query pictures were seen too."
    )
    return Table(data, frame, "How far a few inner steps go", join(text, holes(absent)))
