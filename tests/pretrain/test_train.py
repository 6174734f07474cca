"""The pre-training stage's parts: dropout, the released optimiser's renewals, the score that selects a checkpoint."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from grmp.clip.model import Backbone, random_prompts, tokenize
from grmp.data.dataset import Dataset
from grmp.errors import UserError
from grmp.params import Variant, load
from grmp.pretrain import meta, train
from grmp.pretrain.tasks import Task
from grmp.pretrain.train import Checkpoint, MetaLearner, State, target_srcc
from tests import worlds
from tests.conftest import ROOT
from tests.golden import weights
from tests.worlds import SHAPE

RELEASED = {"protocol": "published", "reset": "never", "query": "inner", "outer": "average", "order": 0}
RELEASED |= {"inner": "adam", "inner_rate": 1e-3, "outer_rate": 0.1}
SETTINGS = SimpleNamespace(support_batch=4, query_batch=4, support=0.8, split_by="image", label_scale="set")
BACKBONE = Backbone(weights.clip_weights(SHAPE), SHAPE, "seeded")
TOKENS = tokenize(["X X X X high quality.", "X X X X low quality."])


def learner(**change):
    theta = random_prompts(SHAPE, 3, 0, 4, "layer", torch.Generator().manual_seed(0))
    return MetaLearner(theta, Variant(**RELEASED | change), SETTINGS, BACKBONE, TOKENS, 0.1)


def pairs(seed=0):
    rng = np.random.default_rng(seed)
    x = [torch.from_numpy(rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)) for _ in range(2)]
    return [(x[0], torch.linspace(0, 1, 4))], [(x[1], torch.linspace(1, 0, 4))]


def test_masks_are_seeded_for_each_task_and_scaled():
    prompts = random_prompts(SHAPE, 3, 0, 4, "layer", torch.Generator().manual_seed(0))
    (both,) = meta.PromptDropout(0.3, prompts, [[1, 2], [1, 3]]).masks(5)
    (alone,) = meta.PromptDropout(0.3, prompts, [[1, 3]]).masks(5)
    assert both.shape == (2, SHAPE.vision_layers, 5, 3, SHAPE.vision_width)
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
    assert set(both.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    assert float(both.mean()) == pytest.approx(1.0, abs=0.02)
    assert meta.PromptDropout(0.0, prompts, [[1]]).masks(5) == []


def test_renewal_forgets_the_moments_of_the_inner_adam_alone():
    one, two = learner(), learner()
    for trained in (one, two):
        trained.visit(pairs(), [0])
    assert all(torch.equal(one.inner.prompts[n], two.inner.prompts[n]) for n in one.inner.prompts)
    one.renew()
    assert not one.inner.optimizer.state
    for trained in (one, two):
        trained.visit(pairs(1), [1])
    assert not all(torch.equal(one.inner.prompts[n], two.inner.prompts[n]) for n in one.inner.prompts)


def test_a_checkpoint_resumes_models_optimisers_and_state(tmp_path):
    for change in ({}, {"reset": "task", "query": "outer", "order": 1}):
        first, again = learner(**change), learner(**change)
        first.visit(pairs(), [0])
        first.outer_step()
        checkpoint = Checkpoint(tmp_path / "half.pt", "identity")
        state = State(3, [{"epoch": 2, "task": "blur"}], 0.5, {"ctx": torch.ones(2)})
        checkpoint.save(state, first.models)
        found = checkpoint.load(again.models)
        assert (found.epoch, found.rows, found.best) == (3, state.rows, 0.5)
        for name, (tensors, optimizer) in first.models.items():
            assert all(torch.equal(t, again.models[name][0][n]) for n, t in tensors.items())
            assert str(optimizer.state_dict()) == str(again.models[name][1].state_dict())
        assert Checkpoint(checkpoint.path, "another").load(learner(**change).models) == State()
    checkpoint.path.write_bytes(checkpoint.path.read_bytes()[:200])
    assert checkpoint.load(again.models) == State()


def test_the_selecting_score_leaves_out_images_that_are_not_part_of_the_study():
    rng = np.random.default_rng(0)
    names = ["t1.bmp", *(f"{i}.bmp" for i in range(7))]
    index = pd.DataFrame({"image": names, "quality": rng.uniform(size=8)})
    images = rng.integers(0, 256, (8, 3, 36, 36), dtype=np.uint8)
    prompts = learner().prompts
    found = [
        target_srcc(BACKBONE, prompts, TOKENS, Dataset(name, index, images, {}), images) for name in ("livec", "other")
    ]
    alone = Dataset("other", index[1:].reset_index(drop=True), images[1:], {})
    assert found[0] == target_srcc(BACKBONE, prompts, TOKENS, alone, images[1:])
    assert found[0] != found[1]


def test_support_and_query_read_arrays_of_their_own():
    """As released, support images are cropped from larger ones and query images are whole (departure 19)."""
    size = BACKBONE.shape.image_size
    support, query = (np.full((12, 3, s, s), value, np.uint8) for s, value in ((size + 4, 7), (size, 9)))
    task = Task("blur", np.arange(12), np.linspace(0, 1, 12, dtype=np.float32), np.arange(12))
    supports, queries = learner().batches(task, [support, query], np.random.default_rng(0))
    for batches, value in ((supports, 7), (queries, 9)):
        assert all((x == value).all() and x.shape[2:] == (size, size) for x, _ in batches)
    with pytest.raises(UserError, match="smaller than the backbone's"):
        learner().batches(task, [support, query[..., :-1]], np.random.default_rng(0))


def test_runs_side_by_side_are_those_one_after_another(monkeypatch, tmp_path):
    file = worlds.build(tmp_path, pretrain={"seeds": 2, "epochs": 1})
    prompts, found = tmp_path / "models/prompts/fomaml.safetensors", []
    for at_once in (1, 2):
        monkeypatch.setattr(train, "ThreadPoolExecutor", lambda _, at_once=at_once: ThreadPoolExecutor(at_once))
        train.pretrain(load(file), tmp_path, "fomaml")
        found.append(prompts.read_bytes())
        prompts.unlink()
    assert found[0] == found[1]


def test_a_run_that_fails_ends_the_others(monkeypatch, tmp_path):
    """At their next task, not when their epochs are over."""
    file, began = worlds.build(tmp_path, pretrain={"seeds": 2, "epochs": 1}), []
    failed, other = threading.Event(), threading.Event()

    def visit(learner, batches, seed):
        began.append(seed)
        if seed[0] == load(file).pretrain.seed:
            other.set()
            assert failed.wait(60)
            return real(learner, batches, seed)
        assert other.wait(60)  # on a busy machine the other run may begin later
        raise UserError("loss is not finite")

    real, learn = train.MetaLearner.visit, train._learn

    def watched(*arguments):
        try:
            return learn(*arguments)
        except UserError:
            threading.Timer(0.2, failed.set).start()
            raise

    monkeypatch.setattr(train.MetaLearner, "visit", visit)
    monkeypatch.setattr(train, "_learn", watched)
    with pytest.raises(UserError, match="loss is not finite"):
        train.pretrain(load(file), tmp_path, "fomaml")
    assert len(began) == 2


def test_runs_of_order_2_are_not_side_by_side(monkeypatch, tmp_path):
    """They choose torch's attention kernel for the whole process: one that ends would end the choice of another."""
    file, kernel, threads = worlds.build(tmp_path, pretrain={"seeds": 2, "epochs": 1}), meta.sdpa_kernel, set()
    monkeypatch.setattr(meta, "sdpa_kernel", lambda backend: threads.add(threading.get_ident()) or kernel(backend))
    train.pretrain(load(file), file.parent, "maml")
    assert len(threads) == 1


@pytest.mark.parametrize("dropped", [True, False])
def test_an_epoch_visits_the_tasks_that_the_released_code_does(monkeypatch, dropped):
    """Each task of the second database starts with a new inner Adam, and its last ones may be dropped (departure 4)."""
    tasks, seen = {"tid2013": ["a"], "kadid10k": ["b", "c", "d"]}, []

    class Recorder:
        def __init__(self, theta, *rest):
            self.prompts, self.models = theta, {}

        def renew(self):
            seen.append("renewed")

        def batches(self, task, images, rng):
            return task.distortion

        def visit(self, batches, seed):
            seen.append(batches)
            return [0.0], [0.0]

        def outer_step(self):
            seen.append("stepped")

    monkeypatch.setattr(train, "MetaLearner", Recorder)
    monkeypatch.setattr(train, "tasks_of", lambda name, _: [SimpleNamespace(distortion=t) for t in tasks[name]])
    params = load(ROOT / "params.yaml").under("published")
    change = {"epochs": 1, "select": "last", "drop_last_task": dropped}
    params = params.model_copy(update={"pretrain": params.pretrain.model_copy(update=change)})
    loaded = {d: [SimpleNamespace(index=None)] for d in tasks}
    file = SimpleNamespace(load=lambda models: State(), save=lambda state, models: None)
    train._learn(
        params, "reptile_published", loaded, dict.fromkeys(tasks), BACKBONE, TOKENS, threading.Event(), 0, file
    )
    assert seen[:2] == ["a", "stepped"]
    assert seen[2:-1:2] == ["renewed"] * (1 if dropped else 3)
    assert sorted(seen[3::2]) == (["b"] if dropped else ["b", "c", "d"])
    assert seen[-1] == "stepped"
