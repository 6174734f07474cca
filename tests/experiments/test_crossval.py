"""Rated pictures -> a model in a file -> scores: the numbers of the adaptation itself, and honest out-of-fold ones."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from grmp import methods
from grmp.cli import app
from grmp.clip import checkpoints
from grmp.data import custom as ratings
from grmp.data import decode
from grmp.data.dataset import Dataset
from grmp.data.splits import Splits
from grmp.errors import UserError
from grmp.experiments import crossval as room
from grmp.experiments import record
from grmp.finetune.scorer import load
from grmp.locks import Locked, lock
from grmp.params import Params
from grmp.params import load as load_params
from tests import worlds

METHOD = "random_prompts"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a backbone, and beside it pictures of its target with their ratings; returns params.yaml."""
    file = worlds.build(tmp_path_factory.mktemp("train") / "w")
    target = file.parent / "data/prepared/target"
    index, images = pd.read_csv(target / "index.csv"), np.load(target / "images.npy")
    (file.parent / "mine/photos").mkdir(parents=True)
    for name, image in zip(index["image"], images, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(file.parent / "mine/photos" / name)
    index[["image", "mos"]].to_csv(file.parent / "mine/ratings.csv", index=False)
    return file


@pytest.fixture(scope="module")
def rated(world: Path) -> Dataset:
    return ratings.read(world.parent / "mine/ratings.csv", worlds.SIZE, "squash", (1, 5), higher_better=True)


@pytest.fixture(scope="module")
def params(world: Path) -> Params:
    return load_params(world)


@pytest.fixture(scope="module")
def trained(world: Path, rated: Dataset, params: Params) -> Path:
    """A model by the command's room, with cross-validation against ridge."""
    out = world.parent / "trained.safetensors"
    room.train(params, world.parent, rated, out, METHOD, ["ridge"], 3)
    return out


def adapted(world: Path, rated: Dataset, params: Params, method: str) -> np.ndarray:
    """Scores of all pictures by the method itself after it has learned from all of them."""
    everything = np.arange(len(rated.index))
    start = room.begin(params, world.parent, rated, Splits(everything[None]))
    case = replace(room.context_of(start, method), tested=Splits(np.full((1, len(everything)), -1)))
    (found,) = methods.prepare(case, method)([0])
    return found.scores


@pytest.mark.parametrize("method", ["ridge", "zero_shot"])
def test_baselines_can_be_kept(world: Path, rated: Dataset, params: Params, tmp_path: Path, method: str):
    room.train(params, world.parent, rated, tmp_path / "m.safetensors", method, [], 0)
    model = load(tmp_path / "m.safetensors")
    expected = adapted(world, rated, params, method).clip(0, 1)
    assert model.quality(rated.images) == pytest.approx(expected, abs=1e-5)
    assert model.card["method"] == method


def test_what_to_rate_next(world: Path, rated: Dataset, params: Params, tmp_path: Path):
    """Other images are scored by every fold, sorted by their disagreement, and change nothing else."""
    half, others = (
        replace(rated, index=rated.index.iloc[some].reset_index(drop=True), images=rated.images[some])
        for some in (slice(14), slice(14, None))
    )
    out = tmp_path / "m.safetensors"
    plain, nothing = room.train(params, world.parent, half, out, "ridge", [], 2)
    found, later = room.train(params, world.parent, half, out, "ridge", [], 2, others)
    assert (found["srcc"] == plain["srcc"]).all()
    assert nothing == []
    both = []
    for fold in range(2):
        ranks = ratings.folds(half.index, 2, params.splits.seed).ranks[fold : fold + 1]
        start = room.begin(params, world.parent, half, Splits(ranks))
        start = replace(start, target=others, tested=Splits(np.full((1, len(others.index)), -1)))
        both.append(methods.prepare(start, "ridge")([0])[0].scores)
    order = np.argsort(-np.abs(both[0] - both[1]), kind="stable")
    assert later == others.index["image"].iloc[order].tolist()
    _, later = room.train(params, world.parent, half, out, "zero_shot", [], 2, others)
    assert later == []  # it learns nothing, so its folds agree


def test_the_model_scores_as_the_adaptation_does(world: Path, rated: Dataset, params: Params, trained: Path):
    scores, model = adapted(world, rated, params, METHOD), load(trained)
    assert model.quality(rated.images) == pytest.approx(scores, abs=1e-6)
    assert np.ptp(scores) > 1e-3
    paths = [world.parent / "mine/photos" / name for name in rated.index["image"]]
    assert model.score(paths) == pytest.approx(scores, abs=1e-6)


def test_the_card_tells_what_it_is(trained: Path, rated: Dataset):
    card = load(trained).card
    assert (card["method"], card["images"], card["folds"], card["scale"]["high"]) == (METHOD, len(rated.index), 3, 5)
    assert [row["method"] for row in card["comparison"]] == ["ridge", METHOD]
    assert card["versions"].keys() == {*record.PACKAGES, *decode.versions()}
    assert card["versions"].keys() >= {"torch", "pillow", "libjpeg_turbo", "littlecms2"}
    assert card["known"] == "the 24 rated images"
    assert len(card["errors"]) == 24


def test_an_interrupted_training_goes_on_to_the_same_bytes(
    world: Path, rated: Dataset, params: Params, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wrote, written = record.write_split, []

    def stop_after_two(folder: Path, fold: int, result: object) -> None:
        wrote(folder, fold, result)
        written.append(fold)
        if len(written) == 2:
            raise KeyboardInterrupt

    out = tmp_path / "again.safetensors"
    monkeypatch.setattr(record, "write_split", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        room.train(params, world.parent, rated, out, METHOD, ["ridge"], 3)
    assert not out.exists()
    room.train(params, world.parent, rated, out, METHOD, ["ridge"], 3)
    assert written == [0, 1, 2, 0, 1, 2]  # three folds of two methods, none twice
    assert out.read_bytes() == trained.read_bytes()
    assert not [p for p in (world.parent / "results/partial").iterdir() if p.name != "locks"]


def test_another_training_waits_for_the_folds_of_a_baseline(
    world: Path, rated: Dataset, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Trainings of different methods share the folder of their baseline."""
    real, locked = room.out_of_fold, []

    def computed(context, name, folder):
        with pytest.raises(Locked), lock(world.parent, f"train-{folder.name}", wait=False):
            pass
        locked.append(name)
        return real(context, name, folder)

    monkeypatch.setattr(room, "out_of_fold", computed)
    room.train(params, world.parent, rated, tmp_path / "m.safetensors", "ridge", ["zero_shot"], 3)
    assert locked == ["zero_shot", "ridge"]


def test_no_picture_is_scored_by_a_model_that_saw_it(world: Path, rated: Dataset, params: Params, tmp_path: Path):
    def scores(index: pd.DataFrame, place: Path) -> np.ndarray:
        start = room.begin(params, world.parent, replace(rated, index=index), parts)
        return room.out_of_fold(room.context_of(start, "ridge"), "ridge", place)[0]

    parts = ratings.folds(rated.index, 4, seed=1)
    before, index = scores(rated.index, tmp_path / "before"), rated.index.copy()
    mine = np.isin(np.arange(len(index)), parts.test(0))
    index.loc[mine, "quality"] = 1 - index.loc[mine, "quality"]
    after = scores(index, tmp_path / "after")
    assert (after[mine] == before[mine]).all()
    assert (after[~mine] != before[~mine]).any()


def frame(quality: np.ndarray, references: list[str] | None = None) -> pd.DataFrame:
    names = [f"{i:03}" for i in range(len(quality))]
    return pd.DataFrame({"image": names, "quality": quality, "reference": references or [None] * len(quality)})


def test_comparisons_have_known_answers(params: Params):
    rng = np.random.default_rng(0)
    quality = rng.uniform(size=60)
    noisy = quality + rng.normal(0, 0.3, 60)
    scores = {"flat": -quality, "same": quality, "noisy": noisy, "best": quality}
    found = room.compare(frame(quality), scores, "best", params)
    assert found.loc["best", ["srcc", "low", "high"]].tolist() == pytest.approx([1, 1, 1])
    assert found.loc["flat", "srcc"] == -1
    assert found.loc["flat", ["gain", "gain_low", "gain_high"]].tolist() == pytest.approx([2, 2, 2])
    assert found.loc["same", ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    assert found.loc["noisy", "gain_low"] > 0
    assert np.isnan(found.loc["best", "gain"])
    backwards = room.compare(frame(quality), {"grmp": -quality, "ridge": quality}, "grmp", params)
    said = room.summary(backwards, params, "grmp").splitlines()[-2:]
    assert "includes 0 or lies below" in said[0]
    assert said[1].endswith("is better on these images; to keep it: --method ridge")
    found = found.rename({"flat": "ridge", "same": "coop", "noisy": "zero_shot", "best": "grmp"})
    verdicts = [line.split("] ")[-1] for line in room.summary(found, params, "grmp").splitlines()[1:-1]]
    assert verdicts == ["above 0", "no significant difference", "above 0"]


def test_implausible_results_get_a_remark(params: Params):
    rng = np.random.default_rng(0)
    quality = rng.uniform(size=60)
    noisy = quality + rng.normal(0, 0.3, 60)

    def about(quality: np.ndarray, **scores: np.ndarray) -> str:
        found = room.compare(frame(quality), scores, "grmp", params)
        return " ".join(room.remarks(quality, scores, found, "grmp"))

    assert about(quality, zero_shot=noisy, grmp=noisy) == ""
    assert "run against the scores of zero_shot" in about(quality, zero_shot=-noisy, grmp=noisy)
    assert "run against the scores of grmp" in about(quality, grmp=-noisy)
    # 30 of 60 equal: rho_max = sqrt(1 - 2 * (30^3 - 30) / (60^3 - 60)) = 0.8663
    assert "SRCC above 0.866" in about(np.repeat([0.0, 1.0], 30), grmp=noisy)
    assert "lie within 0.00" in about(quality, grmp=0.5 + 0.001 * quality)


def test_copies_of_a_source_do_not_narrow_the_interval(params: Params):
    rng = np.random.default_rng(1)
    quality, noise = rng.uniform(size=15), rng.normal(0, 0.3, 15)
    four = np.repeat(quality, 4) + rng.normal(0, 1e-3, 60)
    copies = {"m": np.repeat(quality + noise, 4) + rng.normal(0, 1e-3, 60)}
    known = room.compare(frame(four, [f"s{i // 4}" for i in range(60)]), copies, "m", params).loc["m"]
    naive = room.compare(frame(four), copies, "m", params).loc["m"]
    assert known["high"] - known["low"] > 1.5 * (naive["high"] - naive["low"])


def test_what_gives_no_model_is_refused(world: Path, rated: Dataset, params: Params, tmp_path: Path):
    out = tmp_path / "m.safetensors"
    with pytest.raises(UserError, match="'panel' can be compared, but not kept as a model; keep a method of kind tune"):
        room.train(params, world.parent, rated, out, "panel", [], 3)
    with pytest.raises(UserError, match=r"'rigde' is not defined; try ridge, or see docs/methods\.md"):
        room.train(params, world.parent, rated, out, METHOD, ["rigde"], 3)
    with pytest.raises(UserError, match="under protocol 'published' selects its epoch on test images"):
        room.train(params.under("published"), world.parent, rated, out, METHOD, [], 3)
    with pytest.raises(UserError, match="'grmp_reads_test' under protocol 'sound' selects its epoch on test images"):
        room.train(params, world.parent, rated, out, METHOD, ["grmp_reads_test"], 3)
    with pytest.raises(UserError, match=r"fomaml.safetensors not found; make it with: grmp pretrain fomaml"):
        room.train(params, world.parent, rated, out, "grmp", ["ridge"], 3)
    assert not out.exists()
    (tmp_path / "file").touch()
    for place, said in (
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "file/m.safetensors", "cannot write"),
    ):
        with pytest.raises(UserError, match=said):
            room.train(params, world.parent, rated, place, METHOD, ["ridge"], 3)


def test_folds_of_other_pictures_or_parts_are_not_taken_up(world: Path, rated: Dataset, params: Params):
    def known_by(pictures: Dataset, seed: int) -> str:
        start = room.begin(params, world.parent, pictures, ratings.folds(pictures.index, 3, seed))
        return room._identity(room.context_of(start, "ridge"), "ridge")

    flipped = replace(rated, images=rated.images[..., ::-1])
    assert len({known_by(rated, 1), known_by(rated, 2), known_by(flipped, 1)}) == 3
    assert known_by(rated, 1) == known_by(rated, 1)


def test_commands(world: Path, trained: Path, tmp_path: Path):
    mine, run = world.parent / "mine", CliRunner()
    out = tmp_path / "quick.safetensors"
    arguments = [str(mine / "ratings.csv"), "-o", str(out), "--method", METHOD, "--scale", "1", "5", "--folds", "0"]
    found = run.invoke(app, ["train", *arguments, "--params", str(world)], catch_exceptions=False)
    assert "24 rated images of 24 sources, scale 1 to 5" in found.output
    assert (load(out).quality(np.load(world.parent / "data/prepared/target/images.npy"))).min() > 0
    table = tmp_path / "s.csv"
    one = sorted((mine / "photos").iterdir())[0]
    assert run.invoke(app, ["score", str(trained), str(mine), str(one), "-o", str(table)]).exit_code == 0
    scores = pd.read_csv(table)
    assert list(scores.columns) == ["image", "quality", "percentile", "predicted_rating", "low", "high"]
    assert len(scores) == 24  # the folder's, and the same one again
    assert scores["predicted_rating"].to_numpy() == pytest.approx(1 + 4 * scores["quality"].to_numpy(), abs=3e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["quick.safetensors", "s.csv"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--method", "rigde"], "method 'rigde' is not defined"),
        (["--against", "rigde", "--folds", "0"], "method 'rigde' is not defined"),
        (["-o", "."], "is a folder; name a file in it"),
    ],
)
def test_mistakes_are_named_before_images_are_read(
    world: Path, given: list[str], said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ratings, "read", lambda *_: pytest.fail("images are read"))
    command = ["train", str(world.parent / "mine/ratings.csv"), "--params", str(world), *given]
    with pytest.raises(UserError, match=said):
        CliRunner().invoke(app, command, catch_exceptions=False)


@pytest.mark.parametrize("what", ["backbone", "text", "size", "nothing"])
def test_other_files_are_no_models(world: Path, trained: Path, tmp_path: Path, what: str):
    path = tmp_path / "m.safetensors"
    tensors, card = checkpoints.read(trained, "")
    if what == "backbone":
        shutil.copy(world.parent / checkpoints.PATH, path)
    elif what == "text":
        checkpoints.save(path, tensors | {"text": tensors["text"][:, :3]}, card)
    elif what == "size":
        checkpoints.save(path, tensors, card | {"size": 8})
    with pytest.raises(UserError, match=r"not a quality model|not found") as told:
        load(path)
    assert str(told.value).endswith("; give a file that `grmp train` wrote")
    assert "\n" not in str(told.value)
