"""The commands; nothing else. ``grmp --help`` imports no torch."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grmp.errors import UserError
from grmp.locks import lock

if TYPE_CHECKING:
    from grmp.params import Params

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.split(";")[0]
)

ParamsFile = Annotated[Path, typer.Option("--params", help="settings; everything is read and written beside this file")]
HERE = Path("params.yaml")


def load(params: Path) -> "Params":
    """The settings. What reads them imports their module; ``--help`` does not, and is there at once."""
    from grmp.params import load as read

    return read(params)


@app.command()
def backbone(params: ParamsFile = HERE, origin: Annotated[Path | None, typer.Option("--from")] = None) -> None:
    """Fetch CLIP's weights (or take them from a file), or train the small CLIP."""
    loaded = load(params)
    from grmp.clip.build import build

    with lock(params.parent, "backbone"):
        build(loaded, params.parent, origin)


@app.command()
def pretrain(variant: str, params: ParamsFile = HERE) -> None:
    """Learn the meta-prompts of one variant."""
    loaded = load(params)
    if variant not in loaded.variants:
        known = ", ".join(sorted(loaded.variants))
        raise UserError(f"variant '{variant}' is not defined in {params}; known: {known}")
    from grmp.pretrain.train import pretrain as run

    with lock(params.parent, f"pretrain-{variant}"):
        run(loaded, params.parent, variant)


@app.command("inner-curves")
@app.command("steps", hidden=True)
def inner_curves(variant: str, params: ParamsFile = HERE) -> None:
    """How far a few inner steps bring each distortion type, from a variant's meta-prompts and from random ones."""
    loaded = load(params)
    from grmp.pretrain.inner_curves import measure

    with lock(params.parent, f"inner-curves-{variant}"):
        measure(loaded, params.parent, variant)


@app.command("run")
@app.command("adapt", hidden=True)
def run_one(
    database: Annotated[str, typer.Argument(help="or a_to_b: train on a, test on all of b")],
    method: str,
    shots: Annotated[str, typer.Argument(help="labelled pictures, or a share of the training side: 20pct")],
    params: ParamsFile = HERE,
    protocol: Annotated[str, typer.Option(help="of params.yaml; without it the first one")] = "",
) -> None:
    """One run: every split of (database, method, shots). What is done already is not done again."""
    loaded = load(params)
    if method not in loaded.methods:
        raise UserError(f"method '{method}' is not defined in {params}; known: {', '.join(sorted(loaded.methods))}")
    from grmp.experiments.sweep import run
    from grmp.params import RunKey
    from grmp.params import shots as labels

    key = RunKey(protocol or loaded.protocol, database, method, labels(shots))
    if not run(loaded, params.parent, key):
        print(f"{key}: the record is there and holds")


@app.command()
@app.command("look", hidden=True)
def attribution(database: str, params: ParamsFile = HERE) -> None:
    """Relevance maps and embeddings of a database's test pictures, before and after adaptation."""
    loaded = load(params)
    from grmp.experiments.explain import look as run

    with lock(params.parent, f"attribution-{database}"):
        run(loaded, params.parent, database)


@app.command()
def sweep(
    params: ParamsFile = HERE,
    workers: Annotated[
        int,
        typer.Option("--workers", "-j", min=0, help="parallel processes or Slurm jobs; 0: one per GPU or per CPU core"),
    ] = 0,
    dry: Annotated[bool, typer.Option("--dry", help="list what would run and what it would take")] = False,
    time_limit: Annotated[float, typer.Option(min=0, help="minutes that one run may take; 0: any")] = 0,
    allow_failed: Annotated[
        bool, typer.Option("--allow-failed", help="exit 0 though splits failed, if records say so")
    ] = False,
    cluster: Annotated[str, typer.Option(help="local or slurm")] = "local",
    partition: Annotated[str, typer.Option(help="Slurm: where to")] = "",
    gpus_per_job: Annotated[int, typer.Option(min=0, help="Slurm")] = 0,
    time: Annotated[int, typer.Option(min=1, help="Slurm: minutes a job; it is taken up again after that")] = 240,
    option: Annotated[list[str] | None, typer.Option("--slurm", help="Slurm: any other, such as account=me")] = None,
) -> None:
    """All runs that the pipeline still lacks, several at a time; a `dvc repro` afterwards finds them done."""
    from grmp.experiments.slurm import SlurmOptions
    from grmp.experiments.sweep import plan
    from grmp.experiments.sweep import sweep as run

    if cluster not in ("local", "slurm"):
        raise UserError(f"--cluster {cluster}: known are local and slurm")
    if cluster == "slurm" and time_limit:
        raise UserError("--time-limit is for processes of this machine; with Slurm give --time")
    more = dict(text.partition("=")[::2] for text in option or [])
    threads = load(params).adapt.threads
    wanted = SlurmOptions(partition, gpus_per_job, threads, time, workers or 256, more) if cluster == "slurm" else None
    if dry:
        print(plan(params, workers, wanted))
        return
    command = shlex.join(["grmp", *sys.argv[1:]])
    print(f"{run(params, workers, wanted, time_limit * 60 or None, command, allow_failed)} runs computed")


@app.command()
def train(
    ratings: Annotated[Path, typer.Argument(help="CSV beside its pictures: image, mos and perhaps reference")],
    out: Annotated[Path | None, typer.Option("-o", help="the model; RATINGS.safetensors without it")] = None,
    method: Annotated[str, typer.Option(help="of kind tune in params.yaml")] = "grmp",
    against: Annotated[list[str] | None, typer.Option(help="compared with; zero_shot and ridge without it")] = None,
    scale: Annotated[
        tuple[float, float] | None, typer.Option(help="ends of the rating scale; those that occur without it")
    ] = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="ratings tell how bad a picture is")
    ] = False,
    folds: Annotated[int, typer.Option(min=0, help="of cross-validation; 0: none")] = 5,
    protocol: Annotated[str, typer.Option(help="of params.yaml; without it the first one")] = "",
    params: ParamsFile = HERE,
) -> None:
    """Rated pictures of your own -> a model in a file, and by cross-validation how good it is on them."""
    loaded = load(params)
    loaded = loaded.under(protocol or loaded.protocol)
    if folds == 1:
        raise UserError("--folds 1 leaves nothing to learn from; give 0 or at least 2")
    from grmp.data.custom import read
    from grmp.experiments import crossval as room

    others, path = against or ["zero_shot", "ridge"], out or ratings.with_suffix(".safetensors")
    rated = read(ratings, loaded.data.size, loaded.data.aspect, scale, not lower_is_better)
    low, high = rated.info["scale"]["low"], rated.info["scale"]["high"]
    print(f"{len(rated.index)} rated pictures, scale {low:g} to {high:g}", flush=True)
    found = room.train(loaded, params.parent, rated, path, method, others, folds)
    if folds:
        print(room.told(found, loaded, method))
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; use it with: grmp score {path} PICTURES")


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="what grmp train wrote")],
    pictures: Annotated[list[Path], typer.Argument(help="files, and folders that are searched for pictures")],
    out: Annotated[Path | None, typer.Option("-o", help="CSV to write; without it it is printed")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
) -> None:
    """Score pictures with a trained model: quality in [0, 1], higher is better, and on the scale of the ratings."""
    from grmp.experiments.predict import score as run

    unread = run(model, pictures, out, device)
    if unread:
        raise UserError(f"{unread} pictures could not be read (named above); the others are scored")


@app.command()
def rerun(
    record: Annotated[Path, typer.Argument(help="a folder below results/runs")], params: ParamsFile = HERE
) -> None:
    """Compute a run record again from its own settings, in a temporary place, and compare: identical, close or different."""
    from grmp.experiments.rerun import rerun as run

    found = run(load(params), params.parent, record)
    print(found.lines())
    if found.verdict.startswith("differs"):
        sys.exit(1)


@app.command()
def doctor(params: ParamsFile = HERE) -> None:
    """Ten lines on whether this machine can run what params.yaml asks for; exit code 1 if it cannot."""
    from grmp.experiments.doctor import doctor as run

    if not run(params):
        sys.exit(1)


@app.command()
def mend(params: ParamsFile = HERE) -> None:
    """Before `dvc repro`, after a kill: mend what DVC itself left half-written. Does nothing otherwise."""
    from grmp.experiments.mend import mend as run

    for line in run(params.parent):
        print(line)


@app.command()
def collect(params: ParamsFile = HERE) -> None:
    """Run records -> scores, medians, intervals and paired differences."""
    loaded = load(params)
    from grmp.report.collect import collect as run

    with lock(params.parent, "collect"):
        run(loaded, params.parent / "results")


@app.command()
@app.command("notebook", hidden=True)
def notebooks(
    name: Annotated[str, typer.Argument(help="without it all of report.notebooks, several at a time")] = "",
    params: ParamsFile = HERE,
    parameter: Annotated[list[str] | None, typer.Option("-p", help="name=value, as YAML; of one notebook")] = None,
) -> None:
    """Execute a notebook: .ipynb, .html, tables and figures below results/."""
    from grmp.report.notebook import execute, execute_all

    if name:
        execute(name, params, parameter or [])
    elif parameter:
        raise UserError("-p is for one notebook: name it")
    else:
        execute_all(params)


@app.command()
@app.command("report", hidden=True)
def site(params: ParamsFile = HERE) -> None:
    """Build results/site/: one page with every table, figure and notebook."""
    loaded = load(params)
    from grmp.report.site import build

    with lock(params.parent, "site"):
        build(loaded, params.parent / "results")


def main() -> None:
    """Entry point: a UserError is one line and exit code 1."""
    from grmp.data.cli import app as data

    app.add_typer(data, name="data", help="The databases: list, fetch, prepare, show.")
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os._exit(1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which this file does not import
            raise
        print("error: the GPU's memory is full; lower pretrain.support_batch or adapt.batch", file=sys.stderr)
        sys.exit(1)
