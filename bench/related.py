"""What the related papers need against what they report: docs/_static/related.png from docs/related.csv and published.csv.

python -m bench.related
"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

import grmp
from grmp.report.plotting import COLOURS, GREY, PAGE, save, styled

DOCS, PUBLISHED = Path(__file__).parents[1] / "docs", Path(grmp.__file__).parent / "report/published.csv"
NEEDS = {
    "labels": "labels",
    "images": "images in\npre-training for quality",
    "parameters": "parameters of the\npre-trained model",
    "gpu_hours": "GPU hours",
}
REPORTS = {"livec": "LIVE Challenge", "koniq10k": "KonIQ-10k"}


def reported(paper: str, published: pd.DataFrame) -> dict[str, float]:
    """Published SRCC of a paper by database, for its number of labels: 50, or 80 % of the images."""
    name, _, labels = paper.partition(", ")
    key = ("few_shot", "50", name) if labels == "50 labels" else ("full", "80/20", name)
    rows = published[published["metric"] == "srcc"].set_index(["table", "setting", "method"]).sort_index()
    rows = rows.loc[[key]] if key in rows.index else rows[:0]
    return dict(zip(rows["dataset"], rows["value"].astype(float), strict=True))


@styled
def draw(needs: pd.DataFrame, published: pd.DataFrame) -> Figure:
    """One row per paper, ordered by the size of its pre-trained model, then by labels; "?" where no number was found."""
    table = needs.pivot(index="paper", columns="quantity", values="value").reindex(columns=list(NEEDS)).astype(float)
    papers = list(table.sort_values(["parameters", "labels"], kind="stable").index)
    figure = Figure((PAGE, 0.4 + 0.2 * len(papers)), layout="constrained")
    axes = figure.subplots(1, len(NEEDS) + 1, sharey=True)
    for axis, (quantity, label) in zip(axes, NEEDS.items(), strict=False):
        values = table.loc[papers, quantity]
        axis.plot(values, range(len(papers)), "o", color=COLOURS[3])
        axis.set_xlabel(label)
        axis.set_xscale("log")
        middle = values.agg(["min", "max"]).prod() ** 0.5
        if values.isna().all():
            axis.set(xlim=(0.1, 10), xticks=[])
            middle = 1.0
        for row in (i for i, value in enumerate(values) if pd.isna(value)):
            axis.text(middle, row, "?", color=GREY, ha="center", va="center")
    for (database, label), marker in zip(REPORTS.items(), "os", strict=True):
        found = [reported(paper, published).get(database) for paper in papers]
        colour = COLOURS[4] if database == "livec" else "white"
        axes[-1].plot(found, range(len(papers)), marker, ls="none", color=COLOURS[4], mfc=colour, label=label)
    axes[-1].set_xlabel("published SRCC")
    axes[0].set_yticks(range(len(papers)), papers)
    axes[0].set_ylim(len(papers) - 0.5, -0.5)
    figure.legend(loc="outside upper right", ncols=2)
    return figure


if __name__ == "__main__":
    save(draw(pd.read_csv(DOCS / "related.csv"), pd.read_csv(PUBLISHED, dtype=str)), DOCS / "_static/related")
    for other in ("svg", "pdf"):
        (DOCS / f"_static/related.{other}").unlink()
