"""The tables: each a function of the results. What has not been run is a dash, and the note names the command that fills it."""

from typing import Any

import pandas as pd

from grmp.params import ACROSS
from grmp.report.notes import holes, join, lacking
from grmp.report.results import Results
from grmp.report.table import Table, merged, number, with_interval


def databases(results: Results) -> Table:
    """What each database holds and what it is used for."""
    rows, lacking = [], []
    for name in results.params.data.databases:
        found = results.database(name)
        targets = {end for cell in results.params.run.run_keys() for end in cell[1].split(ACROSS)}
        used = {"pre-training": results.params.pretrain.databases, "target": targets}
        roles = [role for role, names in used.items() if name in names]
        row: dict[str, Any] = {"database": name, "used for": ", ".join(roles) or "nothing"}
        if found is None:
            lacking.append(f"prepare@{name}")
        else:
            index = found.index
            row |= {
                "kind": found.info["kind"],
                "pictures": len(index),
                "sources": index["reference"].nunique(),
                "distortions": index["distortion"].nunique(),
                "opinions": results.opinion(name),
                "lowest": index["mos"].min(),
                "mean": index["mos"].mean(),
                "highest": index["mos"].max(),
            }
        rows.append(row)
    columns = [
        "database",
        "used for",
        "kind",
        "pictures",
        "sources",
        "distortions",
        "opinions",
        "lowest",
        "mean",
        "highest",
    ]
    data = pd.DataFrame(rows, columns=columns)
    shown = data.astype(object)
    for name in ("lowest", "mean", "highest"):
        shown[name] = [number(v, 2) for v in data[name]]
    for name in ("pictures", "sources", "distortions"):
        shown[name] = ["–" if pd.isna(v) or (v == 0 and name != "pictures") else f"{v:.0f}" for v in data[name]]
    note = "Simulated opinions come from a published full-reference measure with rater noise added; no human gave them."
    note = note if (data["opinions"] == "simulated opinion").any() else ""
    return Table(data, shown.fillna("–"), "The databases as prepared", join(note, holes(lacking)))


def backbone(results: Results) -> Table:
    """What was measured of the backbone (results/backbone.json), without what it took, which differs from run to run."""
    card = results.backbone
    if card is None:
        empty = pd.DataFrame({"measure": ["–"], "value": ["–"]})
        return Table(empty, empty, "The backbone", holes(["backbone"]))
    flat = {k: v for k, v in card.items() if isinstance(v, str | int | float) and "second" not in k}
    data = pd.DataFrame(list(flat.items()), columns=["measure", "value"])
    rows = []
    if "heldout_srcc" in card:
        srcc = with_interval(*(card[f"heldout_srcc{end}"] for end in ("", "_low", "_high")))
        accuracy = f"{number(card['scene_accuracy'])} (chance {number(card['chance'])})"
        rows = [("zero-shot SRCC against simulated quality [95% interval]", srcc), ("scenes named rightly", accuracy)]
    told = {"heldout_srcc", "heldout_srcc_low", "heldout_srcc_high", "scene_accuracy", "chance"} if rows else set()
    rest = (
        (k.replace("_", " "), number(v) if isinstance(v, float) else str(v)) for k, v in flat.items() if k not in told
    )
    shown = pd.DataFrame([*rows, *rest], columns=["Measure", "Value"])
    return Table(data, shown, "The backbone" + (", on pictures whose sources it was not trained on" if rows else ""))


def measures(results: Results, methods: list[str], shots: int) -> Table:
    """Every measure's median over splits, at one number of labels."""
    names = {
        "srcc": "SRCC",
        "krcc": "KRCC",
        "plcc": "PLCC",
        "plcc_fit": "PLCC after the fit",
        "rmse": "RMSE after the fit",
    }
    part = results.summary[(results.summary["shots"] == shots) & results.summary["method"].isin(methods)]
    data = part.pivot(index=["database", "method"], columns="metric", values="median")
    wanted = pd.MultiIndex.from_product([results.grid.databases, methods], names=["database", "method"])
    data = data.reindex(index=wanted, columns=list(names)).astype(float).reset_index()
    data.insert(2, "shots", shots)
    shown = pd.DataFrame({"Database": merged(data["database"])})
    shown["Method"] = [results.params.methods[name].label for name in data["method"]]
    for metric, name in names.items():
        shown[name] = [number(v) for v in data[metric]]
    note = join(
        f"Medians over {results.params.splits.count} splits. PLCC is of the raw scores; the last two are taken through the "
        "four-parameter logistic fit, RMSE in the units of the database. A fit may fall, and then its PLCC hides that "
        "predictions run against quality: SRCC shows it.",
        lacking(results, [cell for cell in results.cells([shots]) if cell[2] in methods]),
    )
    return Table(data, shown, f"Every measure, after {shots} labels", note)


def pretraining(results: Results) -> Table:
    """Query loss of every variant and database in the first and the last epoch, over tasks."""
    rows, lacking = [], []
    for name in results.params.pretrain.variants:
        table = results.pretrain(name)
        if table is None:
            lacking.append(f"pretrain@{name}")
            continue
        for database, part in table.groupby("database"):
            ends = [part[part["epoch"] == e]["query_loss"] for e in (part["epoch"].min(), part["epoch"].max())]
            better = part.pivot(index="task", columns="epoch", values="query_loss")
            fell = int((better.iloc[:, -1] < better.iloc[:, 0]).sum())
            rows.append((name, database, better.shape[0], better.shape[1], ends[0].mean(), ends[1].mean(), fell))
    columns = ["variant", "database", "tasks", "epochs", "first query loss", "last query loss", "tasks whose loss fell"]
    data = pd.DataFrame(rows, columns=columns)
    shown = data.astype(object)
    for column in columns[4:6]:
        shown[column] = [number(v, 4) for v in data[column]]
    note = (
        "Mean over tasks of the cross-entropy on query pictures, in the first and the last epoch. With quality in [0, 1] as "
        "its target it cannot fall to 0: the floor is the entropy of the opinions, and 0.693 is what a constant 0.5 gives."
    )
    return Table(data, shown, "Meta-prompt pre-training", join(note, holes(lacking)))


def left_out(results: Results) -> Table | None:
    """Records that could not be used, or None."""
    if not len(results.left_out):
        return None
    shown = results.left_out.rename(columns={"record": "Record", "reason": "Why it was left out"})
    return Table(results.left_out, shown, "Records left out")
