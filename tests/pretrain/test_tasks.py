"""Tasks of meta-training: one per distortion type, and the batches that a visit draws."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from grmp.data import databases
from grmp.errors import UserError
from grmp.pretrain.tasks import draw, load, tasks_of


def index(levels=range(1, 6), sources=4, kinds=("blur", "noise")):
    """A prepared table with every level of every kind of every source."""
    rows = product([f"s{s}" for s in range(sources)], kinds, levels)
    table = pd.DataFrame(rows, columns=["reference", "distortion", "level"])
    return table.assign(image=[f"{s}_{k}_{v}.png" for s, k, v in table.to_numpy()], quality=1 - table["level"] / 5)


def test_tasks_one_per_distortion():
    tasks = tasks_of("db", index())
    assert [t.distortion for t in tasks] == ["blur", "noise"]
    assert all(len(t.rows) == 20 and len(np.unique(t.groups)) == 4 for t in tasks)


def test_tasks_need_labels_and_sources():
    with pytest.raises(UserError, match="wild has no distortion labels"):
        tasks_of("wild", index().assign(distortion=None))
    with pytest.raises(UserError, match="'blur' has images of one source only"):
        tasks_of("db", index(sources=1))


def test_a_distortion_without_images_is_named():
    kadid, tid = databases.get("kadid10k"), databases.get("tid2013")
    kinds = list(kadid.distortions)
    assert (len(kinds), kinds[0], kinds[-1]) == (25, "01 gaussian blur", "25 contrast change")
    assert kinds[5] == kadid.parse("I01_06_03.png").distortion
    assert tid.distortions[23] == tid.parse("i01_24_1.bmp").distortion
    parts = [index().query("distortion == 'blur'").assign(distortion=k) for k in kinds]
    whole = pd.concat(parts, ignore_index=True)
    assert [t.distortion for t in tasks_of("kadid10k", whole)] == kinds
    with pytest.raises(UserError, match=r"kadid10k: distortion '13 impulse noise' has no images; .* prepare kadid10k"):
        tasks_of("kadid10k", whole[whole["distortion"] != "13 impulse noise"])


def settings(**change):
    """Settings of ``pretrain`` that a draw reads."""
    base = {"support": 0.8, "split_by": "image", "label_scale": "database", "support_batch": 16, "query_batch": 5}
    return SimpleNamespace(**base | change)


@pytest.mark.parametrize("by", ["reference", "image"])
def test_draw_splits_support_from_query(by):
    task = tasks_of("db", index(sources=10))[0]
    batches = draw(task, settings(split_by=by), np.random.default_rng(0))
    support, query = (np.concatenate([rows for rows, _ in side]) for side in batches)
    assert [len(rows) for rows, _ in batches[0]] == [16, 16, 8]
    assert len(np.unique(support)) == 40
    assert len(query) == 10
    assert not set(support) & set(query)
    of = dict(zip(task.rows, task.groups, strict=True))
    shared = {of[r] for r in support} & {of[r] for r in query}
    assert (not shared) if by == "reference" else shared
    for rows, targets in batches[0]:
        assert dict(zip(task.rows, task.targets, strict=True))[rows[0]] == targets[0]


def test_draw_scales_and_is_seeded():
    task = tasks_of("db", index(sources=10))[0]
    one, two = (draw(task, settings(label_scale="set"), np.random.default_rng(0)) for _ in range(2))
    for side in one:
        targets = np.concatenate([t for _, t in side])
        assert (targets.min(), targets.max()) == (0, 1)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one[0], two[0], strict=True))


def test_load_crops_at_random_for_the_support_and_at_the_centre_for_the_query():
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 8), dtype=np.uint8)
    rows, targets, cpu = np.array([2, 0]), np.array([0.5, 1.0]), torch.device("cpu")
    x, y = load(images, rows, targets, 4, cpu)
    assert torch.equal(x, torch.from_numpy(images[rows][:, :, 2:6, 2:6]))
    assert y.tolist() == [0.5, 1.0]
    one, two, other = (load(images, rows, targets, 4, cpu, np.random.default_rng(s))[0] for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
