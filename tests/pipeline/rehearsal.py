"""The paper's pipeline rehearsed: the root's params.yaml and dvc.yaml in a clone, on archives and a CLIP in miniature.

    python -m tests.pipeline.rehearsal [FOLDER]

adds SPAQ and FLIVE to the databases and to the grid of all labels, as params.yaml says, so that every claim has its number;
makes archives as the first source of each database packs them, with a few hundred of its images (names and scores are the
real ones, the images are coloured noise), and a seeded CLIP in the Hub's format, serves both on this machine and runs
``dvc repro``. A second folder runs each kind of method on a CLIP of ViT-B/16's true size. Every number that comes out is
meaningless. Needs GRMP_SHARED with the real score files.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from grmp.clip.pretrained import FILE
from grmp.data import databases
from grmp.data.databases._entry import Database
from grmp.data.databases._mirrors import HUB
from grmp.params import load
from grmp.params.load import merge, read
from tests.conftest import ROOT
from tests.data import layouts
from tests.data.server import Served, Site, running
from tests.golden import weights
from tests.pipeline import tiny
from tests.report.test_table import too_wide

LOG = "log.txt"
MODEL, REPOSITORY = "ViT-B-16-quickgelu", "timm/vit_base_patch16_clip_224.openai"
LARGE = ["spaq", "flive"]  # in no list of the root's
FINE = {"ok", "the logistic fit decreases: predictions run against quality"}
NARROW = {  # every parameter name of ViT-B/16
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 32, "head_width": 16, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 12},
}
SETTINGS: dict[str, Any] = {
    "extends": "../params.yaml",
    "paths": {"code": ".."},
    "splits": {"count": 2},
    "pretrain": {"epochs": 2, "seeds": 2, "threads": 1},
    "protocols": {name: {"adapt": {"epochs": 2}} for name in ("sound", "published")},
    "adapt": {"evaluate_every": 1, "views": 2, "cache_gb": 1.0, "threads": 1, "device": "cpu"},
    "methods": {name: {"fit": {"epochs": 2}} for name in ("panel", "distill")},
    "inner_curves": {"counts": [0, 1, 2]},
    "continual": {"splits": 2},
    "evaluate": {"resamples": 200},
    "report": {"title": "A rehearsal: every number is meaningless"},
}
TRUE_SIZE: dict[str, Any] = {  # each kind of method once, with 224 pixels, 16 x 16 patches and all prompts
    "extends": "../rehearsal/params.yaml",
    "data": {"databases": ["tid2013", "kadid10k", "livec", "flive"]},
    "methods": {
        "distill": {"teacher": "random_qgr"},
        "random_crossval": {"grid": {"adapt.tuned_blocks": [1], "adapt.learning_rate": [1e-3, 3e-3]}},
    },
    "run": {
        "few_shot": {
            "databases": ["flive"],
            "protocols": ["sound"],
            "methods": ["zero_shot", "ridge", "random_qgr", "panel", "distill", "random_crossval"],
            "shots": [10],
        },
        **{grid: {"databases": [], "methods": []} for grid in ("ablation", "full", "cross")},
    },
    "inner_curves": {"databases": []},
    "continual": {"sequence": []},
    "attribution": {"methods": ["random_qgr"], "shots": 10, "images": 1},
}
TRUE_SIZE_COMMANDS = (
    "grmp data fetch flive",
    "grmp data prepare flive",
    "grmp backbone",
    "grmp sweep",
    "grmp attribution flive",
    "grmp collect",
    "grmp notebooks few_shot",
)


@dataclass(frozen=True)
class Miniature:
    """How much of a database is kept: ``each`` images of ``references``, or that many images where there are none."""

    images: tuple[int, int]  # width and height: the smallest that the entry accepts
    each: int
    references: int = 0


MINIATURES = {
    "tid2013": Miniature((512, 384), 120, 3),
    "kadid10k": Miniature((512, 384), 125, 3),
    "live": Miniature((720, 480), 26, 10),
    "csiq": Miniature((512, 512), 28, 10),
    "koniq10k": Miniature((1024, 768), 260),
    "livec": Miniature((500, 500), 260),
    "pipal": Miniature((288, 288), 26, 10),
    "spaq": Miniature((1000, 1000), 40),
    "flive": Miniature((320, 240), 40),
}

# appended to grmp/data/databases/__init__.py of the clone: the entries with the miniatures' counts and addresses
ENTRIES = """

def _miniature(entry: Database, found: dict) -> Database:
    from dataclasses import replace

    files = tuple(replace(f, **g) for f, g in zip(entry.sources[0].files, found["files"], strict=True))
    scores = replace(entry.scores, count=found["count"], mean=0.0, sd=0.0)
    sources = (replace(entry.sources[0], files=files), *entry.sources[1:])
    return replace(entry, scores=scores, sources=sources, disk=1_000_000_000)


def _miniatures(full: dict[str, Database]) -> dict[str, Database]:
    import json
    from pathlib import Path

    found = json.loads((Path(__file__).parents[3] / "rehearsal/miniatures.json").read_text())
    return full | {name: _miniature(full[name], found[name]) for name in found}


_full = known
known = cache(lambda: _miniatures(_full()))
"""
# appended to grmp/clip/pretrained.py of the clone: the narrow model under the paper's name, in the folder that has its file
CONFIG = """

def _narrow(path: Path) -> None:
    import open_clip

    if path.is_file():
        open_clip.add_model_config(path)


_narrow(Path("{model}.json"))
"""
SPLITS = ("\nSPLITS = 10 ", "\nSPLITS = 2 ")  # of grmp/report/summary.py: a claim is judged, although of two splits


def say(text: str) -> None:
    print(f"rehearsal: {text}", flush=True)


# -------------------------------------------------------------------------------------------------------- the archives


def canonical(entry: Database, path: str) -> tuple[str, str]:
    """(image, reference) of a path or a cell of a score file, as ``grmp data prepare`` would name them; or empty."""
    with suppress(ValueError, KeyError, IndexError):
        name = entry.parse(path.strip())
        return name.image, name.reference
    return "", ""


def chosen(entry: Database, size: Miniature, table: bytes) -> set[str]:
    """The images to keep, evenly over the score file, or over that of each reference kept."""
    by_reference: dict[str, list[str]] = {}
    for line in table.decode().splitlines()[1:]:
        cells = line.split(",")
        names = [c for c in (canonical(entry, cell) for cell in cells) if Path(c[0]).suffix]
        if names:
            image, reference = max(names, key=lambda n: len(n[1]))
            reference = reference or next((n for n, _ in names if n != image), "") if size.references else ""
            by_reference.setdefault(reference, []).append(image)
    references = sorted(by_reference)
    step = max(1, len(references) // (size.references or 1))
    kept = references[::step][: size.references or 1]
    every = {r: max(1, len(by_reference[r]) // size.each) for r in kept}
    excluded = {i for images in by_reference.values() for i in images if re.fullmatch(entry.exclude or "-", i)}
    return excluded | {image for r in kept for image in by_reference[r][:: every[r]][: size.each]}


def picture(path: str, size: tuple[int, int]) -> bytes:
    """Coloured noise that the name seeds, in the format of its ending."""
    rng, out = np.random.default_rng(zlib.crc32(path.encode())), BytesIO()
    small = (rng.normal(128, rng.uniform(5, 80), (24, 32, 3))).clip(0, 255).astype(np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.NEAREST).save(out, layouts.FORMATS[path[-4:].lower()])
    return out.getvalue()


def smaller(entry: Database, tree: layouts.Tree, kept: set[str], size: tuple[int, int]) -> layouts.Tree:
    """An archive with the images kept, and tables with their rows."""
    out: layouts.Tree = {}
    for path, content in tree.items():
        if path[-4:].lower() in layouts.FORMATS:
            if canonical(entry, path)[0] in kept:
                out[path] = picture(path, size)
        else:
            out[path] = rows(entry, content, kept) if path.endswith(".csv") else content
    return out


def rows(entry: Database, table: bytes, kept: set[str]) -> bytes:
    """A score file with its header and the rows of the images kept."""
    head, *lines = table.decode().splitlines()
    return "\n".join([head, *(x for x in lines if any(canonical(entry, c)[0] in kept for c in x.split(",")))]).encode()


def delivered(shared: Path, name: str) -> list[layouts.Tree | bytes]:
    """What the first source of a database delivers, file by file, at full length."""
    if name == "live":
        return [*layouts.live_mirror(shared)]
    if name == "kadid10k":
        return [layouts.kadid10k(shared)]
    return [*layouts.koniq10k(shared).values()] if name == "koniq10k" else [*layouts.meta(shared, name)]


def archives(shared: Path, name: str, folder: Path, site: Site) -> dict[str, Any]:
    """Serve the miniature of a database; its count, and the address, size and sha256 of each file."""
    entry, size, parts = databases.get(name), MINIATURES[name], delivered(shared, name)
    trees = [part if isinstance(part, dict) else {"scores.csv": part} for part in parts]
    table = next(content for tree in trees for path, content in tree.items() if path.endswith(".csv"))
    kept, files = chosen(entry, size, table), []
    for file, part in zip(entry.sources[0].files, parts, strict=True):
        path = folder / Path(file.url).name
        if isinstance(part, dict):
            layouts.pack(smaller(entry, part, kept, size.images), path)
        content = path.read_bytes() if isinstance(part, dict) else rows(entry, part, kept)
        digest, url = hashlib.sha256(content).hexdigest(), file.url
        if url.startswith(HUB):
            owner, repository, rest = url.removeprefix(HUB).split("/", 2)
            at = f"/datasets/{owner}/{repository}/resolve/main/{rest}"
        else:
            at = f"/{url.partition('://')[2]}"
            url = site.url + at
        site.files[at] = Served(content, etag=digest)
        files.append({"url": url, "size": len(content), "sha256": digest})
    return {"count": sum(not re.fullmatch(entry.exclude or "-", image) for image in kept), "files": files}


def clip(config: dict[str, Any] | None) -> bytes:
    """Seeded weights of ViT-B/16, or of a model with its parameter names, in the format of the Hub."""
    import open_clip
    from safetensors.torch import save

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"rehearsal-{MODEL}.json"
        if config:
            path.write_text(json.dumps(config))
            open_clip.add_model_config(path)
        logging.disable(logging.WARNING)  # open_clip warns of random values
        state = open_clip.create_model(path.stem if config else MODEL, device="meta").state_dict()
        logging.disable(logging.NOTSET)
    return save({n: weights.value(n, tuple(t.shape)) for n, t in state.items()})


def serve_clip(site: Site, config: dict[str, Any] | None) -> str:
    """Put weights where the Hub has the paper's; their sha256."""
    content = clip(config)
    digest = hashlib.sha256(content).hexdigest()
    site.files[f"/{REPOSITORY}/resolve/main/{FILE}"] = Served(content, etag=digest)
    return digest


# -------------------------------------------------------------------------------------------------------- the pipeline


def smaller_settings() -> dict[str, Any]:
    """SETTINGS with the lists that dvc.yaml reads from a folder's own params.yaml, as the root has them, and with LARGE."""
    root = read(ROOT / "params.yaml")
    places = re.findall(r": \$\{((?!paths)[a-z_.]+)\}", (ROOT / "dvc.yaml").read_text())
    out: dict[str, Any] = {}
    for place in places:
        *groups, key = place.split(".")
        value, at = root, out
        for group in groups:
            value, at = value[group], at.setdefault(group, {})
        at[key] = value[key]
    out["data"]["databases"] = [*out["data"]["databases"], *LARGE]
    out["run"]["full"] = {"databases": [*root["run"]["full"]["databases"], *LARGE]}
    return merge(SETTINGS, out)


def clone(folder: Path, shared: Path, site: Site, over: dict[str, Any]) -> Path:
    """A clone with the folder ``rehearsal`` in it, ready to run."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "project")], check=True)
    here = folder / "project/rehearsal"
    here.mkdir()
    (here / "dvc.yaml").symlink_to("../dvc.yaml")
    found = {name: archives(shared, name, folder / "served" / name, site) for name in MINIATURES}
    (here / "miniatures.json").write_text(json.dumps(found, indent=1))
    (here / f"{MODEL}.json").write_text(json.dumps(NARROW))
    settings = merge(smaller_settings(), {"backbone": {"sha256": serve_clip(site, NARROW)}})
    (here / "params.yaml").write_text(yaml.safe_dump(merge(settings, over), sort_keys=False))
    for path, text in (("data/databases/__init__.py", ENTRIES), ("clip/pretrained.py", CONFIG.format(model=MODEL))):
        with (folder / "project/grmp" / path).open("a") as code:
            code.write(text)
    summary = folder / "project/grmp/report/summary.py"
    text = summary.read_text()
    assert SPLITS[0] in text
    summary.write_text(text.replace(*SPLITS))
    return here


def environment(here: Path, site: Site) -> dict[str, str]:
    """For commands in the clone: the local server as the Hub, and one thread a process."""
    found = {k: v for k, v in tiny.environment(here).items() if not k.lower().endswith("_proxy")}
    return found | {"HF_ENDPOINT": site.url, "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}


def rehearse(folder: Path, shared: Path, over: dict[str, Any] | None = None, true_size: bool = True) -> Path:
    """Run the pipeline below ``folder``, with settings ``over``; its folder. What it prints goes to the file LOG.

    Raises CalledProcessError if a command fails.
    """
    began = time.monotonic()
    with running() as site, (folder / LOG).open("w") as log:
        here = clone(folder, shared, site, over or {})
        say(f"archives and clone made in {time.monotonic() - began:.0f} s; the log is {folder / LOG}")

        def call(place: Path, hub: str, *commands: str) -> None:
            env = environment(here, site) | {"HF_HOME": str(folder / hub)}
            for command in commands:
                subprocess.run(command.split(), cwd=place, env=env, stdout=log, stderr=subprocess.STDOUT, check=True)

        call(here, "hub", "dvc repro", "grmp verify results")
        say(f"{time.monotonic() - began:.0f} s, {here / 'results/site/index.html'}")
        if true_size:
            place = here.parent / "true_size"
            place.mkdir()
            settings = TRUE_SIZE | {"backbone": {"sha256": serve_clip(site, None)}}
            (place / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
            call(place, "hub_true_size", *TRUE_SIZE_COMMANDS)
            say(f"{time.monotonic() - began:.0f} s with the runs of true size in {place}")
    return here


def problems(here: Path) -> list[str]:
    """What is missing or wrong in the results of a rehearsal; prints what the notebooks call "not run"."""
    params, results = load(here / "params.yaml"), here / "results"
    found = [f"no record of {key}" for key in params.run.run_keys() if not (key.folder(here) / "run.json").is_file()]
    scores = pd.read_csv(results / "scores.csv")
    found += [
        f"{len(scores[bad])} scores {status}"
        for status in set(scores["status"].astype(str)) - FINE
        if len(bad := scores["status"] == status)
    ]
    for name in params.report.notebooks:
        cells = json.loads((results / f"notebooks/{name}.ipynb").read_text())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        found += [f"{name}: {o['ename']}: {o['evalue']}" for o in outputs if o["output_type"] == "error"]
        holes = [o["metadata"].get("grmp", {}) for o in outputs if "metadata" in o]
        found += [f"{name}: not run: {hole['name']}" for hole in holes if hole.get("kind") == "hole"]
        if not (results / f"site/notebooks/{name}.html").is_file():
            found.append(f"{name}: no page")
    if shutil.which("pdflatex"):
        found += too_wide(sorted((results / "tables").glob("*/*.tex")), here)
    claims = pd.read_csv(results / "tables/summary/claims.csv")
    say("verdicts: " + ", ".join(f"{n} {v}" for v, n in claims["verdict"].value_counts().items()))
    unjudged = claims["verdict"].isin(["not run", "not comparable"])
    found += [f"not judged: {claim}" for claim in claims.loc[unjudged, "claim"]]
    return found


if __name__ == "__main__":
    place = Path(sys.argv[1]) if sys.argv[1:] else Path(tempfile.mkdtemp(prefix="grmp-rehearsal-"))
    place.mkdir(parents=True, exist_ok=True)
    done = rehearse(place.resolve(), Path(os.environ.get("GRMP_SHARED", ROOT.parent / "shared")))
    wrong = problems(done)
    say("\n".join(wrong) or "nothing is missing")
    sys.exit(bool(wrong))
