"""Settings of the repository, read once, and changed copies of them."""

import copy
from functools import cache

import yaml

from grmp import params
from tests.conftest import ROOT

read, load = cache(params.read), cache(params.load)


def changed(tmp_path, change, file="params.yaml"):
    """The settings of ``file`` after a change, written and loaded."""
    raw = copy.deepcopy(read(ROOT / file))
    change(raw)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return params.load(tmp_path / "params.yaml")
