"""Shipped CLIPs: float16 files that are verified, and a token embedding with the known words only."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from skimage.filters import gaussian
from skimage.transform import resize

import grmp.params
from grmp.clip import checkpoints, shipped
from grmp.clip import model as clip
from grmp.errors import UserError
from grmp.params import load
from small import packing
from tests.clip.test_stem import stemmed

__all__ = ["stemmed"]
KNOWN = ["a photo with high quality.", "a photo of a cat"]


@pytest.fixture
def packed(stemmed, tmp_path):
    """A folder with one seeded CLIP, its shape and its whole tensors."""
    (shape, p), known = stemmed, clip.tokenize(KNOWN).unique()
    pruned = p | {"token_embedding.weight": p["token_embedding.weight"][known]}
    packing.pack("one", shape, pruned, known, tmp_path)
    return tmp_path, shape, {n: t.half().float() for n, t in p.items()}


def test_a_packed_clip_computes_the_same_from_float16_weights(packed):
    folder, shape, p = packed
    found, expected, tokens = shipped.load("one", folder), clip.PromptedCLIP(p, shape), clip.tokenize(KNOWN)
    assert found.shape == shape
    torch.testing.assert_close(found.text(tokens), expected.text(tokens))
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    x = clip.pixels(images, shape)
    torch.testing.assert_close(found.image(x), expected.image(x))


def test_unknown_words_get_the_mean_of_the_known(packed):
    folder, _, p = packed
    known = clip.tokenize(KNOWN).unique()
    rows = shipped.load("one", folder).weights["token_embedding.weight"]
    assert rows.shape == (shipped.VOCABULARY, 32)
    unknown = int(clip.tokenize(["zebra"])[0, 1])
    torch.testing.assert_close(rows[unknown], p["token_embedding.weight"][known].mean(0))


def test_damage_and_wrong_names_are_refused(packed):
    folder, _, _ = packed
    with pytest.raises(UserError, match=r"two\.safetensors is missing or corrupt"):
        shipped.load("two", folder)
    path = folder / "one.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(UserError, match=r"one\.safetensors is missing or corrupt .* install the package again"):
        shipped.load("one", folder)
    (folder / "index.json").unlink()
    with pytest.raises(UserError, match=r"index\.json not found"):
        shipped.load("one", folder)


@pytest.mark.parametrize("name", shipped.names())
def test_prompts_are_verified_and_fit_their_clip(name, tmp_path):
    folder = shutil.copytree(shipped.FOLDER, tmp_path / "weights")
    shipped.prompts(name, "fomaml", tmp_path / "models/prompts/fomaml.safetensors", folder)
    wanted = load(Path(grmp.params.__file__).with_name("own.yaml")).prompts
    (found,) = checkpoints.load_prompts(tmp_path, "fomaml", shipped.load(name), wanted)
    assert {t.dtype for t in found.values()} == {torch.float32}
    with pytest.raises(UserError, match=f"{name} has no meta-learned prompts 'maml'; choose --method last_blocks"):
        shipped.prompts(name, "maml", tmp_path / "p.safetensors", folder)
    (folder / name / "fomaml.safetensors").write_bytes(b"0")
    with pytest.raises(UserError, match=r"its sha256 is not the recorded one"):
        shipped.prompts(name, "fomaml", tmp_path / "p.safetensors", folder)


@pytest.mark.parametrize("name", shipped.names())
def test_shipped_models_prefer_clean_photographs(name):
    backbone = shipped.load(name)
    photographs = [
        resize(image, (224, 224), anti_aliasing=True) for image in (data.astronaut(), data.chelsea(), data.coffee())
    ]
    noise = np.random.default_rng(0).normal(0, 0.2, (224, 224, 3))
    versions = [(p, gaussian(p, 4, channel_axis=2), np.clip(p + noise, 0, 1)) for p in photographs]
    images = torch.from_numpy((255 * np.array(versions)).astype(np.uint8)).flatten(0, 1).permute(0, 3, 1, 2)
    texts = clip.tokenize(["a photo with high quality.", "a photo with low quality."])
    logits = backbone.logits(backbone.image(clip.pixels(images, backbone.shape)), backbone.text(texts))
    score = (logits[:, 0] - logits[:, 1]).view(3, 3)
    assert bool((score[:, :1] > score[:, 1:]).all())


def test_everything_shipped_fits_in_30_megabytes():
    assert sum(path.stat().st_size for path in shipped.FOLDER.rglob("*.safetensors")) <= 30e6
