"""The figures of bench/results/."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from grmp.report.plotting import styled


@styled
def ratios(table: pd.DataFrame, path: Path) -> None:
    """Four panels, a pair of bars for each piece of work: ratio, images a second, memory, share of the peak."""
    work = list(dict.fromkeys(table["work"]))
    panels = {
        "ratio": "plain seconds / seconds",
        "images_per_second": "images / s",
        "memory_mb": "working memory (MiB)",
        "share_of_peak": "share of the matrix-product peak",
    }
    figure, axes = plt.subplots(2, 2, figsize=(7, 4.6), layout="constrained")
    for axis, (column, label) in zip(axes.flat, panels.items(), strict=True):
        for i, recipe in enumerate(("plain", "ours")):
            part = table[table["recipe"] == recipe].set_index("work").loc[work]
            places = np.arange(len(work)) + (i - 0.5) * 0.38
            # `splits` is a whole schedule: images a second say nothing there
            values = part[column].where((part.index != "splits") | (column != "images_per_second"))
            bars, heights = axis.bar(places, values, 0.36, label=recipe), values
            if column == "ratio" and recipe == "ours":
                reach = np.abs(part[["ratio_lowest", "ratio_highest"]].sub(values, axis=0)).T.to_numpy()
                axis.errorbar(places, values, reach, fmt="none", ecolor="black", lw=0.8, zorder=3)
                heights = part["ratio_highest"]
            for bar, value, height in zip(bars, values, heights, strict=True):
                if np.isfinite(value):
                    text = f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
                    middle = bar.get_x() + bar.get_width() / 2
                    axis.annotate(text, (middle, height), (0, 2), textcoords="offset points", ha="center", fontsize=6)
        axis.set_xticks(np.arange(len(work)), [w.replace("_", "\n") for w in work])
        axis.set_ylabel(label)
        axis.margins(y=0.15)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    first = table.iloc[0]
    figure.suptitle(f"ViT-B/16, 100 prompts, {first['precision']}: {first['machine']}", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


@styled
def growth(table: pd.DataFrame, path: Path) -> None:
    """Seconds and memory against each quantity, with the straight line through the first and the last size."""
    quantities = list(dict.fromkeys(table["quantity"]))
    figure, axes = plt.subplots(2, len(quantities), figsize=(2.2 * len(quantities), 4), layout="constrained")
    for j, quantity in enumerate(quantities):
        part = table[table["quantity"] == quantity]
        for axis, column, label in zip(axes[:, j], ("seconds", "memory_mb"), ("seconds", "MiB"), strict=True):
            axis.plot(part["size"], part[column], "o-", ms=4, label="measured")
            ends = part.iloc[[0, -1]]
            axis.plot(ends["size"], ends[column], ":", color="grey", lw=1, label="straight line through first and last")
            axis.set_ylim(0, 1.1 * part[column].max())
            axis.set_xlabel(quantity)
            if not j:
                axis.set_ylabel(label)
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(str(table["machine"].iloc[0]), fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


@styled
def alternatives(table: pd.DataFrame, path: Path) -> None:
    """Processor time per image of each scorer, and how many times that of `grmp score` it is, with its interval."""
    figure, axis = plt.subplots(figsize=(5, 2.2), layout="constrained")
    bars = axis.barh(table["scorer"], table["cpu_ms_per_image"])
    ratios = zip(table["cpu_ratio"], table["cpu_ratio_low"], table["cpu_ratio_high"], strict=True)
    axis.bar_label(bars, [f"{r:.3g} x [{low:.3g}, {high:.3g}]" for r, low, high in ratios], padding=3, fontsize=7)
    axis.invert_yaxis()
    axis.margins(x=0.3)
    axis.set_xlabel("milliseconds of one processor core per image")
    figure.suptitle(f"{table['images'].iloc[0]} photographs: {table['machine'].iloc[0]}", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)
