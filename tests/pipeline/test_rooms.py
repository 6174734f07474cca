"""Pre-training, runs and sweeps on a tiny world: records whole, identities right, interruptions harmless."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from grmp import methods, params
from grmp.clip import checkpoints
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.experiments import sweep
from grmp.experiments.identity import identify
from grmp.experiments.record import read_record
from grmp.experiments.run import run
from grmp.finetune.types import SplitResult
from grmp.methods import tune
from grmp.methods.context import open_context
from grmp.params import RunKey
from grmp.pretrain import train
from grmp.pretrain.train import pretrain
from tests import worlds
from tests.experiments.conftest import edit
from tests.faults import copies

ALL = ("zero_shot", "ridge", "random_prompts", "meta_prompts", "grmp")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A tiny world with learned prompts."""
    file = worlds.build(tmp_path_factory.mktemp("world") / "w")
    pretrain(params.load(file), file.parent, "fomaml")
    return file


@pytest.fixture
def world(pristine, tmp_path):
    """A copy to change."""
    return copies.copy(pristine, tmp_path)


def test_pretraining_writes_prompts_and_curves(pristine):
    prompts, metadata = checkpoints.read(pristine.parent / "models/prompts/fomaml.safetensors", "")
    assert prompts["visual.deep_prompt_embeddings"].shape == (2, 3, 64)
    assert metadata["variant"]["reset"] == "task"
    curves = pd.read_csv(pristine.parent / "results/pretrain/fomaml.csv")
    assert list(curves.columns) == ["epoch", "database", "task", "support_loss", "query_loss", "seconds"]
    assert sorted(map(tuple, curves[["epoch", "task"]].to_numpy())) == [
        (e, t) for e in (0, 1) for t in ("blur", "noise")
    ]


def test_runs_of_pretraining_are_independent_and_shared_among_the_splits(world):
    """Two runs, with seeds 2024 and 2025; split s starts from run s modulo 2."""
    target, found = world.parent / "models/prompts/fomaml.safetensors", []
    for change in ({"seed": 2025}, {"seeds": 2}):
        found.append(checkpoints.read(target, "")[0])
        edit(world, pretrain={"seed": 2024} | change)
        pretrain(params.load(world), world.parent, "fomaml")
    loaded, (first, second) = params.load(world), found
    backbone = checkpoints.load(world.parent)
    both = checkpoints.load_prompts(world.parent, "fomaml", backbone, loaded.for_method("meta_prompts").prompts)
    for learned, alone in zip(both, (first, second), strict=True):
        assert learned.keys() == alone.keys()
        assert all(torch.equal(learned[name], alone[name]) for name in alone)
    assert not torch.equal(first["ctx"], second["ctx"])
    assert not list(target.parent.glob(".partial.*"))
    context = open_context(loaded, world.parent, RunKey("sound", "target", "meta_prompts", 6))
    _, data = tune.split_data(context, loaded.methods["meta_prompts"])
    for split in range(2):
        assert torch.equal(data(split).prompts["ctx"].cpu(), both[split]["ctx"])


def stopped_and_begun_again(file, name, stop):
    """Pre-train at once, and with an interruption once the epoch ``stop`` is kept: the same bytes."""
    loaded, target = params.load(file), file.parent / f"models/prompts/{name}.safetensors"
    target.unlink(missing_ok=True)
    pretrain(loaded, file.parent, name)
    whole = target.read_bytes()
    target.unlink()
    save = train.Checkpoint.save

    def stops(self, state, models):
        save(self, state, models)
        if state.epoch == stop:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Checkpoint, "save", stops)
        with pytest.raises(KeyboardInterrupt):
            pretrain(loaded, file.parent, name)
    assert not target.exists()
    pretrain(loaded, file.parent, name)
    assert target.read_bytes() == whole
    assert not list(target.parent.glob(".*"))


@pytest.mark.parametrize("name", ["fomaml", "reptile_published", "triplets"])
def test_interrupted_pretraining_ends_at_the_same_weights(world, name):
    stopped_and_begun_again(world, name, 1)


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_the_best_prompts_survive_an_interruption(world, stop, monkeypatch):
    """The best epoch on the target is the second of four, before or after which the run is interrupted."""
    values = {}

    def score(_backbone, theta, *_):
        epoch = values.setdefault(theta["ctx"].sum().item(), len(values))
        return [0.1, 0.9, 0.2, 0.3][epoch]

    monkeypatch.setattr(train, "target_srcc", score)
    edit(world, pretrain={"epochs": 4})
    stopped_and_begun_again(world, "reptile_published", stop)
    assert len(values) == 4


def test_pretraining_that_holds_is_not_done_again(world, capsys):
    path = world.parent / "models/prompts/fomaml.safetensors"
    before = path.stat().st_mtime_ns
    pretrain(params.load(world), world.parent, "fomaml")
    assert path.stat().st_mtime_ns == before
    assert "is up to date" in capsys.readouterr().out


def test_pretraining_needs_distortion_labels(world):
    index = world.parent / "data/prepared/pre/index.csv"
    pd.read_csv(index).assign(distortion=None).to_csv(index, index=False)
    (world.parent / "models/prompts/fomaml.safetensors").unlink()
    with pytest.raises(UserError, match="pre has no distortion labels"):
        pretrain(params.load(world), world.parent, "fomaml")


@pytest.mark.parametrize("method", ALL)
def test_record_of_every_method(world, method):
    key, loaded = RunKey("sound", "target", method, 6), params.load(world)
    assert run(loaded, world.parent, key)[0]
    folder = key.folder(world.parent)
    found, predictions = json.loads((folder / "run.json").read_text()), pd.read_csv(folder / "predictions.csv")
    assert found["status"] == ["ok"] * 3
    assert sorted(predictions["split"].unique()) == [0, 1, 2]
    assert predictions["score"].notna().all()
    history = pd.read_csv(folder / "history.csv")
    trained = method not in {"zero_shot", "ridge"}
    assert len(history) == (9 if trained else 0)
    assert (found["trained_values"] > 100) == trained
    assert not run(loaded, world.parent, key)[0]  # up to date
    assert [p.name for p in (world.parent / "results/partial").iterdir()] == ["locks"]


def test_same_bytes_alone_and_after_an_interruption(world, monkeypatch):
    key, loaded = RunKey("sound", "target", "grmp", 6), params.load(world)
    run(loaded, world.parent, key)
    alone = copies.records(world.parent)
    shutil.rmtree(key.folder(world.parent))

    prepare, done = methods.prepare, []

    def dies_in_split_1(case, name):
        compute = prepare(case, name)

        def splits(numbers):
            if 1 in numbers:
                raise KeyboardInterrupt
            done.extend(numbers)
            return compute(numbers)

        return splits

    monkeypatch.setattr(methods, "prepare", dies_in_split_1)
    with pytest.raises(KeyboardInterrupt):
        run(loaded, world.parent, key)
    assert not key.folder(world.parent).exists()
    monkeypatch.setattr(
        methods, "prepare", lambda case, name: lambda numbers: done.extend(numbers) or prepare(case, name)(numbers)
    )
    run(loaded, world.parent, key)
    assert done == [0, 1, 2]  # split 0 was taken up, not repeated
    assert copies.records(world.parent) == alone


def identities(file):
    loaded = params.load(file)
    return {
        m: identify(loaded, file.parent, RunKey("sound", "target", m, 6)).digest for m in loaded.run.few_shot.methods
    }


@pytest.mark.parametrize(
    ("group", "change", "touched"),
    [
        ("methods", {"grmp": {"strength": 3.0}}, {"grmp"}),
        ("protocols", {"sound": {"adapt": {"epochs": 4}}}, {"random_prompts", "meta_prompts", "grmp"}),
        ("methods", {"ridge": {"alphas": [1.0]}}, {"ridge"}),
        ("evaluate", {"resamples": 7}, set()),
        ("methods", {"grmp": {"set": {"adapt.tuned_blocks": 2}}}, {"grmp"}),
        ("protocols", {"published": {"adapt": {"epochs": 4}}}, set()),
        ("protocols", {"sound": {"backbone": {"normalize": "imagenet"}}}, set(ALL)),
        ("adapt", {"device": "cpu"}, set()),
    ],
)
def test_a_change_touches_only_what_depends_on_it(world, group, change, touched):
    before = identities(world)
    edit(world, **{group: change})
    after = identities(world)
    assert {m for m in before if before[m] != after[m]} == touched


def test_prompts_touch_only_the_methods_that_start_from_them(world):
    before = identities(world)
    path = world.parent / "models/prompts/fomaml.safetensors"
    prompts, metadata = checkpoints.read(path, "")
    checkpoints.save(path, {n: t * 2 for n, t in prompts.items()}, metadata)
    after = identities(world)
    assert {m for m in before if before[m] != after[m]} == {"meta_prompts", "grmp"}


def test_failed_split_is_recorded_and_the_rest_goes_on(world, monkeypatch, capsys):
    prepare = methods.prepare

    def fails_in_split_1(case, name):
        compute = prepare(case, name)

        def splits(numbers):
            failure = SplitResult(failure="loss is not finite at epoch 3, batch 0, learning rate 0.1")
            return [failure if i == 1 else compute([i])[0] for i in numbers]

        return splits

    monkeypatch.setattr(methods, "prepare", fails_in_split_1)
    key = RunKey("sound", "target", "random_prompts", 6)
    run(params.load(world), world.parent, key)
    found = json.loads((key.folder(world.parent) / "run.json").read_text())
    assert [s[:6] for s in found["status"]] == ["ok", "failed", "ok"]
    table = pd.read_csv(key.folder(world.parent) / "predictions.csv")
    assert [part["score"].notna().all() for _, part in table.groupby("split")] == [True, False, True]
    assert "epoch 3" in capsys.readouterr().out
    assert key in sweep.outdated(params.load(world), world.parent)
    record = read_record(key.folder(world.parent))  # the others can be read
    assert set(record.history["split"]) == {0, 2}
    assert record.history["epoch"].dtype == int


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda w: (w / "models/backbone.safetensors").unlink(), "grmp backbone"),
        (lambda w: (w / "data/splits/target/sound.csv").unlink(), "grmp data fetch target && grmp data prepare target"),
        (
            lambda w: (w / "data/prepared/target/info.json").unlink(),
            "grmp data fetch target && grmp data prepare target",
        ),
        (lambda w: (w / "models/prompts/fomaml.safetensors").write_bytes(b"\0" * 100), "is (damaged|corrupt)"),
        (
            lambda w: np.save(w / "data/prepared/target/images.npy", np.zeros((2, 3, 36, 36), np.uint8)),
            "do not belong together",
        ),
    ],
)
def test_missing_or_damaged_inputs_are_named(world, break_it, words):
    break_it(world.parent)
    with pytest.raises(UserError, match=words) as caught:
        run(params.load(world), world.parent, RunKey("sound", "target", "grmp", 6))
    assert "\n" not in str(caught.value)
    assert not (world.parent / "results/runs").exists()


def test_prompts_of_another_shape(world):
    loaded = params.load(world)
    path = world.parent / "models/prompts/fomaml.safetensors"
    prompts, metadata = checkpoints.read(path, "")
    deep, first = "visual.deep_prompt_embeddings", "visual.prompt_embeddings"
    wider = {n: torch.cat([t, t], -1) for n, t in prompts.items() if n == first}
    for change, words in [
        ({"ctx": prompts["ctx"][:3]}, "ctx is 3 x 64, expected 4 x 64"),
        (wider, "prompt_embeddings is 1 x 3 x 128, expected 1 x 3 x 64"),
        ({deep: None}, "deep_prompt_embeddings is absent, expected 2 x 3 x 64"),
        ({"visual.prompt_norm.weight": torch.ones(64)}, "prompt_norm.bias is absent, expected 64"),
    ]:
        checkpoints.save(path, {n: t for n, t in (prompts | change).items() if t is not None}, metadata)
        with pytest.raises(UserError, match=words) as caught:
            run(loaded, world.parent, RunKey("sound", "target", "grmp", 6))
        assert "\n" not in str(caught.value)
        assert "train them again: grmp pretrain fomaml" in str(caught.value)


def test_gpu_demanded():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(UserError, match="torch finds no GPU"):
        choose_device("cuda", 1)
