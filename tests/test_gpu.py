"""On a GPU (skipped without one): the CPU's numbers, the same bytes twice, and memory that really runs out."""

import numpy as np
import pandas as pd
import pytest
import torch

from bench.work import VIT_B16, WORK, Setting
from grmp import params
from grmp.clip import checkpoints
from grmp.clip.graphs import Recording
from grmp.clip.model import Backbone, PromptedCLIP, pixels, prompted_texts, tokenize
from grmp.data.crops import place
from grmp.device import choose_device, in_chunks
from grmp.errors import UserError
from grmp.finetune.loop import finetune
from grmp.finetune.types import TEACHER_SCENE, SplitData, Subset, Texts
from grmp.params import Adapt
from grmp.pretrain.train import pretrain
from tests import worlds
from tests.finetune import test_loop
from tests.golden import weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
SPLITS = 3


@pytest.fixture(autouse=True)
def exact():
    """float32 products with all bits, and torch's default kernels again afterwards."""
    choose_device("cuda", 1)
    yield
    choose_device("cuda", 1)


def tuned(device, wanted="auto", splits=SPLITS, shape=test_loop.SHAPE, at_once=True, **change):
    """Scores of every split after fine-tuning on ``device``; images whose brightness is their quality."""
    settings = Adapt(**test_loop.SETTINGS | {"device": wanted} | change)
    backbone = Backbone(weights.clip_weights(shape), shape, "seeded").to(device)
    prompts = {n: t.to(device) for n, t in weights.prompts(shape, 5).items()}
    side, rng = shape.image_size + 4, np.random.default_rng(3)
    quality = rng.uniform(size=21)
    images = rng.normal(60 + 130 * quality[:, None, None, None], 20, (21, 3, side, side))
    placed = place(np.clip(images, 0, 255).astype(np.uint8), torch.device(device))
    texts = Texts(
        tokenize(prompted_texts(["high quality", "low quality"], 4)).to(device),
        tokenize([TEACHER_SCENE.format(s) for s in settings.scenes]).to(device),
    )
    sides = Subset(placed, quality, test_loop.TRAIN), Subset(placed, quality, test_loop.TEST)
    jobs = [SplitData(split, prompts, *sides) for split in range(splits)]
    tune = test_loop.tune()
    groups = [jobs] if at_once else [[job] for job in jobs]
    return np.stack([o.scores for group in groups for o in finetune(backbone, texts, tune, settings, group)])


@pytest.mark.parametrize(
    "change",
    [{}, {"select": "test", "epochs": 30, "evaluate_every": 1}, {"momentum": 0.9}, {"crops": "batch", "views": 0}],
    ids=str,
)
def test_fine_tuning_gives_the_numbers_of_the_cpu(change):
    on_cpu = tuned("cpu", at_once=False, **change)
    for at_once in (False, True):
        np.testing.assert_allclose(tuned("cuda", at_once=at_once, **change), on_cpu, atol=1e-4)


def test_recorded_kernels_do_what_the_function_does():
    total, recording = torch.zeros(3, device="cuda"), Recording()

    def add(x):
        total.add_(x)
        return (2 * total,)

    for call, size in enumerate((3, 3, 3, 3, 1, 3, 3, 3)):
        (twice,) = recording(add, torch.full((size,), float(call + 1), device="cuda"))
        assert twice.tolist() == [(call + 1) * (call + 2)] * 3
        assert (recording.graph is not None) == (call > 0)


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 0.003), ("bfloat16", 0.02)])
def test_reduced_precision_stays_near_float32(precision, tolerance):
    exact = tuned("cuda")
    found = tuned("cuda", precision=precision)
    assert 0 < np.abs(found - exact).max() < tolerance


def test_float16_of_the_cpu_rounds_as_the_gpu_does():
    on_gpu, on_cpu = tuned("cuda", precision="float16"), tuned("cpu", precision="float16", at_once=False)
    np.testing.assert_allclose(on_gpu, on_cpu, atol=0.002)


def test_deterministic_kernels_repeat_every_byte():
    choose_device("cuda_deterministic", 1)
    assert tuned("cuda").tobytes() == tuned("cuda").tobytes()


def test_tf32_is_off():
    a = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))
    apart = (a.cuda() @ a.cuda()).cpu().double() - a.double() @ a.double()
    assert apart.abs().max() < 1e-4


def test_half_as_many_splits_once_the_memory_is_full(capsys):
    """The limit is between what two and what four splits of ViT-B/16 need."""

    def compute(jobs):
        return list(tuned("cuda", splits=len(jobs), shape=VIT_B16, epochs=1, views=1, cache_gb=0.0))

    peaks = []
    for count in (2, 4):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        wanted = compute([0] * count)
        peaks.append(torch.cuda.max_memory_reserved())
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction((0.5 * peaks[0] + 0.5 * peaks[1]) / total)
        found = list(in_chunks(compute, [0, 1, 2, 3], 4, "split", "adapt.batch"))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert [len(chunk) for chunk, _, _ in found] == [2, 2]
    assert "4 do not fit into GPU memory together; continuing with 2" in capsys.readouterr().out
    np.testing.assert_allclose(found[0][1], wanted[:2], atol=1e-4)  # split 0 and 1 in both


def test_memory_is_free_after_it_ran_out():
    before = torch.cuda.memory_allocated()
    with pytest.raises(UserError, match="does not fit"):
        next(in_chunks(lambda chunk: [torch.empty(2**30, device="cuda") for _ in range(10**6)], [0], 1, "split", "it"))
    assert torch.cuda.memory_allocated() == before


def test_scores_of_images_on_the_gpu():
    backbone = Backbone(weights.clip_weights(VIT_B16), VIT_B16, "seeded")
    x = torch.randint(0, 256, (3, 3, 224, 224), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    on_cpu = PromptedCLIP(backbone.weights, VIT_B16).image(pixels(x, VIT_B16))
    on_gpu = PromptedCLIP(backbone.to("cuda").weights, VIT_B16).image(pixels(x.cuda(), VIT_B16)).cpu()
    torch.testing.assert_close(on_gpu, on_cpu, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["fomaml", "reptile_published", "triplets"])
def test_pretraining_ends_where_the_cpu_ends(tmp_path, name):
    """Without dropout, whose random numbers are the device's own, and with SGD inside: Adam keeps the sign of rounding."""
    found, losses, variants = {}, {}, {}
    if name == "fomaml":
        variants[name] = {"inner": "sgd", "inner_rate": 0.01, "outer": "average"}
    for device in ("cpu", "cuda"):
        changes = {"adapt": {"device": device}, "prompts": {"dropout": 0.0}, "variants": variants}
        file = worlds.build(tmp_path / device, **changes)
        pretrain(params.load(file), file.parent, name)
        found[device] = checkpoints.read(file.parent / f"models/prompts/{name}.safetensors", "")[0]
        losses[device] = pd.read_csv(file.parent / f"results/pretrain/{name}.csv")
    assert (losses["cuda"]["support_loss"] - losses["cpu"]["support_loss"]).abs().max() < 1e-3
    if name != "triplets":  # their optimiser is Adam
        for tensor, value in found["cpu"].items():
            torch.testing.assert_close(found["cuda"][tensor], value, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", sorted(WORK))
def test_recipes_of_the_bench_agree(name):
    small = {"splits": {"count": 2, "size": 30, "epochs": 12}}
    setting = Setting(torch.device("cuda"), images=3, shape=test_loop.SHAPE, prompts=5)
    work = WORK[name](setting, **small.get(name, {}))
    plain, ours = (recipe() for recipe in work.recipes.values())
    assert work.difference(plain, ours) <= 1e-4
