"""The settings of commands that need no pipeline folder: a CLIP that comes with the package, or OpenAI's."""

import os
from pathlib import Path

import grmp.params
from grmp.clip import checkpoints, shipped
from grmp.clip.build import build
from grmp.errors import UserError
from grmp.params import Params, ShippedBackbone, load

FOLDER = Path(grmp.params.__file__).parent
DEFAULT = "small-rated"  # the stronger one for photographs
METHOD = "last_blocks"
OPENAI = "openai"


def own(backbone: str = "") -> tuple[Params, Path]:
    """Settings, and the folder for the weights that are downloaded and the folds of an interrupted training.

    Raises UserError for an unknown CLIP, or if OpenAI's cannot be downloaded.
    """
    name = backbone or DEFAULT
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grmp" / name
    if name == OPENAI:  # with the settings of the paper
        params = load(FOLDER / "paper.yaml")
        if not (root / checkpoints.PATH).is_file():
            build(params, root)
        return params, root
    if name not in shipped.names():
        raise UserError(f"no CLIP '{name}'; --backbone is one of {', '.join(shipped.names())}, {OPENAI}")
    params = load(FOLDER / "own.yaml")
    wanted = ShippedBackbone(source="shipped", name=name, normalize="clip")  # type: ignore[arg-type]
    return params.model_copy(update={"backbone": wanted}), root
