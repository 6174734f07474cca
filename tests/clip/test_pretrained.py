"""Pretrained weights: found by open_clip's names, verified, and read without executing code."""

import json
import pickle

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from grmp import params
from grmp.clip import checkpoints, pretrained
from grmp.clip.build import build
from grmp.clip.model import PromptedCLIP, Shape, random_prompts
from grmp.data import download
from grmp.errors import UserError
from grmp.files import sha256
from grmp.params import PretrainedBackbone
from tests import worlds
from tests.golden import weights


def settings(**change):
    base = {"source": "open_clip", "model": "ViT-B-16-quickgelu", "pretrained": "openai", "sha256": ""}
    return PretrainedBackbone(**base | {"normalize": "clip"} | change)


def test_openai_weights_are_found_on_the_hub():
    assert pretrained.locate(settings()) == "timm/vit_base_patch16_clip_224.openai"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "ViT-B-16"}, "the 'openai' weights need QuickGELU; write ViT-B-16-quickgelu"),
        ({"model": "ViT-B-17"}, "open_clip knows no 'ViT-B-17'"),
        ({"model": "RN50-quickgelu"}, "RN50-quickgelu is not a plain ViT CLIP; choose one such as ViT-B-32-quickgelu"),
        ({"model": "convnext_base"}, "convnext_base is not a plain ViT CLIP"),
        ({"model": "roberta-ViT-B-32"}, "roberta-ViT-B-32 is not a plain ViT CLIP"),
        ({"pretrained": "openia"}, "'openia' is not a tag of ViT-B-16-quickgelu; known: .*openai"),
        ({"model": "ViT-S-32-alt"}, 'is not a tag of ViT-S-32-alt; known: none, or "" for a file'),
    ],
)
def test_wrong_names_are_named(change, words):
    with pytest.raises(UserError, match=words) as caught:
        pretrained.locate(settings(**change))
    assert "\n" not in str(caught.value)


def test_openai_weights_that_were_saved_again_need_quickgelu(tmp_path, file, capsys):
    given = settings(model="ViT-gelu", pretrained="")
    assert not pretrained.fetch(given, file)[1].quick_gelu
    assert not capsys.readouterr().out
    again = tmp_path / "model.safetensors"
    save_file({n: t.half().float() for n, t in load_file(file).items()}, again)
    pretrained.fetch(given, again)
    assert "if it contains OpenAI's weights, write ViT-gelu-quickgelu" in capsys.readouterr().out
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"hidden_act": "gelu"}}))
    pretrained.fetch(given, again)
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"hidden_act": "quick_gelu"}}))
    with pytest.raises(UserError, match="need QuickGELU; write ViT-gelu-quickgelu"):
        pretrained.fetch(given, again)


def test_other_bytes_than_stated(file):
    with pytest.raises(UserError, match=r'has sha256 .*, not 00; download it again, .*"" accepts any file'):
        pretrained.fetch(settings(sha256="00"), file)


def test_openais_own_file_needs_no_other_sha256(tmp_path, monkeypatch):
    """The file of the release has another sha256 than that of the Hub, which params.yaml states."""
    import open_clip

    path = own_model(tmp_path, "ViT-own")
    tag = {"url": f"https://host/clip/models/{sha256(path)}/ViT-own.pt", "mean": (0.5, 0.5, 0.5)}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda model, name: tag)
    assert pretrained.fetch(settings(model="ViT-own", sha256="00"), path)[1].own == "half"  # as the tag says
    with pytest.raises(UserError, match="not 00; download it again"):
        pretrained.fetch(settings(model="ViT-own", sha256="00", pretrained="laion2b"), path)


TOY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 48, "layers": 2, "width": 96, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3},
}


def own_model(folder, name, quick_gelu=True, **vision):
    """Registers a small model with open_clip under ``name``; returns a file of seeded weights for it."""
    import open_clip

    config = TOY | {"quick_gelu": quick_gelu, "vision_cfg": TOY["vision_cfg"] | vision}
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    path = folder / f"{name}.safetensors"
    state = open_clip.create_model(name, device="meta").state_dict()
    save_file({n: weights.value(n, tuple(t.shape)) for n, t in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Seeded weights of a small model with GELU."""
    return own_model(tmp_path_factory.mktemp("weights"), "ViT-gelu", quick_gelu=False)


def test_any_plain_vit_by_name_from_a_file(tmp_path, caplog):
    """Other widths, heads, depths and patches than ViT-B/16's, through the stage itself."""
    path = own_model(tmp_path, "ViT-toy-16")
    raw = worlds.settings()
    raw["backbone"] = settings(model="ViT-toy-16", pretrained="", sha256=sha256(path)).model_dump()
    del raw["backbone"]["normalize"]  # the protocol's
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    caplog.clear()
    build(params.load(tmp_path / "params.yaml"), tmp_path, path)
    assert not caplog.records  # open_clip's warning that the model starts at random would mislead
    loaded = checkpoints.load(tmp_path)
    assert loaded.shape == Shape(24, 48, 16, 96, 2, 3, 64, 3, 4, True, "clip")
    assert torch.equal(loaded.weights["visual.proj"], weights.value("visual.proj", (96, 24)))
    card = json.loads((tmp_path / "results/backbone.json").read_text())
    assert {"name": "ViT-toy-16 (own weights)", "source": path.name, "sha256": sha256(path)}.items() <= card.items()
    build(params.load(tmp_path / "params.yaml"), tmp_path)  # by the next `dvc repro`, which knows no file
    assert json.loads((tmp_path / "results/backbone.json").read_text()) == card
    (tmp_path / checkpoints.PATH).unlink()
    with pytest.raises(UserError, match="pass the weights as a file"):
        build(params.load(tmp_path / "params.yaml"), tmp_path)
    prompts = random_prompts(loaded.shape, 3, 0, 4, "layer", torch.Generator().manual_seed(0))
    x = torch.zeros(2, 3, 48, 48)
    assert PromptedCLIP(loaded.weights | prompts, loaded.shape).image(x).shape == (2, 24)


def test_own_weights_need_a_file():
    with pytest.raises(UserError, match="names no Hub repository for ViT-S-32-alt ''; pass the weights as a file"):
        pretrained.fetch(settings(model="ViT-S-32-alt", pretrained=""), None)


@pytest.mark.parametrize("option", [{"no_ln_pre": True}, {"ls_init_value": 0.1}, {"pool_type": "avg"}])
def test_a_vit_that_computes_something_else_is_refused(tmp_path, option):
    name = f"ViT-{next(iter(option))}"
    path = own_model(tmp_path, name, **option)
    with pytest.raises(UserError, match="not a plain ViT CLIP; choose one such as"):
        pretrained.fetch(settings(model=name, pretrained=""), path)


def test_weights_of_another_model(tmp_path, file):
    own_model(tmp_path, "ViT-other", patch_size=24)
    with pytest.raises(UserError, match=f"does not fit ViT-other: .* in {pretrained.FILE}"):
        pretrained.fetch(settings(model="ViT-other", pretrained=""), file)


class Harmful:
    """Runs a function when it is unpickled without restrictions."""

    def __reduce__(self):
        return pytest.fail, ("code from the file was executed",)


def test_nothing_is_unpickled(tmp_path, file):
    path = tmp_path / "ViT-B-16.pt"
    path.write_bytes(pickle.dumps({"visual.proj": Harmful()}, protocol=2))
    with pytest.raises(UserError, match=r"not a plain dictionary of tensors; other content can execute code"):
        pretrained.fetch(settings(model="ViT-gelu", pretrained=""), path)
    with pytest.raises(UserError, match="is not a file"):
        pretrained.fetch(settings(), tmp_path / "nowhere.safetensors")


def test_no_network_names_the_way_without(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub

    def refuse(*arguments, **named):
        raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr(download, "BACKOFF", 0)
    with pytest.raises(UserError, match=r"no route.*grmp backbone --from") as caught:
        pretrained.fetch(settings(), None)
    assert "\n" not in str(caught.value)
