"""Every reader of files from elsewhere: how to make what it reads, and how it is called."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tests import worlds
from tests.conftest import ROOT
from tests.data import layouts
from tests.report.sample import seal


@dataclass(frozen=True)
class Reader:
    """``make`` writes whole files into an empty folder; ``read`` reads them and may raise what a user may meet."""

    make: Callable[[Path], None]
    read: Callable[[Path], object]
    only: str = "*"  # which of the files are damaged
    writes: str = ""  # the folder that it may write to; "" is any


def _world(folder: Path) -> None:
    worlds.build(folder)


def _record(folder: Path) -> None:
    from grmp import params
    from grmp.experiments import sweep

    file = worlds.build(folder / "w", run={"few_shot": {"methods": ["ridge"]}})
    loaded = params.load(file)
    sweep.run(loaded, file.parent, sweep.lacking(loaded, file.parent)[0], progress=False)
    (run,) = file.parent.glob("results/runs/**/run.json")
    shutil.copytree(run.parent, folder / "r" / run.parent.relative_to(file.parent / "results/runs"))
    shutil.rmtree(folder / "w")


def _read_record(folder: Path) -> object:
    from grmp.experiments.records import read_record

    (run,) = {path.parent for path in folder.rglob("*.csv")} | {path.parent for path in folder.rglob("run.json")}
    with contextlib.suppress(ValueError, TypeError, RecursionError):  # else a table that is another is not looked at
        seal(run)
    return read_record(run)


def _read_backbone(folder: Path) -> object:
    from grmp.clip import checkpoints as backbone

    return backbone.load(folder)


def _prompts(folder: Path) -> None:
    import torch

    from grmp import params
    from grmp.clip import checkpoints as backbone
    from grmp.clip.model import random_prompts

    file = worlds.build(folder)
    p, loaded = params.load(file).prompts, backbone.load(folder)
    made = random_prompts(
        loaded.shape, p.visual_tokens, p.visual_layers, p.text_tokens, p.norm, torch.Generator().manual_seed(1)
    )
    backbone.save(folder / "models/prompts/meta.safetensors", made, {"backbone": loaded.sha256, "identity": "0" * 64})


def _read_prompts(folder: Path) -> object:
    from grmp import params
    from grmp.clip import checkpoints as backbone

    loaded = backbone.load(folder)
    return backbone.load_prompts(folder, "meta", loaded, params.load(folder / "params.yaml").prompts)


def _model(folder: Path) -> None:
    import torch

    from grmp.clip import checkpoints as backbone
    from grmp.clip.model import PromptedCLIP, text_embedding, tokenize
    from grmp.finetune.scorer import QualityModel

    _world(folder / "w")
    loaded = backbone.load(folder / "w")
    shutil.rmtree(folder / "w")
    text = text_embedding(loaded.weights, tokenize(["good", "bad"]), loaded.shape)
    card = {"size": worlds.SIZE, "aspect": "squash", "scale": {"low": 1.0, "high": 5.0, "higher_better": True}}
    QualityModel(PromptedCLIP(loaded.weights, loaded.shape), torch.as_tensor(text), card).save(folder / "m.safetensors")


def _read_model(folder: Path) -> object:
    from grmp.finetune import scorer as model

    loaded = model.load(folder / "m.safetensors")
    return loaded.scale.mos(loaded.score(np.zeros((2, 3, loaded.card["size"], loaded.card["size"]), np.uint8)))


def _ratings(folder: Path) -> None:
    tree = {f"p{i}.png": layouts.PICTURES[".png", i % 7] for i in range(12)}
    layouts.unpack(tree | {"ratings.csv": _csv(image=list(tree), mos=np.linspace(1, 5, 12), reference="r")}, folder)


def _read_ratings(folder: Path) -> object:
    from grmp.data import custom as ratings

    return ratings.read(folder / "ratings.csv", 8, "squash", None, higher_better=True).index["quality"].sum()


def _read_prepared(folder: Path) -> object:
    from grmp.data import dataset as prepared

    found = prepared.load(folder / "data/prepared/target")
    return found.images[-1].sum() + found.index["quality"].to_numpy(np.float64).sum() + len(found.info["sha256"])


def _read_splits(folder: Path) -> object:
    from grmp.data import splits

    images = pd.read_csv(folder / "index.csv")["image"]
    found = splits.load(folder / "splits.csv", images)
    return [(images.to_numpy()[found.train(i, None)], images.to_numpy()[found.test(i)]) for i in range(found.count)]


def _splits(folder: Path) -> None:
    worlds.build(folder / "w")
    shutil.copy(folder / "w/data/splits/target/sound.csv", folder / "splits.csv")
    shutil.copy(folder / "w/data/prepared/target/index.csv", folder / "index.csv")
    shutil.rmtree(folder / "w")


def _read_params(folder: Path) -> object:
    from grmp import params

    return params.load(folder / "params.yaml")


def _archive(ending: str) -> Callable[[Path], None]:
    tree = {f"toy/p{i}.png": layouts.PICTURES[".png", i % 7] for i in range(5)} | {"toy/scores.csv": b"a,b\n1,2\n" * 99}

    def make(folder: Path) -> None:
        layouts.pack(tree, folder / f"a{ending}")

    return make


def _unpack(folder: Path) -> object:
    from grmp.data import download

    (archive,) = folder.glob("a.*")
    return download.unpack(archive, folder / "out/deep/er", 1_000_000)


def _scores(name: str, tree: dict[str, bytes], count: int, **stated: float) -> Reader:
    """A score file in miniature, and the entry cut down to it."""
    from grmp.data import databases, labels
    from grmp.data.databases._entry import Scores

    entry = replace(databases.get(name), scores=Scores(count, 1.0, 5.0))
    return Reader(lambda folder: layouts.unpack(tree, folder) and None, lambda folder: labels.read(entry, folder))


def _csv(**columns: object) -> bytes:
    return pd.DataFrame(columns).to_csv(index=False).encode()


MOS = [1.5, 2.25, 3.0, 4.75]
KADID = [f"I0{i}_0{i}_0{i}.png" for i in range(1, 5)]
PLAIN = [f"p{i}.jpg" for i in range(4)]


def _score_files() -> dict[str, Reader]:
    votes = {f"c{i}": [0.2] * 4 for i in range(1, 6)}
    sheet = [["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]]
    sheet += [["1600", 1, "noise", i + 1, 0.1, m] for i, m in enumerate(MOS)]
    spaq = [["Image name", "MOS"], *([n, m] for n, m in zip(PLAIN, MOS, strict=True))]
    tid = "\n".join(f"{m} i0{i}_0{i}_{i}.bmp" for i, m in enumerate(MOS, 1)).encode()
    pipal = "\n".join(f"A0001_0{i}_00.bmp,{m}" for i, m in enumerate(MOS)).encode()
    return {
        "scores csiq (xlsx)": _scores("csiq", {"csiq.DMOS.xlsx": layouts.sheet(sheet, above=3)}, 4),
        "scores spaq (xlsx)": _scores("spaq", {"MOS and Image attribute scores.xlsx": layouts.sheet(spaq)}, 4),
        "scores tid2013 (txt)": _scores("tid2013", {"mos_with_names.txt": tid, "mos_std.txt": b"0.1 0.1 0.1 0.1"}, 4),
        "scores pipal (txt)": _scores("pipal", {"A0001.txt": pipal}, 4),
        "scores kadid10k (csv)": _scores(
            "kadid10k", {"dmos.csv": _csv(dist_img=KADID, ref_img="I01.png", dmos=MOS, var=0.25)}, 4
        ),
        "scores koniq10k (csv)": _scores(
            "koniq10k",
            {"koniq10k_scores_and_distributions.csv": _csv(image_name=PLAIN, **votes, SD=0.3, MOS=MOS, MOS_zscore=MOS)},
            4,
        ),
        "scores koniq10k sets (csv)": _scores(
            "koniq10k",
            {"koniq10k_distributions_sets.csv": _csv(image_name=PLAIN, **votes, MOS=MOS, SD=0.3, set="training")},
            4,
        ),
        "scores flive (csv)": _scores("flive", {"labels_image.csv": _csv(name=PLAIN, mos=MOS)}, 4),
        "scores list": _scores("spaq", {"SPAQ.txt": _csv(dis_img_path=PLAIN, dis_type=0, score=MOS)}, 4),
        "scores meta": _scores("spaq", {"meta_info_SPAQDataset.csv": _csv(img_name=PLAIN, mos=MOS, std=0.2)}, 4),
        "scores simulated": _scores(
            "sim_wild",
            {"scores.csv": _csv(image=PLAIN, mos=MOS, mos_std=0.1, reference="r1", distortion="", level="")},
            4,
        ),
    }


def _fetched(folder: Path) -> None:
    from grmp.data import fetch

    layouts.unpack({"livec/a.txt": b"x", "livec/b/c.txt": b"yy"}, folder)
    fetch.fetch("livec", folder)


def _receipt(folder: Path) -> object:
    from grmp.data import fetch

    return fetch.receipt("livec", folder)


def _checksums(folder: Path) -> None:
    (folder / "checksums.json").write_text('{"https://example.org/a.zip": "%s"}' % ("0" * 64))
    (folder / "f.bin").write_bytes(b"x")


def _read_checksums(folder: Path) -> object:
    from grmp.data import fetch

    return fetch._seen(folder / "checksums.json")


def _published(folder: Path) -> None:
    shutil.copy(ROOT / "grmp/report/published.csv", folder / "published.csv")


def _read_published(folder: Path) -> object:
    from grmp.report.published import published

    return published(folder)["value"].sum()


def _notebook(folder: Path) -> None:
    shutil.copytree(
        ROOT / "demo/results/notebooks", folder / "results/notebooks", ignore=shutil.ignore_patterns("*.html")
    )


def _read_notebook(folder: Path) -> object:
    from grmp.report.site import render_notebook

    return [render_notebook(folder / "results", path.stem) for path in (folder / "results/notebooks").glob("*.ipynb")]


def _given(folder: Path) -> None:
    (folder / "given.txt").write_text("shots=[50, 100]\n")


def _read_given(folder: Path) -> object:
    import jupytext

    from grmp.report.notebook import check_parameters

    texts = (folder / "given.txt").read_text(errors="replace").splitlines()
    return check_parameters("few_shot", jupytext.read(ROOT / "notebooks/few_shot.py"), texts)


def _partial(folder: Path) -> None:
    from grmp.experiments import runs

    result = {
        "predictions": {"image": ["a", "b"], "quality": [0.5, 1.0], "score": [0.25, float("nan")]},
        "history": [{"epoch": 0, "learning_rate": 0.1, "task_loss": 1.0, "semantic_loss": 1.0, "angle_deg": 9.0}],
        "peak_bytes": 400_000_000,
        "trained_values": 3,
        "seconds": 0.5,
        "status": "ok",
    }
    runs.write_split(folder, 0, result)


def _read_partial(folder: Path) -> object:
    from grmp.experiments import runs

    result = runs.read_split(folder, 0)
    if result is None:
        return None
    return pd.DataFrame(result["predictions"])["score"].sum(), pd.DataFrame(result["history"]), result["seconds"] + 1


def _tables(folder: Path) -> None:
    from grmp import params
    from grmp.report.collect import collect
    from tests.report import sample

    sample.make_world(folder)
    with contextlib.redirect_stdout(io.StringIO()):
        collect(params.load(folder / "params.yaml"), folder / "results")


def _read_tables(folder: Path) -> object:
    from grmp import params
    from grmp.report.collect import COLUMNS
    from grmp.report.results import Results

    world = Results(folder, params.load(folder / "params.yaml"))
    return [world.table(name) for name in COLUMNS], world.cost, world.backbone, world.pretrain("meta")


def _rerun(folder: Path) -> None:
    _record(folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(worlds.settings(), sort_keys=False))


def _restore(folder: Path) -> object:
    from grmp import params
    from grmp.experiments import rerun, runs
    from grmp.experiments.records import read_record

    (run,) = folder.rglob("run.json")
    record = read_record(run.parent).run
    key = params.RunKey(record.protocol, record.database, record.method, record.shots)
    again = rerun.restore(params.load(folder / "params.yaml"), key, record.parameters, record.threads)
    return runs.parameters(again, key), rerun.compare(read_record(run.parent), read_record(run.parent)).lines()


def _past(folder: Path) -> object:
    from grmp import params
    from grmp.experiments import cost

    (run,) = folder.rglob("run.json")
    known = cost.of_record(run)
    wanted = [params.RunKey("sound", "target", "ridge", shots) for shots in (6, 50, "20pct")]
    return [cost.estimate(key, known) for key in wanted], cost.total(wanted, known, 10)


def _locks(folder: Path) -> None:
    lines = (ROOT / "demo/dvc.lock").read_text().splitlines(keepends=True)
    (folder / "dvc.lock").write_text("".join(lines[:60]))
    owner = {"pid": 1, "cmd": "dvc repro"}
    (folder / ".dvc/tmp").mkdir(parents=True)
    (folder / ".dvc/tmp/rwlock").write_text(json.dumps({"write": {"/a": owner}, "read": {"/b": [owner]}}))


def _mend(folder: Path) -> object:
    from grmp.experiments.mend import mend

    return mend(folder), mend(folder) == [] or 1 / 0  # a mended file needs no mending


def _look(folder: Path) -> None:
    from tests.report import sample

    sample.make_world(folder)


def _read_look(folder: Path) -> object:
    from grmp import params
    from grmp.report import looking
    from grmp.report.results import Results

    return looking.read(Results(folder, params.load(folder / "params.yaml")), "alpha")


READERS: dict[str, Reader] = {
    "run record": Reader(_record, _read_record),
    "backbone": Reader(_world, _read_backbone, "models/backbone.safetensors"),
    "prompts": Reader(_prompts, _read_prompts, "models/prompts/meta.safetensors"),
    "trained model": Reader(_model, _read_model),
    "ratings": Reader(_ratings, _read_ratings),
    "prepared database": Reader(_world, _read_prepared, "data/prepared/target/*"),
    "splits": Reader(_splits, _read_splits, "splits.csv"),
    "params.yaml": Reader(_world, _read_params, "params.yaml"),
    "archive .zip": Reader(_archive(".zip"), _unpack, writes="out/deep/er"),
    "archive .tar": Reader(_archive(".tar"), _unpack, writes="out/deep/er"),
    "archive .tgz": Reader(_archive(".tgz"), _unpack, writes="out/deep/er"),
    "record to run again": Reader(_rerun, _restore, "r/*/*/*/*/run.json"),
    "costs of records": Reader(_record, _past, "r/*/*/*/*/run.json"),
    "dvc.lock": Reader(_locks, _mend, "dvc.lock"),
    "dvc's table of locks": Reader(_locks, _mend, ".dvc/tmp/rwlock"),
    "look": Reader(_look, _read_look, "results/attribution/*.npz"),
    "receipt": Reader(_fetched, _receipt, "livec.json"),
    "checksums": Reader(_checksums, _read_checksums, "checksums.json"),
    "published.csv": Reader(_published, _read_published),
    "executed notebook": Reader(_notebook, _read_notebook),
    "notebook parameters": Reader(_given, _read_given),
    "finished split": Reader(_partial, _read_partial),
    "tables": Reader(_tables, _read_tables, "results/*.*"),
    **_score_files(),
}
