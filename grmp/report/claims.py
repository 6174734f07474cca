"""What the paper claims, what was found here, and a verdict by rule, never by hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grmp.params import RunKey
from grmp.report.notes import join
from grmp.report.published import beside, published
from grmp.report.results import Results
from grmp.report.scores import PAPER
from grmp.report.sourced import is_number, sourced
from grmp.report.style import COLUMN, line_styles, styled
from grmp.report.table import Table, amount, merged, number, with_interval

COLUMNS = ["claim", "kind", "database", "method", "against", "shots", "metric", "value", "source"]
Verdict = Literal["reproduced", "not reproduced", "not comparable", "not run"]
RULES = {
    "level": "a stated number is reproduced if the upper end of our median's interval reaches it",
    "above": "a lead over a published number, if the lower end of our median's interval lies above it",
    "most": "a lead over most fully supervised methods, if our median lies above more than half of the published ones",
    "better": "a gain between two methods, if more than half of the intervals of the paired differences, one a database and "
    "number of labels, lie above 0 and none below",
}
SPLITS = 10  # the paper's number of splits


@dataclass(frozen=True)
class Found:
    """What the results hold on one claim under one protocol; ``ours`` is NaN where nothing has been run."""

    ours: float = np.nan
    low: float = np.nan
    high: float = np.nan
    beaten: int = 0  # kind most: published methods below our median
    others: int = 0  # and how many there are
    above: int = 0  # kind better: cells whose interval lies above 0
    below: int = 0
    cells: int = 0

    @property
    def run(self) -> bool:
        """Whether there is anything to judge."""
        return bool(np.isfinite(self.ours)) or self.cells > 0


def claims(root: Path) -> pd.DataFrame:
    """The package's claims.csv and, below it, the user's own rows from ``claims.csv`` beside params.yaml.

    Raises
    ------
    UserError
        If a row has other columns, an unknown kind, no source, or no number where its kind needs one.
    """
    return sourced(root, "claims.csv", COLUMNS, _trouble)


def _trouble(row: Any) -> str:
    if row.kind not in RULES:
        return f"kind '{row.kind}' is none of {', '.join(RULES)}"
    if row.kind in ("level", "above") and not is_number(row.value):
        return f"'{row.value}' is no number; a claim of this kind needs one"
    return ""


def judge(kind: str, value: float, found: Found, unlike: str) -> Verdict:
    """The verdict on one claim by RULES; ``unlike`` says what keeps our number from being compared, or is empty."""
    if not found.run:
        return "not run"
    if unlike or (kind == "most" and not found.others):
        return "not comparable"
    held = {
        "level": found.high >= value,
        "above": found.low > value,
        "most": 2 * found.beaten > found.others,
        "better": 2 * found.above > found.cells and not found.below,
    }
    return "reproduced" if held[kind] else "not reproduced"


def unlike(results: Results, database: str) -> str:
    """What makes a run here another thing than the paper's, in words; empty if nothing does."""
    found, backbone, splits = [], results.params.backbone, results.params.splits.count
    if backbone.source != "open_clip" or not (
        backbone.model.startswith("ViT-B-16") and backbone.pretrained == "openai"
    ):
        found.append("another backbone")
    if database != "*" and results.opinion(database) == "simulated opinion":
        found.append("simulated opinions")
    if splits < SPLITS:
        found.append(f"{splits} splits rather than {SPLITS}")
    return ", ".join(found)


def evidence(results: Results, claim: pd.Series) -> Found:
    """What the records of ``results``, under its protocol, say of a claim."""
    summary, pairs = results.summary, results.pairs
    if claim["kind"] == "better":
        part = pairs[(pairs["method"] == claim["method"]) & (pairs["against"] == claim["against"])]
        part = part[(part["metric"] == claim["metric"]) & part["mean_low"].notna()]
        above, below = int((part["mean_low"] > 0).sum()), int((part["mean_high"] < 0).sum())
        return Found(above=above, below=below, cells=len(part))
    part = summary[(summary["database"] == claim["database"]) & (summary["method"] == claim["method"])]
    part = part[(part["shots"].astype(str) == claim["shots"]) & (part["metric"] == claim["metric"])]
    if part.empty:
        return Found()
    one = part.iloc[0]
    theirs = beside(published(results.root), "full", claim["database"], ["100pct"])
    theirs = theirs[(theirs["metric"] == claim["metric"]) & (theirs["method"] != PAPER)].dropna(subset="value")
    beaten = int((theirs["value"] < one["median"]).sum())
    return Found(one["median"], one["median_low"], one["median_high"], beaten, len(theirs))


def verdicts(results: Results) -> pd.DataFrame:
    """One row a claim and protocol: what is claimed, what was found, the verdict, and why or how to fill it."""
    rows = []
    for _, claim in claims(results.root).iterrows():
        for protocol in _protocols(results, claim) or [results.params.protocol]:
            at = results.under(protocol)
            found, differs = evidence(at, claim), unlike(at, claim["database"])
            value = float(claim["value"] or "nan")
            verdict = judge(claim["kind"], value, found, differs)
            why = differs if verdict == "not comparable" else _fill(at, claim) if verdict == "not run" else ""
            told = claim[["claim", "kind", "database", "method", "shots", "metric", "source"]].to_dict()
            counted = {"above": found.above, "below": found.below, "cells": found.cells}
            counted |= {"beaten": found.beaten, "others": found.others}
            ours = {"claimed": value, "ours": found.ours, "low": found.low, "high": found.high}
            rows.append(told | {"protocol": protocol} | ours | counted | {"verdict": verdict, "why": why})
    return pd.DataFrame(rows)


def _cells(results: Results, claim: pd.Series) -> list[RunKey]:
    """The runs that params.yaml asks for and the claim needs, under all protocols."""

    def fits(cell: RunKey) -> bool:
        _, database, method, shots = cell
        return (
            claim["database"] in ("*", database)
            and claim["shots"] in ("*", str(shots))
            and method in (claim["method"], *([claim["against"]] if claim["kind"] == "better" else []))
        )

    return [cell for cell in results.params.run.run_keys() if fits(cell)]


def _protocols(results: Results, claim: pd.Series) -> list[str]:
    return list(dict.fromkeys(cell[0] for cell in _cells(results, claim)))


def _fill(results: Results, claim: pd.Series) -> str:
    """The command that runs what a claim needs, or that params.yaml does not ask for it."""
    cells = [cell for cell in _cells(results, claim) if cell[0] == results.params.protocol]
    if not cells:
        return "params.yaml does not ask for it"
    return f"`{cells[0].command}`" + (" and its like" if len(cells) > 1 else "")


def claim_table(results: Results) -> Table:
    """The claims with their verdicts."""
    data = verdicts(results)
    shown = pd.DataFrame(
        {
            "Claim": merged(data["claim"]),
            "Protocol": data["protocol"],
            "Claimed": [number(v) if np.isfinite(v) else "" for v in data["claimed"]],
            "Ours": [_ours(row) for _, row in data.iterrows()],
            "Verdict": [f"**{v}**" for v in data["verdict"]],
            "Why, or how to fill it": data["why"],
            "Source": merged(data["source"]),
        }
    )
    rules = f"Verdicts follow rules: {'; '.join(RULES.values())}"
    unequal = (
        f"Not comparable: another backbone than OpenAI's ViT-B/16, simulated opinions, or fewer than {SPLITS} splits. The "
        "paper's numbers were had by choosing the epoch on the test split; the sound protocol does not do that"
    )
    return Table(data, shown, "The paper's claims and what was found here", join(rules, unequal))


def _ours(row: pd.Series) -> str:
    if row["cells"]:
        return f"{row['above']} of {row['cells']} intervals above 0, {row['below']} below"
    if not np.isfinite(row["ours"]):
        return "–"
    told = with_interval(row["ours"], row["low"], row["high"])
    return told + (f"; above {row['beaten']} of {row['others']}" if row["kind"] == "most" else "")


@styled
def claim_figure(results: Results) -> Figure | None:
    """Stated numbers (stars) and our medians with their intervals; None where none of them has been run."""
    data = verdicts(results)
    data = data[(data["kind"] == "level") & data["ours"].notna()].reset_index(drop=True)
    if data.empty:
        return None
    names = list(results.params.protocols)
    styles = line_styles(
        ["", "", "", *names]
    )  # from the fourth look on, as the grey of the first means zero-shot elsewhere
    rows = list(dict.fromkeys(zip(data["database"], data["shots"], strict=True)))
    figure = Figure((COLUMN, 0.24 * len(rows) + 0.7), layout="constrained")
    axis = figure.subplots()
    for row in data.itertuples():
        y = rows.index((row.database, row.shots))
        shift = 0.16 * (names.index(row.protocol) - (len(names) - 1) / 2)
        style = styles[row.protocol] | {"linestyle": "none", "label": f"{row.protocol} protocol"}
        axis.hlines(y + shift, row.low, row.high, color=style["color"], linewidth=1)
        axis.plot(row.ours, y + shift, **style)
        axis.plot(row.claimed, y, "*", color="black", mfc="white", markersize=8, label="stated by the paper")
    handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    axis.set_yticks(range(len(rows)), [f"{database}, {amount(shots)}" for database, shots in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("SRCC")
    return figure
