"""Weights in other people's formats are read by name, and without executing what they contain."""

import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from grmp.clip import formats
from grmp.clip.formats import read_weights
from grmp.clip.model import pixels
from grmp.errors import UserError
from tests.golden import weights
from tests.worlds import SHAPE

OURS = weights.clip_weights(SHAPE)


def transformers_layout():
    """OURS under the names of transformers' CLIPModel."""
    out = {}
    for name, tensor in OURS.items():
        if name in ("text_projection", "visual.proj"):
            other = {"text_projection": "text_projection", "visual.proj": "visual_projection"}[name]
            out[f"{other}.weight"] = tensor.T.contiguous()
        elif "attn.in_proj_" in name:
            block, kind = name.split("attn.in_proj_")
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{renamed(block)}self_attn.{part}_proj.{kind}"] = third.contiguous()
        else:
            out[renamed(name)] = tensor
    assert {
        "vision_model.encoder.layers.2.self_attn.k_proj.bias",
        "text_model.encoder.layers.0.mlp.fc1.weight",
        "vision_model.pre_layrnorm.weight",
    } <= out.keys()
    return out


def renamed(name):
    text = not name.startswith("visual.")
    for theirs, ours in formats.PARTS.items():
        if ours == "transformer.resblocks." and not text:
            continue
        name = name.replace(ours, theirs) if ours.startswith(".") or name.startswith(ours) else name
    return name


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("layout", ["openai", "transformers"])
def test_files_of_tensors(tmp_path, suffix, layout):
    path, state = tmp_path / f"w{suffix}", OURS if layout == "openai" else transformers_layout()
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    found = read_weights(path, of_openai=False)
    assert found.keys() == OURS.keys()
    assert all(torch.equal(found[n], t) for n, t in OURS.items())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_of_openai_only(tmp_path):
    path = tmp_path / "ViT-B-16.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 3)), path)
    with pytest.raises(UserError, match="other content can execute code and is rejected"):
        read_weights(path, of_openai=False)
    assert read_weights(path, of_openai=True).keys() == {"weight", "bias"}


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps(print, protocol=2)])
def test_other_content_is_rejected(tmp_path, content):
    for suffix in (".safetensors", ".bin"):
        path = tmp_path / f"w{suffix}"
        path.write_bytes(content)
        with pytest.raises(UserError, match="is corrupt, or not a plain dictionary of tensors"):
            read_weights(path, of_openai=False)


def test_a_transformers_file_that_lacks_a_tensor_is_rejected(tmp_path):
    half = {"visual_projection.weight": torch.zeros(2, 2), "a.self_attn.q_proj.weight": torch.zeros(2)}
    save_file(half, tmp_path / "w.SAFETENSORS")
    with pytest.raises(UserError, match="is corrupt, or not a plain dictionary of tensors"):
        read_weights(tmp_path / "w.SAFETENSORS", of_openai=False)


def test_pixel_statistics_are_the_models_own():
    white = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    half = replace(SHAPE, normalize="clip", own="half")
    assert pixels(white, half).unique().tolist() == [1.0]
    assert torch.equal(pixels(white, replace(half, normalize="imagenet")), pixels(white, SHAPE))
