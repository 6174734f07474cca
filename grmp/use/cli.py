"""The commands of this package."""

import json
from pathlib import Path
from typing import Annotated

import typer

from grmp.data.cli import HERE, AsJson, ParamsFile

app = typer.Typer()


@app.command(epilog='Example: grmp evaluate mine.csv --database koniq10k --shots 50 --against grmp --add "my method"')
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="CSV: split, image, score, for every test image of every split")],
    database: Annotated[str, typer.Option(help="a database, or a_to_b: trained on a, tested on all of b")],
    shots: Annotated[str, typer.Option(help="number of labelled images, or a share of the training side: 20pct")],
    against: Annotated[str, typer.Option(help="our method to compare with")] = "grmp",
    add: Annotated[str, typer.Option(help="add it to tables and figures under this name", show_default=False)] = "",
    protocol: Annotated[
        str, typer.Option(help="a protocol of params.yaml [default: the first one]", show_default=False)
    ] = "",
    as_json: AsJson = False,
    params: ParamsFile = HERE,
) -> None:
    """Evaluate predictions of your own method on the splits of this project, paired with ours."""
    from grmp.params import RunKey, load
    from grmp.params import shots as labels
    from grmp.use import evaluate as run

    loaded, label = load(params), add or predictions.stem
    key = RunKey(protocol or loaded.protocol, database, run.name_of(label), labels(shots))
    found = run.evaluate(loaded, params.parent, predictions, key, against, label)
    print(json.dumps(found, indent=1) if as_json else run.text(found))
    if not found["differences"] and not as_json:
        print(f"not compared: no record of {against} here; compute it with: {key._replace(method=against).command}")
    if add:
        run.add(loaded, params.parent, predictions, key, against, label)
        print("added; update the tables and figures with: grmp collect && grmp notebooks")


@app.command(epilog="Example: grmp select photos/ -n 50; then rate them with: grmp rate photos/")
def select(
    folder: Annotated[Path, typer.Argument(help="images, also in folders below it")],
    count: Annotated[int, typer.Option("-n", min=1, help="how many images to rate")] = 50,
    out: Annotated[
        Path | None, typer.Option("-o", help="table [default: FOLDER/ratings.csv]", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the random draw")] = 0,
    as_json: AsJson = False,
) -> None:
    """Choose the images of a folder that are worth rating: different in content and quality, no two nearly alike."""
    import pandas as pd

    from grmp.use import select as run

    said = run.select(folder, out := out or folder / "ratings.csv", count, seed)
    names = pd.read_csv(out, dtype=str, keep_default_na=False)["image"].tolist()
    print(json.dumps({"table": str(out), "images": names, "notes": said.splitlines()}) if as_json else said)


@app.command(epilog="Example: grmp rate photos/; afterwards: grmp train photos/votes.csv --scale 1 5")
def rate(
    folder: Annotated[Path, typer.Argument(help="images; those of FOLDER/ratings.csv if it exists")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="of the local page")] = 8765,
    as_json: Annotated[
        bool, typer.Option("--json", help="print the ratings collected so far as JSON, and end")
    ] = False,
) -> None:
    """Rate images on a local page: one at a time, keys 1 to 5; every rating is saved to FOLDER/votes.csv at once."""
    from grmp.use import rate as run

    print(json.dumps(run.Session(folder).results(), indent=1) if as_json else run.serve(folder, port))
