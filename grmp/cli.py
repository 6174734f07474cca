"""Few-shot image quality assessment with CLIP: train on a few rated images, score new ones, compare methods.

Every command does one thing, and imports what it needs only when it runs: ``grmp --help`` imports no torch.
"""

import atexit
import contextlib
import json
import os
import shlex
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grmp.data.cli import HERE, AsJson, ParamsFile, load
from grmp.data.cli import app as data
from grmp.errors import UserError
from grmp.locks import lock

if TYPE_CHECKING:
    from grmp.finetune.scorer import QualityModel

HELP = """
Few-shot image quality assessment with CLIP (GRMP-IQA).

Train a model on a few rated images, score new images with it, or reproduce the comparison of methods in the paper.

Examples:

  grmp train photos/ratings.csv --scale 1 5     train on your own ratings

  grmp score holiday/                           score the images below holiday/; nothing else is needed

  grmp score new/ --model photos/ratings.safetensors   score them with that model

  grmp run livec grmp 50                        one method on one database with 50 labels

  dvc repro                                     the whole comparison, from download to website
"""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)

Protocol = Annotated[str, typer.Option(help="a protocol of params.yaml", show_default="the first one")]
Model = Annotated[str, typer.Option(help="a file written by grmp train, or a shipped model (docs/models.md)")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
INTERRUPTED = 130  # exit code after Ctrl-C
DEFAULT = "photo"  # the model that scores unless another one is named


def _model(name: str, device: str = "auto") -> "QualityModel":
    from grmp.device import choose_device
    from grmp.finetune import scorer

    return scorer.load(name, choose_device(device, 1))


@app.command(epilog="Example: grmp backbone --from ViT-B-16.pt")
def backbone(
    params: ParamsFile = HERE,
    origin: Annotated[Path | None, typer.Option("--from", help="weights", show_default="download")] = None,
) -> None:
    """Download and verify CLIP's weights, or copy those of a CLIP that the package ships."""
    loaded = load(params)
    from grmp.clip.build import build

    with lock(params.parent, "backbone"):
        build(loaded, params.parent, origin)


@app.command(epilog="Example: grmp pretrain fomaml")
def pretrain(
    variant: Annotated[str, typer.Argument(help="a variant of params.yaml, e.g. fomaml")], params: ParamsFile = HERE
) -> None:
    """Meta-learn the prompts of one variant."""
    loaded = load(params)
    if variant not in loaded.variants:
        known = ", ".join(sorted(loaded.variants))
        raise UserError(f"variant '{variant}' is not defined in {params}; known: {known}")
    from grmp.pretrain.train import pretrain as run

    with lock(params.parent, f"pretrain-{variant}"):
        run(loaded, params.parent, variant)


@app.command("inner-curves", epilog="Example: grmp inner-curves fomaml")
@app.command("steps", hidden=True)
def inner_curves(variant: str, params: ParamsFile = HERE) -> None:
    """Measure what a few inner steps gain on each distortion type, from meta-learned and from random prompts."""
    loaded = load(params)
    from grmp.pretrain.inner_curves import measure

    with lock(params.parent, f"inner-curves-{variant}"):
        measure(loaded, params.parent, variant)


@app.command("run", epilog="Example: grmp run livec grmp 50 --protocol published")
@app.command("adapt", hidden=True)
def run_one(
    database: Annotated[str, typer.Argument(help="a database, or a_to_b: train on a, test on all of b")],
    method: Annotated[str, typer.Argument(help="a method of params.yaml, e.g. grmp")],
    shots: Annotated[str, typer.Argument(help="number of labelled images, or a share of the training side: 20pct")],
    params: ParamsFile = HERE,
    protocol: Protocol = "",
) -> None:
    """Compute one run: every split of one database, method and number of labels. Finished splits are kept."""
    loaded = load(params)
    if method not in loaded.methods:
        raise UserError(f"method '{method}' is not defined in {params}; known: {', '.join(sorted(loaded.methods))}")
    from grmp.experiments.run import run
    from grmp.params import RunKey
    from grmp.params import shots as labels

    key = RunKey(protocol or loaded.protocol, database, method, labels(shots))
    computed, _ = run(loaded, params.parent, key)
    if not computed:
        print(f"{key}: up to date; nothing to do")
    from grmp.experiments.record import read_record
    from grmp.metrics import interval, srcc

    splits, settings = read_record(key.folder(params.parent)).predictions.groupby("split"), loaded.evaluate
    each = [srcc(part["quality"], part["score"])[0] for _, part in splits]
    found = interval(each, settings.level, settings.resamples, settings.seed)
    median = f"{found['median']:.3f} [{found['median_low']:.3f}, {found['median_high']:.3f}]"
    print(f"{key}: median SRCC {median} over {found['scored']:g} of {found['splits']:g} splits")


@app.command(epilog="Example: grmp continual")
def continual(params: ParamsFile = HERE) -> None:
    """Learn one database after another, and test on all databases so far after each step."""
    loaded = load(params)
    from grmp.experiments.continual import continual as run

    with lock(params.parent, "continual"):
        run(loaded, params.parent)


@app.command(epilog="Example: grmp attribution livec")
@app.command("look", hidden=True)
def attribution(database: str, params: ParamsFile = HERE) -> None:
    """Compute relevance maps and embeddings of test images, before and after fine-tuning."""
    loaded = load(params)
    from grmp.experiments.attribution import attribution as run

    with lock(params.parent, f"attribution-{database}"):
        run(loaded, params.parent, database)


@app.command(epilog="Example: grmp sweep -j 2")
def sweep(
    params: ParamsFile = HERE,
    workers: Annotated[
        int, typer.Option("--workers", "-j", min=0, help="processes or Slurm jobs; 0: one per GPU or CPU core")
    ] = 0,
    dry: Annotated[bool, typer.Option("--dry", help="list the runs and their estimated time, compute nothing")] = False,
    time_limit: Annotated[float, typer.Option(min=0, help="minutes that one run may take; 0: no limit")] = 0,
    allow_failed: Annotated[
        bool, typer.Option("--allow-failed", help="exit with 0 if only single splits failed and the records say so")
    ] = False,
    cluster: Annotated[str, typer.Option(help="local, slurm, or a Dask scheduler: tcp://host:8786")] = "local",
    partition: Annotated[str, typer.Option(help="Slurm: partition")] = "",
    gpus_per_job: Annotated[int, typer.Option(min=0, help="Slurm: GPUs per job")] = 0,
    time: Annotated[
        int | None,
        typer.Option(min=1, help="Slurm: minutes per job; a job that needs more is requeued", show_default="240"),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--slurm", help="Slurm: any other option of sbatch, e.g. account=me")
    ] = None,
) -> None:
    """Compute all runs that have no current record, in parallel; `dvc repro` then finds them up to date."""
    from grmp.experiments.sweep import plan
    from grmp.experiments.sweep import sweep as run

    if cluster not in ("local", "slurm") and "://" not in cluster:
        raise UserError(
            f"--cluster {cluster}: choose local, slurm or a Dask scheduler's address, such as tcp://host:8786"
        )
    if cluster != "local" and time_limit:
        raise UserError("--time-limit is for local processes; Slurm has --time, Dask has no limit")
    ours = {"--partition": partition, "--gpus-per-job": gpus_per_job, "--time": time, "--slurm": option}
    if cluster != "slurm" and (unused := [name for name, value in ours.items() if value]):
        raise UserError(f"{', '.join(unused)}: only for --cluster slurm")
    if "://" in cluster and workers:
        raise UserError("--workers: a Dask cluster has its own workers; leave the option out")
    slurm = {
        "partition": partition or None,
        "gpus_per_node": gpus_per_job or None,
        "cpus_per_task": load(params).adapt.threads,
        "time": time or 240,
        "array_parallelism": workers or 256,
        "additional_parameters": {"requeue": True} | dict(text.partition("=")[::2] for text in option or []),
    }
    wanted = {"local": None, "slurm": slurm}.get(cluster, cluster)
    if dry:
        print(plan(params, workers, wanted))
        return
    command = shlex.join(["grmp", *sys.argv[1:]])
    print(f"{run(params, workers, wanted, time_limit * 60 or None, command, allow_failed)} runs computed")


@app.command(epilog="Example: grmp select photos/ -n 50; then rate them with: grmp rate photos/")
def select(
    folder: Annotated[Path, typer.Argument(help="images, also in folders below it")],
    count: Annotated[int, typer.Option("-n", min=1, help="how many images to rate")] = 50,
    out: Annotated[Path | None, typer.Option("-o", help="table", show_default="FOLDER/ratings.csv")] = None,
    seed: Annotated[int, typer.Option(min=0, help="seed of the random draw")] = 0,
    as_json: AsJson = False,
) -> None:
    """Choose the images of a folder that are worth rating: different in content and quality, no two nearly alike."""
    from grmp.use.select import select as run

    names, notes = run(folder, out := out or folder / "ratings.csv", count, seed)
    print(json.dumps({"table": str(out), "images": names, "notes": notes}) if as_json else "\n".join(notes))


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


@app.command(epilog="Example: grmp train photos/ratings.csv --scale 1 5")
def train(
    ratings: Annotated[Path, typer.Argument(help="CSV above its images: image, mos and optionally reference")],
    out: Annotated[Path | None, typer.Option("-o", help="the model", show_default="RATINGS.safetensors")] = None,
    backbone: Annotated[
        str, typer.Option(help="small, small-rated or openai (600 MB to download)", show_default="small-rated")
    ] = "",
    method: Annotated[str, typer.Option(help="what to train", show_default="last_blocks; with --params: grmp")] = "",
    against: Annotated[
        list[str] | None, typer.Option(help="baselines to compare against", show_default="zero_shot, ridge")
    ] = None,
    scale: Annotated[
        tuple[float, float] | None, typer.Option(help="ends of the rating scale", show_default="observed range")
    ] = None,
    lower_is_better: Annotated[bool, typer.Option("--lower-is-better", help="low ratings are good")] = False,
    folds: Annotated[
        int | None,
        typer.Option(min=0, help="folds of cross-validation; 0: none", show_default="5, fewer for few images"),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--continue", help="a model whose method, CLIP and scale to keep, with more ratings")
    ] = None,
    keep_duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="images that look alike may be on both sides of a fold")
    ] = False,
    as_json: AsJson = False,
    protocol: Protocol = "",
    params: Annotated[Path | None, typer.Option(help="a pipeline's params.yaml: its CLIP and prompts")] = None,
) -> None:
    """Train a model on your own rated images and estimate its quality by cross-validation.

    It starts from a CLIP that comes with the package and needs no network.
    """
    from grmp.use.settings import METHOD, own, settings_of

    if ratings.is_dir():
        raise UserError(f"{ratings} is a folder; name the table, such as {ratings / 'ratings.csv'}")
    if resume:
        its_backbone, its_method, its_scale, lower = settings_of(resume)
        backbone = backbone or ("" if params else its_backbone)
        method, scale, lower_is_better = method or its_method, scale or its_scale, lower_is_better or lower
    if params and backbone:
        raise UserError("--params brings its own CLIP: give --params or --backbone, not both")
    loaded, root = (load(params), params.parent) if params else own(backbone)
    loaded, method = loaded.under(protocol or loaded.protocol), method or ("grmp" if params else METHOD)
    if folds == 1:
        raise UserError("--folds 1 leaves no training data; use 0 or at least 2")
    from grmp.data.custom import most_folds, read
    from grmp.experiments import crossval
    from grmp.use.select import SHOWN, unrated

    others, path = against or ["zero_shot", "ridge"] * (folds != 0), out or ratings.with_suffix(".safetensors")
    if path.resolve() == ratings.resolve():
        raise UserError(f"-o {path} is the table of ratings itself; name another file")
    if ratings.is_file():  # before the images are read, and without making a folder for a mistyped table
        crossval.check(loaded, method, others, path)
    data, patch = loaded.data, loaded.backbone.patch
    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        rated = read(ratings, data.size, data.aspect, scale, not lower_is_better, not keep_duplicates, patch)
        low, high, count = rated.info["scale"]["low"], rated.info["scale"]["high"], len(rated.index)
        sources = rated.info["sources"]
        folds = min(5, most_folds(sources)) if folds is None else folds
        print(
            f"{count} rated images of {sources} sources, scale {low:g} to {high:g}, {folds or 'no'} folds", flush=True
        )
        to_rate = unrated(ratings, rated, data.size, data.aspect, loaded.splits.seed) if folds else None
        found, later = crossval.train(loaded, root, rated, path, method, others, folds, to_rate)
        if folds:
            print(crossval.summary(found, loaded, method))
        if later:
            print(f"rate next, where the folds disagree most: {', '.join(later[:SHOWN])}")
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; score images with: grmp score IMAGES --model {path}")
    if as_json:
        rows = json.loads(found.reset_index().to_json(orient="records"))
        print(json.dumps({"model": str(path), "images": count, "comparison": rows, "rate_next": later[:SHOWN]}))


@app.command(
    epilog="Examples: grmp score holiday/ · grmp score holiday/ --worst 20 --html report.html · "
    "grmp score new.jpg --model mine.safetensors --below 2.5"
)
def score(
    images: Annotated[list[Path], typer.Argument(help="image files, and folders to search for images; or video files")],
    model: Model = DEFAULT,
    out: Annotated[Path | None, typer.Option("-o", help="file to write", show_default="standard output")] = None,
    below: Annotated[
        float | None, typer.Option(help="only images predicted worse than this rating; exit code 3 if there are any")
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="only this many images, worst first; 0: all, in order")] = 0,
    crops: Annotated[int, typer.Option(min=0, help="also score this many crops of each image in full size")] = 0,
    html: Annotated[Path | None, typer.Option(help="also write a page with thumbnails")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="of a video: how many frames are scored", show_default="32")
    ] = None,
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Score images: quality in [0, 1] (higher is better), its percentile, and a predicted rating with its interval."""
    from grmp.use import video
    from grmp.use.score import score as run

    if len(images) > 1 and images[0].suffix == ".safetensors":  # the former way to name the model
        if model != DEFAULT:
            raise UserError(f"{images[0]} and --model {model} are two models; name one")
        model, images = str(images[0]), images[1:]
    if any(map(video.is_video, images)):
        if below is not None or worst or crops or html or as_json:
            raise UserError("--below, --worst, --crops, --html and --json are for images; leave them out for videos")
        if unread := video.score(images, model, frames or 32, device, out):
            raise UserError(f"{unread} of {len(images)} videos could not be read (named above); the others are scored")
        return
    if frames:
        raise UserError("--frames is for videos; leave it out for images")
    unread, found = run(
        images, model, device, crops=crops, below=below, worst=worst, as_json=as_json, out=out, html=html
    )
    if unread:
        raise UserError(f"{unread} images could not be read (named above); the others are scored")
    if found:
        sys.exit(3)


@app.command(epilog='Example: grmp explain holiday/dunes.jpg --text "a sharp photo" "a blurry photo"')
def explain(
    image: Annotated[Path, typer.Argument(help="an image file")],
    model: Model = DEFAULT,
    out: Annotated[Path | None, typer.Option("-o", help="PNG file", show_default="IMAGE.explained.png")] = None,
    text: Annotated[tuple[str, str] | None, typer.Option(help="two texts of your own to choose between")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which patches of an image lower its score (red) or raise it (blue), and words that describe it."""
    from grmp.use.explain import explain as run

    out = out or image.parent / f"{image.name}.explained.png"
    found = run(image, _model(model), out, text)
    rows = {name: round(value, 3) for name, value in found.items()}
    print(json.dumps(rows) if as_json else "\n".join(f"{name:<20} {value:.3f}" for name, value in rows.items()))
    print(f"{out}: red patches lower the score, blue ones raise it", file=sys.stderr)


@app.command(epilog="Example: grmp export --onnx photo.onnx")
def export(
    onnx: Annotated[Path, typer.Option(help="file to write")],
    model: Annotated[str, typer.Argument(help="a file written by grmp train, or a shipped model")] = DEFAULT,
) -> None:
    """Write a model as ONNX, for programs without torch: image tower, text embeddings and preprocessing."""
    from grmp.data.find import claim_output
    from grmp.use.export import export as run

    claim_output(onnx, ".onnx")
    run(_model(model, "cpu"), onnx)
    print(f"{onnx}: {onnx.stat().st_size / 1e6:.1f} MB; docs/export.md shows how to use it")


@app.command(epilog="Example: grmp serve, then: curl --data-binary @photo.jpg http://127.0.0.1:8000/score")
def serve(
    model: Model = DEFAULT,
    host: Annotated[str, typer.Option(help="address; the default accepts this machine only")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="port to listen on")] = 8000,
    device: Device = "auto",
) -> None:
    """Answer POST /score with the score, the interval and the version of the model; /docs describes it."""
    from grmp.use.serve import listen, service

    listen(service(_model(model, device)), host, port, "POST images to {}/score")


@app.command(epilog='Example: grmp evaluate mine.csv --database koniq10k --shots 50 --against grmp --add "my method"')
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="CSV: split, image, score, for every test image of every split")],
    database: Annotated[str, typer.Option(help="a database, or a_to_b: trained on a, tested on all of b")],
    shots: Annotated[str, typer.Option(help="number of labelled images, or a share of the training side: 20pct")],
    against: Annotated[str, typer.Option(help="our method to compare with")] = "grmp",
    add: Annotated[str, typer.Option(help="add it to tables and figures under this name", show_default=False)] = "",
    protocol: Protocol = "",
    as_json: AsJson = False,
    params: ParamsFile = HERE,
) -> None:
    """Evaluate predictions of your own method on the splits of this project, paired with ours."""
    from grmp.params import RunKey
    from grmp.params import shots as labels
    from grmp.use import evaluate as run

    loaded, label = load(params), add or predictions.stem
    here = "" if params == HERE else f" --params {shlex.quote(str(params))}"
    key = RunKey(protocol or loaded.protocol, database, run.name_of(label), labels(shots))
    found = run.evaluate(loaded, params.parent, predictions, key, against, label)
    plain = json.loads(json.dumps(found), parse_constant=lambda _: None)  # JSON has no NaN
    print(json.dumps(plain) if as_json else run.text(found))
    if not found["differences"] and not as_json:
        command = key._replace(method=against).command + here
        print(f"not compared: no record of {against} here; compute it with: {command}")
    if add:
        with lock(params.parent, "external"):
            run.add(loaded, params.parent, predictions, key, against, label)
        where = sys.stderr if as_json else sys.stdout
        print(f"added; update the tables and figures with: grmp collect{here} && grmp notebooks{here}", file=where)


@app.command(epilog="Example: grmp rerun results/runs/sound/livec/grmp/50")
def rerun(
    record: Annotated[Path, typer.Argument(help="a folder below results/runs")], params: ParamsFile = HERE
) -> None:
    """Compute a run record again from its own settings and compare: identical, within tolerance, or different."""
    from grmp.experiments.rerun import rerun as run

    verdict, largest, changed = run(load(params), params.parent, record)
    print("\n".join([*changed, f"{verdict}: largest difference of a score {largest:.3g}"]))
    if verdict.startswith("differs"):
        sys.exit(1)


@app.command("params", epilog="Example: grmp params --output results/params.yaml")
def print_params(
    params: ParamsFile = HERE,
    output: Annotated[Path | None, typer.Option(help="write to this file, relative to the pipeline folder")] = None,
) -> None:
    """Print the settings merged from params.yaml and the file it extends, with the methods that ablations generate."""
    load(params)  # an invalid file is reported before anything is written
    from grmp.files import write_text
    from grmp.params import merged

    if output and (path := params.parent / output).resolve() == params.resolve():
        raise UserError(f"--output {output} is the settings file itself; name another file")
    if output:
        write_text(path, merged(params))
    else:
        print(merged(params), end="")


@app.command(epilog="Example: grmp doctor --params demo/params.yaml")
def doctor(params: ParamsFile = HERE, as_json: AsJson = False) -> None:
    """Check whether this machine can run what params.yaml asks for; exit code 1 if it cannot."""
    from grmp.experiments.doctor import doctor as run

    if not run(params, as_json):
        sys.exit(1)


@app.command(epilog="Example: grmp collect, then: grmp notebooks")
def collect(params: ParamsFile = HERE) -> None:
    """Compute scores, medians, intervals and paired differences from the run records."""
    loaded = load(params)
    from grmp.report.collect import collect as run

    with lock(params.parent, "collect"):
        run(loaded, params.parent / "results")


@app.command(epilog="Example: grmp verify --tolerance 0.01")
def verify(
    reference: Annotated[
        Path | None, typer.Argument(help="a folder with results", show_default="the reference of this pipeline")
    ] = None,
    params: ParamsFile = HERE,
    tolerance: Annotated[float, typer.Option(min=0, help="largest accepted difference of SRCC and PLCC")] = 0.005,
    as_json: AsJson = False,
) -> None:
    """Compare fresh results with the reference in the repository; exit code 1 if they differ."""
    loaded = load(params)
    from grmp.report import verify as run

    reference = reference or run.reference_folder(loaded, params.parent)
    found = run.verify(params.parent / "results", reference, tolerance, loaded.evaluate.level)
    print(json.dumps(found) if as_json else run.lines(found))
    if not found["reproduced"]:
        sys.exit(1)


@app.command(epilog="Example: grmp notebooks few_shot -p 'shots=[50]'")
@app.command("notebook", hidden=True)
def notebooks(
    name: Annotated[str, typer.Argument(help="one notebook [default: all of report.notebooks, in parallel]")] = "",
    params: ParamsFile = HERE,
    parameter: Annotated[list[str] | None, typer.Option("-p", help="name=value as YAML, for one notebook")] = None,
) -> None:
    """Execute notebooks: .ipynb, .html, tables and figures below results/."""
    from grmp.report.notebook import execute, execute_all

    if name:
        execute(name, params, parameter or [])
    elif parameter:
        raise UserError("-p is for one notebook: name it")
    else:
        execute_all(params)


@app.command(epilog="Example: grmp site, then open results/site/index.html")
@app.command("report", hidden=True)
def site(params: ParamsFile = HERE) -> None:
    """Build the website in results/site/ with every table, figure and notebook."""
    loaded = load(params)
    from grmp.report.site import build

    with lock(params.parent, "site"):
        build(loaded, params.parent / "results")


def main() -> None:
    """Entry point. The process ends without unloading what it imported: for torch that takes 0.6 s and 120 MB."""
    code = 1  # unless the command ends, that is, after an exception

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)  # the first to be registered is the last to be called
    code = run_command()
    sys.exit(code)


def run_command() -> int:
    """Exit code of the command; a UserError is one line."""
    app.add_typer(data, name="data", help="Databases: list, fetch, prepare, show.")
    for stream in (sys.stdout, sys.stderr):  # tables and names are UTF-8 in every locale
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        app()
        return 0
    except SystemExit as end:  # typer's
        if end.code == INTERRUPTED:
            print("interrupted; run the same command again to continue", file=sys.stderr)
        return int(end.code or 0)
    except (UserError, OSError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print("error:", " ".join(text.splitlines()), file=sys.stderr)  # names may have several lines
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which this file does not import
            raise
        print(
            "error: GPU memory is full; lower adapt.batch, or in pre-training support_batch and query_batch",
            file=sys.stderr,
        )
    return 1
