"""`make bench`: the plain recipe and ours do the same work in one run; bench/results/<device>.csv and .png.

    python -m bench [--device cuda] [--repeats 5] [--images 16] [--shots 50] [--work evaluation adaptation meta_training]
    python -m bench --device cuda --work splits [--splits 10] [--plain-splits 1] [--size 10073] [--epochs 400]
    python -m bench growth [--repeats 3]
    python -m bench false_positives [--worlds 400]

The first takes about 15 minutes on 2 CPU cores, the second about 10. See docs/speed.md.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench import draw
from bench.measure import alternate, machine, peak_flops
from bench.work import ON_GPU, VIT_B16, WORK, Setting
from grmp.device import choose_device

RESULTS = Path(__file__).parent / "results"


def compare(name: str, setting: Setting, repeats: int, peak: float, **options: int) -> list[dict[str, Any]]:
    """One row a recipe: medians over the repetitions, and of the ratios of neighbours."""
    work, device = WORK[name](setting, **options), setting.device
    count = len(setting.target) * work.times
    found = alternate(work.recipes, device, repeats, count=name != "splits")
    apart = work.difference(found["plain"].result, found["ours"].result)
    rows = []
    for recipe, m in found.items():
        ratios = np.divide(found["plain"].seconds, m.seconds)
        share = work.plain_share if recipe == "plain" else 1.0
        ratios *= share / work.plain_share
        seconds, flops = float(np.median(m.seconds)) / share, m.flops / share
        rows.append(
            {
                "work": name,
                "recipe": recipe,
                "images": count,
                "ratio": np.median(ratios),
                "ratio_lowest": ratios.min(),
                "ratio_highest": ratios.max(),
                "seconds": seconds,
                "images_per_second": count / seconds,
                "memory_mb": m.memory / 2**20,
                "gflop": flops / 1e9,
                "peak_gflops": peak / 1e9,
                "share_of_peak": flops / seconds / peak,
                "largest_difference": apart,
                "precision": setting.precision,
                "repeats": repeats,
                "machine": machine(device),
            }
        )
    return rows


def main(arguments: list[str]) -> None:
    """Measure, print, write the csv and the figure."""
    if arguments[:1] == ["growth"]:
        from bench.growth import main as growth

        return growth(arguments[1:])
    if arguments[:1] == ["false_positives"]:
        from bench.false_positives import main as false_positives

        return false_positives(arguments[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "cuda_deterministic"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--shots", type=int, default=50)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], help="default: bfloat16 on a GPU")
    parser.add_argument(
        "--work", nargs="*", choices=sorted(WORK), help="default: all; on a CPU not those of ten splits"
    )
    parser.add_argument("--splits", type=int, default=10, help="of the work `splits`")
    parser.add_argument("--plain-splits", type=int, default=1, help="how many of them the plain recipe does; 0: all")
    parser.add_argument("--size", type=int, default=10_073, help="images of the work `splits`")
    parser.add_argument("--epochs", type=int, default=400, help="of the work `splits`")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    if given.device != "cpu" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here; use --device cpu")
    device = choose_device(given.device, torch.get_num_threads())
    precision = given.precision or ("float32" if device.type == "cpu" else "bfloat16")
    peak = peak_flops(device, getattr(torch, precision), 2048 if device.type == "cpu" else 8192)
    rows: list[dict[str, Any]] = []
    for name in given.work or [w for w in WORK if device.type == "cuda" or w not in ON_GPU]:
        images = given.images if name in ("evaluation", "meta_training") else given.shots
        setting = Setting(device, images, VIT_B16, precision=precision)
        several = {
            "count": given.splits,
            "size": given.size,
            "epochs": given.epochs,
            "plain_count": given.plain_splits,
        }
        options = several if name == "splits" else {}
        rows += compare(name, setting, 1 if name == "splits" else given.repeats, peak, **options)
        print(pd.DataFrame(rows[-2:]).drop(columns="machine").to_string(index=False), flush=True)
        save(pd.DataFrame(rows), given.out / f"{given.device}.csv")  # after each, in case the time of the machine ends


def save(table: pd.DataFrame, path: Path) -> None:
    """Write the csv and its figure."""
    path.parent.mkdir(exist_ok=True, parents=True)
    if path.is_file():  # what an earlier run on this machine measured of other work stays
        before = pd.read_csv(path)
        before = before[~before["work"].isin(table["work"]) & (before["machine"] == table["machine"].iloc[0])]
        table = pd.concat([before, table]).sort_values("work", kind="stable")
    table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    draw.ratios(table, path.with_suffix(".png"))
    print(f"written: {path} and its figure", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
