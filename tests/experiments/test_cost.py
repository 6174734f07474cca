"""Time of a sweep from its records; counted costs are those of what the benchmarks executed, and follow the settings."""

from pathlib import Path

import pandas as pd
import pytest

from grmp.errors import UserError
from grmp.experiments import cost
from grmp.params import RunKey, load
from tests.conftest import ROOT

VIT = cost.Tower(12, 768, 197)


@pytest.fixture(scope="module")
def paper():
    return load(ROOT / "params.yaml")


def grmp(paper, root: Path, shots: int | str = 50, method: str = "grmp", protocol: str = "sound") -> float:
    return cost.operations(paper, root, RunKey(protocol, "koniq10k", method, shots), VIT)


def test_counts_are_those_of_what_was_executed(paper, tmp_path):
    measured = pd.read_csv(ROOT / "bench/results/cpu.csv").query("recipe == 'ours'").set_index("work")
    a_image = 1e9 * measured["gflop"] / measured["images"]
    assert VIT.forward(12, 100) == pytest.approx(a_image["evaluation"], rel=0.03)
    # a support and a query step
    assert 2 * VIT.forward(12, 100) == pytest.approx(a_image["meta_training"] / 2, rel=0.12)
    sound = paper.protocols["sound"]
    adapt = sound.adapt.model_copy(update={"epochs": sound.adapt.epochs + 1})
    protocols = {"sound": sound.model_copy(update={"adapt": adapt})}
    longer = paper.model_copy(update={"protocols": protocols})
    epoch = grmp(longer, tmp_path) - grmp(paper, tmp_path)
    assert epoch / 50 == pytest.approx(a_image["adaptation"], rel=0.03)
    assert measured["share_of_peak"].min() == pytest.approx(cost.REACHED_CPU, abs=0.005)


def test_the_tower_is_that_of_the_pipeline(paper):
    assert cost.tower(paper) == VIT
    assert cost.tower(load(ROOT / "real/livec/params.yaml")) == (4, 192, 50)
    for model in ("ViT-B-61", "RN50"):
        with pytest.raises(UserError, match=f"backbone.model: open_clip knows no vision transformer '{model}'"):
            cost.tower(paper.model_copy(update={"backbone": paper.backbone.model_copy(update={"model": model})}))


def test_costs_follow_the_settings(paper, tmp_path):
    ridge = grmp(paper, tmp_path, method="ridge")
    # every image is read once, for all ten splits
    assert ridge == pytest.approx(10073 / 10 * VIT.forward(12, 100))
    across = cost.operations(paper, tmp_path, RunKey("sound", "koniq10k_to_livec", "ridge", 50), VIT)
    assert across == pytest.approx((10073 + 1162) / 10 * VIT.forward(12, 100))
    assert grmp(paper, tmp_path, 100) > 1.5 * grmp(paper, tmp_path)
    assert grmp(paper, tmp_path, "20pct") == pytest.approx(grmp(paper, tmp_path, round(0.2 * 0.8 * 10073)), rel=1e-3)
    coop, last_blocks, full = (grmp(paper, tmp_path, method=name) for name in ("coop", "last_blocks", "full"))
    assert coop < last_blocks < full
    # batches of 192, not 50
    assert grmp(paper, tmp_path, method="upper") == pytest.approx(5 * grmp(paper, tmp_path), rel=0.3)
    assert grmp(paper, tmp_path, protocol="published") > 5 * grmp(paper, tmp_path)
    assert cost.operations(paper, tmp_path, RunKey("sound", "sim_wild", "ridge", 50), VIT) == 0


def test_a_cross_validated_schedule_costs_its_candidates(tmp_path):
    loaded = load(ROOT / "real/livec/params.yaml")
    method, clip = loaded.methods["grmp_crossval"], cost.tower(loaded)
    key = RunKey("sound", "livec", "grmp_crossval", 50)
    plain, chosen = (cost.operations(loaded, tmp_path, key._replace(method=m), clip) for m in ("grmp", "grmp_crossval"))
    read = (50 + 232) * clip.forward(clip.layers, 8)  # labelled images, and a fifth of 1,162 in the test
    assert chosen > (plain - read) * len(method.candidates) * (method.folds - 1)


def test_pretraining_counts_every_image_of_a_task_once(paper):
    """KADID-10k: 25 tasks of 405 images; as released, a query batch follows every support batch."""
    one = {"databases": ["kadid10k"], "variants": ["fomaml"], "seeds": 1, "epochs": 1}
    settings = paper.pretrain.model_copy(update=one)
    once = cost.pretraining(paper.model_copy(update={"pretrain": settings}), VIT)
    assert once == pytest.approx(10125 * 2 * VIT.forward(12, 100))
    both = settings.model_copy(update={"variants": ["reptile_published"]})
    assert cost.pretraining(paper.model_copy(update={"pretrain": both}), VIT) > 1.1 * once


def test_64_gpus_are_no_faster_than_the_longest_run(paper, tmp_path):
    key = RunKey("sound", "koniq10k", "grmp", 50)
    seconds = 1e18 / 67e12 / cost.REACHED_GPU
    text = cost.on_h100(paper, {key: 1e18}, VIT)
    assert f"by 1e+18 counted operations: about {seconds / 3600:.1f} h on one H100" in text
    before = cost.pretraining(paper, VIT) / 67e12 / cost.REACHED_GPU
    assert f"{(before / 3 + seconds) / 3600:.1f} h in all on 64" in text
    assert "23% is reached, as measured in bfloat16" in text


def test_speed_is_that_of_this_machine():
    assert 1e9 < cost.speed(1, False, "float32") < 1e13


def test_estimates_come_from_the_nearest_record():
    known = {RunKey("p", "a", "m", 50): 10.0, RunKey("p", "a", "m", 100): 15.0, RunKey("p", "b", "m", 50): 99.0}
    assert cost.estimate(RunKey("p", "a", "m", 50), known) == 10
    assert cost.estimate(RunKey("p", "a", "m", 200), known) in (10, 15)
    assert cost.estimate(RunKey("q", "b", "m", 50), known) == 99
    assert cost.estimate(RunKey("p", "a", "m", "20pct"), known) in (10, 15)
    assert cost.estimate(RunKey("p", "a", "other", 50), known) is None


def test_time_left_is_that_of_the_runs_that_are_left(tmp_path, capsys):
    cheap, dear = RunKey("sound", "target", "ridge", 6), RunKey("sound", "target", "grmp", 6)
    seen = cost.Progress(dict.fromkeys([cheap, dear, RunKey("sound", "target", "grmp", 12)], 1e9), 2, tmp_path, 3)
    assert seen.left() == "unknown time"
    seen.known = {cheap: 1.0, dear: 100.0}
    seen.update(cheap, computed=True)
    assert "done 1 of 3, running 2, failed 0" in capsys.readouterr().out
    assert seen.left() == "about 5 min"  # two runs of three splits at once
    seen.update(dear, failure="no")
    assert "done 1 of 3, running 1, failed 1" in capsys.readouterr().out


def test_time_left_follows_counted_operations(tmp_path):
    """The longest runs come first: their mean would be far too much for the others."""
    ridge, coop, grmp, more = (
        RunKey("sound", "target", m, k) for m, k in (("ridge", 6), ("coop", 6), ("grmp", 6), ("grmp", 60))
    )
    seen = cost.Progress({grmp: 2e9, more: 20e9, coop: 1e9, ridge: 0.1e9}, 1, tmp_path, 1)
    seen.known = {more: 200.0, RunKey("sound", "other", "ridge", 6): 999.0}  # 0.1 GFLOP/s
    seen.rest = {grmp, coop, ridge}
    assert seen.left() == "about 31 s"
    seen.known[grmp] = 10.0  # 0.2 GFLOP/s; of both 0.15
    seen.rest = {coop}
    assert seen.left() == "about 7 s"
