"""Fine-tuning: the control whose teacher knows the quality."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grmp import methods, params
from grmp.clip.model import PromptedCLIP, pixels, prompted_texts, task_loss, tokenize
from grmp.errors import UserError
from grmp.finetune.feature_cache import FeatureStore
from grmp.methods import tune
from tests.methods.conftest import tiny_case, with_method


def test_upper_is_taught_by_a_clip_that_knows_quality(world, monkeypatch):
    """Its teacher, which saw all labels, predicts better than where it started; the method differs from plain GRMP-IQA."""
    # learned prompts know this world already
    loaded = with_method(params.load(world), "upper", prompts="random")
    case = tiny_case(loaded, world.parent)
    store = FeatureStore(case.backbone, 2.0**28)
    case = replace(case, features=store)
    db, parts, backbone = case.source, case.splits, case.backbone
    seen, asked = [], tune.finetune

    def watched(place, texts, method, settings, jobs, given):
        assert given is store
        found = asked(place, texts, method, settings, jobs, given)
        seen.append((method, settings, jobs, found))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(tune, "finetune", watched)
        (found,) = methods.prepare(case, "upper")([1])
    (teaching, schedule, (lesson,), (taught,)), (_, settings, (job,), _) = seen
    assert sorted(lesson.train.rows) == sorted(parts.train(1, None))
    assert set(lesson.test.rows) <= set(lesson.train.rows)
    assert (teaching.rule, teaching.train, schedule.select) == ("none", ["context", "blocks"], "fixed")
    assert schedule.epochs == settings.epochs  # one batch holds all labels here
    assert job.teacher is taught.tensors
    texts = tokenize(prompted_texts(loaded.prompts.classes, 4))
    shape, x = backbone.shape, pixels(torch.from_numpy(db.images[:, :, 2:34, 2:34].copy()), backbone.shape)

    def loss_on_the_test_side(p):
        with torch.no_grad():
            clip = PromptedCLIP(p, shape)
            found = clip.logits(clip.image(x), clip.quality_text(texts))
        return float(task_loss(found[parts.test(1)], torch.from_numpy(case.quality[parts.test(1)])))

    at_start, taught_loss = (loss_on_the_test_side(p) for p in (backbone.weights | job.prompts, job.teacher))
    assert taught_loss < at_start - 0.05
    (again,), (plain,) = (methods.prepare(case, m)([1]) for m in ("upper", "random_qgr"))
    assert again.scores.tobytes() == found.scores.tobytes()
    assert not np.allclose(found.scores, plain.scores)
    assert found.history[0]["task_loss"] == plain.history[0]["task_loss"]
    assert found.history[0]["semantic_loss"] != plain.history[0]["semantic_loss"]


def test_an_unknown_rule_is_named(world):
    loaded = with_method(params.load(world), "random_prompts", rule="halff")
    with pytest.raises(UserError, match=r"rule 'halff' is not defined in gradient_rules\.py; known: none, published"):
        methods.prepare(tiny_case(loaded, world.parent), "random_prompts")
