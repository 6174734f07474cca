"""The sentences below tables: what an interval means, what is missing and the command that fills it, what went wrong."""

from collections.abc import Iterable

import pandas as pd

from grmp.params import RunKey
from grmp.report.results import Results
from grmp.report.table import with_interval

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


def troubles(summary: pd.DataFrame) -> list[str]:
    """Every cell in which some split is not as it should be."""
    odd = summary[(summary["metric"] == "srcc") & (summary["scored"] < summary["splits"])]
    return [f"{r.database}, {r.method}, {r.shots}: {r.status}" for r in odd.itertuples()]


def signed(value: float, low: float, high: float) -> str:
    """A difference with its interval, its sign written out."""
    text = with_interval(value, low, high, 4)  # effects are small
    return f"+{text}" if pd.notna(value) and value > 0 else text


def side(low: float, high: float, status: str) -> str:
    """Where the interval lies, or why there is none."""
    if status != "ok":
        return status
    if pd.isna(low):
        return "too few splits"
    return "above 0" if low > 0 else "below 0" if high < 0 else "holds 0: no effect shown"


def holes(stages: list[str]) -> str:
    """A line that names the stages that make what is missing."""
    return "–: not run; fill with " + ", ".join(f"`dvc repro {s}`" for s in stages) + "." if stages else ""


def lacking(results: Results, cells: Iterable[RunKey]) -> str:
    """A line that names the commands for those of these cells that nobody has scored, and what params.yaml does not ask for."""
    missing, asked = results.missing(dict.fromkeys(cells)), set(results.params.run.run_keys())
    commands = [f"`{cell.command}`" for cell in missing if cell in asked]
    unknown = ", ".join(dict.fromkeys(cell[2] for cell in missing if cell not in asked))
    how = ", ".join(commands) if len(commands) < 4 else f"`grmp sweep`, one of them with {commands[0]}"
    return join(
        f"–: {len(commands)} runs are missing; fill with {how}, then `dvc repro`." if commands else "",
        f"–: not asked for: add {unknown} to run.ablation in params.yaml, then `dvc repro`." if unknown else "",
    )


def join(*parts: str) -> str:
    """Sentences one after another, each with its stop."""
    return " ".join(p if p.endswith(".") else f"{p}." for p in parts if p)
