"""Read-only access to results: names, keys, what is missing, what was read."""

from pathlib import Path

import pytest

from grmp.errors import UserError
from grmp.params import RunKey
from grmp.report.results import Results, kind_title, title


def test_names_in_print(whole: Results):
    assert title("koniq10k_to_livec") == "KonIQ-10k → LIVE Challenge"
    assert whole.label("grmp") == "GRMP-IQA"
    kinds = ["01 gaussian blur", "white_noise", "jp2k", "type 01"]
    assert [kind_title(kind) for kind in kinds] == ["Gaussian blur", "white noise", "JPEG 2000", "type 01"]
    assert whole.label("unknown") == "unknown"
    assert [whole.rating(d) for d in ("alpha", "gamma")] == ["simulated rating", "MOS"]


def test_ratings_of_which_lower_is_better_are_dmos(tmp_path: Path, collected: Path):
    (tmp_path / "params.yaml").write_bytes((collected / "params.yaml").read_bytes())
    (tmp_path / "data/prepared/live").mkdir(parents=True)
    (tmp_path / "data/prepared/live/info.json").write_text('{"kind": "synthetic", "higher_better": false}')
    results = Results.open(tmp_path)
    assert results.rating("live") == "DMOS"
    assert results.rating("live", scaled=True) == "reversed DMOS"  # what predictions of quality are compared with


def test_what_is_read_is_noted_and_what_is_missing_is_none(collected: Path):
    results = Results.open(collected)
    done, missing = (RunKey("sound", "alpha", "grmp", shots) for shots in (25, 7))
    assert results.missing([done, missing]) == [missing]
    assert results.record("alpha", "grmp", 7) is None
    assert results.csv("results/pretrain/nothing.csv").empty
    assert {"results/scores.csv", "results/runs/sound/alpha/grmp/7/run.json"} <= results.files_read
    assert set(results.under("published").scores["protocol"]) == {"published"}


def test_tables_of_another_version_are_refused(world: Path):
    (world / "results/summary.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"summary\.csv was written by another version; regenerate it"):
        _ = Results.open(world).summary
