"""The settings of commands that need no pipeline folder: a CLIP that comes with the package, or OpenAI's."""

import os
from pathlib import Path
from typing import get_args

import grmp.params
from grmp.clip import checkpoints
from grmp.clip.build import build
from grmp.errors import UserError
from grmp.finetune.scorer import REMEDY
from grmp.locks import lock
from grmp.params import Params, ShippedBackbone, load

FOLDER = Path(grmp.params.__file__).parent
DEFAULT = "small-rated"  # the stronger one for photographs
METHOD = "last_blocks"
OPENAI = "openai"


def settings_of(model: Path) -> tuple[str, str, tuple[float, float], bool]:
    """What a model was trained with: the options --backbone, --method, --scale and --lower-is-better of `grmp train`.

    The new model learns from all ratings anew: one that started from weights which have seen some of the images would be
    scored too well by cross-validation. Raises UserError if the file is not a model.
    """
    _, card = checkpoints.read(model, REMEDY, first="")
    try:
        scale = card["scale"]
        return card.get("backbone", ""), card["method"], (scale["low"], scale["high"]), not scale["higher_better"]
    except (KeyError, TypeError):
        raise UserError(f"{model} is not a quality model; {REMEDY}") from None


def own(backbone: str = "") -> tuple[Params, Path]:
    """Settings, and the folder for the weights that are downloaded and the folds of an interrupted training.

    Raises UserError for an unknown CLIP, or if OpenAI's cannot be downloaded.
    """
    name = backbone or DEFAULT
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grmp" / name
    if name == OPENAI:  # with the settings of the paper
        params = load(FOLDER / "paper.yaml")
        with lock(root, "backbone"):
            if not (root / checkpoints.PATH).is_file():
                build(params, root)
        return params, root
    known = get_args(ShippedBackbone.model_fields["name"].annotation)
    if name not in known:
        raise UserError(f"no CLIP '{name}'; --backbone is one of {', '.join(known)}, {OPENAI}, or give --params")
    params = load(FOLDER / "own.yaml")
    wanted = ShippedBackbone(source="shipped", name=name, normalize="clip")  # type: ignore[arg-type]
    return params.model_copy(update={"backbone": wanted}), root
