"""What cannot be is named before any training; what a record says does not depend on what its process did before."""

import json
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from typer.testing import CliRunner

from grmp import code, device, methods, params
from grmp.cli import app
from grmp.clip import checkpoints, shipped, stem_cache
from grmp.data.splits import Splits
from grmp.errors import UserError
from grmp.experiments import identity, record, sweep
from grmp.experiments.record import is_current
from grmp.experiments.run import chunk_size, complete, enough_images, run
from grmp.finetune import feature_cache
from grmp.finetune.types import SplitResult
from grmp.methods.context import open_context, split_file
from grmp.params import RunKey
from tests import worlds
from tests.experiments.conftest import edit
from tests.faults import copies


@pytest.mark.parametrize(
    ("device", "wanted", "kind", "size"),
    [
        ("cpu", 0, "tune", 1),
        ("cpu", 3, "tune", 1),
        ("cuda", 0, "tune", 10),
        ("cuda", 3, "tune", 3),
        ("cuda", 0, "ridge", 1),
    ],
)
def test_what_is_done_is_kept_batch_by_batch(device, wanted, kind, size):
    """On a GPU all ten splits, or as many as the settings say; one on a CPU, where a batch would change the last bits."""
    params = SimpleNamespace(
        adapt=SimpleNamespace(splits_at_once=wanted), adapting=lambda name: name if name == "tune" else None
    )
    case = SimpleNamespace(params=params, device=torch.device(device), splits=SimpleNamespace(count=10))
    assert chunk_size(case, kind) == size


def test_time_and_memory_of_a_run_do_not_depend_on_what_its_process_did_before(world, tmp_path, monkeypatch):
    """Features of earlier runs count with the seconds that they took then, and not as memory of this one.

    Those of a stem, which all runs share, are the time of none; memory is measured from the first embedding on.
    """
    loaded, root = params.load(world), world.parent
    context = open_context(loaded, root, loaded.run.run_keys()[0])
    store = SimpleNamespace(borrowed_seconds=0.0, unused_bytes=10**6, begin_run=lambda: None)

    def lend(seconds):
        store.borrowed_seconds += seconds

    events = []

    def prepare(context, name):
        events.append("method")
        lend(3.0 * context.splits.count)
        return lambda numbers: [lend(5.0) or SplitResult(np.zeros(len(context.tested.test(i)))) for i in numbers]

    monkeypatch.setattr(methods, "prepare", prepare)
    monkeypatch.setattr(device, "peak", lambda place: 10**7)
    monkeypatch.setattr(device, "reset_peak", lambda place: events.append("memory"))
    monkeypatch.setattr(stem_cache, "inputs", lambda *_: events.append("stem"))
    found = complete(replace(context, features=store), "ridge", tmp_path, "label", progress=False)
    assert [split.seconds for split in found] == pytest.approx([8.0] * context.splits.count, abs=0.9)
    assert {split.peak_bytes for split in found} == {9 * 10**6}
    assert events == ["stem", "stem", "memory", "method"]


def test_runs_of_one_process_share_features_of_a_stem_and_change_no_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(worlds, "SIZE", 244)
    names, clip = ["zero_shot", "ridge", "random_prompts", "random_qgr"], shipped.load("small")
    file = worlds.build(tmp_path / "w", run={"few_shot": {"methods": names, "shots": [6]}})
    checkpoints.save(file.parent / checkpoints.PATH, clip.weights, {"config": vars(clip.shape)})
    loaded, apart = params.load(file), copies.copy(file, tmp_path / "apart")
    feature_cache._of_process.clear()
    for key in loaded.run.run_keys():
        run(loaded, file.parent, key, progress=False)
    (store,) = feature_cache._of_process.values()
    assert sum(key[0] == "embedding" for key in store.caches) == 1, "zero-shot's are ridge's"
    assert sum(key[0] == "features" for key in store.caches) == 3, "both methods start three splits from equal prompts"
    for key in reversed(loaded.run.run_keys()):
        feature_cache._of_process.clear()
        run(loaded, apart.parent, key, progress=False)
    assert copies.records(file.parent) == copies.records(apart.parent)


def test_splits_that_are_not_drawn_yet_are_named_before_any_run(world):
    edit(world, splits={"count": 99})
    with pytest.raises(UserError, match=r"sound\.csv has \d+ splits, but splits.count is 99; run: grmp data prepare"):
        sweep.sweep(world)


def test_a_record_states_the_versions_of_what_was_done_then(world):
    """Images were decoded by `prepare`; splits that another version of a package computed are computed again."""
    loaded, key = params.load(world), RunKey("sound", "target", "ridge", 6)
    info = world.parent / "data/prepared/target/info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"decoder": {"pillow": "1.0"}}))
    folders, kept = [], record.read_split

    def read(folder, split):
        folders.append(folder)
        return kept(folder, split)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "read_split", read)
        run(loaded, world.parent, key, progress=False)
        patch.setattr(record, "PACKAGES", ("torch",))
        key.folder(world.parent).joinpath("run.json").unlink()
        run(loaded, world.parent, key, progress=False)
    assert len({*folders}) == 2
    assert record.read_run(key.folder(world.parent)).versions["pillow"] == "1.0"
    assert not list((world.parent / "results/partial").glob(f"{key}*"))


def test_two_runs_with_one_identity_keep_their_splits_apart(world):
    """A method that selects by test images is the same under both protocols: a sweep may compute both at once."""
    one, other = (RunKey(protocol, "target", "ridge", 6) for protocol in ("sound", "published"))
    same = identity.RunIdentity({}, {})
    folders = {record.unfinished(world.parent, key, same, "cpu", 1) for key in (one, other)}
    assert len(folders) == 2
    folders.add(record.unfinished(world.parent, one, same, "cpu", 2))
    assert len(folders) == 3, "a record states one number of threads"


def test_a_cut_table_is_computed_again(world):
    loaded, key = params.load(world), RunKey("sound", "target", "ridge", 6)
    run(loaded, world.parent, key, progress=False)
    table = key.folder(world.parent) / "predictions.csv"
    whole = table.read_bytes()
    assert is_current(key.folder(world.parent), identity.identify(loaded, world.parent, key).digest)
    os.truncate(table, len(whole) // 2)
    assert not is_current(key.folder(world.parent), identity.identify(loaded, world.parent, key).digest)
    run(loaded, world.parent, key, progress=False)
    assert table.read_bytes() == whole


def test_what_changes_under_a_run_gives_no_record(world, monkeypatch):
    loaded, key = params.load(world), RunKey("sound", "target", "ridge", 6)
    prepare = methods.prepare

    def and_meanwhile(case, name):
        splits = split_file(world.parent, "target", "sound")
        splits.write_text(splits.read_text().replace("test", "0", 1))
        return prepare(case, name)

    monkeypatch.setattr(methods, "prepare", and_meanwhile)
    with pytest.raises(UserError, match="an input was changed during the run; run it again"):
        run(loaded, world.parent, key, progress=False)
    assert not key.folder(world.parent).exists()


def test_code_is_known_as_it_was_when_first_asked_for(monkeypatch):
    """Also that of a kind which this process has not used before."""
    before = identity.code("ridge")
    code.closure.cache_clear()
    code.code_digest.cache_clear()
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: b"edited")
    assert identity.code("ridge") == before


def test_a_record_from_other_weights_is_not_replaced_without_notice(world, capsys):
    loaded, key = params.load(world), RunKey("sound", "target", "ridge", 6)
    run(loaded, world.parent, key, progress=False)
    assert "replaces" not in capsys.readouterr().out
    path = world.parent / "models/backbone.safetensors"
    weights, card = checkpoints.read(path, "")
    checkpoints.save(path, {name: t * (1.01 if "proj" in name else 1) for name, t in weights.items()}, card)
    run(loaded, world.parent, key, progress=False)
    assert f"{key}: replaces a record that was computed from another backbone" in capsys.readouterr().out


def test_the_command_prints_the_median(world):
    command, folder = ["run", "target", "ridge", "6", "--params", str(world)], world.parent
    for first in ("", "sound-target-ridge-6: up to date"):
        said = CliRunner().invoke(app, command, catch_exceptions=False).output
        assert said.startswith(first)
    table = pd.read_csv(folder / "results/runs/sound/target/ridge/6/predictions.csv")
    each = [spearmanr(part["quality"], part["score"])[0] for _, part in table.groupby("split")]
    assert f"median SRCC {np.median(each):.3f} [" in said
    assert f"over {len(each)} of {len(each)} splits" in said


@pytest.fixture
def ready(world, monkeypatch):
    """A world to spoil, in which nothing may be computed."""

    def never(*arguments, **named):
        raise AssertionError("training started")

    monkeypatch.setattr("grmp.methods.prepare", never)
    monkeypatch.setattr("grmp.experiments.sweep.work", never)
    return world


def prompts_of(ready, layers=2, **metadata):
    path = ready.parent / "models/prompts/fomaml.safetensors"
    prompts, known = checkpoints.read(path, "")
    deep = {DEEP: prompts[DEEP][:layers]}
    checkpoints.save(path, prompts | deep, known | metadata)


def few_test_pictures(ready):
    path = ready.parent / "data/splits/target/sound.csv"
    table = pd.read_csv(path, dtype=str)
    tests = np.flatnonzero(table["split_1"] == "test")
    table.loc[tests[4:], "split_1"] = "validation"
    table.to_csv(path, index=False)


def small_pictures(ready):
    folder = ready.parent / "data/prepared/target"
    np.save(folder / "images.npy", np.load(folder / "images.npy")[:, :, :30, :30])


DEEP = "visual.deep_prompt_embeddings"
SPOILED = {
    "shots": (
        lambda w: edit(w, run={"few_shot": {"shots": [6, 19]}}),
        "19 shots requested, but the training side of target has 18",
    ),
    "test pictures": (few_test_pictures, "a test side of target has 4 images, fewer than 5; increase splits.test"),
    "small pictures": (small_pictures, "needs images of 32 x 32 pixels, but target is prepared at 30 x 30"),
    "layers": (
        lambda w: prompts_of(w, layers=1),
        r"does not fit .*: visual.deep_prompt_embeddings is 1 x 3 x 64, expected 2 x 3 x 64; train them again",
    ),
    "prompted layers asked for": (
        lambda w: edit(w, prompts={"visual_layers": 1}),
        "visual.deep_prompt_embeddings is 2 x 3 x 64, expected absent",
    ),
    "another backbone": (lambda w: prompts_of(w, backbone="0"), "was trained on another backbone"),
    "no prompts": (lambda w: (w.parent / "models/prompts/fomaml.safetensors").unlink(), "grmp pretrain fomaml"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_sweep_names_it_before_any_run(ready, name):
    spoil, words = SPOILED[name]
    spoil(ready)
    with pytest.raises(UserError, match=words) as caught:
        sweep.sweep(ready, workers=1)
    assert "\n" not in str(caught.value)


def test_a_run_names_it_before_it_starts(ready):
    with pytest.raises(UserError, match="19 shots requested, but the training side of target has 18"):
        run(params.load(ready), ready.parent, RunKey("sound", "target", "grmp", 19))
    assert not (ready.parent / "results/runs").exists()


def test_a_whole_target_is_counted_across_databases():
    source, target = Splits(np.array([[0, 1, 2, -1, -1]])), Splits(np.array([[0, 1, 2, -1, -2]]))
    key = SimpleNamespace(shots=3, source="a", target="b")
    with pytest.raises(UserError, match="a test side of b has 4 images"):
        enough_images(key, source, target.whole(1))
    enough_images(key, source, Splits(np.array([[0, 1, 2, -1, -1]])).whole(1))
