"""The paper's claims, our results, and a verdict by rule: table and figure of the notebook ``summary``."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grmp.params import ACROSS
from grmp.report.comparisons import MARGIN
from grmp.report.pairs import ALL
from grmp.report.plotting import PAGE, line_styles, styled
from grmp.report.published import PAPER, is_number, published_scores, sourced
from grmp.report.results import SIMULATED, Results, at, title, triples
from grmp.report.table import Table, amount, join, merged, number, signed, with_interval

COLUMNS = ["claim", "kind", "database", "method", "against", "shots", "metric", "value", "source"]
Verdict = Literal["reproduced", "better", "not reproduced", "inconclusive", "not comparable", "not run"]
RULES = {
    "level": f"a stated value: better if the interval of our median over splits lies more than {MARGIN} above it, reproduced "
    f"if the interval lies above the value minus {MARGIN}, not reproduced if it lies below that",
    "above": "a lead over a published value, which has no interval and is taken as exact: reproduced if our interval "
    "over splits lies above it, not reproduced if it lies below it",
    "most": "a lead over most fully supervised methods: reproduced if the lower end of our interval over splits exceeds more "
    "than half of the published values that we know, later papers included, not reproduced if the upper end does not",
    "better": "a gain between two methods, by the mean of the paired differences over all databases and numbers of labels: "
    "reproduced if its interval over images and splits lies above 0 (under the first protocol, also after Holm's correction), "
    f"not reproduced if it lies below {MARGIN}",
}
SPLITS = 10  # the paper's number of splits


@dataclass(frozen=True)
class Evidence:
    """What was found about one claim under one protocol; ``ours`` is NaN if nothing was run."""

    ours: float = np.nan
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan  # kind better: after Holm's correction, where there is one
    status: str = "ok"  # or why there is no verdict
    others: tuple[float, ...] = ()  # kind most: published values of other methods

    def beaten(self, value: float) -> int:
        """How many of ``others`` lie below ``value``."""
        return sum(other < value for other in self.others)


def claims(results: Results) -> pd.DataFrame:
    """The package's claims.csv, followed by the user's own rows from ``claims.csv`` next to params.yaml.

    Raises UserError if a row has other columns, an unknown kind, no source, or no number although its kind needs one.
    """

    def problem(row: Any) -> str:
        if row.kind not in RULES:
            return f"kind '{row.kind}' is unknown; use one of {', '.join(RULES)}"
        needed = row.kind in ("level", "above")
        if is_number(row.value) or not (row.value or needed):
            return ""
        remedy = "a claim of this kind needs one" if needed else "leave it blank if there is none"
        return f"'{row.value}' is not a number; {remedy}"

    return sourced(results, "claims.csv", COLUMNS, problem)


def judge(kind: str, value: float, found: Evidence, unlike: str, level: float = 0.95) -> Verdict:
    """The verdict on one claim by RULES; ``unlike`` says why our number is not comparable, or is empty."""
    if found.status.startswith("not comparable"):
        return "not comparable"
    if not np.isfinite(found.ours):
        return "not run"
    if unlike or (kind == "most" and not found.others):
        return "not comparable"
    if found.status != "ok":
        return "inconclusive"
    if kind == "level" and found.low > value + MARGIN:
        return "better"
    yes, no = {
        "level": (found.low >= value - MARGIN, found.high < value - MARGIN),
        "above": (found.low > value, found.high < value),
        "most": (2 * found.beaten(found.low) > len(found.others), 2 * found.beaten(found.high) <= len(found.others)),
        "better": (found.low > 0 and not found.p > 1 - level, found.high < MARGIN),
    }[kind]
    return "reproduced" if yes else "not reproduced" if no else "inconclusive"


def unlike(results: Results, database: str) -> str:
    """In what our runs differ from the paper's; empty if in nothing."""
    backbone, splits = results.params.backbone, results.params.splits.count
    names = [end for name in (results.grid.databases if database == "*" else [database]) for end in name.split(ACROSS)]
    prepared = [results.json(f"data/prepared/{name}/info.json") for name in names]  # None in results without their data
    same = backbone.source == "open_clip" and backbone.model.startswith("ViT-B-16") and backbone.pretrained == "openai"
    differs = {
        "another backbone": not same,
        "simulated ratings": SIMULATED in map(results.rating, names),
        "part of the images": any(p.get("left_out") if p else results.params.data.allow_missing for p in prepared),
        f"{splits} splits instead of {SPLITS}": splits < SPLITS,
    }
    return ", ".join(what for what, true in differs.items() if true)


def evidence(results: Results, claim: pd.Series) -> Evidence:
    """What the records under one protocol say about a claim."""
    if claim["kind"] == "better":
        part = at(results.pairs, **claim[["method", "against", "metric"]])
        part = at(part, **claim[["database", "shots"]].replace("*", ALL))
        if part.empty:
            return Evidence()
        one = part.iloc[0]
        mean, low, high, p = one[["mean", "low", "high", "p_holm"]].astype(float)
        return Evidence(mean, low, high, p, one["status"])
    part = at(results.summary, **claim[["database", "method", "shots", "metric"]])
    if part.empty:
        return Evidence()
    theirs = published_scores(results, "full", claim["database"], ["100pct"])
    theirs = theirs[(theirs["metric"] == claim["metric"]) & (theirs["method"] != PAPER)].dropna(subset="value")
    one = part.iloc[0]
    partly = f"{one['scored']:.0f} of {one['splits']:.0f} splits have a score"
    status = "ok" if one["scored"] == one["splits"] else partly
    return Evidence(*triples(part, "median")[0], status=status, others=tuple(theirs["value"]))


def verdicts(results: Results) -> pd.DataFrame:
    """One row per claim and protocol: the claim, our result, the verdict, and the reason or the command to run."""
    rows = []
    for _, claim in claims(results).iterrows():
        methods = {claim["method"], claim["against"] if claim["kind"] == "better" else claim["method"]}
        keys = [key for key in results.params.run.run_keys() if key.method in methods]
        keys = [k for k in keys if claim["database"] in ("*", k.database) and claim["shots"] in ("*", str(k.shots))]
        for protocol in dict.fromkeys(key.protocol for key in keys) or [results.params.protocol]:
            under = results.under(protocol)
            found, differs = evidence(under, claim), unlike(under, claim["database"])
            value = float(claim["value"] or "nan")
            verdict = judge(claim["kind"], value, found, differs, results.params.evaluate.level)
            why = (differs or found.status) if verdict in ("not comparable", "inconclusive") else ""
            if verdict == "not run":
                needed = results.missing(key for key in keys if key.protocol == protocol)
                more = f" and {len(needed) - 1} more" if len(needed) > 1 else ""
                if needed:
                    why = f"`{needed[0].command}`{more}"
                elif not methods <= {key.method for key in keys}:
                    why = "in no grid of params.yaml"
                else:
                    why = (
                        "asked by no question of evaluate.pairs"
                        if claim["kind"] == "better"
                        else "no split has a score"
                    )
            row = claim[["claim", "kind", "database", "method", "shots", "metric", "source"]].to_dict()
            row |= {"protocol": protocol, "claimed": value, "ours": found.ours, "low": found.low, "high": found.high}
            beaten = {"beaten": found.beaten(found.ours), "others": len(found.others)}
            rows.append(row | beaten | {"verdict": verdict, "why": why})
    return pd.DataFrame(rows)


def claim_table(results: Results) -> Table:
    """The claims with their verdicts."""
    data, ours = verdicts(results), []
    for row in data.itertuples():
        text = (signed if row.kind == "better" else with_interval)(row.ours, row.low, row.high)
        beaten = f"; above {row.beaten} of {row.others}" if row.kind == "most" and np.isfinite(row.ours) else ""
        ours.append(text + beaten)
    shown = pd.DataFrame(
        {
            "Claim": merged(data["claim"]),
            "Protocol": data["protocol"],
            "Claimed": [number(v) for v in data["claimed"]],
            "Ours": ours,
            "Verdict": [f"**{v}**" for v in data["verdict"]],
            "Reason or command": data["why"].replace({"": "–", "ok": "–"}),
            "Source": merged(data["source"]),
        }
    )
    rules = f"Verdicts follow rules: {'; '.join(RULES.values())}"
    unequal = (
        "Not comparable: another backbone than OpenAI's ViT-B/16, simulated ratings, part of the images, or fewer than "
        f"{SPLITS} splits. The paper's numbers were obtained by selecting the epoch on the test split; the sound protocol "
        "does not do that"
    )
    return Table(data, shown, "The paper's claims and our results", join(rules, unequal))


@styled
def claim_figure(results: Results) -> Figure | None:
    """Stated values of SRCC (stars) and our medians with their intervals; None if none of them was run."""
    data = at(verdicts(results), kind="level", metric="srcc").dropna(subset="ours").reset_index(drop=True)
    if data.empty:
        return None
    names = list(results.params.protocols)
    styles = line_styles(["", "", "", *names])  # from the fourth style on: the first, grey, is zero-shot elsewhere
    rows = list(dict.fromkeys(zip(data["database"], data["shots"], strict=True)))
    figure = Figure((PAGE / 2, 0.24 * len(rows) + 0.7), layout="constrained")
    axis = figure.subplots()
    for row in data.itertuples():
        y = rows.index((row.database, row.shots))
        shift = 0.16 * (names.index(row.protocol) - (len(names) - 1) / 2)
        style = styles[row.protocol] | {"linestyle": "none", "label": f"{row.protocol} protocol"}
        axis.hlines(y + shift, row.low, row.high, color=style["color"], linewidth=1)
        axis.plot(row.ours, y + shift, **style)
        axis.plot(row.claimed, y, "*", color="black", mfc="white", markersize=8, label="stated in the paper")
    handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2)
    axis.set_yticks(range(len(rows)), [f"{title(database)}, {amount(shots)} labels" for database, shots in rows])
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("SRCC")
    return figure
