"""The tables: each a function of a world. What has not been run is a dash, and the note names the command that fills it."""

from typing import Any

import numpy as np
import pandas as pd

from grmp.params import ACROSS
from grmp.report.published import BLANK, few_shot, published
from grmp.report.table import Table, merged, number, with_interval
from grmp.report.world import World

SPLITS_NOTE = (
    "Splits draw their test pictures from one database, so the same pictures come back in several and the splits are not "
    "independent: an interval says how far a number hangs on the draw of the split, not how it would vary elsewhere."
)

PUBLISHED_NOTE = "Published rows stand as their papers give them: other splits, pictures and backbones."
# Measured on 4,000 draws of independent normal values.
FEW_SPLITS_NOTE = (
    "Bootstrap intervals of a mean are too narrow over few splits: a 95% one holds the truth in about 84% of the cases with "
    "5 splits and 90% with 10."
)


def databases(world: World) -> Table:
    """What each database holds and what it is used for."""
    rows, holes = [], []
    for name in world.params.data.databases:
        found = world.database(name)
        targets = {end for cell in world.params.run.cells() for end in cell[1].split(ACROSS)}
        used = {"pre-training": world.params.pretrain.databases, "target": targets}
        roles = [role for role, names in used.items() if name in names]
        row: dict[str, Any] = {"database": name, "used for": ", ".join(roles) or "nothing"}
        if found is None:
            holes.append(f"prepare@{name}")
        else:
            index = found.index
            row |= {
                "kind": found.info["kind"],
                "pictures": len(index),
                "sources": index["reference"].nunique(),
                "distortions": index["distortion"].nunique(),
                "opinions": world.opinion(name),
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
    return Table(data, shown.fillna("–"), "The databases as prepared", _join(note, _holes(holes)))


def backbone(world: World) -> Table:
    """What was measured of the backbone (results/backbone.json), without what it took, which differs from run to run."""
    card = world.backbone
    if card is None:
        empty = pd.DataFrame({"measure": ["–"], "value": ["–"]})
        return Table(empty, empty, "The backbone", _holes(["backbone"]))
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


def few_shot_table(world: World, shots: list[int]) -> Table:
    """Medians over splits with their intervals, database by database; published numbers below ours where there are any."""
    metrics = ("srcc", "plcc")
    params, theirs = world.params, published(world.folder)
    keyed = world.summary.set_index(["database", "method", "shots", "metric"])
    data, shown = [], []
    for database in world.grid.databases:
        best = {(s, m): _best(world.summary, database, s, m) for s in shots for m in metrics}
        for method in world.grid.methods:
            row = {"Database": database, "Method": params.methods[method].label}
            for metric in metrics:
                for k in shots:
                    name = f"{metric.upper()}, {k}"
                    if (database, method, k, metric) not in keyed.index:
                        row[name] = "–"
                        continue
                    one = keyed.loc[(database, method, k, metric)]
                    cell = with_interval(one["median"], one["median_low"], one["median_high"])
                    if one["scored"] < one["splits"]:
                        cell += f" ({one['scored']:.0f} of {one['splits']:.0f} splits)"
                    row[name] = f"**{cell}**" if method == best[k, metric] else cell
                    data.append(
                        (database, method, k, metric, *one[["median", "median_low", "median_high"]], "this run")
                    )
            shown.append(row)
        rows = few_shot(theirs, database, shots)
        for name in rows["method"].drop_duplicates():
            row = {"Database": database, "Method": f"{name}, published"}
            for metric in metrics:
                for k in shots:
                    value = rows[(rows["method"] == name) & (rows["shots"] == k) & (rows["metric"] == metric)]["value"]
                    known = len(value) and pd.notna(value.iloc[0])
                    row[f"{metric.upper()}, {k}"] = number(value.iloc[0]) if known else "n.p."
                    if known:
                        data.append((database, name, k, metric, value.iloc[0], np.nan, np.nan, "published"))
            shown.append(row)
    frame = pd.DataFrame(shown)
    frame["Database"] = merged(frame["Database"])
    columns = ["database", "method", "shots", "metric", "median", "median_low", "median_high", "origin"]
    level = round(100 * params.evaluate.level)
    note = _join(
        f"Median over {params.splits.count} splits with its {level}% bootstrap interval; the heads give the number of labelled "
        "pictures. Bold: the highest median, which is not a test.",
        SPLITS_NOTE,
        PUBLISHED_NOTE if (frame["Method"].str.endswith(", published")).any() else "",
        f"n.p.: {BLANK}." if (frame == "n.p.").to_numpy().any() else "",
        "; ".join(_troubles(world)),
        _holes([world.params.run.stage(cell) for cell in world.missing(world.cells(shots))]),
    )
    caption = f"Few-shot assessment: {', '.join(str(s) for s in shots)} labelled pictures"
    return Table(pd.DataFrame(data, columns=columns), frame, caption, note)


def measures(world: World, methods: list[str], shots: int) -> Table:
    """Every measure's median over splits, at one number of labels."""
    names = {
        "srcc": "SRCC",
        "krcc": "KRCC",
        "plcc": "PLCC",
        "plcc_fit": "PLCC after the fit",
        "rmse": "RMSE after the fit",
    }
    part = world.summary[(world.summary["shots"] == shots) & world.summary["method"].isin(methods)]
    data = part.pivot(index=["database", "method"], columns="metric", values="median")
    wanted = pd.MultiIndex.from_product([world.grid.databases, methods], names=["database", "method"])
    data = data.reindex(index=wanted, columns=list(names)).astype(float).reset_index()
    data.insert(2, "shots", shots)
    shown = pd.DataFrame({"Database": merged(data["database"])})
    shown["Method"] = [world.params.methods[name].label for name in data["method"]]
    for metric, name in names.items():
        shown[name] = [number(v) for v in data[metric]]
    note = _join(
        f"Medians over {world.params.splits.count} splits. PLCC is of the raw scores; the last two are taken through the "
        "four-parameter logistic fit, RMSE in the units of the database. A fit may fall, and then its PLCC hides that "
        "predictions run against quality: SRCC shows it.",
        _holes([world.params.run.stage(c) for c in world.missing(world.cells([shots])) if c[2] in methods]),
    )
    return Table(data, shown, f"Every measure, after {shots} labels", note)


def pair_table(world: World, metric: str = "srcc") -> Table:
    """The questions of params.yaml: paired differences over splits."""
    data = world.pairs[world.pairs["metric"] == metric].reset_index(drop=True)
    label = {name: method.label for name, method in world.params.methods.items()}
    shown = pd.DataFrame(
        {
            "Question": merged(data["question"]),
            "Difference": merged(data["method"].map(label) + " − " + data["against"].map(label)),
            "Database": data["database"],
            "Labels": data["shots"].astype(str),
            "Mean": [_signed(*v) for v in zip(data["mean"], data["mean_low"], data["mean_high"], strict=True)],
            "Median": [_signed(*v) for v in zip(data["median"], data["median_low"], data["median_high"], strict=True)],
            "Won": [
                "–" if pd.isna(w) else f"{w:.0f} of {n:.0f}" for w, n in zip(data["won"], data["scored"], strict=True)
            ],
            "p": [number(v) for v in data["p"]],
            "p (Holm)": [number(v) for v in data["p_holm"]],
            "Interval": [_side(*v) for v in zip(data["mean_low"], data["mean_high"], data["status"], strict=True)],
        }
    )
    asked = [(p.question, p.method, p.against) for p in world.params.evaluate.pairs]
    there = set(zip(data["question"], data["method"], data["against"], strict=True))
    holes = [f"{question} needs {a} and {b}" for question, a, b in asked if (question, a, b) not in there]
    level, splits = round(100 * world.params.evaluate.level), world.params.splits.count
    note = _join(
        f"Differences of {metric.upper()} on the same splits, with {level}% bootstrap intervals; the last column is about "
        f"the mean's. p: two-sided Wilcoxon signed-rank test, which over {splits} splits cannot fall below "
        f"{2 / 2**splits:.3g}; Holm's correction runs over the rows of a question.",
        FEW_SPLITS_NOTE if splits < 20 else "",
        SPLITS_NOTE,
        f"Not run: {'; '.join(holes)}; fill with `dvc repro`." if holes else "",
    )
    return Table(data, shown, f"Paired differences of {metric.upper()}", note)


def pretraining(world: World) -> Table:
    """Query loss of every variant and database in the first and the last epoch, over tasks."""
    rows, holes = [], []
    for name in world.params.pretrain.variants:
        table = world.pretrain(name)
        if table is None:
            holes.append(f"pretrain@{name}")
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
    return Table(data, shown, "Meta-prompt pre-training", _join(note, _holes(holes)))


def left_out(world: World) -> Table | None:
    """Records that could not be used, or None."""
    if not len(world.left_out):
        return None
    shown = world.left_out.rename(columns={"record": "Record", "reason": "Why it was left out"})
    return Table(world.left_out, shown, "Records left out")


def cost(world: World) -> Table:
    """What the runs took, method by method."""
    label = {name: method.label for name, method in world.params.methods.items()}
    by = world.cost.assign(Method=world.cost["method"].map(label)).groupby("Method", sort=False)
    data = by.agg(
        runs=("seconds", "size"), seconds=("seconds", "sum"), trained_values=("trained_values", "max")
    ).reset_index()
    shown = data.astype(object)
    shown["seconds"] = [number(v, 0) for v in data["seconds"]]
    shown["trained_values"] = [f"{v:,}" for v in data["trained_values"]]
    devices = ", ".join(sorted(set(world.cost["device"])))
    return Table(
        data,
        shown.rename(columns=lambda c: c.replace("_", " ").capitalize()),
        "What the runs took",
        f"Device: {devices}.",
    )


def _best(summary: pd.DataFrame, database: str, shots: int, metric: str) -> str | None:
    """The method with the highest median."""
    part = summary[(summary["database"] == database) & (summary["shots"] == shots) & (summary["metric"] == metric)]
    part = part.dropna(subset="median")
    return str(part.loc[part["median"].idxmax(), "method"]) if len(part) > 1 else None


def _troubles(world: World) -> list[str]:
    """Every cell in which some split is not as it should be."""
    odd = world.summary[(world.summary["metric"] == "srcc") & (world.summary["scored"] < world.summary["splits"])]
    return [f"{r.database}, {r.method}, {r.shots}: {r.status}" for r in odd.itertuples()]


def _signed(value: float, low: float, high: float) -> str:
    text = with_interval(value, low, high, 4)  # effects are small
    return f"+{text}" if pd.notna(value) and value > 0 else text


def _side(low: float, high: float, status: str) -> str:
    """Where the interval lies, or why there is none."""
    if status != "ok":
        return status
    if pd.isna(low):
        return "too few splits"
    return "above 0" if low > 0 else "below 0" if high < 0 else "holds 0: no effect shown"


def _holes(stages: list[str]) -> str:
    """A line that names the commands that fill what is missing."""
    if not stages:
        return ""
    if len(stages) > 4:
        return f"–: {len(stages)} runs are missing; fill them with `dvc repro`, or one with `dvc repro {stages[0]}`."
    return "–: not run; fill with " + ", ".join(f"`dvc repro {s}`" for s in stages) + "."


def _join(*parts: str) -> str:
    return " ".join(p if p.endswith(".") else f"{p}." for p in parts if p)
