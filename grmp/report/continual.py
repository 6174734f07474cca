"""One database after another: table and figure of the notebook ``continual``."""

import pandas as pd
from matplotlib.figure import Figure

from grmp.metrics import interval
from grmp.report.plotting import finished, line_styles, panels, styled
from grmp.report.results import Results, title
from grmp.report.table import Table, with_interval

STRATEGIES = {"sequential": "sequential fine-tuning", "gate": "one model each, gated", "joint": "joint training"}
TABLE = "results/continual.csv"
MEASURES = ("accuracy", "plasticity", "stability", "forgetting")


def measures(table: pd.DataFrame) -> pd.DataFrame:
    """``strategy, split`` and MEASURES (columns) from results/continual.csv; the note of ``summary`` defines them."""
    rows, last = [], table["step"].max()
    for (strategy, split), part in table.groupby(["strategy", "split"], sort=False):
        final = part[part["step"] == last].set_index("database")["srcc"]
        is_new = part["learned"] == part["database"]
        best = part[part["step"] < last].groupby("database")["srcc"].max()
        forgotten = best - final[best.index]
        values = (final, part.loc[is_new, "srcc"], part.loc[~is_new, "srcc"], forgotten)
        rows.append((strategy, split, *(v.mean(skipna=False) for v in values)))
    return pd.DataFrame(rows, columns=["strategy", "split", *MEASURES])


def summary(results: Results) -> Table | None:
    """Median over splits of each measure per strategy with its interval; None if nothing was run."""
    table, settings, evaluate = results.csv(TABLE), results.params.continual, results.params.evaluate
    if table.empty:
        return None
    found, rows = measures(table), []
    for strategy in STRATEGIES:
        for name, values in found.loc[found["strategy"] == strategy, list(MEASURES)].items():
            one = interval(values, evaluate.level, evaluate.resamples, evaluate.seed)
            partly = f" ({one['scored']} of {one['splits']} splits)" if one["scored"] < one["splits"] else ""
            three = one["median"], one["median_low"], one["median_high"]
            rows.append((strategy, name, *three, with_interval(*three) + partly))
    cells = pd.DataFrame(rows, columns=["strategy", "measure", "median", "median_low", "median_high", "cell"])
    shown = cells.pivot(index="strategy", columns="measure", values="cell").loc[list(STRATEGIES), list(MEASURES)]
    shown = shown.rename(index=STRATEGIES, columns=str.capitalize).rename_axis("Strategy").reset_index()
    over = "One split" if settings.splits == 1 else f"Median over {settings.splits} splits, with its interval"
    order = ", ".join(map(title, settings.sequence))
    text = (
        f"{over}: {results.label(settings.method)}, {settings.shots} labels of each database, in the order {order}. "
        "Accuracy: mean SRCC over all databases after the last step. Plasticity: on the database just learned, mean over "
        "steps. Stability: on those learned before, mean over all pairs of step and database. Forgetting: the best SRCC before "
        "the last step minus that after it, mean over all databases but the last."
    )
    return Table(cells.drop(columns="cell"), shown, "One database after another", text)


@styled
def curves(results: Results) -> Figure | None:
    """SRCC on each database (panels) after each step: median over splits, every split a dot; None if nothing was run."""
    table, names = results.csv(TABLE), results.params.continual.sequence
    if table.empty:
        return None
    figure, axes = panels(len(names), 2.0, 4, 0.3, sharex=True, sharey=True)
    styles = line_styles(["", *STRATEGIES])
    for axis, name in zip(axes, names, strict=True):
        for place, (strategy, label) in enumerate(STRATEGIES.items()):
            part = table[(table["database"] == name) & (table["strategy"] == strategy)]
            shift, style = 0.12 * (place - 1), styles[strategy]
            axis.plot(part["step"] + shift, part["srcc"], ".", color=style["color"], alpha=0.5, markersize=3)
            middle = part.groupby("step")["srcc"].median()
            axis.plot(middle.index + shift, middle, label=label, **style)
        axis.set_title(title(name))
        axis.margins(y=0.1)
        axis.set_xticks(range(len(names)), [f"+ {title(n)}" for n in names], rotation=30, ha="right")
    return finished(figure, axes, "SRCC")
